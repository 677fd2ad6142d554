"""``arrowopaque query``: one question, in every format."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from arrowopaque import StoreRoot
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.cli import formats
from arrowopaque.cli.main import main
from tests.cli.conftest import Run
from tests.cli.places import COMMAND
from tests.support import specs
from tests.support.butlers import RECORDS, ButlerRepository, manager_of

THREE = "SELECT id, name, val FROM here WHERE id < 3 ORDER BY id"
ROWS = [{"id": id, "name": "a", "val": id} for id in range(3)]
MANY = "SELECT range AS n, 'x' || range AS text FROM range(200000)"


def raw(*arguments: str) -> bytes:
    """Return what a command writes to stdout, byte by byte."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def test_table(run: Run, place: str) -> None:
    told = run("query", place, THREE)
    assert told.code == 0
    lines = [line.strip("┃│").split("│" if "│" in line else "┃") for line in told.out.splitlines()]
    cells = [[cell.strip() for cell in line] for line in lines if len(line) == 3]
    assert cells == [["id", "name", "val"], *([str(id), "a", str(id)] for id in range(3))]
    assert told.err == "3 rows\n"


def test_table_shows_every_value_whole(run: Run, place: str) -> None:
    told = run("query", place, f"SELECT '{'x' * 300}' AS long, NULL AS none, '[red]a' AS \"[b]\"")
    assert "x" * 300 in told.out
    assert "NULL" in told.out
    assert "[red]a" in told.out
    assert "[b]" in told.out
    assert told.err == "1 row\n"


def test_table_shows_the_first_rows(run: Run, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "SHOWN_ROWS", 10)
    told = run("query", place, "SELECT id FROM here")
    assert sum(line.startswith("│") for line in told.out.splitlines()) == 10
    assert "the first 10 rows" in told.err
    told = run("query", place, "SELECT id FROM here LIMIT 10")
    assert told.err == "10 rows\n"


@pytest.mark.parametrize("how", [["--json"], ["--format", "json"], ["--json", "--format", "json"]])
def test_json(run: Run, place: str, how: list[str]) -> None:
    told = run("query", place, THREE, *how)
    assert told.json == ROWS
    assert told.err == ""
    # A row a line, for programs that read line by line.
    assert [json.loads(line.rstrip(",")) for line in told.out.splitlines()[1:-1]] == ROWS
    assert run("query", place, "SELECT 1 WHERE false", *how).json == []


def test_csv(run: Run, place: str) -> None:
    told = run("query", place, THREE, "--format", "csv")
    assert told.out.splitlines() == ['"id","name","val"', '0,"a",0', '1,"a",1', '2,"a",2']
    assert run("query", place, "SELECT 1 AS n WHERE false", "--format", "csv").out == '"n"\n'


def test_parquet(place: str) -> None:
    found = pq.read_table(io.BytesIO(raw("query", place, THREE, "--format", "parquet")))
    assert found.to_pylist() == ROWS


