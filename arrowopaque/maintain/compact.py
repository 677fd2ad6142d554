"""Compact: merge a partition's data files, drop deleted rows, split what has
grown.
"""

from __future__ import annotations

__all__ = ["CompactReport", "compact"]

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa

from arrowopaque import clock
from arrowopaque.errors import ConflictError
from arrowopaque.format.manifest import Partition, TableManifest, encode_leading
from arrowopaque.maintain.progress import Progress, ignored
from arrowopaque.maintain.tiers import Merge, plan
from arrowopaque.store.apply import Stage, StaleStageError, next_manifest, write_file
from arrowopaque.store.base import Base
from arrowopaque.store.decoding import plain
from arrowopaque.store.keys import comparable
from arrowopaque.store.merge import merged
from arrowopaque.store.parallel import run_behind
from arrowopaque.store.table import CompactedTable, Current, unless_superseded

T = TypeVar("T")

_TRIES = 5


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did."""

    partitions: int = 0
    files_before: int = 0
    """Files that it has merged."""
    files_after: int = 0
    """Files that have taken their place."""


def compact(table: CompactedTable, *, full: bool = False, progress: Progress = ignored) -> CompactReport:
    """Rewrite what is due in one table, a partition a commit.

    Parameters
    ----------
    table
        The table.
    full
        Whether to leave one file in each partition, and no deleted row,
        instead of what is worth its cost.
    progress
        Is told of rows that were written.

    Raises
    ------
    ConflictError
        The table was in use, or changed during every attempt.
    """
    done = before = after = 0
    for due in _tried(table, partial(_due, table, full), "its files"):
        for merge, pieces in _rounds(table, due.partition.number, full):
            before += len(merge.files)
            after += pieces
            progress(merge.live)
        done += 1
    return CompactReport(done, before, after)


def _rounds(table: CompactedTable, number: int, full: bool) -> Iterator[tuple[Merge, int]]:
    """Do what is due in one partition; yield each merge and the number of
    files that have taken its place.
    """
    merge = None
    while merge is None or merge.is_first:
        attempt = partial(_compact_partition, table, number, full)
        merge, pieces = _tried(table, attempt, f"partition {number}")
        if merge is None:
            return
        yield merge, pieces


def _tried(table: CompactedTable, action: Callable[[Current], T], what: str) -> T:
    """Do something with the current files until nobody changes them meanwhile."""
    for attempt in range(_TRIES):
        now = table.current()
        try:
            with unless_superseded(table, now.manifest):
                return action(now)
        except StaleStageError:
            clock.pause(clock.backoff(attempt))
    raise ConflictError(f"table {table.name!r}: {what} changed during every one of {_TRIES} compactions")


def _due(table: CompactedTable, full: bool, now: Current) -> list[Merge]:
    return plan(table.base(now.manifest).manifest, table.volume.options, full=full)


def _compact_partition(
    table: CompactedTable, number: int, full: bool, now: Current
) -> tuple[Merge | None, int]:
    """Merge what is due in one partition; return that and the number of files
    that have taken its place.
    """
    found = [merge for merge in _due(table, full, now) if merge.partition.number == number]
    if not found:
        return None, 0
    began = clock.monotonic()
    pieces = _rewrite(table, table.base(now.manifest), found[0])
    table.transform(partial(_replaced, table.name, found[0], pieces), Stage(tuple(pieces), began), now.fence)
    return found[0], len(pieces)


def _rewrite(table: CompactedTable, base: Base, merge: Merge) -> list[Partition]:
    """Write the live rows of files again, sorted, in as many partitions as
    they need, and never all of them in memory at once.
    """
    assert base.manifest is not None, "a partition needs a manifest"
    most, first = base.volume.options.partition_rows, merge.partition
    count = -(-merge.live // most) if merge.splits else 1
    rows = merged([base.open(file) for file in merge.files], base.spec, most)
    pieces = _cut(rows, base.spec.primary_key[0], merge.live, count)
    numbers = itertools.chain([first.number], itertools.count(base.manifest.next_partition))
    return run_behind(
        partial(_write, table, base, first, number, piece)
        for number, piece in zip(numbers, pieces, strict=False)
    )


def _write(table: CompactedTable, base: Base, first: Partition, number: int, rows: pa.Table) -> Partition:
    """Write sorted rows as the only file of a partition."""
    leading = rows.column(base.spec.primary_key[0])
    lower = first.lower if number == first.number else encode_leading(leading[0].as_py())
    file = write_file(base.volume, base.spec, table.name, number, rows)
    return Partition(number=number, lower=lower, files=(file,))


def _cut(ranges: Iterator[pa.Table], leading: str, rows: int, pieces: int) -> Iterator[pa.Table]:
    """Yield sorted rows that come range by range in pieces of one size, as
    `arrowopaque.store.apply.cut` would cut them: no two pieces share a
    leading value.
    """
    marks = [piece * rows // pieces for piece in range(pieces - 1, 0, -1)]
    held: list[pa.Table] = []
    seen = 0
    for part in ranges:
        keys, begin = comparable(plain(part.column(leading))), 0
        while marks and marks[-1] < seen + len(keys):
            mark = marks.pop() - seen
            at = int(np.searchsorted(keys, keys[mark : mark + 1], "left")[0])
            # No bound is NaN: nothing would be below it.
            if (held or at > begin) and keys[at] == keys[at]:
                yield pa.concat_tables([*held, part.slice(begin, at - begin)])
                held, begin = [], at
        held.append(part.slice(begin))
        seen += len(keys)
    yield pa.concat_tables(held)


def _replaced(table: str, merge: Merge, new: list[Partition], now: Base, commit: str) -> TableManifest:
    """Return the manifest with the files of a merge replaced, if they are
    unchanged. Other files of the partition stay as they are by now.
    """
    manifest, number = now.manifest, merge.partition.number
    added = {partition.number for partition in new} - {number}
    if manifest is None or any(n < manifest.next_partition for n in added):
        raise StaleStageError
    at = [partition.number for partition in manifest.partitions].index(number)
    partitions = list(manifest.partitions)
    partitions[at : at + 1] = _with_others(merge, new, partitions[at])
    return next_manifest(now, table, partitions, commit)


def _with_others(merge: Merge, new: list[Partition], now: Partition) -> list[Partition]:
    # No live key is in two files, so that what others hold, or have lost meanwhile, is no matter to these.
    files = {file.path: file for file in now.files}
    if any(files.pop(file.path, None) != file for file in merge.files):
        raise StaleStageError
    if not files:
        return new
    if len(new) > 1:
        # They may have rows of either side of a split.
        raise StaleStageError
    return [new[0].model_copy(update={"files": (*new[0].files, *files.values())})]
