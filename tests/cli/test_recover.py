"""``arrowopaque recover``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from arrowopaque import StoreRoot
from tests.cli.conftest import Run
from tests.cli.documented import assert_documented
from tests.cli.places import RECORDS, bare_rows, everything, newest_manifest, store_root
from tests.support.butlers import ButlerRepository, manager_of

NewRepository = Callable[..., ButlerRepository]


@pytest.fixture
def damaged(place: str) -> tuple[str, Path]:
    """A root without its newest manifest of a table."""
    bare_rows(place, 2)
    lost = newest_manifest(Path(place), "here")
    lost.unlink()
    return place, lost


def test_plan(run: Run, damaged: tuple[str, Path]) -> None:
    place, lost = damaged
    before = everything(Path(place))
    told = run("recover", place, "--dry-run")
    assert (told.code, told.err) == (0, "")
    assert lost.name in told.out
    assert "would be given up" in told.out
    answer = run("recover", place, "--dry-run", "--json").json
    assert_documented("recover", answer)
    assert (answer["needed"], answer["dry_run"]) == (True, True)
    (found,) = answer["recoveries"]
    (dropped,) = found["dropped"]
    assert found["table"] is None
    assert dropped["rows"] == {"here": None}
    assert lost.name in dropped["problem"]
    assert everything(Path(place)) == before


def test_a_no_changes_nothing(run: Run, damaged: tuple[str, Path]) -> None:
    place, _ = damaged
    before = everything(Path(place))
    told = run("recover", place, answer="n\n")
    assert told.code == 130
    assert "will be given up" in told.out
    assert "and give up 1 commits?" in told.err
    assert everything(Path(place)) == before


@pytest.mark.parametrize("answer", ["y\n", None])
def test_a_yes_recovers(run: Run, damaged: tuple[str, Path], answer: str | None) -> None:
    place, _ = damaged
    told = run("recover", place, "--yes") if answer is None else run("recover", place, answer=answer)
    assert told.code == 0
    assert "were given up" in told.out
    assert StoreRoot(place).verify().tables["here"].rows == 61


def test_a_sound_root(run: Run, place: str) -> None:
    told = run("recover", place)
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("root: sound at manifests/")
    answer = run("recover", place, "--json").json
    assert_documented("recover", answer)
    assert not answer["needed"]


def test_nothing_sound_is_left(run: Run, place: str) -> None:
    for path in Path(place).rglob("*.json"):
        if path.name != "arrowopaque.json":
            path.write_bytes(path.read_bytes()[:40])
    told = run("recover", place, "--yes")
    assert (told.code, told.out) == (3, "")
    assert "no sound manifest is left" in told.err
    assert told.err.count("\n") == 1


def test_repository(run: Run, new_repository: NewRepository) -> None:
    # Every client that opens it would flush.
    repository = new_repository(flush_at_open=1)
    place = str(repository.root)
    assert run("recover", place).out == "nothing to recover: no table has data files\n"
    repository.store("one")
    manager_of(repository.butler).flush()
    repository.store("two", detectors=range(4))
    manager_of(repository.butler).flush()
    repository.store("two", detectors=range(4, 8))
    repository.close()
    newest_manifest(store_root(repository), RECORDS).unlink()
    planned = run("recover", place, "--dry-run", "--json").json
    assert_documented("recover", planned)
    assert [(item["table"], len(item["dropped"])) for item in planned["recoveries"]] == [(RECORDS, 1)]
    done = run("recover", place, "--yes")
    assert (done.code, done.err) == (0, "")
    assert f"{RECORDS}: the newest sound manifest is tables/" in done.out
    assert manager_of(repository.open(writeable=False)).verify().tables[RECORDS].rows == 12


def test_a_registrys_root(run: Run, new_repository: NewRepository) -> None:
    told = run("recover", str(store_root(new_repository())), "--dry-run")
    assert (told.code, told.out) == (2, "")
    assert "registry" in told.err
    assert told.err.count("\n") == 1