def test_arrow(place: str) -> None:
    with pa.ipc.open_file(raw("query", place, THREE, "--format", "arrow")) as file:
        assert file.read_all().to_pylist() == ROWS


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv", "json"])
def test_many_batches(place: str, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "answer"
    raw("query", place, MANY, "--format", kind, "-o", str(file))
    if kind == "parquet":
        found = pq.read_table(file).to_pylist()
    elif kind == "arrow":
        found = pa.ipc.open_file(file.read_bytes()).read_all().to_pylist()
    elif kind == "csv":
        found = [
            {"n": int(row["n"]), "text": row["text"]} for row in csv.DictReader(io.StringIO(file.read_text()))
        ]
    else:
        found = json.loads(file.read_text())
    assert found == [{"n": n, "text": f"x{n}"} for n in range(200_000)]
    assert list(tmp_path.glob(".answer*")) == []


def test_table_in_a_file(run: Run, place: str, tmp_path: Path) -> None:
    told = run("query", place, THREE, "-o", str(tmp_path / "answer.txt"))
    assert told.out == ""
    assert told.err == "3 rows\n"
    assert "│ 2  │ a    │ 2   │" in (tmp_path / "answer.txt").read_text()


VALUES = """
SELECT 1.5::DECIMAL(4, 2) AS fraction, sum(x)::HUGEINT AS sum, 'nan'::DOUBLE AS nan, 0.5::DOUBLE AS half,
true AS yes, '\\xFF'::BLOB AS bytes, DATE '2026-11-28' AS day, TIMESTAMP '2026-11-28 20:00:00' AS moment,
UUID '00000000-0000-0000-0000-000000000005' AS id, [1, 2] AS list, {'a': 1} AS struct, '' AS empty,
NULL AS none, 'a"b,c' AS text FROM range(3) AS t(x)
"""


def test_values_in_json(run: Run, place: str) -> None:
    assert run("query", place, VALUES, "--json").json == [
        {
            "fraction": 1.5,
            "sum": 3,
            "nan": None,
            "half": 0.5,
            "yes": True,
            "bytes": "ff",
            "day": "2026-11-28",
            "moment": "2026-11-28T20:00:00",
            "id": str(uuid.UUID(int=5)),
            "list": [1, 2],
            "struct": {"a": 1},
            "empty": "",
            "none": None,
            "text": 'a"b,c',
        }
    ]


def test_values_in_csv(run: Run, place: str) -> None:
    (row,) = csv.DictReader(io.StringIO(run("query", place, VALUES, "--format", "csv").out))
    assert row == {
        "fraction": "1.50",
        "sum": "3",
        "nan": "nan",
        "half": "0.5",
        "yes": "true",
        "bytes": "ff",
        "day": "2026-11-28",
        "moment": "2026-11-28T20:00:00",
        "id": str(uuid.UUID(int=5)),
        "list": "[1, 2]",
        "struct": '{"a": 1}',
        "empty": "",
        "none": "",
        "text": 'a"b,c',
    }


def test_nothing_and_an_empty_text_differ_in_csv(run: Run, place: str) -> None:
    out = run("query", place, "SELECT '' AS a, NULL::VARCHAR AS b", "--format", "csv").out
    assert out.splitlines()[1] == '"",'


def test_columns_of_one_name(run: Run, place: str) -> None:
    both = "SELECT a.id, b.id FROM here a JOIN here b USING (id) LIMIT 1"
    assert run("query", place, both, "--format", "csv").out.splitlines() == ['"id","id"', "0,0"]
    told = run("query", place, both, "--json")
    assert told.code == 2
    assert "two columns 'id'" in told.err


def test_sql_from_stdin(run: Run, place: str) -> None:
    assert run("query", place, "-", "--json", answer=THREE).json == ROWS


def test_sql_that_is_not_given(run: Run, place: str) -> None:
    told = run("query", place)
    assert told.code == 2
    assert "no SQL" in told.err


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", "Parser Error"),
        ("SELECT nope FROM here", "nope"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("", "returns no rows"),
        ("SELECT error('at run time') FROM here", "at run time"),
    ],
)
def test_errors_are_one_line(run: Run, place: str, sql: str, words: str) -> None:
    told = run("query", place, sql, "--json")
    assert told.code == 2
    assert told.err.startswith("error: ")
    assert words in told.err
    assert told.err.count("\n") == 1


def test_formats_that_do_not_agree(run: Run, place: str) -> None:
    told = run("query", place, THREE, "--json", "--format", "csv")
    assert told.code == 2
    assert "two formats" in told.err


