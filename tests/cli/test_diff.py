"""``arrowopaque diff``."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from arrowopaque import StoreRoot
from tests.cli.conftest import Run
from tests.cli.documented import assert_documented
from tests.support import specs
from tests.support.butlers import RECORDS, ButlerRepository, manager_of


@pytest.fixture
def changed(place: str) -> str:
    """A root that has 60 rows at version 4, and at 7 others."""
    table = StoreRoot(place).table("here")
    table.delete(["id"], {"id": 5})
    table.replace(specs.row(7, "b", 70))
    table.insert(specs.row(100, "new"))
    return place


def test_text(run: Run, changed: str) -> None:
    told = run("diff", changed, "4", "7")
    assert told.code == 1
    (line,) = (line for line in told.out.splitlines() if "here" in line)
    assert line.split()[1::2] == ["here", "1", "1", "1"]
    assert "new" not in told.out
    assert told.err == ""


def test_rows_as_text(run: Run, changed: str) -> None:
    out = run("diff", changed, "4", "7", "--rows", "10").out
    for words in (("removed", "5"), ("before", "7", "a"), ("after", "7", "b", "70"), ("added", "100", "new")):
        assert any(set(words) <= set(line.split()) for line in out.splitlines()), words


@pytest.mark.parametrize("how", [["--json"], ["--format", "json"], ["--json", "--format", "json"]])
def test_json(run: Run, changed: str, how: list[str]) -> None:
    told = run("diff", changed, "4", "7", *how)
    assert told.code == 1
    counts = {"added": 1, "removed": 1, "changed": 1, "rows": []}
    assert_documented("diff", told.json)
    assert told.json == {"tables": {"empty": {**dict.fromkeys(counts, 0), "rows": []}, "here": counts}}


def test_rows_as_json(run: Run, changed: str) -> None:
    found = run("diff", changed, "4", "7", "--rows", "10", "--json").json["tables"]["here"]["rows"]
    assert found == [
        {"change": "removed", "row": {"id": 5, "name": "a", "val": 5}},
        {"change": "before", "row": {"id": 7, "name": "a", "val": 7}},
        {"change": "after", "row": {"id": 7, "name": "b", "val": 70}},
        {"change": "added", "row": {"id": 100, "name": "new", "val": None}},
    ]
    found = run("diff", changed, "4", "7", "--rows", "2", "--json").json["tables"]["here"]["rows"]
    assert [row["change"] for row in found] == ["removed", "before"]


def test_csv(run: Run, changed: str) -> None:
    told = run("diff", changed, "7", "4", "--format", "csv")
    assert told.code == 1
    assert list(csv.reader(io.StringIO(told.out))) == [
        ["change", "id", "name", "val"],
        ["added", "5", "a", "5"],
        ["before", "7", "b", "70"],
        ["after", "7", "a", "7"],
        ["removed", "100", "new", ""],
    ]
    assert len(run("diff", changed, "7", "4", "--format", "csv", "--rows", "1").out.splitlines()) == 2


def test_csv_of_two_tables(run: Run, changed: str) -> None:
    StoreRoot(changed).table("empty").insert(specs.row(1))
    told = run("diff", changed, "4", "8", "--format", "csv")
    assert told.code == 2
    assert "--table, one of empty, here" in told.err
    told = run("diff", changed, "4", "8", "--format", "csv", "--table", "empty")
    assert told.out.splitlines() == ['"change","id","name","val"', '"added",1,"a",']


def test_no_difference(run: Run, changed: str) -> None:
    StoreRoot(changed).compact(full=True)
    told = run("diff", changed, "7", "8")
    assert told.code == 0
    told = run("diff", changed, "7", "8", "--json", "--rows", "5")
    assert told.code == 0
    assert told.json["tables"]["here"] == {"added": 0, "removed": 0, "changed": 0, "rows": []}
    told = run("diff", changed, "7", "8", "--format", "csv")
    assert (told.code, told.out) == (0, "")


def test_times(run: Run, changed: str) -> None:
    root = StoreRoot(changed)
    times = [version.created.isoformat() for version in root.history()]
    told = run("diff", changed, times[3], times[0], "--json")
    assert told.json["tables"]["here"]["added"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["4", "17"], "no version 17: they are 1 to 7"),
        (["4", "soon"], "'soon' is neither a version"),
        (["4", "7", "--table", "nowhere"], "nowhere"),
    ],
)
def test_bad_arguments(run: Run, changed: str, arguments: list[str], words: str) -> None:
    told = run("diff", changed, *arguments)
    assert told.code == 2
    assert words in told.err
    assert told.err.count("\n") == 1


def test_formats_that_do_not_agree(run: Run, changed: str) -> None:
    told = run("diff", changed, "4", "7", "--json", "--format", "csv")
    assert told.code == 2
    assert "two formats" in told.err


def test_what_vacuum_has_taken(run: Run, changed: str) -> None:
    StoreRoot(changed).vacuum(0)
    told = run("diff", changed, "4", "7")
    assert told.code == 2
    assert "version 4 of" in told.err
    assert "the oldest that is still there is 7" in told.err


@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-postgres-local"])
def test_repository(run: Run, new_repository: Callable[..., ButlerRepository], kind: str) -> None:
    repository = new_repository(kind)
    refs = repository.store("one")
    manager_of(repository.butler).flush()
    repository.butler.pruneDatasets(refs[:3], disassociate=True, unstore=True, purge=True)
    repository.store("two")
    manager_of(repository.butler).flush()
    told = run("diff", str(repository.root), "1", "2", "--table", RECORDS, "--rows", "20", "--json")
    assert told.code == 1
    assert "have no versions" in told.err
    found = told.json["tables"]
    assert list(found) == [RECORDS]
    assert (found[RECORDS]["added"], found[RECORDS]["removed"], found[RECORDS]["changed"]) == (8, 3, 0)
    gone = {row["row"]["dataset_id"] for row in found[RECORDS]["rows"] if row["change"] == "removed"}
    assert gone == {str(ref.id) for ref in refs[:3]}
    # It is the only table that has data files.
    assert run("diff", str(repository.root), "1", "2", "--json").json["tables"] == {
        RECORDS: {**found[RECORDS], "rows": []}
    }
