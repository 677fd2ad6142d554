"""What `sql` answers: always what `fetch` answers."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import astropy.time
import duckdb
import pytest
import sqlalchemy
from lsst.daf.butler import ddl
from lsst.sphgeom import ConvexPolygon, UnitVector3d

from arrowopaque import ConfigurationError, Options, StoreRoot
from arrowopaque.butler.delta import RegistryTable
from arrowopaque.query import mentioned
from tests.support import specs
from tests.support.specs import ODD_COLUMN_NAMES, ODD_TABLE_NAMES, record
from tests.support.subjects import KINDS, Site, UndoError, open_repository

OURS = tuple(name for name, kind in KINDS.items() if kind.is_arrow)
REGISTRIES = tuple(name for name in OURS if KINDS[name].dialect is not None)
SHARED = tuple(name for name in REGISTRIES if name != "arrow-memory")
EVERYWHERE = pytest.mark.parametrize("client", OURS, indirect=True)
LOCAL = ("arrow-sqlite-local", "arrow-root-local")
# Names that DuckDB itself gives to columns, or that the views are built with.
TAKEN_COLUMN_NAMES = (
    "filename",
    "File_Row_Number",
    "file_index",
    "c0",
    "c1",
    "position",
    "file",
    "partition",
)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def answer(client: Any, query: str) -> list[Any]:
    return sorted(client.manager.sql(query).fetchall(), key=repr)


def assert_same(client: Any, table: Any) -> list[Any]:
    """Assert that both ways give the same rows, columns in the same order."""
    expected = table.fetch_arrow()
    relation = client.manager.sql(f"SELECT * FROM {quoted(table.name)}")
    assert relation.columns == expected.column_names
    found = sorted(relation.fetchall(), key=repr)
    assert found == sorted((tuple(row.values()) for row in expected.to_pylist()), key=repr)
    return found


def keys(table: Any, numbers: Iterable[int]) -> tuple[list[str], list[dict[str, Any]]]:
    names = [field.name for field in specs.records().fields if field.primaryKey]
    return names, [{name: record(number)[name] for name in names} for number in numbers]


def delete(table: Any, numbers: Iterable[int]) -> None:
    names, rows = keys(table, numbers)
    table.delete(names, *rows)


@EVERYWHERE
def test_rows_in_the_delta_and_in_files(client: Any) -> None:
    table = client.table(specs.records())
    assert assert_same(client, table) == []
    table.insert(*[record(i) for i in range(20)])
    assert len(assert_same(client, table)) == 20
    client.flush()
    assert len(assert_same(client, table)) == 20
    table.insert(*[record(i) for i in range(20, 30)])
    assert len(assert_same(client, table)) == 30


@EVERYWHERE
def test_deleted_and_replaced_rows(client: Any) -> None:
    table = client.table(specs.records())
    table.insert(*[record(i) for i in range(20)])
    client.flush()
    table.insert(*[record(i) for i in range(20, 40)])
    client.flush()
    delete(table, [0, 7, 19])
    table.replace(record(8, path="new"), record(50))
    assert len(assert_same(client, table)) == 38
    client.flush()
    assert len(assert_same(client, table)) == 38
    delete(table, [1, 8, 21])
    table.replace(record(7, path="again"), record(9, path="newer"))
    assert len(assert_same(client, table)) == 36
    client.flush()
    client.manager.compact()
    client.refresh()
    assert len(assert_same(client, table)) == 36


@pytest.mark.parametrize("client", ["arrow-memory", "arrow-root-memory"], indirect=True)
def test_many_files_of_many_row_groups(client: Any, tmp_path: Path) -> None:
    options = {"bulk_rows": 2, "partition_rows": 60, "row_group_rows": 7}
    kind = client.kind.name
    with open_repository(kind, Site(tmp_path), option_values=options) as small:
        table = small.table(specs.records())
        for start in range(0, 200, 40):
            table.insert(*[record(i * 7919 % 200) for i in range(start, start + 40)])
        delete(table, range(0, 200, 9))
        delete(table, [5])
        table.replace(*[record(i, path=f"new/{i}") for i in range(0, 200, 11)])
        table.replace(record(6, path="small"))
        found = assert_same(small, table)
        assert len({row[0] for row in found}) == len(found) > 150
        query = f"SELECT path FROM {table.name} WHERE path LIKE 'new/%' OR path = 'small'"
        assert len(answer(small, query)) == 20
        for number in (0, 5, 6, 44, 45, 100, 199):
            key = uuid.UUID(int=number)
            query = f"SELECT path FROM {table.name} WHERE dataset_id = '{key}'"
            assert answer(small, query) == [(row["path"],) for row in table.fetch(dataset_id=key)]


@EVERYWHERE
def test_every_type(client: Any) -> None:
    table = client.table(specs.every_type())
    region = ConvexPolygon([UnitVector3d(1, 0, 0), UnitVector3d(0, 1, 0), UnitVector3d(0, 0, 1)])
    full = {
        "id": 2**63 - 1,
        "short": "ä'\"%",
        "long": "x" * 64,
        "unbounded": "\N{SNOWMAN}\U0001f600",
        "text": "a\nb",
        "small": -(2**15),
        "integer": 2**31 - 1,
        "big": -(2**63),
        "real": 1e-308,
        "flag": False,
        "blob": b"\0\xff\\",
        "uid": uuid.UUID(int=2**128 - 1),
        "hash": bytes(range(32)),
        "region": region,
        "time": specs.moment(1),
    }
    empty = {name: None for name in full} | {"id": 1}
    table.insert(full, empty)
    first = assert_same(client, table)
    client.flush()
    assert assert_same(client, table) == first
    table.insert(empty | {"id": 2, "flag": True, "real": -0.5})
    relation = client.manager.sql(f"SELECT * FROM {table.name} WHERE uid IS NOT NULL")
    assert [str(kind) for kind in relation.types] == [
        "BIGINT", "VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR", "SMALLINT", "INTEGER", "BIGINT", "DOUBLE",
        "BOOLEAN", "BLOB", "UUID", "BLOB", "BLOB", "BIGINT",
    ]  # fmt: skip
    (row,) = relation.fetchall()
    nanoseconds = 1_600_000_001_000_000_000
    stored = full | {"region": region.encode(), "time": nanoseconds}
    assert dict(zip(relation.columns, row, strict=True)) == stored
    assert isinstance(full["time"], astropy.time.Time)


@pytest.mark.parametrize("client", ["arrow-sqlite-local", "arrow-root-local"], indirect=True)
def test_types_in_arrow(client: Any) -> None:
    table = client.table(specs.records(), record(1))
    query = f"SET arrow_lossless_conversion = true; SELECT dataset_id FROM {table.name}"
    found = client.manager.sql(query).to_arrow_table()
    assert found.equals(table.fetch_arrow(columns=["dataset_id"]).cast(found.schema))


@EVERYWHERE
def test_composite_keys(client: Any) -> None:
    table = client.table(specs.composite())
    rows = [
        {"before": 1.5, "run": i % 3, "kind": f"k{i % 2}", "between": None, "uid": uuid.UUID(int=i % 5),
         "flag": bool(i % 2), "after": i}
        for i in range(30)
    ]  # fmt: skip
    table.insert(*rows)
    client.flush()
    names = ["run", "kind", "uid", "flag"]
    table.delete(names, *[{name: row[name] for name in names} for row in rows[::4]])
    table.replace(rows[1] | {"after": 100})
    assert len(assert_same(client, table)) == 22
    client.flush()
    assert len(assert_same(client, table)) == 22


@pytest.mark.parametrize("client", REGISTRIES, indirect=True)
def test_tables_without_a_primary_key(client: Any) -> None:
    table = client.table(specs.no_key(), {"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": None, "b": 3})
    assert len(assert_same(client, table)) == 3


@EVERYWHERE
def test_several_tables(client: Any) -> None:
    one, other = client.table(specs.standard()), client.table(specs.standard())
    one.insert(*specs.rows(range(10)))
    client.flush()
    other.insert(*specs.rows(range(5, 15)))
    one.delete(["id"], {"id": 6})
    join = f"SELECT id, a.val + b.val FROM {one.name} a JOIN main.{other.name} b USING (id)"
    assert answer(client, join) == sorted([(i, 20 * i) for i in (5, 7, 8, 9)], key=repr)
    found = {name for (name,) in client.manager.sql("SHOW TABLES").fetchall()}
    assert found == set(client.manager.names()) == {one.name, other.name}


@EVERYWHERE
def test_a_relation_keeps_its_moment(client: Any) -> None:
    table = client.table(specs.standard())
    table.insert(*specs.rows(range(10)))
    client.flush()
    query = f"SELECT id FROM {table.name} ORDER BY id"
    before = client.manager.sql(query)
    table.delete(["id"], {"id": 3})
    table.insert(specs.row(20))
    client.flush()
    after = client.manager.sql(query)
    assert before.fetchall() == [(i,) for i in range(10)]
    assert before.filter("id < 5").fetchall() == [(i,) for i in range(5)]
    assert after.fetchall() == [(i,) for i in (0, 1, 2, *range(4, 10), 20)]


@EVERYWHERE
def test_a_relation_outlives_its_client(client: Any) -> None:
    table = client.table(specs.standard())
    table.insert(*specs.rows(range(10)))
    client.flush()
    table.insert(specs.row(10))
    derived = client.manager.sql(f"SELECT id FROM {table.name}").filter("id > 8").order("id")
    client.close()
    gc.collect()
    assert derived.fetchall() == [(9,), (10,)]


@EVERYWHERE
@pytest.mark.parametrize("bulk", [2, 1000])
def test_inside_a_transaction(client: Any, bulk: int, tmp_path: Path) -> None:
    table = client.table(specs.standard())
    table.insert(*specs.rows(range(10)))
    client.flush()
    with client.options(bulk_rows=bulk):
        mine = client.second() if "clients" in client.kind.traits else client
        table = mine.manager.register(table.name, specs.standard())
        query = f"SELECT id, name FROM {table.name} ORDER BY id"
        before = mine.manager.sql(query).fetchall()
        with suppress(UndoError), mine.transaction():
            table.insert(specs.row(10), specs.row(11))
            with suppress(UndoError), mine.transaction(savepoint=True):
                table.insert(specs.row(12), specs.row(13))
                assert len(assert_same(mine, table)) == 14
                raise UndoError
            table.delete(["id"], {"id": 1}, {"id": 2}, {"id": 3})
            table.replace(specs.row(4, "x"), specs.row(5, "y"))
            inside = mine.manager.sql(query)
            wanted = [(0, "a"), (4, "x"), (5, "y"), *((i, "a") for i in range(6, 12))]
            assert inside.fetchall() == wanted
            if "clients" in client.kind.traits and client.dialect != "sqlite":
                client.refresh()
                assert client.manager.sql(query).fetchall() == before
            raise UndoError
        assert mine.manager.sql(query).fetchall() == before
        # A transaction is still possible: sql() left none behind.
        with mine.transaction():
            table.insert(specs.row(30))
        assert mine.manager.sql(query).fetchall() == [*before, (30, "a")]


@pytest.mark.parametrize("client", SHARED, indirect=True)
def test_all_tables_are_of_one_moment(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another client commits to both tables after the first was read."""
    names = [client.table(specs.standard(), specs.row(0)).name for _ in range(2)]
    other = client.repository.open(patience=0.0)
    tables = [other.manager.register(name, specs.standard()) for name in names]
    read = RegistryTable.read_state
    commits: list[str] = []

    def read_and_commit(self: RegistryTable, *args: Any) -> Any:
        state = read(self, *args)
        if self.db is client.database and not commits:
            commits.append(self.name)
            # SQLite lets nobody commit while somebody reads.
            with suppress(sqlalchemy.exc.OperationalError), other.transaction():
                for table in tables:
                    table.insert(specs.row(1))
        return state

    monkeypatch.setattr(RegistryTable, "read_state", read_and_commit)
    query = " UNION ALL ".join(f"SELECT count(*) FROM {name}" for name in names)
    assert answer(client, query) == [(1,), (1,)]
    assert len(commits) == 1
    if client.dialect == "postgresql":
        assert answer(client, query) == [(2,), (2,)]


