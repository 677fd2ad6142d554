"""``arrowopaque history``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from arrowopaque import StoreRoot
from tests.cli.conftest import Run
from tests.cli.documented import assert_documented
from tests.support.butlers import RECORDS, ButlerRepository, manager_of

KINDS = pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-postgres-local"])


def test_text(run: Run, place: str) -> None:
    StoreRoot(place).table("here").delete(["id"], {"id": 5})
    told = run("history", place)
    assert told.code == 0
    first, second = (line.split() for line in told.out.splitlines() if " here " in line)
    assert [first[1], second[1]] == ["5", "4"]
    assert ["+0", "-1"] == first[first.index("here") + 2 :][:2]
    assert ["+60", "-0"] == second[second.index("here") + 2 :][:2]
    assert told.err == ""


def test_json(run: Run, place: str) -> None:
    root = StoreRoot(place)
    root.table("here").delete(["id"], {"id": 5})
    root.compact(full=True)
    found = run("history", place, "--json").json
    assert_documented("history", found)
    assert found["older"] == "none"
    assert [version["version"] for version in found["versions"]] == [6, 5, 4, 3, 2, 1]
    newest = found["versions"][0]
    assert newest.keys() == {"version", "created", "commit", "writer", "changes"}
    assert newest["commit"] == root.head.commit
    assert newest["created"] == root.head.created.isoformat()
    (change,) = newest["changes"]
    assert change.pop("bytes") > 0
    assert change == {
        "table": "here",
        "rows": 59,
        "files": 1,
        "rows_added": 0,
        "rows_removed": 0,
        "rows_rewritten": 59,
        "files_added": 1,
        "files_removed": 1,
    }


def test_rewritten_rows_are_told_as_such(run: Run, place: str) -> None:
    root = StoreRoot(place)
    root.table("here").delete(["id"], {"id": 5})
    root.compact(full=True)
    assert "59 rewritten" in run("history", place, "here").out


def test_limit(run: Run, place: str) -> None:
    told = run("history", place, "--limit", "2", "--json")
    assert [version["version"] for version in told.json["versions"]] == [4, 3]
    assert told.json["older"] == "not shown"
    assert "--limit 4" in told.err
    told = run("history", place, "--limit", "4", "--json")
    assert (told.json["older"], told.err) == ("none", "")
    assert run("history", place, "--limit", "0").code == 2


def test_of_one_table(run: Run, place: str) -> None:
    assert [version["version"] for version in run("history", place, "here", "--json").json["versions"]] == [4]
    assert run("history", place, "empty", "--json").json == {"versions": [], "older": "none"}
    told = run("history", place, "nowhere")
    assert told.code == 2
    assert "nowhere" in told.err
    assert told.err.count("\n") == 1


def test_up_to_a_version(run: Run, place: str) -> None:
    found = run("history", place, "--at", "2", "--json").json
    assert [version["version"] for version in found["versions"]] == [2, 1]
    told = run("history", place, "--at", "12")
    assert told.code == 2
    assert "no version 12: they are 1 to 4" in told.err


def test_what_vacuum_has_taken(run: Run, place: str) -> None:
    root = StoreRoot(place)
    root.table("here").delete(["id"], {"id": 5})
    root.vacuum(0)
    told = run("history", place, "--json")
    assert told.json["older"] == "deleted"
    assert [version["version"] for version in told.json["versions"]] == [6, 5]
    (change,) = told.json["versions"][-1]["changes"]
    assert (change["rows"], change["rows_added"], change["files_removed"]) == (59, None, None)
    assert "not there any more" in told.err
    (line,) = (line for line in run("history", place, "here").out.splitlines() if " here " in line)
    assert "?" in line


@KINDS
def test_repository(run: Run, new_repository: Callable[..., ButlerRepository], kind: str) -> None:
    repository = new_repository(kind)
    refs = repository.store("one")
    manager_of(repository.butler).flush()
    repository.butler.pruneDatasets(refs[:3], disassociate=True, unstore=True, purge=True)
    manager_of(repository.butler).flush()
    repository.store("two")
    told = run("history", str(repository.root), RECORDS)
    assert told.code == 0
    assert "+8 -0" in told.out
    assert "+0 -3" in told.out
    found = run("history", str(repository.root), "--json").json
    assert [
        (version["version"], version["writer"], change["table"], change["rows"])
        for version in found["versions"]
        for change in version["changes"]
    ] == [(2, None, RECORDS, 5), (1, None, RECORDS, 8)]
    found = run("history", str(repository.root), RECORDS, "--at", "1", "--json").json
    assert [version["version"] for version in found["versions"]] == [1]
