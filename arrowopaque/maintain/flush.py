"""Flush: move the delta into data files, in two phases.

Writers go on while Parquet is written; the exclusive lock is held for the
short SQL phase alone. See "Flush" in ``docs/DESIGN.md``.
"""

from __future__ import annotations

__all__ = ["FlushReport", "flush"]

from dataclasses import dataclass, replace
from typing import Any

from arrowopaque import clock
from arrowopaque.errors import ConflictError
from arrowopaque.format.manifest import Key, Partition, TableManifest
from arrowopaque.format.values import Values
from arrowopaque.maintain.progress import Progress, ignored
from arrowopaque.store.apply import Stage, StaleStageError, compose, stage
from arrowopaque.store.base import Base, load_base
from arrowopaque.store.matches import Hits, hits_of
from arrowopaque.store.table import (
    DeltaState,
    Exclusive,
    MaintainedTable,
    is_intact,
    key_table,
    unless_superseded,
)

_TRIES = 5


@dataclass(frozen=True, slots=True)
class FlushReport:
    """What a flush moved."""

    rows: int = 0
    tombstones: int = 0
    commits: int = 0


def flush(table: MaintainedTable, *, progress: Progress = ignored) -> FlushReport:
    """Move the delta of one table into data files.

    Rows that are written meanwhile may stay in the delta. With nothing to
    move, nothing is written.

    Parameters
    ----------
    table
        The table.
    progress
        Is told of rows and tombstones that were moved.

    Raises
    ------
    ConflictError
        The table was in use, or others committed first, every time.
    """
    report = FlushReport()
    limit = table.volume.options.flush_rows
    while True:
        state = table.read(limit)
        if not state.rows and not state.tombstones:
            return report
        moved = _flush_once(table, state)
        if moved is not None:
            report = FlushReport(
                report.rows + moved.rows, report.tombstones + moved.tombstones, report.commits + moved.commits
            )
            progress(moved.rows + moved.tombstones)
        if moved is None or len(state.rows) < limit:
            return report


def _flush_once(table: MaintainedTable, state: DeltaState) -> FlushReport | None:
    for attempt in range(_TRIES):
        try:
            with unless_superseded(table, state.manifest):
                staged = _stage(table, state)
                with table.exclusive() as held:
                    return _second_phase(table, held, state, staged)
        except StaleStageError:
            clock.pause(clock.backoff(attempt))
            state = table.read(table.volume.options.flush_rows)
    raise ConflictError(f"table {table.name!r}: its partitions changed during every one of {_TRIES} flushes")


def _stage(table: MaintainedTable, state: DeltaState) -> Stage:
    manifest = None if state.manifest is None else table.volume.manifest(state.manifest)
    rows = table.spec.arrow_schema.empty_table()
    if state.rows:
        rows = Values(table.spec).table(list(state.rows.values()))
    return stage(table.volume, table.spec, table.name, manifest, rows)


def _same(row: tuple[Any, ...] | None, other: tuple[Any, ...]) -> bool:
    """Return whether two rows are equal, NaN being equal to itself."""
    if row is None:
        return False
    return row == other or all(a == b or (a != a and b != b) for a, b in zip(row, other, strict=True))


def _second_phase(
    table: MaintainedTable, held: Exclusive, before: DeltaState, staged: Stage
) -> FlushReport | None:
    """Commit what did not change since the first phase.

    Requires: every other writer is kept out.
    """
    # By keys it would take longer. Those that newer ones have pushed beyond
    # the limit count as changed: the next flush moves them.
    now = held.read(table.volume.options.flush_rows)
    folded = [key for key, stamp in before.tombstones.items() if now.tombstones.get(key) == stamp]
    stay = set(folded)
    moved = [
        key
        for key, row in before.rows.items()
        if _same(now.rows.get(key), row) and (key not in now.tombstones or key in stay)
    ]
    if not moved and not folded:
        return None
    if not is_intact(table.volume, staged, now.fence != before.fence):
        staged = _stage(table, before)
    base = load_base(table.volume, table.spec, now.manifest)
    hits = hits_of(
        base.matching(table.spec.primary_key, key_table(table.spec, folded), table.spec.primary_key)
    )
    kept = set(moved)
    hits.update(_hidden(base, table, staged, [key for key in before.rows if key not in kept]))
    if not moved:
        staged = replace(staged, partitions=())
    manifest = compose(base, table.name, staged, hits, clock.new_id())
    name = table.volume.put_manifest(manifest, table.spec)
    held.swap(now.manifest, name)
    held.clear(moved, folded)
    return FlushReport(len(moved), len(folded), 1)


def _hidden(base: Base, table: MaintainedTable, staged: Stage, keys: list[Key]) -> Hits:
    """Return where the staged files hold rows that have changed since."""
    if not keys:
        return {}
    only = Base(base.volume, table.spec, _pretend(table, staged.partitions))
    key = table.spec.primary_key
    return hits_of(only.matching(key, key_table(table.spec, keys), key))


def _pretend(table: MaintainedTable, partitions: tuple[Partition, ...]) -> TableManifest:
    """Return a manifest, stored nowhere, of staged files alone."""
    return TableManifest(
        table=table.name,
        version=0,
        commit="0" * 32,
        parent=None,
        created=clock.now(),
        partitions=partitions,
        next_partition=0,
    )
