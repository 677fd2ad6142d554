"""`make load`, with next to nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOAD = Path(__file__).resolve().parents[2] / "scripts" / "load.py"
AMOUNTS = {
    "processes": 1,
    "seconds": 0.2,
    "rows": 1000,
    "commits": 3,
    "receipts": 2,
    "latency": 0,
}


def test_load_prints_its_figures() -> None:
    """The crowd is left out: `test_crowds.py` has it."""
    options = [f"--{name}={value}" for name, value in AMOUNTS.items()]
    options += [f"--part={part}" for part in ("chain", "farm", "rates", "waits")]
    command = [sys.executable, str(LOAD), "--store=local", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [[cell.strip() for cell in line.strip("│┃ ").split("│")] for line in done.stdout.splitlines()]
    cells = [line for line in lines if len(line) > 1]
    # Commits of the chain, receipts of the farm.
    assert [line[1] for line in cells if line[0] == "local"] == ["3", "2"]
    rates = [float(line[1]) for line in cells if line[0] in ("SQL manager", "ours, local")]
    assert len(rates) == 4
    assert max(rates) > 0
    for work in ("nothing", "flush", "compaction", "vacuum", "bulk insert"):
        assert [float(line[1]) > 0 for line in cells if line[0] == work] == [True]
