"""Queries of settled tables share one DuckDB, and do each other no harm."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest

from arrowopaque import CorruptStoreError, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from tests.support import specs

COUNT = "SELECT count(*), sum(val) FROM here"
ROWS = 60


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with every database that is made."""
    found: list[str] = []
    connect = duckdb.connect

    def count(*args: Any, **kwargs: Any) -> duckdb.DuckDBPyConnection:
        found.append("one")
        return connect(*args, **kwargs)

    monkeypatch.setattr("arrowopaque.query.duckdb.connect", count)
    return found


@pytest.fixture
def root(tmp_path: Path) -> StoreRoot:
    """A root with one table of one file."""
    root = StoreRoot(str(tmp_path / "root"))
    root.register("here", from_lsst("here", specs.standard()))
    root.table("here").insert(*[specs.row(n, val=n) for n in range(ROWS)])
    return root


def answer(store: Any) -> Any:
    return store.sql(COUNT).fetchall()


def test_one_for_each_state(root: StoreRoot, made: list[str]) -> None:
    for _ in range(3):
        assert answer(root) == [(ROWS, sum(range(ROWS)))]
    assert len(made) == 1
    root.table("here").delete(["id"], {"id": 5})
    for _ in range(2):
        assert answer(root) == [(ROWS - 1, sum(range(ROWS)) - 5)]
    assert len(made) == 2


@pytest.mark.parametrize("client", ["arrow-sqlite-local"], indirect=True)
def test_recent_rows_are_nobody_elses(client: Any, made: list[str]) -> None:
    table = client.table(specs.standard(), name="here")
    table.insert(specs.row(1, val=1))
    assert answer(client.manager) == answer(client.manager) == [(1, 1)]
    assert len(made) == 2
    client.flush()
    assert answer(client.manager) == answer(client.manager) == [(1, 1)]
    assert len(made) == 3


@pytest.mark.parametrize(
    "harm",
    [
        "WITH gone AS (DELETE FROM arrowopaque.delta_0 RETURNING *) SELECT * FROM gone",
        "WITH more AS (INSERT INTO arrowopaque.delta_0 FROM here RETURNING *) SELECT * FROM more",
    ],
)
def test_a_select_that_writes(root: StoreRoot, harm: str) -> None:
    before = answer(root)
    with pytest.raises(duckdb.TransactionException, match="read-only"):
        root.sql(harm)
    assert answer(root) == before


@pytest.mark.parametrize(
    "statement", ["DROP VIEW here", "CREATE OR REPLACE VIEW here AS SELECT 1 AS val", "SET threads = 1"]
)
def test_what_changes_a_database_has_its_own(root: StoreRoot, statement: str) -> None:
    before = answer(root)
    root.sql(f"{statement}; SELECT 1").fetchall()
    assert answer(root) == before


def test_temporary_tables_are_of_one_query(root: StoreRoot) -> None:
    assert root.sql("CREATE TEMP TABLE mine AS SELECT 1 AS n; FROM mine").fetchall() == [(1,)]
    with pytest.raises(duckdb.CatalogException, match="mine"):
        root.sql("SELECT * FROM mine")


def test_nobody_keeps_a_cache_for_ever(root: StoreRoot) -> None:
    assert answer(root)
    cache = weakref.ref(root.volume.cache)
    other = StoreRoot(root.uri)
    assert other.volume.cache is cache()
    del other
    relation = root.sql(COUNT)
    root.__dict__.clear()
    gc.collect()
    assert cache() is None
    assert relation.fetchall() == [(ROWS, sum(range(ROWS)))]


def test_many_threads(root: StoreRoot) -> None:
    wanted = answer(root)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == wanted for found in pool.map(lambda _: answer(root), range(40)))


def test_one_that_met_damage_is_not_used_again(root: StoreRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    relation, read = root.sql(COUNT), os.pread

    def fail(*_: Any) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("arrowopaque.store.proved.os.pread", fail)
    with pytest.raises(duckdb.Error, match="Input/output error"):
        relation.fetchall()
    monkeypatch.setattr("arrowopaque.store.proved.os.pread", read)
    assert answer(root) == [(ROWS, sum(range(ROWS)))]


def test_footers_are_read_once(root: StoreRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = root.seen("here").snapshot().base.files
    reads: list[tuple[int, int]] = []
    read = os.pread

    def noted(descriptor: int, length: int, start: int) -> bytes:
        reads.append((start, length))
        return read(descriptor, length, start)

    monkeypatch.setattr("arrowopaque.store.proved.os.pread", noted)
    footer = file.bytes - file.footer
    assert answer(root)
    assert any(start + length > footer for start, length in reads)
    reads.clear()
    assert answer(root)
    assert reads
    assert not any(start + length > footer for start, length in reads)


def test_damage_is_found_by_the_next_query(root: StoreRoot) -> None:
    assert answer(root)
    (file,) = (Path(root.uri.removeprefix("file://")) / "tables").rglob("*.parquet")
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptStoreError, match=file.name):
        answer(root)


def test_nothing_is_said_when_python_ends(root: StoreRoot) -> None:
    """A root that is alive until then keeps its database."""
    program = (
        "import sys\n"
        "from arrowopaque import StoreRoot\n"
        "root = StoreRoot(sys.argv[1])\n"
        f"print(root.sql({COUNT!r}).fetchall()[0][0])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, root.uri], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{ROWS}\n", "")
