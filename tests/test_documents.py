"""What the documents show works, and prints what they show."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest

from tests.support.console import Step, run_steps, steps_of
from tests.support.postgres import PostgresServer
from tests.support.s3server import S3Server

ROOT = Path(__file__).resolve().parents[1]


def test_what_a_document_may_show(tmp_path: Path) -> None:
    text = (
        "Words.\n\n```console\n$ export X=3\n$ echo one \\\n    two $X\none two 3\n"
        "$ false || echo no\n...\n```\n"
        "\n```python\nimport os\nassert os.environ['X'] == '3'\n```\n\n```sql\nSELECT\n```\n"
    )
    steps = list(steps_of(text))
    assert [step.line for step in steps] == [4, 5, 8, 13]
    assert run_steps(steps, tmp_path, {}) == []


@pytest.mark.parametrize(
    ("session", "problem"),
    [
        ("$ echo one\ntwo\n", "line 2: echo one\n printed\none\n"),
        ("$ (exit 7)\n", "line 2: (exit 7)\n ended with 7: "),
        ("$ true\n$ echo fine\nfine\n$ false | cat\n", "line 5: false | cat\n ended with 1: "),
    ],
)
def test_what_is_otherwise_is_told(session: str, problem: str, tmp_path: Path) -> None:
    assert run_steps(steps_of(f"```console\n{session}```\n"), tmp_path, {}) == [problem]


def test_the_tutorial(tmp_path: Path) -> None:
    steps = list(steps_of((ROOT / "docs" / "TUTORIAL.md").read_text()))
    assert len(steps) > 12
    assert run_steps(steps, tmp_path, {"ARROWOPAQUE_ROOT": ""}) == []


def test_how_to(tmp_path: Path, postgres_server: PostgresServer, s3_server: S3Server) -> None:
    environment = {
        "ARROWOPAQUE_ROOT": "",
        "BUCKET": s3_server.make_bucket(),
        "DATABASE": postgres_server.new_database().url("postgresql+psycopg2"),
        **s3_server.environment,
    }
    assert run_steps(steps_of((ROOT / "docs" / "HOWTO.md").read_text()), tmp_path, environment) == []


def test_a_server_is_named_as_shown(tmp_path: Path, s3_server: S3Server) -> None:
    (shown,) = re.findall(
        r"^```sh\n(.*?)^```", (ROOT / "docs" / "HOWTO.md").read_text(), re.DOTALL | re.MULTILINE
    )
    others = dict(s3_server.environment)
    for name in re.findall(r"(AWS_\w+)=", shown):
        shown = re.sub(rf"{name}=\S+", f"{name}={shlex.quote(others.pop(name))}", shown)
    assert s3_server.url in shown
    make = f"import arrowopaque\narrowopaque.StoreRoot('s3://{s3_server.make_bucket()}/root')\n"
    steps = [Step(0, shown), Step(0, make, is_python=True)]
    assert run_steps(steps, tmp_path, {**others, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}) == []


def test_the_readme_shows_what_the_tutorial_runs() -> None:
    run = {(step.command, step.output) for step in steps_of((ROOT / "docs" / "TUTORIAL.md").read_text())}
    readme = (ROOT / "README.md").read_text()
    tour = readme.partition("## Five minutes")[2].partition("\n## ")[0]
    shown = [(step.command, step.output) for step in steps_of(tour)]
    assert len(shown) > 5
    assert [step for step in shown if step not in run] == []


def test_the_readme_compares_with_measured_figures() -> None:
    shown = _table((ROOT / "README.md").read_text().partition("## Beside its peers")[2])
    measured = _table((ROOT / "docs" / "BENCHMARKS.md").read_text().partition("### 1,000,000 rows")[2])
    assert len(shown) > 8
    for workload, figures in shown.items():
        assert figures.items() <= measured[workload].items(), workload


def _table(text: str) -> dict[str, dict[str, str]]:
    """Return the first table of a text: its rows by their first cell, their
    other cells by column.
    """
    lines = itertools.takewhile(
        lambda line: line.startswith("|"),
        itertools.dropwhile(lambda line: not line.startswith("|"), text.splitlines()),
    )
    (_, *columns), _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}
