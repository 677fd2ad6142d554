"""Bulk writes: rows go straight to data files inside the caller's transaction.

Every function returns whether it took the call; `False` sends it the small
way, because the exclusive lock would have had to be waited for or because the
rows break a constraint whose error is the database's to raise.
"""

from __future__ import annotations

__all__ = ["bulk_delete", "bulk_write"]

import pyarrow as pa

from arrowopaque import clock
from arrowopaque.butler import host
from arrowopaque.butler.delta import RegistryTable
from arrowopaque.butler.host import Cursor
from arrowopaque.butler.violations import refused_columns
from arrowopaque.butler.writes import clash_error, delete_delta
from arrowopaque.format.columns import python_list
from arrowopaque.format.where import In, Where, array_of
from arrowopaque.store.apply import Stage, compose, partitions_of
from arrowopaque.store.base import Base
from arrowopaque.store.calls import Mode, Selection
from arrowopaque.store.decoding import plain
from arrowopaque.store.matches import hits_of, rows_of
from arrowopaque.store.plan import ClashError, WritePlan, plan_and_stage

_FILES = 40
"""Files that are written in the time that ``bulk_rows`` rows take through
SQL, about: random keys, in a table of many partitions, would each get one.
"""

_READ_ALL = 50_000
"""Up to this many delta rows it is cheaper to read the whole delta."""


def bulk_write(table: RegistryTable, cursor: Cursor, rows: pa.Table, mode: Mode) -> bool:
    """Write whole rows.

    Requires: `cursor` is in the caller's transaction.
    """
    if not table.spec.primary_key or refused_columns(table.spec, table.dialect, rows):
        return False
    if not _is_worth(table, cursor, plain(rows.column(table.spec.primary_key[0]))):
        return False
    try:
        with host.atomic(cursor):
            if not table.sql.try_big_lock(cursor):
                return False
            if table.spec.unique and _delta_size(table, cursor) > _READ_ALL:
                return False
            _write(table, cursor, rows, mode)
    except ClashError as clash:
        clash_error(table, cursor, table.spec.names, clash.row)
    return True


def _is_worth(table: RegistryTable, cursor: Cursor, leading: pa.Array) -> bool:
    """Return whether rows with these leading keys are so many for each file
    that is written for them that SQL would take longer.

    Looked at without a lock, as nothing but time depends on it.
    """
    files = partitions_of(table.base(table.current_at(cursor).manifest), leading)
    return len(leading) * _FILES >= files * table.volume.options.bulk_rows


def _has_rows(cursor: Cursor, source: str) -> bool:
    return bool(cursor.execute(f"SELECT 1 FROM {source} LIMIT 1").rows())


def _delta_size(table: RegistryTable, cursor: Cursor) -> int:
    some = f"SELECT 1 FROM {table.sql.names.delta} LIMIT {_READ_ALL + 1}"
    return int(cursor.execute(f"SELECT count(*) FROM ({some}) AS d").rows()[0][0])


def _write(table: RegistryTable, cursor: Cursor, rows: pa.Table, mode: Mode) -> None:
    where: Where = []
    if _delta_size(table, cursor) > _READ_ALL:
        where = [In(table.spec.primary_key[0], tuple(python_list(rows.column(table.spec.primary_key[0]))))]
    delta, gone, manifest = table.read_state(cursor, where)
    base = table.base(manifest)
    plan, staged = plan_and_stage(base, table.name, rows, mode, delta, gone)
    _commit(table, cursor, base, plan, staged)


def _commit(table: RegistryTable, cursor: Cursor, base: Base, plan: WritePlan, staged: Stage) -> None:
    """Swap the manifest for one that has the plan and the files."""
    hits = hits_of(iter(plan.hits))
    if plan.delta:
        table.sql.delete_keys(cursor, table.sql.names.delta, sorted(plan.delta))
    if plan.tombstones:
        table.sql.delete_keys(cursor, table.sql.names.tombstones, sorted(plan.tombstones))
    if not staged.files and not hits:
        return
    manifest = compose(base, table.name, staged, hits, clock.new_id())
    name = table.volume.put_manifest(manifest, table.spec)
    old = base.manifest.name if base.manifest else None
    table.swap(cursor, old, name)


def bulk_delete(table: RegistryTable, cursor: Cursor, selection: Selection) -> bool:
    """Delete from data files by deletion vector.

    Requires: `cursor` is in the caller's transaction.
    """
    key = table.spec.primary_key
    if not key:
        return False
    kind = table.spec.key_schema.field(0).type
    leading = [array_of(term.values, kind) for term in selection.where if term.column == key[0]]
    if not all(_is_worth(table, cursor, values) for values in leading):
        return False
    with host.atomic(cursor):
        if not table.sql.try_big_lock(cursor):
            return False
        keyed = [term for term in selection.where if term.column in key]
        # Nobody else writes now, and to ask for many keys costs more than to look whether there are any.
        names = table.sql.names
        gone, manifest = table.lock_state(cursor, keyed if _has_rows(cursor, names.tombstones) else [])
        base = table.base(manifest)
        matches = selection.matches(base, key) if base.files else []
        if _has_rows(cursor, names.delta):
            delete_delta(table, cursor, selection)
        # A key that is deleted again keeps no tombstone: its row goes for good.
        found = {k for match in matches for k in rows_of(match.rows.select(list(key)))} if gone else set()
        plan = WritePlan(
            table.spec.arrow_schema.empty_table(), hits=matches, tombstones=[k for k in gone if k in found]
        )
        _commit(table, cursor, base, plan, Stage())
    return True