def test_a_file_is_whole_or_not_there(run: Run, place: str, tmp_path: Path) -> None:
    file = tmp_path / "answer.csv"
    failing = "SELECT CASE WHEN range < 150000 THEN 1 ELSE error('late') END AS n FROM range(200000)"
    assert run("query", place, failing, "--format", "csv", "-o", str(file)).code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    file.write_text("before")
    assert run("query", place, failing, "--format", "csv", "-o", str(file)).code == 2
    assert file.read_text() == "before"
    assert run("query", place, THREE, "--format", "csv", "-o", str(file)).code == 0
    assert file.read_text().startswith('"id"')


def test_a_file_that_cannot_be_written(run: Run, place: str, tmp_path: Path) -> None:
    told = run("query", place, THREE, "-o", str(tmp_path / "nowhere" / "answer"))
    assert told.code == 4
    assert "No such file" in told.err


def test_at_an_earlier_version(run: Run, place: str) -> None:
    root = StoreRoot(place)
    root.table("here").delete(["id"], {"id": 5})
    count = "SELECT count(*) AS n FROM here"
    assert run("query", place, count, "--json").json == [{"n": 59}]
    assert run("query", place, count, "--json", "--at", "4").json == [{"n": 60}]
    told = run("query", place, count, "--json", "--at", root.head.created.isoformat())
    assert (told.json, told.err) == ([{"n": 59}], "")
    told = run("query", place, count, "--at", "40")
    assert told.code == 2
    assert "no version 40: they are 1 to 5" in told.err
    root.vacuum(0)
    told = run("query", place, count, "--at", "4")
    assert told.code == 2
    assert "the oldest that is still there is 5" in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-postgres-local"])
def test_repository(run: Run, new_repository: Callable[..., ButlerRepository], kind: str) -> None:
    repository = new_repository(kind)
    place = str(repository.root)
    repository.store("one")
    count = f"SELECT count(*) AS n, sum(file_size) > 0 AS sized FROM {RECORDS}"
    assert run("query", place, count, "--json").json == [{"n": 8, "sized": True}]
    manager_of(repository.butler).flush()
    repository.store("two")
    told = run("query", place, count, "--json")
    assert (told.json[0]["n"], told.err) == (16, "")
    told = run("query", place, count, "--json", "--at", "1")
    assert told.json[0]["n"] == 8
    assert "have no versions" in told.err
    joined = (
        f"SELECT run, count(*) AS n FROM datasets JOIN {RECORDS} USING (dataset_id) GROUP BY run ORDER BY run"
    )
    assert run("query", place, joined, "--json").json == [{"run": "one", "n": 8}, {"run": "two", "n": 8}]
    told = run("query", place, count, "--at", "2")
    assert told.code == 2
    assert "no version 2 of the data files of table" in told.err
    told = run("query", place, "SELECT count(*) AS n FROM " + RECORDS, "--json", "--at", "2000-01-01")
    assert told.json == [{"n": 0}]


def test_a_version_of_several_tables(run: Run, tmp_path: Path, new_repository: Any) -> None:
    repository = new_repository("arrow-sqlite-local")
    repository.store("one")
    manager = manager_of(repository.butler)
    manager.register("other", specs.standard()).insert(specs.row(1))
    manager.flush()
    place = str(repository.root)
    both = f"SELECT (SELECT count(*) FROM {RECORDS}) AS one, (SELECT count(*) FROM other) AS two"
    told = run("query", place, both, "--at", "1")
    assert told.code == 2
    assert "each table counts its own versions" in told.err
    assert run("query", place, "SELECT id FROM other", "--at", "1", "--json").json == [{"id": 1}]
    assert run("query", place, both, "--at", "2100-01-01", "--json").json == [{"one": 8, "two": 1}]


# A terminal.


