"""One opaque table of a registry: its delta, tombstones and catalog row."""

from __future__ import annotations

__all__ = ["RegistryTable", "TableHandle", "VolumeSource"]

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import pyarrow as pa
import sqlalchemy
from lsst.daf.butler.registry.interfaces import Database

from arrowopaque import clock
from arrowopaque.butler import host
from arrowopaque.butler.catalog import StaticTables, open_registry_volume
from arrowopaque.butler.ddl import CODECS
from arrowopaque.butler.host import Cursor
from arrowopaque.butler.postgres import Postgres
from arrowopaque.butler.sql import Dialect, Row, TableNames, convert_rows
from arrowopaque.butler.sqlite import Sqlite
from arrowopaque.errors import ConflictError
from arrowopaque.format.manifest import Key, TableManifest
from arrowopaque.format.spec import TableSpec
from arrowopaque.format.values import Values
from arrowopaque.format.where import In, Where
from arrowopaque.options import Options
from arrowopaque.store.apply import Stage, StaleStageError
from arrowopaque.store.base import Base, load_base
from arrowopaque.store.table import Current, DeltaState, Snapshot, is_intact
from arrowopaque.store.volume import Volume

_MANY, _ALL = 500, 50_000
"""Values of a call beyond which as many rows of D and T are read whole, and
how many rows at most: sending the values costs more.
"""

_held: WeakKeyDictionary[sqlalchemy.RootTransaction, dict[str, Base]] = WeakKeyDictionary()
"""Data files, by table, that nobody can change before a transaction ends."""

_DIALECTS: dict[str, type[Dialect]] = {"sqlite": Sqlite, "postgresql": Postgres}


class VolumeSource:
    """Opens a repository's store on first use, once for all clones."""

    def __init__(self, tables: StaticTables, options: Options | None) -> None:
        self.tables = tables
        self._options = options
        self._volume: Volume | None = None
        self._lock = threading.Lock()

    def get(self, db: Database) -> Volume:
        """Return the store."""
        volume = self._volume
        if volume is None:
            with self._lock:
                volume = self._volume = self._volume or open_registry_volume(db, self.tables, self._options)
        return volume


def _transaction_of(cursor: Cursor) -> sqlalchemy.RootTransaction | None:
    """Return the caller's transaction, savepoints aside."""
    owner = cursor.owner
    return owner.get_transaction() if cursor.nested and isinstance(owner, sqlalchemy.Connection) else None


@dataclass(frozen=True, slots=True)
class TableHandle:
    """What all clones of a manager share of one table."""

    name: str
    spec: TableSpec
    values: Values
    delta: sqlalchemy.Table
    sql: Dialect
    source: VolumeSource
    sequence: str | None
    """Name of the sequence that the primary key comes from, if it does."""

    @classmethod
    def build(
        cls,
        db: Database,
        name: str,
        spec: TableSpec,
        tables: tuple[sqlalchemy.Table, sqlalchemy.Table | None],
        source: VolumeSource,
    ) -> TableHandle:
        """Render a table's statements.

        Parameters
        ----------
        db
            The database.
        name, spec
            The table.
        tables
            Its delta and tombstone tables.
        source
            Opens the store.
        """
        delta, tombstones = tables
        names = TableNames(
            delta=host.render_table(db, delta),
            tombstones="" if tombstones is None else host.render_table(db, tombstones),
            catalog=host.render_table(db, source.tables.catalog),
        )
        dialect = host.dialect_name(db)
        sql = _DIALECTS[dialect](spec, names, lambda column: host.quote(db, column))
        values = Values(spec, CODECS, nan_is_null=dialect == "sqlite")
        return cls(name, spec, values, delta, sql, source, host.key_sequence(db, delta))


