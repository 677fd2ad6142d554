"""Compact: merge a partition's data files, drop deleted rows, split what has
grown.
"""

from __future__ import annotations

__all__ = ["CompactReport", "compact", "plan"]

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pyarrow as pa

from arrowopaque import clock
from arrowopaque.errors import ConflictError
from arrowopaque.format.manifest import Partition, TableManifest
from arrowopaque.options import Options
from arrowopaque.store.apply import Stage, StaleStageError, next_manifest, split_rows
from arrowopaque.store.base import Base
from arrowopaque.store.order import sort_rows
from arrowopaque.store.table import CompactedTable, Current, unless_superseded

T = TypeVar("T")

_TRIES = 5
_DELETED = 0.1
"""Share of deleted rows from which a single file is rewritten."""


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did."""

    partitions: int = 0
    files_before: int = 0
    files_after: int = 0


def _is_due(partition: Partition, options: Options) -> bool:
    rows = sum(file.rows for file in partition.files)
    live = sum(file.live for file in partition.files)
    return len(partition.files) > 1 or live < rows * (1 - _DELETED) or live > 2 * options.partition_rows


def plan(manifest: TableManifest | None, options: Options) -> list[Partition]:
    """Return the partitions that a compaction would rewrite."""
    return [partition for partition in manifest.partitions if _is_due(partition, options)] if manifest else []


def compact(table: CompactedTable) -> CompactReport:
    """Rewrite what is due in one table, a partition a commit.

    Raises
    ------
    ConflictError
        The table was in use, or changed during every attempt.
    """
    done = before = after = 0
    for partition in _tried(table, partial(_due, table), "its files"):
        number = partition.number
        pieces = _tried(table, partial(_compact_partition, table, number), f"partition {number}")
        done += 1
        before += len(partition.files)
        after += pieces
    return CompactReport(done, before, after)


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


def _due(table: CompactedTable, now: Current) -> list[Partition]:
    return plan(table.base(now.manifest).manifest, table.volume.options)


def _compact_partition(table: CompactedTable, number: int, now: Current) -> int:
    """Rewrite one partition and return the number of its files."""
    base = table.base(now.manifest)
    assert base.manifest is not None, "a partition needs a manifest"
    found = [partition for partition in base.manifest.partitions if partition.number == number]
    if not found:
        return 0
    began = clock.monotonic()
    pieces = _rewrite(table, base, found[0])
    table.transform(partial(_replaced, table.name, found[0], pieces), Stage(tuple(pieces), began), now.fence)
    return sum(len(piece.files) for piece in pieces)


def _rewrite(table: CompactedTable, base: Base, partition: Partition) -> list[Partition]:
    """Write a partition's live rows again, sorted, in as many partitions as
    they need.
    """
    assert base.manifest is not None, "a partition needs a manifest"
    alone = Base(base.volume, base.spec, base.manifest.model_copy(update={"partitions": (partition,)}))
    parts = [match.rows for match in alone.matches([], base.spec.names)]
    if not parts:
        return [partition.model_copy(update={"files": ()})]
    rows = sort_rows(pa.concat_tables(parts), base.spec.primary_key)
    return split_rows(base.volume, base.spec, table.name, rows, partition, base.manifest.next_partition)


def _replaced(table: str, old: Partition, new: list[Partition], now: Base, commit: str) -> TableManifest:
    """Return the manifest with a partition's files rewritten, if they are
    unchanged. Files that it has got since stay beside the new one.
    """
    manifest = now.manifest
    numbers = {partition.number for partition in new} - {old.number}
    if manifest is None or any(n < manifest.next_partition for n in numbers):
        raise StaleStageError
    at = [partition.number for partition in manifest.partitions].index(old.number)
    partitions = list(manifest.partitions)
    partitions[at : at + 1] = _with_newer(old, new, partitions[at])
    return next_manifest(now, table, partitions, commit)


def _with_newer(old: Partition, new: list[Partition], now: Partition) -> list[Partition]:
    files = {file.path: file for file in now.files}
    if any(files.pop(file.path, None) != file for file in old.files):
        raise StaleStageError
    if not files:
        return new
    if len(new) > 1:
        # They may have rows of either side of a split.
        raise StaleStageError
    return [new[0].model_copy(update={"files": (*new[0].files, *files.values())})]
