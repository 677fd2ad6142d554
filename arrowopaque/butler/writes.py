"""Small writes: plain SQL in the caller's transaction, step by step as
``docs/DESIGN.md`` has the protocol.
"""

from __future__ import annotations

__all__ = ["clash_error", "delete", "ensure", "insert", "replace"]

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import sqlalchemy

from arrowopaque import clock
from arrowopaque.butler import host
from arrowopaque.butler.delta import RegistryTable, keys_to_arrow
from arrowopaque.butler.host import Cursor
from arrowopaque.butler.postgres import Postgres
from arrowopaque.butler.sql import Row, convert_rows
from arrowopaque.butler.violations import refused
from arrowopaque.format.manifest import Key
from arrowopaque.format.spec import ColumnKind, TableSpec
from arrowopaque.format.where import In, Where
from arrowopaque.store.base import Base
from arrowopaque.store.calls import Call, Selection
from arrowopaque.store.matches import rows_of

_DO_NOTHING = " ON CONFLICT DO NOTHING"


def _whole(table: RegistryTable, cursor: Cursor, writes: int) -> AbstractContextManager[None]:
    """Let nothing of a call be committed if it raises, even if the caller
    catches that and goes on.

    PostgreSQL's own way needs no savepoint, and what ``writes`` one row in
    one statement undoes itself.
    """
    if isinstance(table.sql, Postgres):
        return host.aborting(cursor)
    return host.atomic(cursor) if writes > 1 else nullcontext()


def leading_term(spec: TableSpec, keys: Sequence[Row]) -> Where:
    """Return the condition that the tombstones of ``keys`` satisfy."""
    return [In(spec.primary_key[0], tuple({key[0] for key in keys if key[0] is not None}))]


def clash_error(table: RegistryTable, cursor: Cursor, names: Sequence[str], row: Row) -> None:
    """Raise the error of a row that clashes with one in a data file.

    On PostgreSQL the server itself raises it, of two rows with one key, so
    that the transaction or savepoint aborts exactly as the plain table's
    would. On SQLite nothing has been written yet.
    """
    if isinstance(table.sql, Postgres):
        table.sql.insert(cursor, names, [row, row])
    key = ", ".join(f"{table.name}.{name}" for name in table.spec.primary_key)
    origin = sqlite3.IntegrityError(f"UNIQUE constraint failed: {key}")
    raise sqlalchemy.exc.IntegrityError(
        f"INSERT INTO {table.sql.names.delta}", None, origin, hide_parameters=True
    )


def existing_keys(base: Base, keys: Sequence[Row], gone: dict[Key, int]) -> set[Key]:
    """Return those of ``keys`` that are visible in data files."""
    return base.existing(keys) - gone.keys()


def owners(
    table: RegistryTable, cursor: Cursor, base: Base, call: Call
) -> list[tuple[tuple[str, ...], dict[Row, set[Key]]]]:
    """Return, for each unique constraint, which visible rows of data files
    have the values that the call gives.
    """
    key = table.spec.primary_key
    result = []
    for columns in table.spec.unique:
        wanted = call.keys(columns)
        holders: dict[Row, set[Key]] = {}
        if base.files and call.has(columns):
            names = list(dict.fromkeys([*key, *columns]))
            rows = keys_to_arrow(table, columns, wanted)
            for match in base.matching(columns, rows, names, is_rare=True):
                keys = list(rows_of(match.rows.select(list(key))))
                gone, _ = table.lock_state(cursor, leading_term(table.spec, keys))
                for owner, values in zip(keys, rows_of(match.rows.select(list(columns))), strict=True):
                    if owner not in gone:
                        holders.setdefault(values, set()).add(owner)
        result.append((columns, holders))
    return result


def _clashing(
    table: RegistryTable, cursor: Cursor, call: Call, base: Base, keys: Sequence[Key], existing: set[Key]
) -> set[int]:
    """Return which of the call's rows clash with data files, where those of
    their ``keys`` that are ``existing`` are.
    """
    clashing = {i for i, key in enumerate(keys) if key in existing} if existing else set()
    for columns, holders in owners(table, cursor, base, call):
        values = call.keys(columns)
        clashing |= {i for i, value in enumerate(values) if value in holders}
    return clashing


def insert(table: RegistryTable, cursor: Cursor, call: Call) -> None:
    """Insert rows.

    Requires: `cursor` is in the caller's transaction.
    """
    key = table.spec.primary_key
    if not call.has(key) or _generates(table, call):
        _insert_generated(table, cursor, call, "")
        return
    sql, keys = table.sql, call.keys(key)
    with _whole(table, cursor, call.count):
        if isinstance(sql, Postgres):
            # A clash found afterwards ends in the server's error, which undoes the insert too.
            _refuse_clashing(table, cursor, call, keys, _insert_first(table, sql, cursor, call))
        else:
            base = table.held(cursor)
            if base is None:
                ((manifest,),) = cursor.execute(*sql.manifest(table.name)).rows()
                base = table.hold(cursor, manifest)
            _refuse_clashing(table, cursor, call, keys, base)
            sql.insert(cursor, call.names, call.rows)


