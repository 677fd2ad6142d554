"""The managers under test: one `Subject` is one client of one repository.

A `Kind` names a way to make a repository (which manager, which database,
which store); a `Repository` is one made that way, empty; a `Subject` is a
client of it. Tests see nothing of the difference but `Subject`'s properties.
"""

from __future__ import annotations

__all__ = [
    "KINDS",
    "Kind",
    "Placement",
    "RegistrySubject",
    "Repository",
    "RootSubject",
    "Site",
    "Subject",
    "UndoError",
    "manager_classes",
    "open_repository",
]

import abc
import enum
import itertools
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import sqlalchemy
from lsst.daf.butler import ddl
from lsst.daf.butler.registry.bridge.monolithic import MonolithicDatastoreRegistryBridgeManager
from lsst.daf.butler.registry.databases.postgresql import PostgresqlDatabase
from lsst.daf.butler.registry.databases.sqlite import SqliteDatabase
from lsst.daf.butler.registry.interfaces import (
    Database,
    DatastoreRegistryBridgeManager,
    OpaqueTableStorage,
    OpaqueTableStorageManager,
)
from lsst.daf.butler.registry.opaque import ByNameOpaqueTableStorageManager

_serial = itertools.count()


class UndoError(Exception):
    """Raised to leave a transaction without committing."""


class Placement(enum.Enum):
    """Where a test's earlier rows lie when the operation under test runs.

    A bare root has no delta: there FLUSHED is compacted, and BULK the same
    as DELTA.
    """

    DELTA = "delta"
    FLUSHED = "flushed"
    BULK = "bulk"


@dataclass(frozen=True)
class Site:
    """What the fixtures offer: a folder, and servers where a kind needs them."""

    folder: Path
    postgres: str | None = None
    s3: str | None = None


@dataclass(frozen=True)
class Kind:
    """A way to make a repository.

    ``dialect`` is that of the registry, `None` for a bare root; ``store`` is
    where data files go, `None` for the SQL manager. ``placements`` are those
    that a suite tries: all where they differ, and fewer where another kind
    has tried them. ``driver`` overrides that of the site's URL.
    """

    name: str
    dialect: str | None
    store: str | None
    placements: tuple[Placement, ...] = tuple(Placement)
    driver: str | None = None

    @property
    def is_arrow(self) -> bool:
        return self.store is not None

    @property
    def traits(self) -> frozenset[str]:
        """What tests may ask for with ``needs``."""
        traits = {"arrow"} if self.is_arrow else {"sql"}
        traits.add("root" if self.dialect is None else "registry")
        if self.dialect == "postgresql":
            traits.add("concurrent")
        if self.name != "arrow-memory":
            traits.add("clients")
        if self.store == "local":
            traits.add("local")
        return frozenset(traits)


_DELTA, _FLUSHED, _BULK = ((placement,) for placement in Placement)

KINDS = {
    kind.name: kind
    for kind in (
        Kind("sql-sqlite", "sqlite", None, _DELTA),
        Kind("sql-postgres", "postgresql", None, _DELTA),
        Kind("sql-psycopg", "postgresql", None, _DELTA, "postgresql+psycopg"),
        Kind("arrow-sqlite-local", "sqlite", "local"),
        Kind("arrow-sqlite-s3", "sqlite", "s3", _FLUSHED),
        Kind("arrow-postgres-local", "postgresql", "local"),
        Kind("arrow-postgres-s3", "postgresql", "s3", _BULK),
        Kind("arrow-psycopg-local", "postgresql", "local", _FLUSHED, "postgresql+psycopg"),
        Kind("arrow-memory", "sqlite", "memory", _FLUSHED),
        Kind("arrow-root-local", None, "local", _DELTA + _FLUSHED),
        Kind("arrow-root-memory", None, "memory", _DELTA),
        Kind("arrow-root-s3", None, "s3", _DELTA),
    )
}


