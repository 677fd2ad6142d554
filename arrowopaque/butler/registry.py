"""The registry binding: a manager's tables in one Butler registry."""

from __future__ import annotations

__all__ = ["MoreViews", "RegistryBinding", "leaving_deltas"]

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import sqlalchemy
from lsst.daf.butler import ddl
from lsst.daf.butler.registry.interfaces import Database, ReadOnlyDatabaseError, StaticTablesContext

from arrowopaque.butler import host
from arrowopaque.butler.catalog import STAGE, Catalog, Stage, StaticTables, create_store, store_values
from arrowopaque.butler.ddl import check_names, from_lsst, to_lsst, tombstone_spec, tombstone_table
from arrowopaque.butler.delta import RegistryTable, TableHandle, VolumeSource
from arrowopaque.butler.storage import ArrowOpaqueTableStorage, RegistryBackend
from arrowopaque.errors import ConfigurationError, ConflictError, CorruptStoreError, StoreAccessError
from arrowopaque.format.spec import TableSpec
from arrowopaque.maintain.progress import Doing, Progress
from arrowopaque.options import Options
from arrowopaque.store.table import Snapshot
from arrowopaque.store.volume import Volume

if TYPE_CHECKING:
    from arrowopaque.maintain.compact import CompactReport
    from arrowopaque.maintain.findings import Level, VerifyReport
    from arrowopaque.maintain.flush import FlushReport
    from arrowopaque.maintain.recover import Recovery
    from arrowopaque.maintain.status import StoreStatus, TableState
    from arrowopaque.maintain.vacuum import VacuumReport
    from arrowopaque.query import Relation, Views
    from arrowopaque.root import StoreRoot

Report = TypeVar("Report")

_flushes_at_open = ContextVar("_flushes_at_open", default=True)


@contextmanager
def leaving_deltas() -> Iterator[None]:
    """Let no repository that is opened inside be flushed by that, however
    large its deltas are: whoever maintains it does so, and tells of it.
    """
    token = _flushes_at_open.set(False)
    try:
        yield
    finally:
        _flushes_at_open.reset(token)


class MoreViews(Protocol):
    """What a question may be about, besides opaque tables."""

    names: Collection[str]

    def read(self, cursor: host.Cursor, wanted: Collection[str]) -> Views:
        """Return the views that are wanted, as ``cursor`` sees the registry."""


class _Shared:
    """What all clones of one binding share."""

    def __init__(self, tables: StaticTables, options: Options | None) -> None:
        self.tables = tables
        self.options = options
        self.source = VolumeSource(tables, options)
        self.handles: dict[str, TableHandle] = {}
        self.adding = threading.Lock()


