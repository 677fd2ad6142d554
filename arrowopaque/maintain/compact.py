"""Compact: merge a partition's data files, drop deleted rows, split what has
grown.
"""

from __future__ import annotations

__all__ = ["CompactReport", "compact", "plan"]

from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from arrowopaque import clock
from arrowopaque.errors import ConflictError
from arrowopaque.format.manifest import Partition, TableManifest
from arrowopaque.options import Options
from arrowopaque.store.apply import Stage, StaleStageError, next_manifest, sort_rows, split_rows
from arrowopaque.store.base import Base
from arrowopaque.store.table import CompactedTable

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
    for partition in plan(_current(table).manifest, table.volume.options):
        pieces = _compact_partition(table, partition.number)
        done += 1
        before += len(partition.files)
        after += pieces
    return CompactReport(done, before, after)


def _current(table: CompactedTable) -> Base:
    return table.base(table.current().manifest)


def _compact_partition(table: CompactedTable, number: int) -> int:
    for attempt in range(_TRIES):
        fence = table.current().fence
        base = _current(table)
        assert base.manifest is not None, "a partition needs a manifest"
        found = [partition for partition in base.manifest.partitions if partition.number == number]
        if not found:
            return 0
        began = clock.monotonic()
        pieces = _rewrite(table, base, found[0])
        staged = Stage(tuple(pieces), began)
        try:
            table.transform(partial(_replaced, table.name, found[0], pieces), staged, fence)
        except StaleStageError:
            clock.pause(clock.backoff(attempt))
            continue
        return sum(len(piece.files) for piece in pieces)
    raise ConflictError(
        f"table {table.name!r}: partition {number} changed during every one of {_TRIES} compactions"
    )


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
    """Return the manifest with a partition rewritten, if it is unchanged."""
    manifest = now.manifest
    numbers = {partition.number for partition in new} - {old.number}
    if (
        manifest is None
        or old not in manifest.partitions
        or any(n < manifest.next_partition for n in numbers)
    ):
        raise StaleStageError
    partitions: list[Partition] = []
    for partition in manifest.partitions:
        partitions += new if partition == old else [partition]
    return next_manifest(now, table, partitions, commit)
