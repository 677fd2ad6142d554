"""``--at``: commands that read, asked for an earlier version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arrowopaque import StoreRoot
from tests.cli.conftest import Run
from tests.cli.documented import assert_documented
from tests.cli.places import bare_rows
from tests.support import specs
from tests.support.butlers import RECORDS, ButlerRepository, manager_of

KINDS = pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-postgres-local"])
COMMANDS = pytest.mark.parametrize("command", ["status", "verify", "report", "history", "query"])
NewRepository = Callable[..., ButlerRepository]


def asked(run: Run, command: str, *arguments: str) -> Any:
    """Run a command that needs SQL, or not."""
    return run(command, *arguments, *(["SELECT 1"] if command == "query" else []))


def test_status_of_a_root(run: Run, place: str) -> None:
    bare_rows(place, 3)
    assert "due: arrowopaque compact" in run("status", place).out
    told = run("status", place, "--at", "4")
    assert (told.code, told.err) == (0, "")
    assert "here\n  rows       60\n" in told.out
    assert "in 1 files" in told.out
    assert "due" not in told.out
    found = run("status", place, "--at", "7", "--json").json
    assert_documented("status", found)
    assert (found["at"], found["tables"]["here"]["rows"], found["due"]) == ("7", 63, [])
    when = StoreRoot(place).at(4).head.created.isoformat()
    assert run("status", place, "--at", when, "--json").json["tables"]["here"]["rows"] == 60
    assert run("status", place, "--json").json["at"] is None


def test_verify_of_a_root(run: Run, place: str) -> None:
    (whole,) = (path for path in Path(place).rglob("*.parquet") if "index" not in path.name)
    bare_rows(place, 1)
    (newest,) = {path for path in Path(place).rglob("*.parquet") if "index" not in path.name} - {whole}
    newest.unlink()
    told = run("verify", place)
    assert (told.code, newest.name in told.out) == (1, True)
    told = run("verify", place, "--at", "4")
    assert (told.code, told.err) == (0, "")
    found = run("verify", place, "--at", "4", "--json").json
    assert (found["tables"]["here"]["rows"], found["findings"]) == (60, [])
    data = bytearray(whole.read_bytes())
    data[100] ^= 1
    whole.write_bytes(data)
    told = run("verify", place, "--at", "4", "--json")
    assert told.code == 1
    assert whole.name in told.json["findings"][0]["object"]


def test_report_of_a_root(run: Run, place: str, tmp_path: Path) -> None:
    StoreRoot(place).table("here").delete(["id"], *[{"id": n} for n in range(30)])
    bare_rows(place, 3)
    told = run("report", place, "--json")
    assert_documented("report", told.json)
    assert {"deleted", "compaction"} <= {advice["code"] for advice in told.json["advice"]}
    told = run("report", place, "--at", "5", "--json")
    assert told.err == ""
    found = told.json
    assert_documented("report", found)
    here = next(table for table in found["tables"] if table["name"] == "here")
    assert (found["at"], found["kind"], here["rows"], here["files"]["deleted"]) == ("5", "root", 30, 30)
    assert [point["version"] for point in here["growth"]] == [4, 5]
    assert found["advice"] == []
    page = tmp_path / "page.html"
    assert run("report", place, "--at", "5", "-o", str(page)).code == 0
    assert f"<title>{place} at 5" in page.read_text()


@KINDS
def test_of_a_repository(run: Run, new_repository: NewRepository, kind: str) -> None:
    repository = new_repository(kind)
    repository.store("one", detectors=range(4))
    manager_of(repository.butler).flush()
    repository.store("two", detectors=range(4))
    manager_of(repository.butler).flush()
    repository.store("one", detectors=range(4, 8))
    place = str(repository.root)
    for command in ("status", "verify", "report"):
        now = run(command, place, "--json")
        assert now.code == 0
        told = run(command, place, "--at", "1", "--json")
        assert told.code == 0
        assert "as of 1, in data files" in told.err
        assert "have no versions" in told.err
        assert_documented(command, told.json)
        tables = told.json["tables"]
        records = tables[0] if isinstance(tables, list) else tables[RECORDS]
        assert records["rows"] == 4
    figures = run("report", place, "--at", "1", "--json").json
    assert (figures["kind"], figures["has_datasets"]) == ("published", False)
    assert figures["contents"]["records"] == 4
    assert figures["tables"][0]["delta"] is None


@COMMANDS
def test_no_such_version(run: Run, place: str, command: str) -> None:
    for at, problem in (
        ("12", "no version 12: they are 1 to 4"),
        ("0", "no version 0"),
        ("yesterday", "'yesterday' is neither a version"),
        ("2000-01-01", "has no version at 2000-01-01"),
    ):
        told = asked(run, command, place, "--at", at)
        assert (told.code, told.out) == (2, "")
        assert problem in told.err
        assert told.err.count("\n") == 1


@COMMANDS
def test_a_version_that_is_gone(run: Run, place: str, command: str) -> None:
    StoreRoot(place).table("here").delete(["id"], {"id": 5})
    StoreRoot(place).vacuum(0)
    told = asked(run, command, place, "--at", "4")
    assert (told.code, told.out) == (2, "")
    assert "not there any more: a vacuum has taken it" in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("command", ["status", "verify", "report"])
def test_a_version_of_several_tables(run: Run, new_repository: NewRepository, command: str) -> None:
    repository = new_repository()
    repository.store("one")
    manager = manager_of(repository.butler)
    manager.register("other", specs.standard()).insert(specs.row(1))
    manager.flush()
    place = str(repository.root)
    told = run(command, place, "--at", "1")
    assert told.code == 2
    assert "or give a time, which means all of them" in told.err
    found = run(command, place, "--at", "2100-01-01", "--json").json["tables"]
    told_of = {table["name"] for table in found} if isinstance(found, list) else set(found)
    assert told_of >= {RECORDS, "other"}
