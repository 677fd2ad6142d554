"""``arrowopaque flush`` and ``arrowopaque compact``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from arrowopaque import ConflictError, StoreRoot
from tests.cli.conftest import Run
from tests.cli.documented import assert_documented
from tests.cli.places import RECORDS, bare_rows, everything, locked, store_root
from tests.support import specs
from tests.support.butlers import ButlerRepository, manager_of

NewRepository = Callable[..., ButlerRepository]


@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-postgres-local"])
def test_flush(run: Run, new_repository: NewRepository, kind: str) -> None:
    repository = new_repository(kind, flush_at_open=1)
    refs, place = repository.store(), str(repository.root)
    before = everything(store_root(repository))
    planned = run("flush", place, "--dry-run")
    assert (planned.code, planned.err) == (0, "")
    assert planned.out == f"{RECORDS}: 8 rows and 0 deletions would be moved to data files\n"
    answer = run("flush", place, "--dry-run", "--json").json
    assert_documented("flush", answer)
    assert answer["tables"] == {RECORDS: {"rows": 8, "tombstones": 0, "commits": None}}
    assert everything(store_root(repository)) == before
    told = run("flush", place)
    assert (told.code, told.err) == (0, "")
    assert told.out == f"{RECORDS}: 8 rows and 0 deletions moved to data files\n"
    repository.butler.pruneDatasets(refs[:2], unstore=True, purge=True)
    answer = run("flush", place, RECORDS, "--json").json
    assert_documented("flush", answer)
    assert answer["tables"] == {RECORDS: {"rows": 0, "tombstones": 2, "commits": 1}}
    assert (answer["dry_run"], answer["busy"]) == (False, {})
    assert StoreRoot(str(store_root(repository)), writeable=False).verify().tables[RECORDS].rows == 6


def test_flush_of_what_is_in_use(run: Run, new_repository: NewRepository) -> None:
    repository = new_repository("arrow-postgres-local", lock_timeout=0)
    repository.store()
    with locked(repository):
        told = run("flush", str(repository.root))
        answer = run("flush", str(repository.root), "--json")
    assert told.code == answer.code == 5
    assert told.err.startswith(f"left alone: table {RECORDS!r} was in use")
    assert told.err.count("\n") == 1
    assert_documented("flush", answer.json)
    assert answer.json["tables"] == {}
    assert "was in use" in answer.json["busy"][RECORDS]


def test_flush_of_a_root(run: Run, place: str) -> None:
    told = run("flush", place)
    assert (told.code, told.out) == (2, "")
    assert told.err.count("\n") == 1
    assert "not a repository" in told.err


@pytest.mark.parametrize("command", ["flush", "compact"])
def test_no_such_table(run: Run, new_repository: NewRepository, command: str) -> None:
    told = run(command, str(new_repository().root), "nonsense")
    assert (told.code, told.out) == (2, "")
    assert "'nonsense'" in told.err
    assert RECORDS in told.err
    assert told.err.count("\n") == 1


def test_compact(run: Run, place: str) -> None:
    bare_rows(place, 3)
    before = everything(Path(place))
    planned = run("compact", place, "--dry-run")
    assert (planned.code, planned.err) == (0, "")
    assert "here: 4 files of 1 partitions would be merged\n" in planned.out
    assert everything(Path(place)) == before
    answer = run("compact", place, "--dry-run", "--json").json
    assert_documented("compact", answer)
    assert answer["tables"]["here"] == {"partitions": 1, "files_before": 4, "files_after": None}
    answer = run("compact", place, "here", "--json").json
    assert_documented("compact", answer)
    assert answer["tables"] == {"here": {"partitions": 1, "files_before": 4, "files_after": 1}}
    again = run("compact", place)
    assert "here: 0 files of 0 partitions merged, into 0\n" in again.out
    assert StoreRoot(place).verify().tables["here"].rows == 63


def test_compact_fully(run: Run, place: str) -> None:
    StoreRoot(place).table("here").delete(["id"], {"id": 1}, {"id": 2})
    assert run("compact", place, "--json").json["tables"]["here"]["files_before"] == 0
    planned = run("compact", place, "--full", "--dry-run", "--json").json
    assert planned["tables"]["here"]["files_before"] == 1
    assert run("compact", place, "--full", "--json").json["tables"]["here"]["files_after"] == 1
    assert run("status", place, "--json").json["tables"]["here"]["deleted"] == 0


def test_compact_repository(run: Run, new_repository: NewRepository) -> None:
    repository = new_repository("arrow-postgres-local", lock_timeout=0)
    place = str(repository.root)
    for run_name in ("one", "two"):
        repository.store(run_name)
        manager_of(repository.butler).flush()
    with locked(repository):
        told = run("compact", place)
    assert (told.code, told.out) == (5, "")
    assert "left alone" in told.err
    assert run("compact", place).out == f"{RECORDS}: 2 files of 1 partitions merged, into 1\n"


def test_one_table_in_use_keeps_none_of_the_others(
    run: Run, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_rows(place, 3)
    bare_rows(place, 3, "empty")
    compact = StoreRoot.compact

    def refused(root: StoreRoot, *names: str, **kwargs: object) -> object:
        if names == ("empty",):
            raise ConflictError("table 'empty' was in use")
        return compact(root, *names, **kwargs)  # type: ignore[arg-type]  # they are passed on

    monkeypatch.setattr(StoreRoot, "compact", refused)
    told = run("compact", place, "--json")
    assert told.code == 5
    assert told.json["busy"] == {"empty": "table 'empty' was in use"}
    assert told.json["tables"]["here"]["files_before"] == 4


def test_compact_of_a_registrys_root(run: Run, new_repository: NewRepository) -> None:
    told = run("compact", str(store_root(new_repository())))
    assert (told.code, told.out) == (2, "")
    assert "belongs to a Butler registry" in told.err
    assert told.err.count("\n") == 1


def test_progress_is_for_terminals(run: Run, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_rows(place, 3)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert run("compact", place, "here").err == ""
    StoreRoot(place).table("here").insert(specs.row(5_000))
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "here" in run("compact", place, "here").err
    told = run("verify", place).err
    assert "here: id" in told
    assert "64/64" in told