def _insert_first(table: RegistryTable, sql: Postgres, cursor: Cursor, call: Call) -> Base:
    """Insert into D, and return the data files."""
    base = table.held(cursor)
    if base is not None:
        sql.insert(cursor, call.names, call.rows)
        return base
    # The INSERT takes D's small lock, and C is read in a statement after it.
    insertion, values = sql.insert_statement(call.names, call.rows)
    statement, parameters = sql.manifest(table.name)
    found = cursor.execute_several(f"{insertion}; {statement}", [*values, *parameters]).rows()
    return table.hold(cursor, str(found[0][0]))


def _refuse_clashing(
    table: RegistryTable, cursor: Cursor, call: Call, keys: Sequence[Key], base: Base
) -> None:
    existing = base.existing(keys)
    if existing:
        # C cannot have changed since: what tombstones there are now is true of it.
        gone, _ = table.lock_state(cursor, leading_term(table.spec, keys))
        existing -= gone.keys()
    clashing = _clashing(table, cursor, call, base, keys, existing)
    if clashing:
        clash_error(table, cursor, call.names, call.rows[min(clashing)])


def ensure(table: RegistryTable, cursor: Cursor, call: Call) -> None:
    """Insert rows that clash with nothing.

    Requires: `cursor` is in the caller's transaction.
    """
    if not call.has(table.spec.primary_key) or _generates(table, call):
        _insert_generated(table, cursor, call, _DO_NOTHING)
        return
    keys = call.keys(table.spec.primary_key)
    gone, manifest = table.lock_state(cursor, leading_term(table.spec, keys))
    base = table.base(manifest)
    clashing = _clashing(table, cursor, call, base, keys, existing_keys(base, keys, gone))
    kept = [
        row
        for i, row in enumerate(call.rows)
        # A row that breaks another constraint is the server's to refuse.
        if i not in clashing or refused(table.spec, table.dialect, call.names, row)
    ]
    if kept:
        with _whole(table, cursor, len(kept)):
            table.sql.insert(cursor, call.names, kept, _DO_NOTHING)


def replace(table: RegistryTable, cursor: Cursor, call: Call) -> None:
    """Insert rows, replacing those with the same primary key.

    Requires: `cursor` is in the caller's transaction.
    """
    key = table.spec.primary_key
    upsert = table.sql.upsert_clause()
    if not call.has(key) or _generates(table, call):
        _insert_generated(table, cursor, call, upsert)
        return
    whole = call
    if not table.spec.unique:
        call = _last_of_each(call, key)
    keys = call.keys(key)
    gone, manifest = table.lock_state(cursor, leading_term(table.spec, keys))
    base = table.base(manifest)
    existing = existing_keys(base, keys, gone)
    clash = _unique_clash(table, cursor, base, call) if table.spec.unique else None
    if clash is not None:
        clash_error(table, cursor, call.names, clash)
    with _whole(table, cursor, whole.count + bool(existing)):
        if call.count < whole.count:
            _refuse_any(table, cursor, whole)
        if existing:
            table.sql.bury(cursor, sorted(existing), clock.new_stamp())
        # With other unique constraints, what one row frees the next may take.
        groups = [[row] for row in call.rows] if table.spec.unique else [call.rows]
        for rows in groups:
            table.sql.insert(cursor, call.names, rows, upsert)


def _last_of_each(call: Call, key: Sequence[str]) -> Call:
    """Return a call without the rows that later ones replace."""
    last = dict(zip(call.keys(key), call.rows, strict=True))
    return call if len(last) == call.count else Call.of_rows(call.names, list(last.values()))


def _refuse_any(table: RegistryTable, cursor: Cursor, call: Call) -> None:
    """Let the database refuse a row that a later one of the call replaces."""
    for row in call.rows:
        if refused(table.spec, table.dialect, call.names, row):
            table.sql.insert(cursor, call.names, [row], table.sql.upsert_clause())


def _unique_clash(table: RegistryTable, cursor: Cursor, base: Base, call: Call) -> Row | None:
    """Return the first row whose unique values belong to a row in a data
    file that the call has not replaced before.
    """
    constraints = [(call.keys(columns), holders) for columns, holders in owners(table, cursor, base, call)]
    replaced: set[Key] = set()
    for i, (key, row) in enumerate(zip(call.keys(table.spec.primary_key), call.rows, strict=True)):
        for values, holders in constraints:
            if holders.get(values[i], set()) - replaced - {key}:
                return row
        replaced.add(key)
    return None


