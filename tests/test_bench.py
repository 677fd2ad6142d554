"""Every workload runs, and checks its answer, on a table of a few rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
# To import lsst's packages anew takes longer than all the rest, so few contenders do.
SLOW = ["--skip", "new process"]
STARTS = ["--workload", "new process", "--workload", "fetch one row", "--latency", "0"]
RUNS = [
    (("sql-sqlite", "ours-sqlite"), SLOW, 25),
    (("ours-postgres", "ours-root"), SLOW, 25),
    (("duckdb", "sqlite"), SLOW, 8),
    (("ours-root-s3",), STARTS, 8),
]


def _bench(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "bench.py"), "--folder", str(tmp_path), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("names", "choice", "least"), RUNS, ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_every_workload(tmp_path: Path, names: tuple[str, ...], choice: list[str], least: int) -> None:
    written = tmp_path / "figures.json"
    contenders = [part for name in names for part in ("--contender", name)]
    sizes = ["--rows", "300", "--repeats", "1", "--singles", "2"]
    done = _bench(tmp_path, *sizes, "--json", str(written), *contenders, *choice)
    assert done.returncode == 0, done.stderr[-4000:]
    figures = json.loads(written.read_text())["contenders"]
    assert tuple(figures) == names
    for name in names:
        measured = figures[name]["measured"]
        assert len(measured) >= (least if "ours" in name else 8), sorted(measured)
        assert all(value > 0 for values in measured.values() for value in values)
        counted = measured.keys() - {"import, new process"} if "s3" in name else set()
        assert figures[name]["requests"].keys() == counted
    assert all(name in done.stdout.splitlines()[0] for name in names)


def test_wrong_answer_is_reported(tmp_path: Path) -> None:
    """A contender that loses rows is not given a time."""
    program = (
        "import runpy, sys\n"
        f"sys.path[:0] = [{str(SCRIPTS)!r}, {str(SCRIPTS.parent)!r}]\n"
        "from benchmarks.workloads import WORKLOADS, Case, WrongAnswerError\n"
        "from benchmarks.contenders import Contender\n"
        "from benchmarks.rows import make_rows\n"
        "class Empty:\n"
        "    def fetch(self, ids): return []\n"
        "case = Case(make_rows(10), 1, 'v4', 2)\n"
        "try:\n"
        "    WORKLOADS['fetch one row, warm'].run(Empty(), case)\n"
        "except WrongAnswerError as err:\n"
        "    print(err)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "got 0 instead of 1", done.stderr
