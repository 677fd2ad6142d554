"""The demo runs, and notices what disagrees."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).resolve().parents[1] / "scripts" / "demo.py"


def test_demo_agrees_with_the_sql_manager() -> None:
    done = subprocess.run([sys.executable, str(DEMO), "--datasets", "60"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DISAGREE" not in done.stdout
    assert done.stdout.count("agree") == 9


def test_demo_notices_what_disagrees() -> None:
    demo = runpy.run_path(str(DEMO))
    same, other = (demo["Outcome"](facts={"rows": rows}) for rows in (1, 2))
    assert demo["show"](same, same)
    assert not demo["show"](same, other)
