"""The registry's side of the catalog: whose store it is, and which manifest
of each table is current, in the caller's transaction.
"""

from __future__ import annotations

__all__ = ["Catalog", "Stage", "StaticTables", "create_store", "new_root", "store_values"]

import enum
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy
from lsst.daf.butler import ddl
from lsst.daf.butler.registry.interfaces import Database, StaticTablesContext

from arrowopaque import clock
from arrowopaque.butler import host
from arrowopaque.errors import ConfigurationError, ObjectMissingError, RootInUseError
from arrowopaque.format.spec import TableSpec
from arrowopaque.objects.base import ObjectStore
from arrowopaque.objects.memory import MemoryStore
from arrowopaque.objects.opening import open_store
from arrowopaque.options import Options
from arrowopaque.store.volume import Volume, create_volume, open_volume, unmarked_volume

ROOT_VARIABLE = "ARROWOPAQUE_ROOT"
"""Names the base folder of stores that are created from now on."""

_BINDING = "registry"
_FOLDER = "opaque"
_SQLITE = "sqlite-relative:"

_META = ddl.TableSpec([ddl.FieldSpec("table_name", dtype=sqlalchemy.String, length=128, primaryKey=True)])
_STORE = ddl.TableSpec(
    [
        ddl.FieldSpec("name", dtype=sqlalchemy.String, length=64, primaryKey=True),
        ddl.FieldSpec("value", dtype=sqlalchemy.Text, nullable=False),
    ]
)
_CATALOG = ddl.TableSpec(
    [
        ddl.FieldSpec("table_name", dtype=sqlalchemy.String, length=128, primaryKey=True),
        ddl.FieldSpec("manifest", dtype=sqlalchemy.Text, nullable=False),
        ddl.FieldSpec("parent", dtype=sqlalchemy.Text, nullable=False),
        ddl.FieldSpec("fence", dtype=sqlalchemy.BigInteger, nullable=False),
        ddl.FieldSpec("spec", dtype=sqlalchemy.Text, nullable=False),
    ]
)


STAGE = "stage"
"""What the registry calls the `Stage` of a repository that changes managers."""

_NEVER = 2**53


class Stage(enum.StrEnum):
    """How far a repository has come from the SQL manager to ours, or back."""

    PREPARED = "prepared"
    """Our tables are there; the repository is the SQL manager's."""
    SWITCHED = "switched"
    """The repository is ours. Clients of the SQL manager may be left, who see
    the delta alone: no row may leave it.
    """
    MOVING = "moving"
    """Its rows are being moved to data files."""
    ADOPTED = "adopted"
    """It is like one that was made with our manager."""
    RETURNING = "returning"
    """Its rows are being moved back."""

    @property
    def keeps_delta(self) -> bool:
        """Whether nobody may move rows to data files, or write any there."""
        return self in (Stage.PREPARED, Stage.SWITCHED, Stage.RETURNING)

    def limited(self, options: Options) -> Options:
        """Return what clients may do of what a store's options allow."""
        if self.keeps_delta:
            return replace(options, flush_at_open=0, bulk_rows=_NEVER)
        return replace(options, flush_at_open=0) if self is Stage.MOVING else options


@dataclass(frozen=True, slots=True)
class StaticTables:
    """The tables that every repository with our manager has.

    ``meta`` is the default manager's own, so that a repository can change
    managers either way.
    """

    meta: sqlalchemy.Table
    store: sqlalchemy.Table
    catalog: sqlalchemy.Table

    @classmethod
    def declare(cls, context: StaticTablesContext) -> StaticTables:
        """Declare the tables."""
        return cls(
            meta=context.addTable("opaque_meta", _META),
            store=context.addTable("arrowopaque_store", _STORE),
            catalog=context.addTable("arrowopaque_catalog", _CATALOG),
        )

    @classmethod
    def ensure(cls, db: Database) -> tuple[StaticTables, bool]:
        """Return the tables of a database whose static tables are declared,
        creating them if need be, and whether that was so.
        """
        is_new = db.getExistingTable("arrowopaque_store", _STORE) is None
        tables = cls(
            meta=db.ensureTableExists("opaque_meta", _META),
            store=db.ensureTableExists("arrowopaque_store", _STORE),
            catalog=db.ensureTableExists("arrowopaque_catalog", _CATALOG),
        )
        return tables, is_new


def new_root(db: Database, id: str, base: str | None = None) -> str:
    """Return where a new store goes, as it is written in the registry.

    Parameters
    ----------
    db
        The registry's database.
    id
        The store's identity.
    base
        The folder to make it in; by default what the environment says.

    Raises
    ------
    ConfigurationError
        Nobody has said where.
    """
    if base is not None and "://" not in base:
        # Whoever says it means it from here; the registry is read from anywhere.
        base = str(Path(base).absolute())
    base = base or os.environ.get(ROOT_VARIABLE)  # noqa: TID251  the one place that reads it
    if base:
        return f"{base.rstrip('/')}/{id}"
    if host.dialect_name(db) == "sqlite":
        return f"{_SQLITE}{_FOLDER}/{id}" if host.sqlite_file(db) else f"memory://{id}"
    raise ConfigurationError(
        f"{db} needs a root for its data files: set {ROOT_VARIABLE} to a folder or an s3:// URI "
        "before the repository is created"
    )