class RegistryTable:
    """A table bound to one database connection.

    Parameters
    ----------
    db
        The database.
    handle
        The table.
    patience
        Seconds to try for the exclusive lock; by default the store's option.
    """

    def __init__(self, db: Database, handle: TableHandle, *, patience: float | None = None) -> None:
        self.db = db
        self._patience = patience
        self.handle = handle
        self.name = handle.name
        self.spec = handle.spec
        self.sql = handle.sql

    @property
    def volume(self) -> Volume:
        """The store that the table's files lie in."""
        return self.handle.source.get(self.db)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return host.dialect_name(self.db)

    def base(self, manifest: str | None) -> Base:
        """Return the data files at a manifest."""
        return load_base(self.volume, self.spec, manifest)

    def split(self, rows: list[Row]) -> tuple[list[Row], dict[Key, int], str | None]:
        """Return D, T and C's manifest of what the statements read."""
        delta, keys, stamps, manifest = [], [], [], None
        for row in rows:
            if row[0] == 0:
                delta.append(row[3:])
            elif row[0] == 1:
                keys.append(tuple([row[3 + at] for at in self.spec.key_positions]))
                stamps.append(row[1])
            else:
                manifest = row[2]
        if keys:
            keys = convert_rows(keys, self.sql.key_from_driver)
        if delta:
            delta = convert_rows(delta, self.sql.from_driver)
        return delta, dict(zip(keys, stamps, strict=True)), manifest or None

    def read_state(self, cursor: Cursor, where: Where) -> tuple[list[Row], dict[Key, int], str | None]:
        """Return D and T, at least as far as ``where`` goes, and C, at one
        moment.
        """
        count = max([len(term.values) for term in where if isinstance(term, In)], default=0)
        if count > _MANY:
            rows = cursor.execute(*self.sql.read_small(self.name, min(count, _ALL))).rows()
            if rows:
                return self.split(rows)
        short = self.sql.untouched(self.name, where)
        if short is not None:
            rows = cursor.execute(*short).rows()
            if rows:
                return [], {}, rows[0][0] or None
        return self.split(cursor.execute(*self.sql.read(self.name, where)).rows())

    def lock_state(self, cursor: Cursor, where: Where) -> tuple[dict[Key, int], str | None]:
        """Take the small lock, then return T as far as ``where`` goes, and C."""
        _, tombstones, manifest = self.split(cursor.execute_several(*self.sql.state(self.name, where)).rows())
        return tombstones, manifest

    def hold(self, cursor: Cursor, manifest: str) -> Base:
        """Return the data files at C's manifest, and remember them for the
        rest of a transaction.

        Requires: the transaction has the small lock, on SQLite the lock that
        every write has. It keeps it to its end, unless it got it in a
        savepoint.
        """
        base = self.base(manifest or None)
        transaction = _transaction_of(cursor)
        if transaction is not None and not transaction.connection.in_nested_transaction():
            _held.setdefault(transaction, {})[self.name] = base
        return base

    def held(self, cursor: Cursor) -> Base | None:
        """Return what `hold` has returned in this transaction."""
        transaction = _transaction_of(cursor)
        return None if transaction is None else _held.get(transaction, {}).get(self.name)

    def swap(self, cursor: Cursor, old: str | None, new: str) -> None:
        """Make ``new`` the current manifest if ``old`` is.

        Raises
        ------
        ConflictError
            It is not.
        """
        transaction = _transaction_of(cursor)
        if transaction is not None:
            # Its lock does not keep a transaction from its own changes.
            _held.pop(transaction, None)
        if not self.sql.swap(cursor, self.name, old, new):
            raise ConflictError(f"table {self.name!r} changed under an exclusive lock")

    def snapshot(self, where: Where) -> Snapshot:
        """Return the table's state as far as ``where`` goes."""
        with host.reading(self.db) as cursor:
            state = self.read_state(cursor, where)
        return self.snapshot_of(state)

    def snapshot_of(self, state: tuple[list[Row], dict[Key, int], str | None]) -> Snapshot:
        """Return what `read_state` has read."""
        rows, tombstones, manifest = state
        return Snapshot(
            self.base(manifest),
            rows,
            tombstones.keys(),
        )

    def base_rows(self) -> int:
        """Return the number of rows in data files, tombstoned ones included."""
        return self.base(self.current().manifest).rows

    def current(self) -> Current:
        """Return the catalog row."""
        with host.reading(self.db) as cursor:
            return self.current_at(cursor)

    def current_at(self, cursor: Cursor) -> Current:
        """Return the catalog row as ``cursor`` sees it."""
        ((_, fence, manifest, *_rest),) = cursor.execute(*self.sql.current(self.name)).rows()
        return Current(manifest or None, fence)

    # What maintenance asks for.

    def delta_rows(self, limit: int) -> int:
        """Return the number of delta rows and tombstones, up to about
        ``limit`` of each.
        """
        names = self.sql.names
        counts = " + ".join(
            f"(SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT {int(limit)}) AS s)"
            for name in (names.delta, names.tombstones)
        )
        with host.reading(self.db) as cursor:
            return int(cursor.execute(f"SELECT {counts}").rows()[0][0])

    def counted(self) -> tuple[int, int, str | None]:
        """Return the number of delta rows, that of tombstones and the
        current manifest, all of one moment.
        """
        names = self.sql.names
        buried = f"(SELECT count(*) FROM {names.tombstones})" if names.tombstones else "0"
        with host.reading(self.db) as cursor:
            ((rows, tombstones, manifest),) = cursor.execute(
                f"SELECT (SELECT count(*) FROM {names.delta}), {buried}, manifest FROM {names.catalog} "
                f"WHERE table_name = {self.sql.mark}",
                [self.name],
            ).rows()
        return int(rows), int(tombstones), manifest or None

    def without_waiting(self) -> RegistryTable:
        """Return the table for maintenance that gives up at once."""
        return RegistryTable(self.db, self.handle, patience=0.0)

    def _state(self, read: list[Row]) -> DeltaState:
        rows, tombstones, manifest = self.split(read)
        at = self.spec.key_positions
        fence = next(row[1] for row in read if row[0] == 2)
        return DeltaState({tuple(row[i] for i in at): row for row in rows}, tombstones, manifest, fence)

    def read(self, limit: int) -> DeltaState:
        """Return at most ``limit`` delta rows, all tombstones and the
        catalog row.
        """
        with host.reading(self.db) as cursor:
            return self.read_at(cursor, limit)

    def read_at(self, cursor: Cursor, limit: int) -> DeltaState:
        """Do the same as ``cursor`` sees it."""
        return self._state(cursor.execute(*self.sql.read_some(self.name, limit)).rows())

    def raise_fence(self) -> None:
        """Let every commit find out that a vacuum has listed the store."""
        with self.exclusive() as held:
            held.raise_fence()

    def ancestor(self) -> str | None:
        """Return the manifest that was current before, as far as known."""
        with host.reading(self.db) as cursor:
            return self.sql.ancestor(cursor, self.name)

    @contextmanager
    def exclusive(self) -> Iterator[_Exclusive]:
        """Keep every other writer out for the length of a commit.

        Raises
        ------
        ConflictError
            The lock could not be had within ``Options.lock_timeout``.
        """
        patience = self.volume.options.lock_timeout if self._patience is None else self._patience
        deadline = clock.monotonic() + patience
        attempt = 0
        while True:
            with host.writing_at_once(self.db) as cursor:
                if cursor is not None and self.sql.try_big_lock(cursor):
                    yield _Exclusive(self, cursor)
                    return
            if clock.monotonic() >= deadline:
                raise ConflictError(f"table {self.name!r} was in use for {patience:g} s: try again later")
            clock.pause(clock.backoff(attempt))
            attempt += 1

    def transform(self, change: Callable[[Base, str], TableManifest], staged: Stage, fence: int) -> None:
        """Commit a change of data files that changes no row."""
        with self.exclusive() as held:
            now = held.current()
            if not is_intact(self.volume, staged, now.fence != fence):
                raise StaleStageError
            manifest = change(self.base(now.manifest), clock.new_id())
            held.swap(now.manifest, self.volume.put_manifest(manifest, self.spec))