class RegistryBinding:
    """Tables of one `Database`.

    Parameters
    ----------
    db
        The database.
    shared
        What clones share.
    """

    def __init__(self, db: Database, shared: _Shared) -> None:
        self.db = db
        self._shared = shared

    @classmethod
    def initialize(
        cls, db: Database, context: StaticTablesContext, options: Options | None
    ) -> RegistryBinding:
        """Declare the static tables, and make the store if they are new."""
        tables = StaticTables.declare(context)
        context.addInitializer(lambda created: create_store(created, tables, options or Options()))
        return cls(db, _Shared(tables, options))

    @classmethod
    def attach(cls, db: Database, options: Options | None) -> RegistryBinding:
        """Bind to a database whose static tables are declared already,
        making there what it lacks.
        """
        tables, is_new = StaticTables.ensure(db)
        if is_new:
            with db.transaction():
                create_store(db, tables, options or Options())
        return cls(db, _Shared(tables, options))

    @property
    def static(self) -> StaticTables:
        """The tables that every repository with our manager has."""
        return self._shared.tables

    def clone(self, db: Database) -> RegistryBinding:
        """Bind to another connection of the same database."""
        return RegistryBinding(db, self._shared)

    def is_same(self, db: Database) -> bool:
        """Return whether ``db`` is a connection to the same database."""
        return host.same_database(self.db, db)

    @property
    def volume(self) -> Volume:
        """The store."""
        return self._shared.source.get(self.db)

    def get(self, name: str) -> ArrowOpaqueTableStorage | None:
        """Return a registered table."""
        handle = self._shared.handles.get(name)
        if handle is None:
            return None
        return ArrowOpaqueTableStorage(name, RegistryBackend(RegistryTable(self.db, handle)))

    def register(self, name: str, spec: ddl.TableSpec) -> ArrowOpaqueTableStorage:
        """Make sure that a table exists; see the manager."""
        known = self.get(name)
        if known is None:
            ours = from_lsst(name, spec)
            check_names(host.dialect_name(self.db), name, ours)
            self._remember(name, ours, spec)
            known = self.get(name)
            assert known is not None, "it was just added"
            self._flush_at_open(name)
        return known

    def specs(self) -> dict[str, TableSpec]:
        """Return the tables that were registered here."""
        return {name: handle.spec for name, handle in self._shared.handles.items()}

    def _remember(self, name: str, spec: TableSpec, given: ddl.TableSpec) -> None:
        """Add a table for all clones, unless one of them was faster.

        One at a time: clones share the definitions of their host, which has
        a table's before the table itself is there.
        """
        assert not self.db.isInTransaction(), "Table creation interrupts transactions."
        with self._shared.adding:
            if name not in self._shared.handles:
                self._shared.handles[name] = self._add(name, spec, given)

    def _add(self, name: str, spec: TableSpec, given: ddl.TableSpec) -> TableHandle:
        # On a connection of its own: inside a session of this one the first
        # CREATE would begin a transaction that nobody commits.
        db = self.db.clone()
        catalog = Catalog(db, self._shared.tables.catalog)
        delta = self._create(db, name, given)
        tombstones = (
            self._create(db, tombstone_table(name), tombstone_spec(spec)) if spec.primary_key else None
        )
        db.sync(self._shared.tables.meta, keys={"table_name": name})
        catalog.add(name, spec)
        # The first client's spec is the one that files are written with.
        stored = catalog.spec(name) or spec
        return TableHandle.build(db, name, stored, (delta, tombstones), self._shared.source)

    @staticmethod
    def _create(db: Database, name: str, spec: ddl.TableSpec) -> sqlalchemy.Table:
        """Create a table, failing if the database does not take it.

        The host takes its own definition of a table whose CREATE failed for
        an existing one.
        """
        try:
            table = db.ensureTableExists(name, spec)
        except UnicodeError as err:
            # The host shortens names of constraints only in ASCII.
            raise ConfigurationError(
                f"table {name!r}: PostgreSQL takes no constraint named after it and its columns: "
                "use shorter names, or ASCII"
            ) from err
        if not host.table_exists(db, table):
            host.forget_table(db, name)
            host.create_table(db, table)
        return table

    def _flush_at_open(self, name: str) -> None:
        """Flush a large delta, if that makes nobody wait."""
        table = RegistryTable(self.db, self._shared.handles[name])
        if not self.db.isWriteable() or not table.spec.primary_key or not _flushes_at_open.get():
            return
        limit = self.volume.options.flush_at_open
        if limit and not self.db.isInTransaction() and table.delta_rows(limit + 1) > limit:
            with self.maintained(name) as own:
                from arrowopaque.maintain.flush import flush

                try:
                    flush(own.without_waiting())
                    self.publish()
                except (ConflictError, CorruptStoreError, StoreAccessError):
                    # Somebody is writing, or the storage takes nothing now: the
                    # next client to open will do it, and this one can read. What
                    # is damaged can be recovered only where it can be opened.
                    return

    @contextmanager
    def maintained(self, name: str) -> Iterator[RegistryTable]:
        """Give a table on a connection of its own, for maintenance."""
        self.check_maintainable()
        handle = self._shared.handles.get(name) or self._open(name)
        yield RegistryTable(self.db.clone(), handle)

    def check_maintainable(self) -> None:
        """Refuse maintenance that could not be, or would wait for itself."""
        if not self.db.isWriteable():
            raise ReadOnlyDatabaseError(f"Cannot maintain the opaque tables of read-only database {self.db}.")
        if self.db.isInTransaction():
            raise ConflictError(
                f"{self.db} is in a transaction, which maintenance would wait for: leave the transaction "
                "(or the session that has read) first"
            )

    def _open(self, name: str) -> TableHandle:
        """Return a table that another client has registered."""
        spec = Catalog(self.db, self._shared.tables.catalog).spec(name)
        if spec is None:
            raise LookupError(f"No logical table with name {name!r} found.")
        with self._shared.adding:
            return self._add(name, spec, to_lsst(spec))

    def names(self) -> list[str]:
        """Return every table of the store, registered here or not."""
        return list(self.entries())

    def entries(self) -> dict[str, tuple[str | None, TableSpec]]:
        """Return every table's manifest and spec."""
        return Catalog(self.db, self._shared.tables.catalog).entries()

    def readable(self, db: Database, name: str) -> RegistryTable:
        """Return any table of the store, for reading through ``db``."""
        handle = self._shared.handles.get(name) or self._existing(name)
        return RegistryTable(db, handle)

    def _existing(self, name: str) -> TableHandle:
        """Return a table that another client has registered, in a transaction too."""
        spec = self.entries()[name][1]
        delta = self.db.getExistingTable(name, to_lsst(spec))
        buried = tombstone_table(name)
        tombstones = self.db.getExistingTable(buried, tombstone_spec(spec)) if spec.primary_key else None
        if delta is None or (tombstones is None and spec.primary_key):
            raise CorruptStoreError(f"{self.db} has no table {name!r} or {buried!r}, which its catalog names")
        return TableHandle.build(self.db, name, spec, (delta, tombstones), self._shared.source)

    def sql(self, query: str, more: MoreViews | None = None) -> Relation:
        """Ask DuckDB; see the manager."""
        # Imported late: it takes a tenth of a second.
        from arrowopaque.query import NO_VIEWS, mentioned, run

        names = self.names()
        wanted = mentioned(query, [*names, *(more.names if more is not None else ())])
        tables = {name: self.readable(self.db, name) for name in names if name in wanted}
        with host.reading_at_one_moment(self.db) as cursor:
            states = {name: table.read_state(cursor, []) for name, table in tables.items()}
            views = NO_VIEWS if more is None else more.read(cursor, wanted)
        return run({name: tables[name].snapshot_of(state) for name, state in states.items()}, query, views)

    def data_files(self) -> StoreRoot:
        """Return the data files alone; see the manager."""
        from arrowopaque.maintain.publish import described
        from arrowopaque.root import StoreRoot

        return StoreRoot.pinned(self.volume, described(self.volume, self.entries()), owned=False)

    def adopt(self, specs: Mapping[str, TableSpec]) -> None:
        """Register the tables of another binding."""
        for name, spec in specs.items():
            self.register(name, to_lsst(spec))

    def _maintain(
        self, names: Sequence[str], action: Callable[[RegistryTable], Report], *, dry_run: bool = False
    ) -> dict[str, Report]:
        """Do something to all or some tables, then publish the outcome."""
        reports = {}
        # What changes nothing needs neither the right to write nor a connection of its own.
        reached = self._looked_at if dry_run else self.maintained
        for name in names or self.names():
            with reached(name) as table:
                if table.spec.primary_key:
                    reports[name] = action(table)
        if not dry_run:
            self.publish()
        return reports

    @contextmanager
    def _looked_at(self, name: str) -> Iterator[RegistryTable]:
        yield self.readable(self.db, name)

    def status(self) -> StoreStatus:
        """Tell what the tables consist of; see the manager."""
        from arrowopaque.maintain.status import status_of

        tables = {name: self._state(name) for name in self.names()}
        return status_of(self.volume, tables, "registry")

    def _state(self, name: str) -> TableState:
        from arrowopaque.maintain.status import TableState

        table = self.readable(self.db, name)
        rows, tombstones, manifest = table.counted()
        return TableState(table.spec, manifest, rows, tombstones)

    def flush(self, *names: str, progress: Progress) -> dict[str, FlushReport]:
        """Move deltas into data files."""
        from arrowopaque.maintain.flush import flush

        stage = store_values(self.db, self.static.store).get(STAGE)
        if stage and Stage(stage).keeps_delta:
            raise ConflictError(
                f"{self.db} is on its way between two managers ({stage}), so that no row may leave "
                "its delta: finish with 'arrowopaque adopt' or 'arrowopaque restore'"
            )
        return self._maintain(names, partial(flush, progress=progress))

    def compact(self, *names: str, full: bool, progress: Progress) -> dict[str, CompactReport]:
        """Merge data files."""
        from arrowopaque.maintain.compact import compact

        return self._maintain(names, partial(compact, full=full, progress=progress))

    def vacuum(
        self, retention: float | None, *, dry_run: bool, progress: Progress
    ) -> dict[str, VacuumReport]:
        """Delete files that nothing needs any more."""
        from arrowopaque.maintain.vacuum import vacuum_leftovers, vacuum_table

        # For a plan too: only a writer can ask for the store's time.
        self.check_maintainable()
        seconds = self.volume.options.retention if retention is None else retention

        def act(table: RegistryTable) -> VacuumReport:
            return vacuum_table(table, seconds, dry_run=dry_run, progress=progress)

        reports = self._maintain((), act, dry_run=dry_run)
        if not dry_run:
            vacuum_leftovers(self.volume, seconds)
        return reports

    def publish(self) -> None:
        """Publish the tables for readers without the registry."""
        from arrowopaque.maintain.publish import publish_entries

        publish_entries(self.volume, self.entries())

    def recover(self, *, dry_run: bool) -> dict[str, Recovery]:
        """Go back to sound manifests; see the manager."""
        from arrowopaque.maintain.recover import recover_table

        found = self._maintain((), lambda table: recover_table(table, dry_run=dry_run), dry_run=dry_run)
        return {name: recovery for name, recovery in found.items() if recovery is not None}

    def verify(self, level: Level, *, raising: bool, doing: Doing) -> VerifyReport:
        """Prove the store sound; see the manager."""
        from arrowopaque.maintain.verify import check_published, verify_tables

        tables = {name: partial(self._snapshot, name) for name in self.names()}
        of_store = check_published(self.volume)
        return verify_tables(self.volume, tables, of_store, level, raising=raising, doing=doing)

    def _snapshot(self, name: str) -> Snapshot:
        return self.readable(self.db, name).snapshot([])
