"""Names of tables and columns, whatever is in them, work in every way or are refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from lsst.daf.butler import ddl

from arrowopaque import ConfigurationError, CorruptStoreError, StoreRoot
from arrowopaque.butler.ddl import STAMP
from arrowopaque.format.spec import Column, ColumnKind, TableSpec
from tests.hostile.forge import Hostile
from tests.support import specs
from tests.support.postgres import PostgresServer
from tests.support.specs import row, rows
from tests.support.subjects import KINDS, Site, open_repository

BINDINGS = ("arrow-sqlite-local", "arrow-postgres-local", "arrow-root-local")
EVERYWHERE = pytest.mark.parametrize("client", BINDINGS, indirect=True)
REGISTRIES = pytest.mark.parametrize("client", BINDINGS[:2], indirect=True)
OPTIONS = {"bulk_rows": 5, "flush_at_open": 0}

COMPOSED, DECOMPOSED = "\u00e9t\u00e9", "e\u0301te\u0301"
ODD = (
    "a\"b'c`d[e]$f;--",
    "line\nfeed\ttab\r",
    "\x01\x07\x1f",
    "\x7f",
    COMPOSED,
    DECOMPOSED,
    "\U0001f52d",
    "\u202etxt",
    "\\",
    "table",
    "GROUP",
    "order by",
    "user",
    "null",
    "%(a)s %s %% ? :b {c}",
    "..",
    ".a",
    "/",
    "[0]",
    "~",
    " ",
    "trailing ",
    "information_schema",
    "pg_class",
    "stra\u00dfe",
    "strasse",
    "l" * 62 + "a",
    "l" * 62 + "b",
    "\u00e9" * 31 + "a",
    "\u00e9" * 31 + "b",
)
"""No two of them are one where case is folded, in SQLite and in DuckDB."""
PLACES = ("rowid", "manifest", "position", STAMP)
"""What columns of ours are called, here and there."""


@pytest.fixture(scope="module")
def postgres_url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database().url("postgresql+psycopg2")


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    kind = KINDS[request.param]
    url = request.getfixturevalue("postgres_url") if kind.dialect == "postgresql" else None
    with open_repository(kind.name, Site(tmp_path, postgres=url), option_values=dict(OPTIONS)) as found:
        yield found


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@EVERYWHERE
def test_names_of_tables(client: Any) -> None:
    """Every table has rows of its own, so that none is taken for another."""
    manager = client.manager
    for number, name in enumerate(ODD):
        table = manager.register(name, specs.standard())
        table.insert(*[row(i, "a", number) for i in (1, 2)])
        table.insert(*[row(i, "a", number) for i in range(3, 12)])
    client.flush()
    for number, name in enumerate(ODD):
        table = manager[name]
        table.delete(["id"], {"id": number % 5 + 1})
        table.replace(row(6, "r", number))
        table.ensure(row(7, "not again", number), row(20, "a", number))
    client.flush()
    manager.compact()
    for number, name in enumerate(ODD):
        manager[name].delete(["id"], {"id": number % 2 + 8})
    assert sorted(manager.names()) == sorted(ODD)
    manager.vacuum()
    manager.verify()
    reader = client.second()
    for number, name in enumerate(ODD):
        ids = {*range(1, 12), 20} - {number % 5 + 1, number % 2 + 8}
        wanted = {i: ("r" if i == 6 else "a", number) for i in ids}
        found = reader.manager.register(name, specs.standard()).fetch()
        assert {item["id"]: (item["name"], item["val"]) for item in found} == wanted
        answer = manager.sql(f"SELECT * FROM {quoted(name)}").fetchall()
        assert {item[0]: item[1:] for item in answer} == wanted
    volume = client.root.volume if client.dialect is None else manager._binding.volume
    reopened = StoreRoot(volume.store.uri, writeable=False)
    every = " UNION ALL ".join(f"SELECT val FROM {quoted(name)}" for name in ODD)
    found = dict(reopened.sql(f"SELECT val, count(*) FROM ({every}) GROUP BY val").fetchall())
    assert sorted(found) == [*range(len(ODD))]
    assert min(found.values()) >= 10


def _with_columns(names: tuple[str, ...]) -> ddl.TableSpec:
    """Return a table of numbers whose keys and indexes are of the odd ones."""
    fields = [
        ddl.FieldSpec(name, dtype=sqlalchemy.BigInteger, primaryKey=name in ("..", "table")) for name in names
    ]
    return ddl.TableSpec(
        fields, unique={(".a",), ("order by", "line\nfeed\ttab\r")}, indexes={ddl.IndexSpec(DECOMPOSED)}
    )


@EVERYWHERE
def test_names_of_columns(client: Any) -> None:
    names = (*ODD, *PLACES)
    manager, spec = client.manager, _with_columns(names)
    table = manager.register("t", spec)

    def numbered(number: int) -> dict[str, int]:
        return {name: 100 * number + place for place, name in enumerate(names)}

    wanted = {number: numbered(number) for number in range(12)}
    table.insert(*[wanted[i] for i in range(2)])
    table.insert(*[wanted[i] for i in range(2, 12)])
    client.flush()
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        table.insert(numbered(50) | {".a": wanted[3][".a"]})
    table.delete(["..", "table"], *[{name: wanted[1][name] for name in ("..", "table")}])
    table.delete([DECOMPOSED], {DECOMPOSED: wanted.pop(2)[DECOMPOSED]})
    wanted[3] |= {COMPOSED: 7}
    table.replace(wanted[3])
    del wanted[1]
    for _ in range(2):
        by_name = {item["\\"] // 100: dict(item) for item in table.fetch()}
        assert by_name == wanted
        for name in names:
            assert [dict(item) for item in table.fetch(**{name: wanted[5][name]})] == [wanted[5]]
        found = manager.sql(f"SELECT {', '.join(map(quoted, reversed(names)))} FROM t").fetchall()
        assert sorted(found) == sorted(
            tuple(item[name] for name in reversed(names)) for item in wanted.values()
        )
        client.flush()
        manager.compact()
        manager.verify()
    assert len(list(client.second().manager.register("t", spec).fetch())) == len(wanted)


# What one of them would not take, or would take for something else.
_ALL, _DATABASES, _SQLITE, _POSTGRES = BINDINGS, BINDINGS[:2], BINDINGS[:1], BINDINGS[1:2]
_TABLES = [
    ("", _ALL),
    ("a\ud800", _ALL),
    ("z" * 241, _ALL),
    ("\u00e9" * 41, _ALL),
    ("a\0b", _DATABASES),
    ("arrowopaque_store", _DATABASES),
    ("arrowopaque_t_x", _DATABASES),
    ("ArrowOpaque_x", _DATABASES),
    ("sqlite_master", _SQLITE),
    ("SQLite_x", _SQLITE),
    # The longer ones are refused by the host's error. This one has 63 characters or fewer, but not bytes.
    ("\u00e9" * 32, _POSTGRES),
]
_COLUMNS = [
    ("", _ALL),
    ("a\ud800", _ALL),
    ("a\0b", _DATABASES),
    ("ID", _SQLITE),
    ('quo"ted', _SQLITE),
    ("z" * 64, _POSTGRES),
    ("\u00e9" * 32, _POSTGRES),
]


def _cases(names: list[tuple[str, tuple[str, ...]]]) -> pytest.MarkDecorator:
    cases = [
        pytest.param(kind, name, id=f"{kind}-{name!a:.20}-{len(name)}")
        for name, kinds in names
        for kind in kinds
    ]
    return pytest.mark.parametrize(("client", "name"), cases, indirect=["client"])


def _refused(client: Any, table: str, spec: ddl.TableSpec, name: str) -> None:
    client.table(specs.standard(), *rows([1, 2]), name="x")
    with pytest.raises(ConfigurationError, match=re.escape(repr(name)[1:30])):
        client.manager.register(table, spec)
    assert client.manager.get(table) is None
    assert client.manager.names() == ["x"]
    assert len(list(client.second().manager.register("x", specs.standard()).fetch())) == 2
    client.manager.verify()


@_cases(_TABLES)
def test_refused_names_of_tables(client: Any, name: str) -> None:
    _refused(client, name, specs.standard(), name)


@_cases(_COLUMNS)
def test_refused_names_of_columns(client: Any, name: str) -> None:
    spec = specs.keys_only()
    spec.fields.update([ddl.FieldSpec("id", dtype=sqlalchemy.BigInteger)])
    spec.fields.update([ddl.FieldSpec(name, dtype=sqlalchemy.String, length=9)])
    _refused(client, "t", spec, name)


@REGISTRIES
def test_the_stamp_of_a_tombstone_is_no_key(client: Any) -> None:
    spec = ddl.TableSpec([ddl.FieldSpec(STAMP, dtype=sqlalchemy.BigInteger, primaryKey=True)])
    _refused(client, "t", spec, STAMP)


@pytest.mark.parametrize("client", ["arrow-postgres-local"], indirect=True)
def test_names_of_which_none_can_be_derived(client: Any) -> None:
    """Each alone would do, but the host names a constraint after both."""
    column = "\u00e9" * 31
    spec = specs.keys_only()
    spec.fields.update([ddl.FieldSpec(column, dtype=sqlalchemy.BigInteger)])
    spec.unique.add((column,))
    _refused(client, "\u00fc" * 31, spec, "\u00fc" * 20)


@pytest.mark.parametrize("client", ["arrow-sqlite-local"], indirect=True)
def test_tables_that_differ_in_case_alone(client: Any) -> None:
    """SQLite takes both names for one; the error is its own."""
    client.table(specs.standard(), *rows([1, 2]), name="Tab")
    with pytest.raises(sqlalchemy.exc.OperationalError, match="tab already exists"):
        client.manager.register("tab", specs.standard())
    assert len(list(client.manager["Tab"].fetch())) == 2
    client.manager.verify()


@pytest.mark.parametrize("name", ["", "a\ud800"])
def test_names_in_a_foreign_store(tmp_path: Path, name: str) -> None:
    hostile = Hostile(tmp_path)
    hostile.change(hostile.head, lambda body: body["tables"]["t"]["spec"]["columns"][2].update(name=name))
    with pytest.raises(CorruptStoreError, match=re.escape(hostile.head)):
        StoreRoot(str(tmp_path), writeable=False)
    with pytest.raises(ValueError, match="empty or no text"):
        TableSpec(columns=(Column(name=name, kind=ColumnKind.BIGINT),), primary_key=(name,))


@pytest.mark.parametrize("name", ["", "a\ud800", "z" * 1000, "../x", "u"])
def test_names_of_tables_in_a_foreign_store(tmp_path: Path, name: str) -> None:
    """None is what it should be, or the manifest is another table's."""
    hostile = Hostile(tmp_path)
    hostile.change(hostile.head, lambda body: body["tables"].update({name: body["tables"]["t"]}))
    with pytest.raises(
        CorruptStoreError, match=f"{re.escape(hostile.head)}.*(no manifest of its own|table name)"
    ):
        StoreRoot(str(tmp_path), writeable=False)
