"""``arrowopaque status``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from arrowopaque import Options, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from tests.cli.conftest import Run
from tests.cli.documented import assert_documented
from tests.cli.places import RECORDS, bare_rows, newest_manifest, store_root
from tests.support import specs
from tests.support.butlers import ButlerRepository, manager_of

NewRepository = Callable[..., ButlerRepository]


def test_root(run: Run, place: str) -> None:
    told = run("status", place)
    assert (told.code, told.err) == (0, "")
    assert "here\n  rows       60\n" in told.out
    assert "no maintenance is due" in told.out
    found = run("status", place, "--json").json
    assert_documented("status", found)
    here, empty = found["tables"]["here"], found["tables"]["empty"]
    assert [here[name] for name in ("rows", "live", "deleted", "delta", "tombstones")] == [60, 60, 0, 0, 0]
    assert (here["files"], here["partitions"]) == (1, 1)
    assert here["bytes"] == sum(path.stat().st_size for path in Path(place).rglob("*.parquet"))
    assert 0 <= here["age"] < 600
    assert (empty["rows"], empty["version"], empty["committed"], empty["age"]) == (0, None, None, None)
    assert (found["binding"], found["store"]) == ("root", StoreRoot(place).volume.id)


def test_deleted_rows_and_files_to_merge(run: Run, place: str) -> None:
    StoreRoot(place).table("here").delete(["id"], *[{"id": n} for n in range(30)])
    bare_rows(place, 3)
    told = run("status", place)
    assert f"due: arrowopaque compact {place}\n  here: 4 files of 1 partitions" in told.out
    assert "33 and 30 deleted" in told.out
    found = run("status", place, "--json").json
    assert_documented("status", found)
    here = found["tables"]["here"]
    assert here["compaction"] == {"partitions": 1, "files": 4, "rows": 33} == here["full_compaction"]
    assert [(due["action"], due["table"]) for due in found["due"]] == [("compact", "here")]


@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-postgres-local"])
def test_repository(run: Run, new_repository: NewRepository, kind: str) -> None:
    repository = new_repository(kind, bulk_rows=6, retention=0.001)
    place = str(repository.root)
    refs = repository.store()
    told = run("status", place)
    assert (told.code, told.err) == (0, "")
    assert f"{RECORDS}\n  rows       8\n" in told.out
    assert "8 only in the database, 0 tombstones" in told.out
    assert f"due: arrowopaque flush {place}\n  {RECORDS}: 8 rows" in told.out
    manager_of(repository.butler).flush()
    repository.butler.pruneDatasets(refs[:3], unstore=True, purge=True)
    found = run("status", place, "--json").json
    assert_documented("status", found)
    records = found["tables"][RECORDS]
    assert [records[name] for name in ("rows", "live", "delta", "tombstones")] == [5, 8, 0, 3]
    assert found["due"] == []
    assert found["binding"] == "registry"
    manager_of(repository.butler).flush()
    due = run("status", place, "--json").json["due"]
    assert [item["action"] for item in due] == ["compact", "vacuum"]
    assert due[1]["command"] == f"arrowopaque vacuum {place}"


def test_store_of_a_registry_by_its_root(run: Run, new_repository: NewRepository) -> None:
    repository = new_repository(retention=0.001)
    repository.store(detectors=range(4))
    manager_of(repository.butler).flush()
    repository.store("two", detectors=range(4))
    manager_of(repository.butler).flush()
    repository.store("one", detectors=range(4, 8))
    root = str(store_root(repository))
    told = run("status", root)
    assert "recent     unknown" in told.out
    assert "due: arrowopaque compact REPO\n" in told.out
    found = run("status", root, "--json").json
    assert_documented("status", found)
    records = found["tables"][RECORDS]
    assert [records[name] for name in ("rows", "delta", "tombstones")] == [8, None, None]
    assert run("status", str(repository.root), "--json").json["tables"][RECORDS]["rows"] == 12


def test_looking_flushes_nothing(run: Run, new_repository: NewRepository) -> None:
    repository = new_repository(flush_at_open=1)
    repository.store()
    for _ in range(2):
        assert run("status", str(repository.root), "--json").json["tables"][RECORDS]["delta"] == 8


def test_a_lost_manifest(run: Run, place: str) -> None:
    lost = newest_manifest(Path(place), "here")
    lost.unlink()
    told = run("status", place)
    assert told.code == 3
    assert lost.name in told.err
    assert told.err.count("\n") == 1


def test_root_in_an_object_store(run: Run, s3_bucket: str) -> None:
    place = f"s3://{s3_bucket}/root"
    root = StoreRoot(place, options=Options(bulk_rows=2))
    root.register("here", from_lsst("here", specs.standard()))
    root.table("here").insert(*[specs.row(n) for n in range(60)])
    bare_rows(place, 1)
    assert "  rows       61\n" in run("status", place).out
    assert run("maintain", place).out == "compact here: 2 files merged into 1\n"
    # The server tells the age of objects in whole seconds.
    time.sleep(1.1)
    assert run("vacuum", place, "--retention", "0", "--yes", "--json").json["objects"] == 4
    assert run("status", place, "--json").json["tables"]["here"]["files"] == 1


def test_repository_of_the_sql_manager(run: Run, new_repository: NewRepository) -> None:
    told = run("status", str(new_repository("sql-sqlite").root))
    assert (told.code, told.out) == (2, "")
    assert "ByNameOpaqueTableStorageManager" in told.err
    assert told.err.count("\n") == 1


def test_no_such_place(run: Run, tmp_path: Path) -> None:
    told = run("status", str(tmp_path / "nowhere"))
    assert told.code == 2
    assert "nowhere" in told.err
    assert told.err.count("\n") == 1
