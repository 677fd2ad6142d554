"""``arrowopaque adopt`` and ``arrowopaque restore``."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arrowopaque.cli.adopt import adopt
from tests.cli.conftest import Run
from tests.support.adopting import Adoptable
from tests.support.butlers import RECORDS

ROWS = 14
"""Records of an `Adoptable`."""


def _no_server() -> Any:
    raise AssertionError("SQLite needs no server")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adoptable]:
    monkeypatch.delenv("ARROWOPAQUE_ROOT", raising=False)
    made = Adoptable("sql-sqlite", tmp_path, _no_server)
    yield made
    made.repository.close()


def test_plan(run: Run, made: Adoptable) -> None:
    before = made.snapshot()
    told = run("adopt", made.place, "--dry-run")
    assert told.code == 0
    assert RECORDS in told.out.replace("\n", "")
    assert str(made.repository.root / "opaque") in told.out
    plan = run("adopt", made.place, "--dry-run", "--json").json["plan"]
    assert plan["tables"][RECORDS] == {
        "rows": ROWS, "exact": True, "sql_bytes": ROWS * 600, "bytes": ROWS * 40, "seconds": ROWS / 20_000,
    }  # fmt: skip
    assert (plan["stage"], plan["done"], plan["others"]) == (None, False, [])
    assert plan["config"].endswith("butler.yaml")
    assert made.snapshot() == before
    assert not (made.repository.root / "opaque").exists()


def test_both_ways_in_words(run: Run, made: Adoptable) -> None:
    before = made.snapshot()
    told = run("adopt", made.place, answer="y\ny\n")
    assert told.code == 0
    assert f"{ROWS}" in told.out
    assert "rows/s" in told.out
    assert "Adopt" in told.err
    assert "opened before closed?" in told.err
    again = run("adopt", made.place)
    assert (again.code, again.err) == (0, "")
    assert "already" in again.out
    assert run("adopt", made.place, "--json").json["plan"]["done"]
    assert run("restore", made.place, "--dry-run", "--json").json["plan"]["tables"] == {RECORDS: ROWS}
    told = run("restore", made.place, answer="y\n")
    assert told.code == 0
    assert f"{ROWS}" in told.out
    assert "still there" in told.out
    assert "drop the tables" in told.err
    assert made.snapshot() == before
    again = run("restore", made.place)
    assert again.code == 0
    assert "already" in again.out


def test_deleted_store(run: Run, made: Adoptable) -> None:
    assert run("adopt", made.place, "--yes").code == 0
    stranger = next((made.repository.root / "opaque").iterdir()) / "notes.txt"
    stranger.write_text("mine")
    told = run("restore", made.place, "--yes", "--delete-store")
    assert "deleted" in told.out
    assert [path for path in (made.repository.root / "opaque").rglob("*") if path.is_file()] == [stranger]


def test_no_is_no(run: Run, made: Adoptable) -> None:
    before = made.snapshot()
    told = run("adopt", made.place, answer="n\n")
    assert told.code == 130
    assert made.snapshot() == before


def test_clients_are_still_open(run: Run, made: Adoptable) -> None:
    """It is switched by then, and the next run asks again."""
    assert run("adopt", made.place, answer="y\nn\n").code == 130
    assert made.sql_rows() == ROWS
    plan = run("adopt", made.place, "--dry-run", "--json").json["plan"]
    assert plan["stage"] == "switched"
    assert "begun already, and switched" in run("adopt", made.place, "--dry-run").out
    database = made.repository.root / "gen3.sqlite3"
    with database.open("rb") as file, subprocess.Popen(["sleep", "100"], stdin=file) as other:
        told = run("adopt", made.place, "--yes")
        other.kill()
    assert told.code == 5
    assert f"maybe still open: process {other.pid} (sleep 100)" in told.err
    assert made.sql_rows() == ROWS
    assert run("adopt", made.place, "--yes").code == 0
    assert made.sql_rows() == 0


def test_clients_closed(run: Run, made: Adoptable) -> None:
    database = made.repository.root / "gen3.sqlite3"
    with database.open("rb") as file, subprocess.Popen(["sleep", "100"], stdin=file) as other:
        told = run("adopt", made.place, "--yes", "--clients-closed", "--json")
        other.kill()
    assert told.code == 0
    assert told.json["moved"] == {RECORDS: ROWS}
    assert told.err == ""


@pytest.mark.parametrize("name", ["adopt", "restore"])
def test_no_such_repository(run: Run, tmp_path: Path, name: str) -> None:
    told = run(name, str(tmp_path / "nowhere"))
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert "nowhere" in told.err


def test_configuration_that_cannot_be_written(
    run: Run, made: Adoptable, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.snapshot()

    def refuse(path: Path, data: bytes) -> None:
        raise PermissionError(f"no writing to {path}")

    with monkeypatch.context() as patch:
        patch.setattr("arrowopaque.butler.configfile._replace", refuse)
        told = run("adopt", made.place, "--yes")
    assert told.code == 4
    assert "butler.yaml cannot be written: no writing" in told.err
    with made.repository.open() as butler:
        assert butler.stored(made.live[0])
    assert made.config() == before["config"]
    assert run("adopt", made.place, "--yes").code == 0


def test_root_can_be_chosen_anew_until_the_switch(run: Run, made: Adoptable, tmp_path: Path) -> None:
    assert run("adopt", made.place, "--yes", "--root", "s3://no-such-bucket-here/x").code != 0
    told = run("adopt", made.place, "--yes", "--root", str(tmp_path / "stores"), "--json")
    assert told.json["plan"]["root"].startswith(str(tmp_path / "stores"))
    assert list((tmp_path / "stores").rglob("*.parquet"))


def test_rows_is_a_number(run: Run, made: Adoptable) -> None:
    told = run("adopt", made.place, "--rows", "0")
    assert told.code == 2
    assert "--rows" in told.err


def test_killed_and_run_again(run: Run, made: Adoptable) -> None:
    """SIGKILL in the middle of moving, and of moving back.

    How far it is, this process asks the database: an adoption that finds
    that open, and was not told otherwise, refuses to move.
    """
    before, rows = made.snapshot(), made.rows()
    for name, more, start, toward in (("adopt", ["--clients-closed"], ROWS, 0), ("restore", [], 0, ROWS)):
        script = (
            "import sys, time; from arrowopaque.butler import ranges; from arrowopaque.cli.main import main\n"
            f"plain = ranges.{'flush' if name == 'adopt' else '_put_back'}\n"
            "def slow(*arguments):\n    time.sleep(0.3)\n    return plain(*arguments)\n"
            f"ranges.{'flush' if name == 'adopt' else '_put_back'} = slow\nmain()"
        )
        command = [sys.executable, "-c", script, name, made.place, "--yes", "--rows", "1", *more]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            while process.poll() is None and made.sql_rows() == start:
                time.sleep(0.02)
            process.kill()
            said, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, said
        assert made.sql_rows() not in (start, toward)
        assert made.rows() == rows
        assert run(name, made.place, "--yes").code == 0
        assert made.sql_rows() == toward
        assert made.rows() == rows
    assert made.snapshot() == before


def test_interrupted_by_hand(run: Run, made: Adoptable, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("arrowopaque.butler.ranges.flush", interrupt)
        told = run("adopt", made.place, "--yes", "--json")
    assert (told.code, told.out) == (130, "")
    assert told.err.endswith("stopped\n")
    assert run("adopt", made.place, "--yes").code == 0
    assert adopt.name == "adopt"


def test_commands_of_the_manual(
    made: Adoptable, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
    section = text.partition("## Adopting a production repository")[2].partition("\n## ")[0]
    commands = re.findall(r"^```sh\narrowopaque (.*)\n```", section, re.MULTILINE)
    assert len(commands) == 3
    monkeypatch.chdir(tmp_path)
    before = made.snapshot()
    (tmp_path / "REPO").symlink_to(made.repository.root)
    for line in commands:
        assert run(*line.split(), answer="y\ny\n").code == 0
    assert made.snapshot() == before
    assert (tmp_path / "STORES").is_dir()
