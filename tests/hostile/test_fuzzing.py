"""Bytes changed at random end in an error of ours or a right answer, and no process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SEED = int(os.environ.get("FUZZ_SEED", "1"))
COUNT = int(os.environ.get("FUZZ_COUNT", "60"))
SECONDS = 5.0
"""For one example, on a busy machine."""


def test_changed_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.hostile.fuzzing", str(tmp_path)]
    options = ["--seed", str(SEED), "--count", str(COUNT)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60 + SECONDS * COUNT)
    last = done.stdout.split()[-1] if done.stdout else "none"
    assert done.returncode == 0, f"seed {SEED}, example {last}: {done.stderr[-4000:]}"
    assert last == str(COUNT - 1)
