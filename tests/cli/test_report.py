"""``arrowopaque report``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arrowopaque.cli.report import FIELDS
from tests.cli.conftest import Run
from tests.cli.documented import paths_of
from tests.report.stores import large
from tests.support.butlers import RECORDS, ButlerRepository, manager_of
from tests.support.subjects import KINDS, Placement, Site


def figures_in(file: Path) -> Any:
    (data,) = re.findall(r'id="figures">(.*?)</script>', file.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(data)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[ButlerRepository]:
    """A Butler repository with three datasets in files and two in the delta."""
    made = ButlerRepository(KINDS["arrow-sqlite-local"], Site(tmp_path), Placement.DELTA, "repo")
    made.make(None)
    made.ingest(made.unstored("one", range(3)))
    manager_of(made.butler).flush()
    made.ingest(made.unstored("two", range(2)))
    yield made
    made.close()


def test_root(run: Run, place: str, tmp_path: Path) -> None:
    file = tmp_path / "out.html"
    told = run("report", place, "-o", str(file))
    assert told.code == 0
    assert told.out == f"{file}\n"
    figures = figures_in(file)
    assert figures["kind"] == "root"
    assert {table["name"]: table["rows"] for table in figures["tables"]} == {"here": 60, "empty": 0}


def test_file_has_a_default(run: Run, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("report", place).out == "report.html\n"
    assert figures_in(tmp_path / "report.html")["place"] == place


def test_json_alone(run: Run, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("report", place, "--json").json["rows"] == 60
    assert not (tmp_path / "report.html").exists()


def test_json_and_file(run: Run, place: str, tmp_path: Path) -> None:
    told = run("report", place, "--json", "-o", str(tmp_path / "out.html"))
    assert told.json == figures_in(tmp_path / "out.html")


def test_repository(run: Run, repository: ButlerRepository, tmp_path: Path) -> None:
    place = str(repository.root)
    figures = run("report", place, "--json").json
    assert figures["kind"] == "repository"
    (records,) = (table for table in figures["tables"] if table["name"] == RECORDS)
    assert (records["rows"], records["delta"], records["files"]["rows"]) == (5, 2, 3)
    assert [point["rows"] for point in records["growth"]] == [3]
    contents = figures["contents"]
    assert (contents["records"], contents["files"]) == (5, 5)
    paths = [path for path in repository.artifacts() if path.endswith(".yaml")]
    assert contents["bytes"] == sum((repository.root / path).stat().st_size for path in paths)
    groups = {
        grouping["by"]: {group["name"]: group["files"] for group in grouping["groups"]}
        for grouping in contents["groupings"]
    }
    assert groups["dataset_type"] == {"thing": 5}
    assert groups["run"] == {"one": 3, "two": 2}
    assert contents["strangers"] == 0
    assert {advice["code"] for advice in figures["advice"]} >= {"no_checksum"}
    told = run("report", place, "-o", str(tmp_path / "out.html"))
    assert told.code == 0
    assert re.fullmatch(r"(\d+ warnings?, )?\d+ notes?\n", told.err)


def test_fields_are_documented(run: Run, place: str) -> None:
    """All that there can be are, and nothing else."""
    documented = set(FIELDS)
    assert set(paths_of(run("report", place, "--json").json)) <= documented
    assert set(paths_of(large().to_json())) == documented - {"contents"}


def test_export(run: Run, repository: ButlerRepository, tmp_path: Path) -> None:
    """It says of which dataset type and run its datasets are."""
    assert run("export", str(repository.root), str(tmp_path / "export")).code == 0
    figures = run("report", str(tmp_path / "export"), "--json").json
    assert figures["has_datasets"]
    groupings = {grouping["by"]: grouping["groups"] for grouping in figures["contents"]["groupings"]}
    assert {group["name"]: group["files"] for group in groupings["run"]} == {"one": 3, "two": 2}
    assert figures["contents"]["strangers"] == 0


def test_root_of_a_repository(run: Run, repository: ButlerRepository) -> None:
    """It is what was last published there: without the delta."""
    (marker,) = repository.root.rglob("arrowopaque.json")
    figures = run("report", str(marker.parent), "--json").json
    assert figures["kind"] == "published"
    (records,) = (table for table in figures["tables"] if table["name"] == RECORDS)
    assert (records["rows"], records["delta"]) == (3, None)


def test_damaged(run: Run, place: str, tmp_path: Path) -> None:
    """A report of what is damaged is a report."""
    (file,) = (path for path in Path(place).rglob("*.parquet") if "index" not in path.name)
    file.unlink()
    told = run("report", place, "-o", str(tmp_path / "out.html"))
    assert told.code == 0
    assert told.err == "1 error\n"
    assert file.name in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_no_such_folder(run: Run, place: str, tmp_path: Path) -> None:
    told = run("report", place, "-o", str(tmp_path / "nowhere" / "out.html"))
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert "nowhere" in told.err


def test_folder_for_a_file(run: Run, place: str, tmp_path: Path) -> None:
    told = run("report", place, "-o", str(tmp_path))
    assert told.code == 2
    assert str(tmp_path) in told.err


def test_no_such_place(run: Run, tmp_path: Path) -> None:
    told = run("report", str(tmp_path / "nowhere"), "-o", str(tmp_path / "out.html"))
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert not (tmp_path / "out.html").exists()