def delete(table: RegistryTable, cursor: Cursor, selection: Selection) -> None:
    """Delete what ``selection`` names: tombstones first, then the delta.

    Requires: `cursor` is in the caller's transaction.
    """
    key = table.spec.primary_key
    keyed = [term for term in selection.where if term.column in key]
    gone, manifest = table.lock_state(cursor, keyed)
    base = table.base(manifest)
    buried = {
        row
        for match in (selection.matches(base, key) if base.files else [])
        for row in rows_of(match.rows.select(list(key)))
    } - gone.keys()
    with _whole(table, cursor, 2):
        if buried:
            table.sql.bury(cursor, sorted(buried), clock.new_stamp())
        delete_delta(table, cursor, selection)


def delete_delta(table: RegistryTable, cursor: Cursor, selection: Selection) -> None:
    """Delete from the delta what ``selection`` names."""
    sql = table.sql
    if selection.tuples is not None:
        sql.delete_equal(cursor, selection.columns, list(selection.tuples))
        return
    unsupported = [term for term in selection.where if sql.condition(term) is None]
    if not unsupported:
        sql.delete_where(cursor, selection.where)
        return
    # At most one term of a delete has several values.
    (term,) = unsupported
    others = [other for other in selection.where if other is not term]
    for value in term.values:
        sql.delete_where(cursor, [*others, In(term.column, (value,))])


def _generates(table: RegistryTable, call: Call) -> bool:
    """Return whether SQLite would invent keys for NULLs of the call."""
    if not _is_rowid(table.spec) or table.dialect != "sqlite":
        return False
    return any(key[0] is None for key in call.keys(table.spec.primary_key))


def _is_rowid(spec: TableSpec) -> bool:
    if len(spec.primary_key) != 1:
        return False
    column = spec.by_name[spec.primary_key[0]]
    return column.autoincrement or column.kind is ColumnKind.INTEGER


def _insert_generated(table: RegistryTable, cursor: Cursor, call: Call, conflict: str) -> None:
    """Insert rows whose keys the database makes, then check those keys."""
    spec = table.spec
    gone, manifest = table.lock_state(cursor, [])
    base = table.base(manifest)
    with _whole(table, cursor, 2):
        if base.files and table.dialect == "sqlite" and _is_rowid(spec):
            call = _numbered(table, cursor, base, call)
        elif table.handle.sequence is not None and not call.has(spec.primary_key):
            call = _sequenced(table, cursor, call)
        made: list[Row] = []
        for row in call.rows:
            made += table.sql.insert_returning(cursor, call.names, row, conflict)
        keys = convert_rows(made, table.sql.key_from_driver)
        clashing = existing_keys(base, keys, gone)
        if clashing:
            clash_error(table, cursor, spec.primary_key, min(clashing))


def _numbered(table: RegistryTable, cursor: Cursor, base: Base, call: Call) -> Call:
    """Give ids above every id of data files, which SQLite does not know."""
    spec = table.spec
    (key,) = spec.primary_key
    quoted = table.sql.quoted[key]
    highest = cursor.execute(f"SELECT max({quoted}) FROM {table.sql.names.delta}").rows()[0][0] or 0
    if not spec.recycle_ids:
        used = cursor.execute(
            "SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (table.handle.delta.name,)
        ).rows()
        highest = max(highest, used[0][0] or 0)
    assert base.manifest is not None, "data files come from a manifest"
    following = max([highest, *(int(file.max[0] or 0) for file in base.files)]) + 1
    rows = []
    others = [name for name in call.names if name != key]
    for given, rest in zip(call.keys([key]), call.keys(others), strict=True):
        id = given[0]
        if id is None:
            id, following = following, following + 1
        rows.append((id, *rest))
    return Call.of_rows((key, *others), rows)


def _sequenced(table: RegistryTable, cursor: Cursor, call: Call) -> Call:
    """Give ids of the table's sequence, which PostgreSQL does not know to
    be the column's default.
    """
    (key,) = table.spec.primary_key
    statement = "SELECT nextval(%s) FROM generate_series(1, %s)"
    ids = cursor.execute(statement, (table.handle.sequence, call.count)).rows()
    return Call((key, *call.names), [[id for (id,) in ids], *call.columns], call.count)


def probe_value(table: RegistryTable, column: str, value: Any) -> None:
    """Let the database say what it thinks of a value that cannot match."""
    condition = table.handle.delta.columns[column] == value
    with table.db.query(table.handle.delta.select().where(condition)) as result:
        result.fetchall()
