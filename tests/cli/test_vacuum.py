"""``arrowopaque vacuum``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from arrowopaque import StoreRoot
from tests.cli.conftest import Run
from tests.cli.documented import assert_documented
from tests.cli.places import RECORDS, bare_rows, everything, locked, store_root
from tests.support.butlers import ButlerRepository, manager_of

NewRepository = Callable[..., ButlerRepository]


@pytest.fixture
def littered(place: str) -> str:
    """A root with superseded files."""
    bare_rows(place, 3)
    StoreRoot(place).compact()
    return place


def test_plan(run: Run, littered: str) -> None:
    before = everything(Path(littered))
    told = run("vacuum", littered, "--retention", "0", "--dry-run")
    assert (told.code, told.err) == (0, "")
    assert "no retained manifest names it" in told.out
    assert "superseded" in told.out
    answer = run("vacuum", littered, "--retention", "0s", "--dry-run", "--json").json
    assert_documented("vacuum", answer)
    assert answer["dry_run"]
    assert answer["objects"] == len(answer["garbage"]) > 4
    assert answer["bytes"] == sum(item["bytes"] for item in answer["garbage"])
    assert f"{answer['objects']} objects of" in told.out
    assert everything(Path(littered)) == before


def test_a_long_plan_is_cut_short(run: Run, littered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arrowopaque.cli.vacuum._SHOWN", 2)
    plan = ("vacuum", littered, "--retention", "0", "--dry-run")
    objects = run(*plan, "--json").json["objects"]
    lines = run(*plan).out.splitlines()
    assert len(lines) == 4
    assert lines[2] == f"and {objects - 2} more, which --dry-run --json lists"


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_a_no_deletes_nothing(run: Run, littered: str, answer: str) -> None:
    before = everything(Path(littered))
    told = run("vacuum", littered, "--retention", "0", answer=answer)
    assert told.code == 130
    assert "will be deleted" in told.out
    assert f"of {littered}?" in told.err
    assert everything(Path(littered)) == before


def test_a_yes_deletes_what_was_planned(run: Run, littered: str) -> None:
    planned = run("vacuum", littered, "--retention", "0", "--dry-run", "--json").json["garbage"]
    before = everything(Path(littered))
    told = run("vacuum", littered, "--retention", "0", answer="y\n")
    assert told.code == 0
    assert "deleted" in told.out.splitlines()[-1]
    assert before.keys() - everything(Path(littered)).keys() == {item["path"] for item in planned}
    assert StoreRoot(littered).verify().tables["here"].rows == 63


def test_yes_in_advance(run: Run, littered: str) -> None:
    told = run("vacuum", littered, "--retention", "0", "--yes", "--json")
    assert (told.code, told.err) == (0, "")
    assert_documented("vacuum", told.json)
    assert not told.json["dry_run"]
    assert (told.json["objects"] > 4, told.json["busy"]) == (True, [])
    assert told.json["stubs"] > 0


@pytest.mark.parametrize("retention", [[], ["--retention", "1d"], ["--retention", "1.5h"]])
def test_nothing_to_delete(run: Run, littered: str, retention: list[str]) -> None:
    told = run("vacuum", littered, *retention)
    assert (told.code, told.out, told.err) == (0, "nothing to delete\n", "")


@pytest.mark.parametrize("retention", ["soon", "-1", "7 days", "nan"])
def test_no_duration(run: Run, littered: str, retention: str) -> None:
    told = run("vacuum", littered, f"--retention={retention}")
    assert told.code == 2
    assert repr(retention) in told.err


def test_repository(run: Run, new_repository: NewRepository) -> None:
    repository = new_repository("arrow-postgres-local", lock_timeout=0, retention=0.001)
    place = str(repository.root)
    for run_name in ("one", "two"):
        repository.store(run_name)
        manager_of(repository.butler).flush()
    with locked(repository):
        told = run("vacuum", place, "--yes")
        answer = run("vacuum", place, "--yes", "--json")
    assert told.code == answer.code == 5
    assert f"others used them: {RECORDS}" in told.err
    assert_documented("vacuum", answer.json)
    assert (answer.json["objects"], answer.json["busy"]) == (0, [RECORDS])
    assert run("vacuum", place, "--yes", "--json").json["objects"] == 1
    assert manager_of(repository.butler).verify().tables[RECORDS].rows == 16


def test_root_of_a_registry(run: Run, new_repository: NewRepository) -> None:
    told = run("vacuum", str(store_root(new_repository())), "--dry-run")
    assert (told.code, told.out) == (2, "")
    assert "belongs to a Butler registry" in told.err
