"""The contenders that are no managers: table formats, and databases used
natively as a limit.
"""

from __future__ import annotations

__all__ = ["DeltaTableFormat", "DuckDb", "DuckLake", "IcebergTableFormat", "Sqlite"]

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.contenders import Contender
from benchmarks.rows import PythonRow, folder_bytes

_NAME = "records"
_MANY = 1000
"""Ids beyond which a query is no longer written out."""
_COLUMNS = "dataset_id, path, formatter, storage_class, component, checksum, file_size"


def _python_table(rows: Sequence[PythonRow]) -> pa.Table:
    schema = pa.schema(
        [
            ("dataset_id", pa.binary(16)), ("path", pa.string()), ("formatter", pa.string()),
            ("storage_class", pa.string()), ("component", pa.string()), ("checksum", pa.string()),
            ("file_size", pa.int64()),
        ]
    )  # fmt: skip
    return pa.Table.from_pylist([{**row, "dataset_id": row["dataset_id"].bytes} for row in rows], schema)


class _Files(Contender):
    """A format of tables that has no other interface than Arrow."""

    share = 0.05

    def insert(self, rows: Sequence[PythonRow]) -> None:
        self.insert_arrow(_python_table(rows))

    def bytes_on_disk(self) -> int:
        return folder_bytes(self.place.folder)


class DeltaTableFormat(_Files):
    """delta-rs."""

    def create(self) -> None:
        self.open()
        self._lake.write_deltalake(self._uri, self._stored(_python_table([])))

    def open(self) -> None:
        import deltalake

        self._lake = deltalake
        self._uri = str(self.place.folder / "delta")

    @staticmethod
    def _stored(rows: pa.Table) -> pa.Table:
        # Delta has no fixed width.
        return rows.set_column(0, "dataset_id", rows.column(0).cast(pa.binary()))

    def _table(self) -> Any:
        return self._lake.DeltaTable(self._uri)

    def insert_arrow(self, rows: pa.Table) -> None:
        rows = self._stored(rows.sort_by("dataset_id"))
        self._lake.write_deltalake(self._uri, rows, mode="append")

    def _dataset(self) -> Any:
        return self._table().to_pyarrow_dataset()

    def fetch(self, ids: Sequence[uuid.UUID]) -> list[Any]:
        if len(ids) > _MANY:
            wanted = pa.array([id.bytes for id in ids], pa.binary())
            # Its merge writes a type that Arrow cannot filter while it reads.
            table = self._dataset().to_table().cast(self._stored(_python_table([])).schema)
            found: list[Any] = table.filter(pc.is_in(table["dataset_id"], wanted)).to_pylist()
            return found
        listed = ", ".join(f"X'{id.hex}'" for id in ids)
        return self._rows(f"dataset_id IN ({listed})")

    def _rows(self, condition: str) -> list[Any]:
        query = self._lake.QueryBuilder().register("t", self._table())
        answer = query.execute(f"SELECT * FROM t WHERE {condition}").read_all()
        found: list[Any] = pa.table(answer).to_pylist()
        return found

    def fetch_path(self, path: str) -> list[Any]:
        if path.endswith("%"):
            return self._rows(f"starts_with(path, '{path[:-1]}')")
        return self._rows(f"path = '{path}'")

    def scan_arrow(self) -> int:
        return int(self._dataset().to_table().num_rows)

    def scan_dicts(self) -> int:
        return sum(batch.num_columns * len(batch.to_pylist()) for batch in self._dataset().to_batches())

    def group(self) -> dict[str, int]:
        found = self._dataset().to_table(columns=["storage_class"]).group_by("storage_class")
        return {row["storage_class"]: row["storage_class_count"] for row in
                found.aggregate([("storage_class", "count")]).to_pylist()}  # fmt: skip

    def delete(self, ids: Sequence[uuid.UUID]) -> None:
        gone = pa.table({"dataset_id": pa.array([id.bytes for id in ids], pa.binary())})
        merge = self._table().merge(gone, "t.dataset_id = s.dataset_id", source_alias="s", target_alias="t")
        merge.when_matched_delete().execute()

    def compact(self) -> None:
        self._table().optimize.compact()


