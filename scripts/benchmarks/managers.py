"""The contenders behind lsst's interface: what they share, and the SQL manager."""

from __future__ import annotations

__all__ = ["SPEC", "TABLE", "InRegistry", "Manager", "SqlManager"]

import os
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy
from lsst.daf.butler import ddl
from lsst.daf.butler.datastore.stored_file_info import StoredFileInfo
from lsst.daf.butler.datastores.fileDatastore import FileDatastore
from lsst.daf.butler.registry.bridge.monolithic import MonolithicDatastoreRegistryBridgeManager
from lsst.daf.butler.registry.databases.postgresql import PostgresqlDatabase
from lsst.daf.butler.registry.databases.sqlite import SqliteDatabase
from lsst.daf.butler.registry.interfaces import Database, FakeDatasetRef
from lsst.daf.butler.registry.opaque import ByNameOpaqueTableStorageManager

from benchmarks.butlers import make_repository
from benchmarks.contenders import Contender
from benchmarks.rows import PythonRow, Rows

TABLE = "file_datastore_records"
SPEC = FileDatastore.makeTableSpec()
"""The table that Butler's file datastore keeps its records in."""
_CHUNK = 50_000


class _AllThere:
    """Stands in for a bridge where there is none."""

    @staticmethod
    def check(ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        return set(ids)


class _Exporting:
    """As much of a file datastore as an export runs through."""

    export_table = FileDatastore.export_table
    _export_rows = FileDatastore._export_rows
    name = "datastore"

    def __init__(self, table: Any, bridge: Any) -> None:
        self._table = table
        self._bridge = bridge


class Manager(Contender):
    """What all managers of opaque tables have in common."""

    table: Any
    manager: Any
    bridge: Any = _AllThere

    def export_table(self, ids: Sequence[uuid.UUID]) -> pa.Table:
        datastore: Any = _Exporting(self.table, self.bridge)
        return datastore.export_table(ids).to_arrow()

    def insert(self, rows: Sequence[PythonRow]) -> None:
        self.table.insert(*rows)

    def insert_arrow(self, rows: pa.Table) -> None:
        for start in range(0, rows.num_rows, _CHUNK):
            self.insert(Rows(rows.slice(start, _CHUNK)).python())

    def fetch(self, ids: Sequence[uuid.UUID]) -> list[Any]:
        return list(self.table.fetch(dataset_id=ids[0] if len(ids) == 1 else list(ids)))

    def fetch_path(self, path: str) -> list[Any]:
        return list(self.table.fetch(path=path))

    def fetch_paths(self, paths: Sequence[str]) -> list[Any]:
        return list(self.table.fetch(path=list(paths)))

    def scan_rows(self) -> int:
        return sum(1 for row in self.table.fetch() if row["file_size"] >= 0)

    def scan_dicts(self) -> int:
        return sum(len(dict(row)) for row in self.table.fetch())

    def replace(self, rows: Sequence[PythonRow]) -> None:
        self.table.replace(*rows)

    def delete(self, ids: Sequence[uuid.UUID]) -> None:
        self.table.delete(["dataset_id"], *[{"dataset_id": id} for id in ids])

    def use(self, table: str) -> None:
        self.table = self.manager.register(table, SPEC)


class _NoDatasets:
    """Stands in for the datasets manager: the bridge needs its key column."""

    @staticmethod
    def addDatasetForeignKey(spec: ddl.TableSpec, *, primaryKey: bool = False, **_: Any) -> ddl.FieldSpec:  # noqa: N803  # lsst's
        column = ddl.FieldSpec("dataset_id", dtype=ddl.GUID, primaryKey=primaryKey)
        spec.fields.add(column)
        return column


class InRegistry(Manager):
    """A manager bound to a registry."""

    manager_class: Any = ByNameOpaqueTableStorageManager
    bridge_class: Any = MonolithicDatastoreRegistryBridgeManager
    seed: str | None = None
    """Configuration of a repository with this manager, besides lsst's own."""
    db: Database

    def create(self) -> None:
        self._open(create=True)

    def open(self) -> None:
        self._open(create=False)

    def close(self) -> None:
        self.db.dispose()

    def _open(self, create: bool) -> None:
        base = self.place.s3 or (str(self.place.folder / "opaque") if self.place.postgres else None)
        if base:
            os.environ["ARROWOPAQUE_ROOT"] = base
        if self.place.postgres:
            self.db = PostgresqlDatabase.fromUri(self.place.postgres, origin=0, writeable=True)
        else:
            engine = SqliteDatabase.makeEngine(filename=str(self.place.folder / "gen3.sqlite3"))
            self.db = SqliteDatabase.fromEngine(engine=engine, origin=0, writeable=True)
        with self.db.declareStaticTables(create=create) as context:
            self.manager = self.manager_class.initialize(self.db, context)
            bridges = self.bridge_class.initialize(
                self.db, context, opaque=self.manager, datasets=_NoDatasets, universe=None
            )
        self.bridge = bridges.register(_Exporting.name)
        self.use(TABLE)

    def locate(self, ids: Sequence[uuid.UUID]) -> None:
        for start in range(0, len(ids), _CHUNK):
            self.bridge.insert([FakeDatasetRef(id) for id in ids[start : start + _CHUNK]])

    def trash(self, ids: Sequence[uuid.UUID]) -> None:
        self.bridge.moveToTrash([FakeDatasetRef(id) for id in ids], transaction=None)

    def empty_trash(self) -> tuple[int, set[str] | None]:
        emptying = self.bridge.emptyTrash(self.table, record_class=StoredFileInfo, record_column="path")
        with emptying as (records, keep):
            return sum(1 for _ in records), keep

    def transaction(self) -> AbstractContextManager[None]:
        return self.db.transaction()

    def session(self) -> AbstractContextManager[None]:
        return self.db.session()

    def clone(self) -> Any:
        return self.manager.clone(self.db)

    def make_butler(self) -> Path:
        return make_repository(self.place, self.seed)

    def _sql(self, statement: str) -> list[tuple[Any, ...]]:
        with self.db._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(statement))]

    def group(self) -> dict[str, int]:
        statement = f"SELECT storage_class, count(*) FROM {self.table.name} GROUP BY storage_class"
        return {name: count for name, count in self._sql(statement)}

    def _database_bytes(self) -> int:
        if self.place.postgres:
            return int(self._sql("SELECT pg_database_size(current_database())")[0][0])
        return int(
            self._sql("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")[0][0]
        )

    def bytes_on_disk(self) -> int:
        return self._database_bytes()

    def settle(self) -> None:
        if self.place.postgres:
            with self.db._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(sqlalchemy.text("VACUUM ANALYZE"))


class SqlManager(InRegistry):
    """lsst's own manager."""
