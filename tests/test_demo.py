"""The demo runs, and notices what disagrees."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[1] / "scripts" / "demo.py"


def test_demo_agrees_with_the_sql_manager(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO), "--datasets", "60", "--keep", str(tmp_path / "kept")]
    environment = {**os.environ, "COLUMNS": "100"}
    environment.pop("ARROWOPAQUE_ROOT", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DISAGREE" not in done.stdout
    assert done.stdout.count("agree") == 10
    for name in ("arrowopaque", "sql"):
        stored = [path for path in (tmp_path / "kept" / name / "demo").rglob("*") if path.is_file()]
        assert len(stored) == 40
    assert list((tmp_path / "kept" / "arrowopaque").glob("opaque/*/tables/*/*/*.parquet"))


@pytest.mark.parametrize("difference", ["facts", "expected", "alone"])
def test_demo_notices_what_disagrees(difference: str) -> None:
    demo = runpy.run_path(str(DEMO))
    ours, theirs = (demo["Outcome"](facts={"rows": 1}) for _ in range(2))
    assert demo["show"](ours, theirs)
    setattr(ours, difference, {"rows": 2})
    assert not demo["show"](ours, theirs)