class _Exclusive:
    def __init__(self, table: RegistryTable, cursor: Cursor) -> None:
        self._table = table
        self.cursor = cursor
        self._whole: DeltaState | None = None

    def read(self, limit: int) -> DeltaState:
        state = self._table.read_at(self.cursor, limit)
        self._whole = state if len(state.rows) < limit else None
        return state

    def current(self) -> Current:
        return self._table.current_at(self.cursor)

    def clear(self, rows: Sequence[Key], tombstones: Sequence[Key]) -> None:
        sql, seen = self._table.sql, self._whole
        stay = None if seen is None else seen.rows.keys() - set(rows)
        if seen is not None and stay is not None and len(stay) < len(rows):
            # All at once, and back with the few that stay: by key it takes ten times as long.
            sql.delete_where(self.cursor, [])
            if stay:
                sql.insert(self.cursor, self._table.spec.names, [seen.rows[key] for key in stay])
        else:
            self._clear_keys(sql.names.delta, rows)
        self._clear_keys(sql.names.tombstones, tombstones)

    def _clear_keys(self, source: str, keys: Sequence[Key]) -> None:
        for start in range(0, len(keys), _CHUNK):
            self._table.sql.delete_keys(self.cursor, source, list(keys[start : start + _CHUNK]))

    def state(self) -> DeltaState:
        return self._table._state(self.cursor.execute(*self._table.sql.read(self._table.name, [])).rows())

    def bury(self, keys: Sequence[Key]) -> None:
        for start in range(0, len(keys), _CHUNK):
            self._table.sql.bury(self.cursor, list(keys[start : start + _CHUNK]), clock.new_stamp())

    def raise_fence(self) -> None:
        self._table.sql.raise_fence(self.cursor, self._table.name)

    def swap(self, old: str | None, new: str) -> None:
        self._table.swap(self.cursor, old, new)


_CHUNK = 50_000


def keys_to_arrow(table: RegistryTable, names: Sequence[str], rows: Sequence[Row]) -> pa.Table:
    """Return stored rows, of any columns, as an Arrow table."""
    schema = table.spec.arrow_schema
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(values, schema.field(name).type) for name, values in zip(names, columns, strict=True)],
        names=list(names),
    )