@pytest.mark.parametrize("client", SHARED, indirect=True)
@pytest.mark.parametrize("writeable", [True, False])
def test_tables_of_other_clients(client: Any, writeable: bool) -> None:
    names = [client.table(spec).name for spec in (specs.standard(), specs.no_key())]
    client.manager.register(names[0], specs.standard()).insert(*specs.rows(range(3)))
    client.flush()
    other = client.second(writeable=writeable)
    query = " UNION ALL ".join(f"SELECT count(*) FROM {name}" for name in names)
    assert answer(other, query) == [(0,), (3,)]
    with client.second(writeable=writeable).transaction():
        pass
    third = client.second(writeable=writeable)
    with third.transaction():
        assert answer(third, query) == [(0,), (3,)]


def test_psycopg_3(postgres_url: str, tmp_path: Path) -> None:
    site = Site(tmp_path, postgres=postgres_url.replace("psycopg2", "psycopg"))
    with open_repository("arrow-postgres-local", site) as found:
        client: Any = found
        table = client.table(specs.records(), *[record(i) for i in range(5)])
        client.flush()
        delete(table, [2])
        assert len(assert_same(client, table)) == 4
        with client.transaction():
            table.insert(record(9))
            assert len(assert_same(client, table)) == 5


def test_a_clone_in_a_transaction_shares_a_database_in_memory(tmp_path: Path) -> None:
    with open_repository("arrow-memory", Site(tmp_path)) as found:
        client: Any = found
        table = client.table(specs.standard(), specs.row(1))
        with client.transaction():
            table.insert(specs.row(2))
            clone = client.clone()
            # There is but one connection, so the clone sees what the other has not committed.
            assert answer(clone, f"SELECT id FROM {table.name}") == [(1,), (2,)]
        assert len(assert_same(client, table)) == 2


