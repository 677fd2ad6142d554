"""Views besides those of the tables."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pytest

from arrowopaque import ConfigurationError, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.query import Views, run
from arrowopaque.store.table import Snapshot
from tests.support import specs

ID = uuid.UUID(int=7)
ROWS = pa.table({"id": pa.array([ID.bytes], pa.binary(16)).cast(pa.uuid()), 'a"b': [5]})
VIEWS = Views({"rows of theirs": ROWS}, {"Theirs": 'SELECT id, "a""b" AS n FROM given."rows of theirs"'})


def snapshot(root: StoreRoot) -> dict[str, Snapshot]:
    return {"ours": root.seen("ours").snapshot()}


@pytest.fixture
def root(tmp_path: Path) -> StoreRoot:
    made = StoreRoot(str(tmp_path / "root"))
    made.register("ours", from_lsst("ours", specs.standard()))
    made.table("ours").insert(specs.row(5, "x"))
    return made


def test_view_alone() -> None:
    assert run({}, "SELECT * FROM theirs", VIEWS).fetchall() == [(ID, 5)]


def test_view_beside_a_table(root: StoreRoot) -> None:
    query = "SELECT name FROM ours JOIN theirs ON ours.id = theirs.n"
    assert run(snapshot(root), query, VIEWS).fetchall() == [("x",)]


def test_database_that_is_shared_has_no_views(root: StoreRoot) -> None:
    listed = "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
    assert run(snapshot(root), listed).fetchall() == [("ours",)]
    assert run(snapshot(root), listed, VIEWS).fetchall() == [("Theirs",), ("ours",)]
    assert run(snapshot(root), listed).fetchall() == [("ours",)]


@pytest.mark.parametrize("name", ["ours", "OURS"])
def test_view_with_the_name_of_a_table(root: StoreRoot, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'ours' and '{name}' apart"):
        run(snapshot(root), "SELECT 1", Views({}, {name: "SELECT 1 AS one"}))
