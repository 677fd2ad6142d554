"""What the documents show works, and prints what they show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.console import run_steps, steps_of

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