@pytest.mark.parametrize(
    "client", ["arrow-postgres-local", "arrow-sqlite-local", "arrow-root-local"], indirect=True
)
def test_odd_names_of_tables(client: Any) -> None:
    names = [*ODD_TABLE_NAMES, "arrowopaque", "given", "main", "duckdb_tables"]
    tables = [client.table(specs.standard(), name=name) for name in names]
    for number, table in enumerate(tables):
        table.insert(*specs.rows(range(number, number + 3)))
    client.flush()
    for number, table in enumerate(tables):
        table.delete(["id"], {"id": number})
        assert {row[0] for row in assert_same(client, table)} == {number + 1, number + 2}


@EVERYWHERE
def test_odd_names_of_columns(client: Any) -> None:
    table = client.table(specs.odd_columns(), name="tä.b%")
    table.insert(*[{"id": i} | {name: i + n for n, name in enumerate(ODD_COLUMN_NAMES)} for i in range(5)])
    client.flush()
    table.delete(["id"], {"id": 2})
    assert len(assert_same(client, table)) == 4
    names = ", ".join(map(quoted, reversed(ODD_COLUMN_NAMES)))
    wanted = tuple(reversed(range(4, 4 + len(ODD_COLUMN_NAMES))))
    assert answer(client, f"SELECT {names} FROM {quoted('tä.b%')} WHERE id = 4") == [wanted]


