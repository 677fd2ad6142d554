"""The contenders behind lsst's interface: the SQL manager and ours."""

from __future__ import annotations

__all__ = ["ArrowManager", "ArrowRoot", "SqlManager"]

import os
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy
from lsst.daf.butler.registry.databases.postgresql import PostgresqlDatabase
from lsst.daf.butler.registry.databases.sqlite import SqliteDatabase
from lsst.daf.butler.registry.interfaces import Database
from lsst.daf.butler.registry.opaque import ByNameOpaqueTableStorageManager

from arrowopaque import ArrowOpaqueTableStorageManager, StoreRoot
from benchmarks.contenders import Contender
from benchmarks.rows import SPEC, PythonRow, Rows

_TABLE = "file_datastore_records"
_CHUNK = 50_000


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class _Manager(Contender):
    """What all managers of opaque tables have in common."""

    table: Any
    manager: Any

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

    def replace(self, rows: Sequence[PythonRow]) -> None:
        self.table.replace(*rows)

    def delete(self, ids: Sequence[uuid.UUID]) -> None:
        self.table.delete(["dataset_id"], *[{"dataset_id": id} for id in ids])

    def use(self, table: str) -> None:
        self.table = self.manager.register(table, SPEC)


class _InRegistry(_Manager):
    """A manager bound to a registry."""

    manager_class: Any = ByNameOpaqueTableStorageManager
    db: Database

    def create(self) -> None:
        self._open(create=True)

    def reopen(self) -> None:
        self.db.dispose()
        self._open(create=False)

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
        self.use(_TABLE)

    def transaction(self) -> AbstractContextManager[None]:
        return self.db.transaction()

    def session(self) -> AbstractContextManager[None]:
        return self.db.session()

    def clone(self) -> None:
        self.manager.clone(self.db)

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


class SqlManager(_InRegistry):
    """lsst's own manager."""


class ArrowManager(_InRegistry):
    """Ours, bound to a registry."""

    manager_class = ArrowOpaqueTableStorageManager

    def insert_arrow(self, rows: pa.Table) -> None:
        self.table.insert_arrow(rows)

    def scan_arrow(self) -> int:
        return int(self.table.fetch_arrow().num_rows)

    def group(self) -> dict[str, int]:
        query = f'SELECT storage_class, count(*) FROM "{self.table.name}" GROUP BY 1'
        return dict(self.manager.sql(query).fetchall())

    def flush(self) -> None:
        self.manager.flush(self.table.name)

    def compact(self) -> None:
        self.manager.compact(self.table.name)

    def settle(self) -> None:
        self.flush()
        super().settle()

    def bytes_on_disk(self) -> int:
        if self.place.postgres is None:
            return folder_bytes(self.place.folder)
        return folder_bytes(self.place.folder) + self._database_bytes()


class ArrowRoot(_Manager):
    """Ours, bound to a bare root."""

    def create(self) -> None:
        self._open()

    def reopen(self) -> None:
        self._open()

    def _open(self) -> None:
        self.root = StoreRoot(self.place.s3 or str(self.place.folder / "root"))
        self.manager = ArrowOpaqueTableStorageManager.initialize(self.root, None)
        self.use(_TABLE)

    def transaction(self) -> AbstractContextManager[None]:
        return self.root.transaction()

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def clone(self) -> None:
        self.manager.clone(self.root)

    def insert_arrow(self, rows: pa.Table) -> None:
        self.table.insert_arrow(rows)

    def scan_arrow(self) -> int:
        return int(self.table.fetch_arrow().num_rows)

    def group(self) -> dict[str, int]:
        query = f'SELECT storage_class, count(*) FROM "{self.table.name}" GROUP BY 1'
        return dict(self.root.sql(query).fetchall())

    def compact(self) -> None:
        self.root.compact(self.table.name)

    def bytes_on_disk(self) -> int:
        return folder_bytes(self.place.folder)
