"""``arrowopaque maintain``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arrowopaque import StoreRoot
from tests.cli.conftest import Run
from tests.cli.documented import assert_documented
from tests.cli.places import COMMAND, RECORDS, bare_rows, everything, locked, store_root
from tests.support.butlers import ButlerRepository, manager_of

NewRepository = Callable[..., ButlerRepository]


def _steps(answer: Any) -> list[tuple[str, str | None, str]]:
    assert_documented("maintain", answer)
    return [(step["action"], step["table"], step["outcome"]) for step in answer["steps"]]


def test_nothing_is_due(run: Run, place: str) -> None:
    told = run("maintain", place)
    assert (told.code, told.out, told.err) == (0, "no maintenance is due\n", "")
    assert _steps(run("maintain", place, "--json").json) == []


def test_root(run: Run, place: str) -> None:
    bare_rows(place, 3)
    before = everything(Path(place))
    planned = run("maintain", place, "--dry-run")
    assert (planned.code, planned.err) == (0, "")
    assert planned.out == "compact here: due (4 files of 1 partitions are worth merging)\n"
    answer = run("maintain", place, "--dry-run", "--json").json
    assert _steps(answer) == [("compact", "here", "planned")]
    assert answer["steps"][0]["result"] is None
    assert everything(Path(place)) == before
    done = run("maintain", place, "--json").json
    assert _steps(done) == [("compact", "here", "done")]
    assert done["steps"][0]["result"] == {"partitions": 1, "files_before": 4, "files_after": 1}
    assert StoreRoot(place).verify().tables["here"].files == 1


@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-postgres-local"])
def test_repository(run: Run, new_repository: NewRepository, kind: str) -> None:
    repository = new_repository(kind, bulk_rows=6, retention=0.001, flush_at_open=1)
    place = str(repository.root)
    repository.store("one")
    told = run("maintain", place)
    assert (told.code, told.err) == (0, "")
    assert told.out == f"flush {RECORDS}: 8 rows and 0 deletions moved to data files\n"
    repository.store("two")
    assert _steps(run("maintain", place, "--json").json) == [
        ("flush", RECORDS, "done"),
        ("compact", RECORDS, "done"),
        ("vacuum", None, "done"),
    ]
    report = manager_of(repository.butler).verify().tables[RECORDS]
    assert (report.rows, report.files, report.delta) == (16, 1, 0)
    assert run("maintain", place).out == "no maintenance is due\n"


def test_what_is_in_use_is_left_to_the_next_run(run: Run, new_repository: NewRepository) -> None:
    repository = new_repository("arrow-postgres-local", bulk_rows=6, lock_timeout=0, retention=0.001)
    place = str(repository.root)
    for run_name in ("one", "two"):
        repository.store(run_name, detectors=range(4))
        manager_of(repository.butler).flush()
    repository.store("one", detectors=range(4, 8))
    repository.store("two", detectors=range(4, 8))
    with locked(repository):
        told = run("maintain", place)
        answer = run("maintain", place, "--json")
    assert told.code == answer.code == 0
    assert f"flush {RECORDS}: busy (table {RECORDS!r} was in use" in told.out
    assert _steps(answer.json) == [
        ("flush", RECORDS, "busy"),
        ("compact", RECORDS, "busy"),
        ("vacuum", None, "busy"),
    ]
    assert "was in use" in answer.json["steps"][0]["problem"]
    assert {outcome for *_, outcome in _steps(run("maintain", place, "--json").json)} == {"done"}


@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-postgres-local"])
def test_several_at_once(new_repository: NewRepository, kind: str) -> None:
    repository = new_repository(kind, bulk_rows=3, retention=0.001)
    for detector in range(4):
        repository.store("one", detectors=[detector])
        manager_of(repository.butler).flush()
    repository.store("two")
    command = [*COMMAND, "maintain", str(repository.root), "--json"]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    ended = [(*process.communicate(), process.returncode) for process in started]
    assert [(err, code) for _, err, code in ended] == [("", 0)] * 2
    done = [step for out, *_ in ended for step in _steps(json.loads(out))]
    assert ("flush", RECORDS, "done") in done
    report = manager_of(repository.butler).verify().tables[RECORDS]
    assert (report.rows, report.delta) == (12, 0)


def test_root_of_a_registry(run: Run, new_repository: NewRepository) -> None:
    told = run("maintain", str(store_root(new_repository())))
    assert (told.code, told.out) == (2, "")
    assert "belongs to a Butler registry" in told.err
    assert told.err.count("\n") == 1