@EVERYWHERE
def test_names_of_columns_that_duckdb_uses(client: Any) -> None:
    spec = specs.keys_only()
    spec.fields.update(ddl.FieldSpec(name, dtype=sqlalchemy.BigInteger) for name in TAKEN_COLUMN_NAMES)
    table = client.table(spec)
    rows = [{"a": i, "b": -i} | dict.fromkeys(TAKEN_COLUMN_NAMES, 100 + i) for i in range(10)]
    table.insert(*rows)
    client.flush()
    table.delete(["a"], {"a": 3})
    client.flush()
    table.delete(["a"], {"a": 4})
    assert len(assert_same(client, table)) == 8


@pytest.mark.parametrize("client", ["arrow-postgres-local", "arrow-root-local"], indirect=True)
def test_names_that_differ_in_case(client: Any) -> None:
    for name in ("twin", "Twin", "other"):
        client.table(specs.standard(), specs.row(1), name=name)
    with pytest.raises(ConfigurationError, match=r"'twin' and 'Twin'|'Twin' and 'twin'"):
        client.manager.sql("SELECT * FROM twin")
    assert answer(client, "SELECT id FROM other") == [(1,)]
    spec = specs.one_column(sqlalchemy.BigInteger)
    spec.fields.add(ddl.FieldSpec("Amount", dtype=sqlalchemy.BigInteger))
    client.table(spec, name="columns")
    with pytest.raises(ConfigurationError, match="'amount' and 'Amount'"):
        client.manager.sql("SELECT * FROM columns")


