"""Every workload runs, and checks its answer, on a table of a few rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
PATHS = f"import sys\nsys.path[:0] = [{str(SCRIPTS)!r}, {str(SCRIPTS.parent)!r}]\n"
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
    sizes = ["--rows", "300", "--piece", "200", "--repeats", "1", "--singles", "2"]
    document = tmp_path / "BENCHMARKS.md"
    files = ["--json", str(written), "--markdown", str(document)]
    done = _bench(tmp_path, *sizes, *files, *contenders, *choice)
    assert done.returncode == 0, done.stderr[-4000:]
    text = document.read_text()
    assert str(tmp_path) not in text
    assert all(part in text for part in ("cores", "pyarrow ", "### Targets", "### Memory", *names))
    assert ("### S3 requests" in text) == ("ours-root-s3" in names)
    figures = json.loads(written.read_text())["contenders"]
    assert tuple(figures) == names
    for name in names:
        measured = figures[name]["measured"]
        assert len(measured) >= (least if "ours" in name else 8), sorted(measured)
        assert all(value > 0 for values in measured.values() for value in values)
        counted = measured.keys() - {"import, new process"} if "s3" in name else set()
        assert figures[name]["requests"].keys() == counted
    assert all(name in done.stdout.splitlines()[0] for name in names)


@pytest.mark.parametrize("ids", ["v4", "v7", "mixed"])
def test_rows_by_number(monkeypatch: pytest.MonkeyPatch, ids: str) -> None:
    """A row is the same whatever rows are made with it."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from benchmarks.rows import class_counts, make_rows, rows_at

    rows = make_rows(5_000, seed=3, ids=ids)
    places = [4_999, 0, 7, 2_268, 7]
    assert rows_at(places, seed=3, ids=ids).table.equals(rows.table.take(places))
    assert rows.slice(17, 9).table.equals(make_rows(9, start=17, seed=3, ids=ids).table)
    assert len(set(rows.ids)) == len(set(rows.paths)) == len(rows)
    assert set(rows.ids).isdisjoint(make_rows(5_000, seed=4, ids=ids).ids)
    versions = {"v4": {4}, "v7": {7}, "mixed": {4, 7}}[ids]
    assert {id.version for id in rows.ids} == versions
    times = [id.int >> 80 for id in rows.ids if id.version == 7]
    assert times == sorted(times)
    assert class_counts(len(rows)) == Counter(rows.table.column("storage_class").to_pylist())


def test_random_words_are_those_of_splitmix64(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first outputs for the seed 1234567, as others have published them."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import numpy as np
    from benchmarks.rows import _STEP, _mixed

    states = np.uint64(1234567) + np.arange(1, 3, dtype=np.uint64) * _STEP
    assert _mixed(states).tolist() == [6457827717110365317, 3203168211198807973]


def test_plot_of_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel each for what has a figure at two sizes, a line a contender."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from benchmarks.plot import as_svg
    from benchmarks.runner import Result

    def result(value: float) -> Result:
        return Result(measured={"delete 1": [value], "clone": []})

    small, large = {"a": result(1.0), "b<": result(2.0)}, {"a": result(3.0), "b<": result(8.0)}
    image = ElementTree.fromstring(as_svg({10: small, 100: large}, ["delete 1", "clone"]))
    texts = {node.text for node in image.iter("{http://www.w3.org/2000/svg}text")}
    assert {"delete 1", "a", "b<", "10", "100", "1 s", "8 s"} <= texts
    assert "clone" not in texts
    lines = [node.get("points") for node in image.iter("{http://www.w3.org/2000/svg}polyline")]
    assert lines == ["60.0,220.0 390.0,119.6", "60.0,156.7 390.0,30.0"]


def test_targets_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from benchmarks.runner import Result
    from benchmarks.targets import judge

    ours = {"delete 50000": 0.3, "insert many Python rows": 50.0, "clone": 1e-6, "path equality": 2.0}
    theirs = {"insert many Python rows": 4.0, "path equality": 1.0}
    results = {
        name: Result(measured={workload: [value] for workload, value in figures.items()})
        for name, figures in (("ours-sqlite", ours), ("sql-sqlite", theirs))
    }
    assert sorted((found.target.workload, found.limit, found.is_met) for found in judge(results)) == [
        ("clone", 0.0001, True),
        ("delete 50000", 0.25, False),
        ("insert many Python rows", 40.0, True),
        ("path equality", 1.0, False),
    ]


def test_wrong_answer_is_reported(tmp_path: Path) -> None:
    """A contender that loses rows is not given a time."""
    program = (
        "from benchmarks.case import Case, Settings, WrongAnswerError\n"
        "from benchmarks.workloads import WORKLOADS\n"
        "class Empty:\n"
        "    def fetch(self, ids): return []\n"
        "case = Case(Settings(10, 1, 1, 'v4', 2, 0.0))\n"
        "try:\n"
        "    WORKLOADS['fetch one row, warm'].run(Empty(), case)\n"
        "except WrongAnswerError as err:\n"
        "    print(err)\n"
    )
    done = subprocess.run([sys.executable, "-c", PATHS + program], capture_output=True, text=True)
    assert done.stdout.strip() == "got 0 instead of 1", done.stderr