class IcebergTableFormat(_Files):
    """pyiceberg over a SQLite catalog."""

    def create(self) -> None:
        self.open()
        self._catalog.create_namespace("bench")
        self._catalog.create_table("bench.records", _python_table([]).schema)

    def open(self) -> None:
        from pyiceberg.catalog.sql import SqlCatalog

        folder = self.place.folder
        self._catalog = SqlCatalog(
            "bench", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse"
        )

    def _table(self) -> Any:
        return self._catalog.load_table("bench.records")

    def insert_arrow(self, rows: pa.Table) -> None:
        self._table().append(rows.sort_by("dataset_id"))

    def fetch(self, ids: Sequence[uuid.UUID]) -> list[Any]:
        return self._rows(self._among(ids))

    @staticmethod
    def _among(ids: Sequence[uuid.UUID]) -> Any:
        from pyiceberg.expressions import In

        return In("dataset_id", [id.bytes for id in ids])

    def delete(self, ids: Sequence[uuid.UUID]) -> None:
        self._table().delete(self._among(ids))

    def _rows(self, condition: Any) -> list[Any]:
        found: list[Any] = self._table().scan(condition).to_arrow().to_pylist()
        return found

    def fetch_path(self, path: str) -> list[Any]:
        from pyiceberg.expressions import EqualTo, StartsWith

        if path.endswith("%"):
            return self._rows(StartsWith("path", path[:-1]))
        return self._rows(EqualTo("path", path))

    def scan_arrow(self) -> int:
        return int(self._table().scan().to_arrow().num_rows)

    def scan_dicts(self) -> int:
        reader = self._table().scan().to_arrow_batch_reader()
        return sum(batch.num_columns * len(batch.to_pylist()) for batch in reader)

    def group(self) -> dict[str, int]:
        found = self._table().scan(selected_fields=("storage_class",)).to_arrow().group_by("storage_class")
        return {row["storage_class"]: row["storage_class_count"] for row in
                found.aggregate([("storage_class", "count")]).to_pylist()}  # fmt: skip