class Subject(abc.ABC):
    """One client of a repository; closed with it."""

    manager: OpaqueTableStorageManager

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.kind = repository.kind
        self.is_arrow = repository.kind.is_arrow
        self.dialect = repository.kind.dialect
        repository.clients.append(self)

    @abc.abstractmethod
    def transaction(self, savepoint: bool = False) -> AbstractContextManager[None]:
        """Open a transaction of this client."""

    @abc.abstractmethod
    def clone(self) -> Self:
        """Return a clone of this client: its tables, a connection of its own."""

    @abc.abstractmethod
    def refresh(self) -> None:
        """See what other clients have committed; nothing to do in a registry."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release the client's connections."""

    def second(self, **kwargs: Any) -> Self:
        """Return an independent client."""
        return cast(Self, self.repository.open(**kwargs))

    def reopen(self) -> Self:
        """Close this client and return a new one."""
        self.close()
        return cast(Self, self.repository.open())

    def read_only(self) -> Self:
        """Return an independent client that may not write."""
        return cast(Self, self.repository.open(writeable=False))

    def options(self, **values: Any) -> AbstractContextManager[None]:
        """Let clients that are opened inside have these options."""
        return override_options(values)

    def flush(self, *names: str) -> None:
        """Move deltas into data files; the SQL manager has none."""
        if self.is_arrow:
            self.manager.flush(*names)  # type: ignore[attr-defined]  # ours alone has it

    def settle(self) -> None:
        """Put what was written so far where the placement wants it."""
        if self.repository.placement is Placement.FLUSHED:
            self.flush()
            if self.dialect is None:
                self.manager.compact()  # type: ignore[attr-defined]  # ours alone has it

    def table(
        self, spec: ddl.TableSpec, *rows: Mapping[str, Any], name: str | None = None
    ) -> OpaqueTableStorage:
        """Register a table and place earlier rows in it."""
        storage = self.manager.register(name or f"table_{next(_serial)}", spec)
        if rows:
            storage.insert(*map(dict, rows))
            self.settle()
        return storage


class RegistrySubject(Subject):
    """A manager bound to a registry's database."""

    def __init__(
        self, repository: Repository, database: Database, manager: OpaqueTableStorageManager
    ) -> None:
        super().__init__(repository)
        self.database = database
        self.manager = manager
        self.bridges: DatastoreRegistryBridgeManager | None = None

    def transaction(self, savepoint: bool = False) -> AbstractContextManager[None]:
        return self.database.transaction(savepoint=savepoint)

    def clone(self) -> Self:
        database = self.database.clone()
        return type(self)(self.repository, database, self.manager.clone(database))

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        self.database.dispose()

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run plain SQL around the manager, on the database's own names."""
        with self.database._engine.connect() as connection:
            return [tuple(found) for found in connection.execute(sqlalchemy.text(statement))]

    def delta_rows(self, name: str) -> int:
        """Count the rows of the SQL table that bears the opaque table's name."""
        quote = self.database.dialect.identifier_preparer.quote_identifier
        full = (
            quote(name)
            if self.database.namespace is None
            else f"{quote(self.database.namespace)}.{quote(name)}"
        )
        return int(self.sql(f"SELECT COUNT(*) FROM {full}")[0][0])


class RootSubject(Subject):
    """A manager bound to a store root, without a registry."""

    def __init__(self, repository: Repository, root: Any, manager: OpaqueTableStorageManager) -> None:
        super().__init__(repository)
        self.root = root
        self.manager = manager

    def transaction(self, savepoint: bool = False) -> AbstractContextManager[None]:
        return self.root.transaction(savepoint=savepoint)  # type: ignore[no-any-return]  # root is loaded late

    def clone(self) -> Self:
        root = self.root.clone()
        return type(self)(self.repository, root, self.manager.clone(root))

    def refresh(self) -> None:
        self.root.refresh()

    def close(self) -> None:
        pass


class _NoDatasets:
    """Stands in for the datasets manager: the bridge needs its key column."""

    @classmethod
    def addDatasetForeignKey(
        cls, spec: ddl.TableSpec, *, name: str = "dataset", **kwargs: Any
    ) -> ddl.FieldSpec:
        kwargs.pop("constraint", None)
        kwargs.pop("onDelete", None)
        column = ddl.FieldSpec(f"{name}_id", dtype=ddl.GUID, **kwargs)
        spec.fields.add(column)
        return column