@pytest.mark.parametrize("client", LOCAL, indirect=True)
@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("SELECT nope FROM here", duckdb.BinderException),
        ("SELECT * FROM nowhere", duckdb.CatalogException),
        ("SELEC 1", duckdb.ParserException),
        ("DELETE FROM here", duckdb.BinderException),
        ("DROP VIEW here", ConfigurationError),
        ("SELECT 1; SET threads = 1", ConfigurationError),
        ("", ConfigurationError),
    ],
)
def test_queries_at_fault(client: Any, query: str, error: type[Exception]) -> None:
    table = client.table(specs.standard(), specs.row(1), name="here")
    with pytest.raises(error):
        client.manager.sql(query)
    assert len(assert_same(client, table)) == 1


@EVERYWHERE
def test_a_store_without_tables(client: Any) -> None:
    assert client.manager.sql("SELECT 1").fetchall() == [(1,)]
    assert client.manager.sql("SHOW TABLES").fetchall() == []


def _plan(client: Any, table: Any) -> str:
    ((_, plan),) = client.manager.sql(f"EXPLAIN SELECT * FROM {table.name}").fetchall()
    return str(plan)


def _joins(client: Any, table: Any) -> dict[str, int]:
    """Return how many joins with tombstones, joins with deletion vectors and
    scans of data files a query has.
    """
    plan = _plan(client, table)
    kinds = {kind: plan.count(f"Join Type: {kind}") for kind in ("ANTI", "INNER")}
    return {**kinds, "scans": plan.count("Function: READ_PARQUET")}


@pytest.mark.parametrize("client", ["arrow-memory"], indirect=True)
def test_only_files_that_lost_rows_are_joined(client: Any) -> None:
    table = client.table(specs.standard())
    table.insert(*specs.rows(range(10)))
    client.flush()
    assert "Join" not in _plan(client, table)
    table.insert(*specs.rows(range(20, 30)))
    client.flush()
    table.insert(specs.row(40))
    assert "Join" not in _plan(client, table)
    table.delete(["id"], {"id": 3})
    assert _joins(client, table) == {"ANTI": 1, "INNER": 0, "scans": 2}
    client.flush()
    table.delete(["id"], {"id": 23})
    assert _joins(client, table) == {"ANTI": 1, "INNER": 1, "scans": 3}
    assert len(assert_same(client, table)) == 19


@pytest.mark.parametrize("uri", ["memory", "local"])
def test_store_root(uri: str, tmp_path: Path) -> None:
    place = f"memory://{uuid.uuid4().hex}" if uri == "memory" else str(tmp_path / "a [b] *?'")
    options = Options(bulk_rows=10)
    with open_repository("arrow-root-local", Site(tmp_path)) as found:
        client: Any = found
        spec = client.root.spec(client.table(specs.records()).name)
    root = StoreRoot(place, options=options)
    root.register("t", spec)
    with root.transaction():
        root.table("t").insert(*[record(i) for i in range(12)])
        assert root.sql("SELECT count(*) FROM t").fetchall() == [(12,)]
    delete(root.table("t"), [3])
    reader = StoreRoot(place, writeable=False)
    delete(root.table("t"), [4])
    counts = [store.sql("SELECT count(*) FROM t").fetchall() for store in (root, reader)]
    assert counts == [[(10,)], [(11,)]]
    reader.refresh()
    assert reader.sql("SELECT count(*) FROM t").fetchall() == [(10,)]


def test_the_store_of_a_registry_by_its_root(tmp_path: Path) -> None:
    with open_repository("arrow-sqlite-local", Site(tmp_path)) as found:
        client: Any = found
        table = client.table(specs.records(), *[record(i) for i in range(12)])
        client.flush()
        client.table(specs.no_key(), {"a": 1, "b": 1})
        delete(table, [3])
        client.flush()
        root = StoreRoot(client.manager._binding.volume.store.uri, writeable=False)
        query = f"SELECT * FROM {table.name} ORDER BY dataset_id"
        assert root.sql(query).fetchall() == client.manager.sql(query).fetchall()


NAMES = ["alpha", 'be"ta', "Gamma"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("SELECT * FROM alpha", ["alpha"]),
        ("SELECT * FROM ALPHA, gamma", ["alpha", "Gamma"]),
        ('SELECT * FROM "be""ta"', ['be"ta']),
        ("SELECT * FROM query_table('be\"ta')", ['be"ta']),
        ("SHOW TABLES", NAMES),
    ],
)
def test_mentioned(query: str, found: Sequence[str]) -> None:
    assert mentioned(query, NAMES) == found