class _Native(Contender):
    """A database asked in its own words."""

    _connection: Any

    def close(self) -> None:
        self._connection.close()

    def scan_rows(self) -> int:
        return len(self._ask(f"SELECT * FROM {_NAME}"))

    def scan_dicts(self) -> int:
        names = _COLUMNS.split(", ")
        return sum(len(dict(zip(names, row, strict=True))) for row in self._ask(f"SELECT * FROM {_NAME}"))

    def _ask(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        found: list[Any] = self._connection.execute(statement, parameters).fetchall()
        return found

    def fetch_path(self, path: str) -> list[Any]:
        if path.endswith("%"):
            return self._ask(f"SELECT * FROM {_NAME} WHERE starts_with(path, ?)", [path[:-1]])
        return self._ask(f"SELECT * FROM {_NAME} WHERE path = ?", [path])

    def group(self) -> dict[str, int]:
        return dict(self._ask(f"SELECT storage_class, count(*) FROM {_NAME} GROUP BY 1"))

    def bytes_on_disk(self) -> int:
        return folder_bytes(self.place.folder)


class _Duck(_Native):
    """Tables that DuckDB is asked for."""

    def insert_arrow(self, rows: pa.Table) -> None:
        self._with(rows, f"INSERT INTO {_NAME} SELECT * FROM given")

    def _with(self, given: pa.Table, statement: str) -> list[Any]:
        """Run a statement over a table of ours, called ``given``."""
        self._connection.register("given", given)
        found: list[Any] = self._ask(statement)
        self._connection.unregister("given")
        return found

    @staticmethod
    def _stored(ids: pa.Array) -> pa.Array:
        """Return ids as the table has them."""
        return ids

    @staticmethod
    def _key(id: uuid.UUID) -> Any:
        return id.bytes

    def _wanted(self, ids: Sequence[uuid.UUID]) -> pa.Table:
        # As parameters, ten thousands of ids take DuckDB seconds.
        return pa.table({"id": self._stored(pa.array([id.bytes for id in ids], pa.binary(16)))})

    def fetch(self, ids: Sequence[uuid.UUID]) -> list[Any]:
        if len(ids) == 1:
            return self._ask(f"SELECT * FROM {_NAME} WHERE dataset_id = ?", [self._key(ids[0])])
        return self._with(
            self._wanted(ids), f"SELECT * FROM {_NAME} WHERE dataset_id IN (SELECT id FROM given)"
        )

    def delete(self, ids: Sequence[uuid.UUID]) -> None:
        self._with(self._wanted(ids), f"DELETE FROM {_NAME} WHERE dataset_id IN (SELECT id FROM given)")

    def scan_arrow(self) -> int:
        return int(self._connection.sql(f"SELECT * FROM {_NAME}").to_arrow_table().num_rows)


class DuckDb(_Duck):
    """DuckDB's own table with a primary key."""

    def open(self) -> None:
        import duckdb

        self._connection = duckdb.connect(str(self.place.folder / "native.duckdb"))

    def create(self) -> None:
        self.open()
        self._ask(
            f"CREATE TABLE {_NAME} (dataset_id UUID, path VARCHAR, formatter VARCHAR, storage_class VARCHAR, "
            "component VARCHAR, checksum VARCHAR, file_size BIGINT, PRIMARY KEY (dataset_id, component))"
        )

    def insert_arrow(self, rows: pa.Table) -> None:
        ids = self._stored(rows.column(0).combine_chunks())
        super().insert_arrow(rows.set_column(0, "dataset_id", ids))

    @staticmethod
    def _stored(ids: pa.Array) -> pa.Array:
        return pa.ExtensionArray.from_storage(pa.uuid(), ids)

    @staticmethod
    def _key(id: uuid.UUID) -> Any:
        return id

    def settle(self) -> None:
        self._ask("CHECKPOINT")


class DuckLake(_Duck):
    """DuckLake with its catalog in SQLite, ids as bytes, files sorted by id."""

    share = 0.05
    packages = ("duckdb", "duckdb-extension-ducklake", "pyarrow")

    def open(self) -> None:
        import duckdb

        self._connection = duckdb.connect()
        for name in ("sqlite_scanner", "ducklake"):
            # Where its package has it; DuckDB itself would ask a server.
            package, version = files(f"duckdb_extension_{name}"), f"v{duckdb.__version__}"
            self._ask(f"LOAD '{package / 'extensions' / version / name}.duckdb_extension'")
        folder = self.place.folder
        self._ask(f"ATTACH 'ducklake:sqlite:{folder}/catalog.sqlite' AS lake (DATA_PATH '{folder}/data/')")
        self._ask("USE lake")

    def create(self) -> None:
        self.open()
        self._ask(
            f"CREATE TABLE {_NAME} (dataset_id BLOB, path VARCHAR, formatter VARCHAR, storage_class VARCHAR, "
            "component VARCHAR, checksum VARCHAR, file_size BIGINT)"
        )

    def insert_arrow(self, rows: pa.Table) -> None:
        self._with(rows, f"INSERT INTO {_NAME} SELECT * FROM given ORDER BY dataset_id")

    def insert(self, rows: Sequence[PythonRow]) -> None:
        if len(rows) > 1:
            self.insert_arrow(_python_table(rows))
        else:
            values = [*rows[0].values()]
            self._ask(f"INSERT INTO {_NAME} VALUES (?, ?, ?, ?, ?, ?, ?)", [values[0].bytes, *values[1:]])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.begin()
        yield
        self._connection.commit()

    def compact(self) -> None:
        self._ask("CALL ducklake_merge_adjacent_files('lake')")
        self._ask("CALL ducklake_rewrite_data_files('lake')")


class Sqlite(_Native):
    """SQLite's own table, ids as bytes, without a key's rowid."""

    def open(self) -> None:
        self._connection = sqlite3.connect(self.place.folder / "native.sqlite3")

    def create(self) -> None:
        self.open()
        self._ask(
            f"CREATE TABLE {_NAME} (dataset_id BLOB, path TEXT, formatter TEXT, storage_class TEXT, "
            "component TEXT, checksum TEXT, file_size INT, PRIMARY KEY (dataset_id, component)) WITHOUT ROWID"
        )
        self._ask(f"CREATE INDEX by_path ON {_NAME} (path)")

    def insert_arrow(self, rows: pa.Table) -> None:
        self._write(zip(*(column.to_pylist() for column in rows.columns), strict=True))

    def insert(self, rows: Sequence[PythonRow]) -> None:
        self._write((row["dataset_id"].bytes, *[row[name] for name in list(row)[1:]]) for row in rows)

    def _write(self, rows: Any) -> None:
        with self._connection:
            self._connection.executemany(
                f"INSERT INTO {_NAME} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )

    def fetch(self, ids: Sequence[uuid.UUID]) -> list[Any]:
        found: list[Any] = []
        for id in ids:
            found += self._ask(f"SELECT * FROM {_NAME} WHERE dataset_id = ?", [id.bytes])
        return found

    def fetch_path(self, path: str) -> list[Any]:
        if path.endswith("%"):
            low = path[:-1]
            return self._ask(f"SELECT * FROM {_NAME} WHERE path >= ? AND path < ?", [low, low + "\U0010ffff"])
        return super().fetch_path(path)

    def delete(self, ids: Sequence[uuid.UUID]) -> None:
        with self._connection:
            self._connection.executemany(
                f"DELETE FROM {_NAME} WHERE dataset_id = ?", [(id.bytes,) for id in ids]
            )
