"""``arrowopaque export`` and ``arrowopaque import``."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsst.daf.butler import Butler, Config

from tests.cli.conftest import Run
from tests.cli.documented import assert_documented
from tests.support.butlers import SEED, content, make_inputs

WHERE = "instrument = 'Cam' AND detector < 2"


@pytest.fixture
def repo(tmp_path: Path) -> str:
    """A repository with four datasets in each of two runs."""
    place = str(tmp_path / "repo")
    Butler.makeRepo(place, config=Config(SEED))
    with Butler.from_config(place, writeable=True) as butler:
        make_inputs(butler, "one", "two")
        for run in ("one", "two"):
            for detector in range(4):
                butler.put(content(detector, run), "thing", instrument="Cam", detector=detector, run=run)
    return place


def assert_gets(place: str, count: int) -> None:
    with Butler.from_config(place, writeable=False) as butler:
        refs = butler.query_all_datasets("*", find_first=False)
        assert len(refs) == count
        for ref in refs:
            assert butler.get(ref) == content(int(ref.dataId["detector"]), ref.run)


def test_there_and_back(run: Run, repo: str, tmp_path: Path) -> None:
    dest, place = str(tmp_path / "export"), str(tmp_path / "imported")
    told = run("export", repo, dest, "--files")
    assert told.code == 0
    assert "8 datasets are in" in told.out
    assert "file_datastore_records" in told.out
    assert told.err == ""
    assert run("verify", dest).code == 0
    assert run("export", repo, dest, "--files").out.startswith("nothing has changed\n8 datasets are in")
    told = run("import", dest, place)
    assert told.code == 0
    assert "8 datasets of 1 types" in told.out
    assert_gets(place, 8)


def test_for_programs(run: Run, repo: str, tmp_path: Path) -> None:
    dest, place = str(tmp_path / "export"), str(tmp_path / "imported")
    exported = run("export", repo, dest, "--json", "--collections", "one", "--where", WHERE).json
    assert_documented("export", exported)
    assert exported["datasets"] == 2
    assert exported["tables"]["datasets"] == {"written": 2, "removed": 0}
    assert exported["tables"]["collections"] == {"written": 1, "removed": 0}
    imported = run("import", dest, place, "--json", "--files", "direct").json
    assert_documented("import", imported)
    assert imported["created"] is True
    assert (imported["datasets"], imported["records"], imported["files"]) == (2, 2, 0)
    assert_gets(place, 2)


def test_dry_run(run: Run, repo: str, tmp_path: Path) -> None:
    dest = tmp_path / "export"
    told = run("export", repo, str(dest), "--dry-run", "--dataset-types", "th*")
    assert told.code == 0
    assert "thing" in told.out
    planned = run("export", repo, str(dest), "--dry-run", "--json").json
    assert_documented("export", planned)
    assert planned == {"dataset_types": [{"name": "thing", "datasets": 8}]}
    assert not dest.exists()


def test_mistakes(run: Run, repo: str, tmp_path: Path) -> None:
    dest, place = str(tmp_path / "export"), str(tmp_path / "imported")
    for arguments, named in (
        (("export", str(tmp_path / "nowhere"), dest), "nowhere"),
        (("export", repo, dest, "--collections", "nothing*"), "nothing*"),
        (("export", repo, dest, "--where", "detector <"), "detector <"),
        (("import", repo, place), "repo"),
        (("import", str(tmp_path / "nowhere"), place), "nowhere"),
    ):
        told = run(*arguments)
        assert told.code in (2, 3), told
        assert told.err.startswith("error: ")
        assert told.err.count("\n") == 1
        assert named in told.err
    assert not Path(place).exists()


def test_damaged(run: Run, repo: str, tmp_path: Path) -> None:
    dest = tmp_path / "export"
    run("export", repo, str(dest))
    (file,) = (path for path in dest.glob("tables/datasets/*/*.parquet") if "index" not in path.name)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    told = run("import", str(dest), str(tmp_path / "imported"))
    assert told.code == 3
    assert file.name in told.err