@dataclass
class Repository:
    """One repository: where its database and store are, and its clients."""

    kind: Kind
    site: Site
    placement: Placement = Placement.DELTA
    option_values: dict[str, Any] = field(default_factory=dict)
    with_bridge: bool = False
    clients: list[Subject] = field(default_factory=list)
    name: str = field(default_factory=lambda: f"r{next(_serial)}_{uuid.uuid4().hex[:8]}")

    @property
    def base(self) -> str | None:
        """The URI below which the store lies, `None` for a private one."""
        if self.kind.store == "s3":
            return f"{self.site.s3}/{self.name}"
        if self.kind.store == "local":
            return str(self.site.folder / self.name / "opaque")
        return f"memory://{self.name}" if self.kind.dialect is None else None

    def create(self) -> Subject:
        """Make the repository and return its first client."""
        (self.site.folder / self.name).mkdir()
        return self._client(create=True, writeable=True, patience=5.0)

    def open(self, *, writeable: bool = True, patience: float = 5.0) -> Subject:
        """Return another client, which waits ``patience`` seconds for locks."""
        return self._client(create=False, writeable=writeable, patience=patience)

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def _client(self, *, create: bool, writeable: bool, patience: float) -> Subject:
        with override_options(self.option_values):
            if self.kind.dialect is None:
                return self._root_client(writeable)
            return self._registry_client(create, writeable, patience)

    def _registry_client(self, create: bool, writeable: bool, patience: float) -> Subject:
        database = self._connect(writeable, patience)
        manager_class, bridge_class = manager_classes(self.kind)
        bridges = None
        # The environment is everybody's, and clients are opened in threads too.
        place = self._store_base() if create else nullcontext()
        with place, database.declareStaticTables(create=create) as context:
            manager = manager_class.initialize(database, context)
            if self.with_bridge:
                datasets: Any = _NoDatasets
                universe: Any = None
                bridges = bridge_class.initialize(
                    database, context, opaque=manager, datasets=datasets, universe=universe
                )
        client = RegistrySubject(self, database, manager)
        client.bridges = bridges
        return client

    def _root_client(self, writeable: bool) -> Subject:
        from arrowopaque import ArrowOpaqueTableStorageManager, Options, StoreRoot

        assert self.base is not None
        options = Options(**self.option_values) if self.option_values else None
        root = StoreRoot(self.base, writeable=writeable, options=options)
        return RootSubject(self, root, ArrowOpaqueTableStorageManager.initialize(root, None))

    @contextmanager
    def _store_base(self) -> Iterator[None]:
        """Tell a new repository where its store goes."""
        before = os.environ.pop("ARROWOPAQUE_ROOT", None)
        if self.kind.store == "s3" or (self.kind.store == "local" and self.kind.dialect == "postgresql"):
            os.environ["ARROWOPAQUE_ROOT"] = str(self.base)
        try:
            yield
        finally:
            os.environ.pop("ARROWOPAQUE_ROOT", None)
            if before is not None:
                os.environ["ARROWOPAQUE_ROOT"] = before

    def _connect(self, writeable: bool, patience: float) -> Database:
        if self.kind.dialect == "postgresql":
            assert self.site.postgres is not None
            url = sqlalchemy.make_url(self.site.postgres)
            url = url.set(drivername=self.kind.driver or url.drivername)
            return PostgresqlDatabase.fromUri(url, origin=0, namespace=self.name, writeable=writeable)
        in_memory = self.kind.store == "memory"
        filename = None if in_memory else str(self.site.folder / self.name / "gen3.sqlite3")
        engine = SqliteDatabase.makeEngine(filename=filename, writeable=writeable)

        def tune(connection: Any, _: Any) -> None:
            connection.execute(f"PRAGMA busy_timeout = {int(1000 * patience)}")
            connection.execute("PRAGMA synchronous = OFF")

        sqlalchemy.event.listen(engine, "connect", tune)
        return SqliteDatabase.fromEngine(engine=engine, origin=0, writeable=writeable)


def manager_classes(
    kind: Kind,
) -> tuple[type[OpaqueTableStorageManager], type[DatastoreRegistryBridgeManager]]:
    if not kind.is_arrow:
        return ByNameOpaqueTableStorageManager, MonolithicDatastoreRegistryBridgeManager
    from arrowopaque import ArrowDatastoreRegistryBridgeManager, ArrowOpaqueTableStorageManager

    return ArrowOpaqueTableStorageManager, ArrowDatastoreRegistryBridgeManager


@contextmanager
def override_options(values: Mapping[str, Any]) -> Iterator[None]:
    """Give managers initialised inside these options; none: change nothing."""
    if not values:
        yield
        return
    from arrowopaque import ArrowOpaqueTableStorageManager, Options

    before = ArrowOpaqueTableStorageManager.options
    ArrowOpaqueTableStorageManager.options = Options(**values)
    try:
        yield
    finally:
        ArrowOpaqueTableStorageManager.options = before


@contextmanager
def open_repository(kind: str, site: Site, **kwargs: Any) -> Iterator[Any]:
    """Make a repository, give its first client, and close all its clients."""
    repository = Repository(KINDS[kind], site, **kwargs)
    if repository.placement is Placement.BULK:
        repository.option_values.setdefault("bulk_rows", 2)
    try:
        yield repository.create()
    finally:
        repository.close()