def resolve_root(db: Database, root: str) -> str:
    """Return the URI of a root as written in the registry."""
    if not root.startswith(_SQLITE):
        return root
    filename = host.sqlite_file(db)
    if filename is None:
        raise ConfigurationError(f"the root {root!r} is relative to a SQLite file, but {db} is in memory")
    return str(Path(filename).parent / root.removeprefix(_SQLITE))


def create_store(db: Database, tables: StaticTables, options: Options) -> None:
    """Give a new repository its store.

    Requires: runs in the transaction that creates the repository's tables.
    """
    id = clock.new_id()
    root = new_root(db, id)
    uri = resolve_root(db, root)
    if uri.startswith("memory:"):
        host.on_disposal(db, MemoryStore.discard, id)
    _make(open_store(uri), id, options)
    rows = {"id": id, "root": root}
    db.insert(tables.store, *[{"name": name, "value": value} for name, value in rows.items()])


def store_values(db: Database, table: sqlalchemy.Table) -> dict[str, str]:
    """Return what the registry says of its store in ``table``, by name."""
    with host.reading(db) as cursor:
        return dict(cursor.execute(f"SELECT name, value FROM {host.render_table(db, table)}").rows())


def set_store_values(db: Database, table: sqlalchemy.Table, **values: str) -> None:
    """Let the registry say so of its store in ``table``, by name."""
    db.replace(table, *[{"name": name, "value": value} for name, value in values.items()])


def open_registry_volume(db: Database, tables: StaticTables, options: Options | None) -> Volume:
    """Open the store of a repository.

    Raises
    ------
    ConfigurationError
        The repository has none.
    ObjectMissingError
        It is not where the registry says.
    """
    stored = store_values(db, tables.store)
    if not {"id", "root"} <= stored.keys():
        raise ConfigurationError(f"{db} has no arrowopaque store: it was made with another manager")
    volume = _open(db, tables, stored, options)
    if STAGE in stored:
        volume = replace(volume, options=Stage(stored[STAGE]).limited(volume.options))
    return volume


def _open(db: Database, tables: StaticTables, stored: dict[str, str], options: Options | None) -> Volume:
    store, id = open_store(resolve_root(db, stored["root"]), writeable=db.isWriteable()), stored["id"]
    try:
        return open_volume(store, id=id, binding=_BINDING, options=options)
    except ObjectMissingError:
        if any(manifest for manifest, _ in Catalog(db, tables.catalog).entries().values()):
            raise
    return _fill_in(db, store, id, options)


def _fill_in(db: Database, store: ObjectStore, id: str, options: Options | None) -> Volume:
    """Return the store of a repository without data files whose database was
    copied alone.
    """
    if not db.isWriteable():
        return unmarked_volume(store, id, options or Options())
    try:
        return _make(store, id, options or Options())
    except RootInUseError:
        # Another client was faster.
        return open_volume(store, id=id, binding=_BINDING, options=options)


def _make(store: ObjectStore, id: str, options: Options) -> Volume:
    # To open a store needs none of that.
    from arrowopaque.maintain.publish import publish_empty

    volume = create_volume(store, id=id, binding=_BINDING, options=options)
    publish_empty(volume)
    return volume


class Catalog:
    """Reads and swaps the catalog rows.

    Parameters
    ----------
    db
        The database.
    table
        The catalog table.
    """

    def __init__(self, db: Database, table: sqlalchemy.Table) -> None:
        self._db = db
        self._table = table

    def entries(self) -> dict[str, tuple[str | None, TableSpec]]:
        """Return every table's manifest and spec."""
        name = host.render_table(self._db, self._table)
        with host.reading(self._db) as cursor:
            rows = cursor.execute(f"SELECT table_name, manifest, spec FROM {name} ORDER BY table_name").rows()
        return {row[0]: (row[1] or None, TableSpec.model_validate_json(row[2])) for row in rows}

    def spec(self, table: str) -> TableSpec | None:
        """Return the spec that a table was first registered with."""
        with self._db.query(self._table.select().where(self._table.columns.table_name == table)) as result:
            row = result.one_or_none()
        return None if row is None else TableSpec.model_validate_json(row.spec)

    def add(self, table: str, spec: TableSpec) -> None:
        """Add a table unless it is there."""
        if self.spec(table) is not None:
            # An INSERT, even one that does nothing, waits for a bulk write
            # that has changed the row and is not committed.
            return
        text = json.dumps(spec.model_dump(mode="json", exclude_defaults=True))
        self._db.sync(
            self._table,
            keys={"table_name": table},
            extra={"manifest": "", "parent": "", "fence": 0, "spec": text},
        )
