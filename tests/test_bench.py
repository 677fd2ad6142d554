"""Every workload runs, and checks its answer, on a table of a few rows."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
PATHS = f"import sys\nsys.path[:0] = [{str(SCRIPTS)!r}, {str(SCRIPTS.parent)!r}]\n"
# To import lsst's packages anew takes longer than all the rest, so few contenders do.
SLOW = ["--skip", "new process"]
STARTS = ["--workload", "new process", "--workload", "fetch one row", "--latency", "0"]
HAS_DUCKLAKE = (SCRIPTS.parent / ".venv-ducklake" / "bin" / "python").exists()
RUNS = [
    (("sql-sqlite", "ours-sqlite"), SLOW, 30),
    (("ours-postgres", "ours-root"), SLOW, 30),
    (("sql-postgres", "ours-postgres"), ["--workload", "start a Butler", "--driver", "psycopg"], 1),
    (("duckdb", "sqlite"), SLOW, 10),
    pytest.param(
        ("ducklake",),
        [],
        22,
        marks=pytest.mark.skipif(not HAS_DUCKLAKE, reason="its packages are not there: make ducklake"),
    ),
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
    sizes = ["--rows", "300", "--piece", "200", "--singles", "2", "--operations", "20"]
    once = ["--repeats", "1", "--turns", "1"]
    document = tmp_path / "BENCHMARKS.md"
    files = ["--json", str(written), "--markdown", str(document)]
    done = _bench(tmp_path, *sizes, *once, *files, *contenders, *choice)
    assert done.returncode == 0, done.stderr[-4000:]
    text = document.read_text()
    assert str(tmp_path) not in text
    assert all(part in text for part in ("cores", "pyarrow ", "### Targets", "### Memory", *names))
    assert ("### S3 requests" in text) == ("ours-root-s3" in names)
    figures = json.loads(written.read_text())["contenders"]
    assert tuple(figures) == names
    for name in names:
        measured = figures[name]["measured"]
        assert len(measured) >= (min(10, least) if name.startswith("sql") else least), sorted(measured)
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
    assert lines == ["60.0,210.8 390.0,120.1", "60.0,153.6 390.0,39.2"]


def test_sizes_and_limits(tmp_path: Path) -> None:
    """A contender is left out above its limit, and has no line from there on."""
    written, plot = tmp_path / "figures.json", tmp_path / "growth.svg"
    names = ["--contender", "sqlite", "--contender", "duckdb"]
    choice = ["--workload", "load", "--workload", "compact the loaded", "--repeats", "2"]
    files = ["--json", str(written), "--plot", str(plot)]
    done = _bench(tmp_path, "--sizes", "100,1000,2000", "--limit", "sqlite=1000", *names, *choice, *files)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "sqlite is left out of 2000 rows: its limit is 1000" in done.stderr
    sizes = json.loads(written.read_text())["sizes"]
    assert {size: list(found) for size, found in sizes.items()} == {
        "100": ["sqlite", "duckdb"],
        "1000": ["sqlite", "duckdb"],
        "2000": ["duckdb"],
    }
    # The table is loaded once, whatever the repeats.
    assert {name: len(values) for name, values in sizes["2000"]["duckdb"]["measured"].items()} == {"load": 1}
    texts = {node.text for node in ElementTree.parse(plot).iter("{http://www.w3.org/2000/svg}text")}
    assert {"load", "100", "1k", "2k"} <= texts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "sqlite"], "'sqlite' is not the name of a contender, = and a number"),
        (["--limit", "oracle=5"], "'oracle=5' is not the name of a contender, = and a number"),
        (["--contender", "sqlite", "--limit", "sqlite=5"], "no contender is left for 1000000 rows"),
        (["--sizes", "1k"], "'1k' is not a list of numbers with commas between"),
    ],
)
def test_wrong_choice_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = _bench(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


def test_contender_without_its_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It is left out with a word, unless it was asked for by name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench
    from benchmarks import contenders
    from click import UsageError

    monkeypatch.setitem(contenders._INTERPRETERS, "ducklake", tmp_path / "python")
    assert bench._installed([]) == [name for name in bench.DEFAULT if name != "ducklake"]
    assert "ducklake is left out" in capsys.readouterr().err
    assert bench._installed(["sqlite"]) == ["sqlite"]
    with pytest.raises(UsageError, match="run make ducklake"):
        bench._installed(["sqlite", "ducklake"])


class _FileAChange:
    """A store that has a file a change, of ten bytes a row and two more, and a
    head that is written again each time.
    """

    def __init__(self) -> None:
        self.ids: set[bytes] = set()
        # The first was there before the history.
        self.log = [7]
        self.merged = self.given = 0

    def files(self) -> dict[str, tuple[int, int]]:
        return {"head": (1, len(self.log)), **{str(i): (10 * n + 2, 0) for i, n in enumerate(self.log)}}

    def rows_of(self, name: str) -> int:
        return 0 if name == "head" else self.log[int(name)]

    def kept(self) -> tuple[int, int]:
        return 1, 10 * len(self.ids)

    def _give(self, count: int) -> None:
        self.log.append(count)
        self.given += count

    def insert_arrow(self, rows: pa.Table) -> None:
        self.ids.update(rows.column("dataset_id").to_pylist())
        self._give(len(rows))

    def replace(self, rows: list[dict[str, Any]]) -> None:
        assert self.ids >= {row["dataset_id"].bytes for row in rows}
        self._give(len(rows))

    def delete(self, ids: list[uuid.UUID]) -> None:
        assert self.ids >= {id.bytes for id in ids}
        self.ids.difference_update(id.bytes for id in ids)

    def settle(self) -> None:
        """Do nothing: all is settled."""

    def compact(self) -> None:
        self.log.append(len(self.ids))
        self.merged += len(self.ids)

    def fetch(self, ids: list[uuid.UUID]) -> list[uuid.UUID]:
        return [id for id in ids if id.bytes in self.ids]

    def group(self) -> dict[str, int]:
        return {"": len(self.ids)}


def test_history_adds_up_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from benchmarks.case import Case, Settings
    from benchmarks.history import Written, run_history

    store: Any = _FileAChange()
    written = Written(store)
    store._give(3)
    written.look()
    written.look()
    store.compact()
    written.look()
    assert (written.bytes, written.rows) == (32 + 1 + 2 + 1, 3)

    store = _FileAChange()
    found = run_history(store, Case(Settings(2_000, 1, 1, "v4", 1, 0.0, operations=40)))
    assert store.merged > 0
    files, rows = len(store.log) - 1, sum(store.log[1:])
    heads = found.amplification * 10 * len(store.ids) - (10 * rows + 2 * files)
    # Deletes change no file here.
    assert 0 < round(heads) <= 40
    assert found.rewritten == pytest.approx(store.merged / store.given)
    assert found.files == 1


def test_targets_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from benchmarks.runner import Result
    from benchmarks.targets import judge

    ours = {"delete 50000": 0.3, "insert many Python rows": 50.0, "clone": 1e-6, "path equality": 2.0}
    theirs = {"insert many Python rows": 4.0, "path equality": 1.0, "delete 50000": 3.5}
    peer = {"delete 50000": 0.4, "insert many Arrow rows": 1.0}
    results = {
        name: Result(measured={workload: [value] for workload, value in figures.items()})
        for name, figures in (("ours-sqlite", ours), ("sql-sqlite", theirs), ("ducklake", peer))
    }
    assert sorted((found.target.workload, found.limit, found.is_met) for found in judge(results)) == [
        ("clone", 0.0001, True),
        ("delete 50000", 0.25, False),
        ("delete 50000", 0.4, True),
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
    assert done.stdout.strip() == "got [0, 0] instead of [1, 1]", done.stderr


def test_what_is_short_is_measured_more_than_once(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    choice = ["--workload", "load", "--workload", "clone", "--repeats", "2", "--contender", "ours-root"]
    done = _bench(tmp_path, "--rows", "300", "--singles", "2", "--turns", "4", *choice, "--json", str(found))
    assert done.returncode == 0, done.stderr[-4000:]
    measured = json.loads(found.read_text())["contenders"]["ours-root"]["measured"]
    assert (len(measured["load"]), len(measured["clone"])) == (1, 8)