def at_terminal(*arguments: str, typed: Sequence[tuple[bytes, bytes]] = ()) -> tuple[int, bytes]:
    """Return how a command ends that is run at a terminal, and what it has shown.

    Parameters
    ----------
    *arguments
        The command's.
    typed
        What is typed, each after something that was shown since the last.
    """
    ours, theirs = pty.openpty()
    shown, since, left = b"", b"", list(typed)
    with subprocess.Popen([*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        # One that waits for what nobody types is not waited for.
        patience = threading.Timer(60, process.kill)
        patience.start()
        while data := _read(ours):
            if WHERE in data:
                os.write(ours, b"\x1b[1;1R")
            shown, since = shown + data, since + data
            if left and left[0][0] in since:
                os.write(ours, left.pop(0)[1])
                since = b""
        patience.cancel()
    os.close(ours)
    assert not left, shown
    return process.returncode, shown


WHERE = b"\x1b[6n"
"""Asks a terminal where the cursor is."""


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Nobody holds its other end any more.
        return b""


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_binary_formats_are_not_for_terminals(place: str, kind: str) -> None:
    code, shown = at_terminal("query", place, THREE, "--format", kind)
    assert code == 2
    assert b"not for terminals" in shown
    assert b"PAR1" not in shown


def test_a_prompt_writes_no_files(place: str) -> None:
    code, shown = at_terminal("query", place, "-o", "x")
    assert code == 2
    assert b"give SQL" in shown


ENDLESS = "SELECT count(*) FROM range(10000000000) a, range(10000) b WHERE a.range * b.range % 7 = 3"
SLOW = "SELECT a.range FROM range(10000000000) a WHERE a.range < 100000 OR a.range > 9999999999"
READY = """
from arrowopaque import StoreRoot
from arrowopaque.cli.main import main
real = StoreRoot.sql
def sql(root, query):
    print("ready", flush=True)
    return real(root, query)
StoreRoot.sql = sql
main()
"""
"""Says when the question is asked."""


@pytest.mark.parametrize("wait", [0, 0.3, 2])
@pytest.mark.parametrize("sql", [ENDLESS, SLOW])
def test_ctrl_c(place: str, sql: str, wait: float) -> None:
    assert pressed(place, sql, wait, signal.SIG_DFL)[1:] == ("stopped\n", 130)


def pressed(place: str, sql: str, wait: float, action: signal.Handlers) -> tuple[str, str, int]:
    """Return what a query has written to stdout and stderr, and how it has
    ended, whose process was sent SIGINT.

    Parameters
    ----------
    place
        What is asked.
    sql
        The question.
    wait
        Seconds after which the signal is sent.
    action
        What it does by default: in the background it is ignored, of this
        process too.
    """
    command = [sys.executable, "-c", READY, "query", place, sql, "--format", "csv"]
    inherited = signal.signal(signal.SIGINT, action)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, inherited)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(wait)
            process.send_signal(signal.SIGINT)
            return *process.communicate(timeout=60), process.wait()
        finally:
            process.kill()


@pytest.mark.parametrize("wait", [0, 0.3])
def test_ctrl_c_that_is_ignored(place: str, wait: float) -> None:
    slow = "SELECT count(*) AS n FROM range(200000000) a WHERE a.range % 7 = 3"
    assert pressed(place, slow, wait, signal.SIG_IGN) == ('"n"\n28571429\n', "", 0)


def test_a_reader_that_has_seen_enough(place: str) -> None:
    command = [*COMMAND, "query", place, MANY, "--format", "csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b'"n","text"\n'
        process.stdout.close()
        assert process.stderr.read() == b""


# Zero copies.


def test_rows_are_handed_over_as_arrow(tmp_path: Path) -> None:
    root = StoreRoot(str(tmp_path / "root"))
    root.register("here", from_lsst("here", specs.standard()))
    root.table("here").insert(*specs.rows(range(10)))
    fetched = root.table("here").fetch_arrow()
    assert root.sql("SELECT * FROM here ORDER BY id").to_arrow_table() == fetched.cast(
        root.sql("SELECT * FROM here").to_arrow_table().schema
    )
    dataset = ds.InMemoryDataset(fetched)
    assert dataset.count_rows() == 10
