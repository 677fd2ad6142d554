"""Commands where lsst is not installed: they serve roots, and say what repositories need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arrowopaque.cli.exits import Exit
from arrowopaque.cli.main import COMMANDS
from tests.support.absent import WITHOUT_BUTLER

MAIN = WITHOUT_BUTLER + "from arrowopaque.cli.main import main\nmain()\n"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MAIN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_root(place: str) -> None:
    done = _run("query", place, "SELECT 1 AS one", "--format", "csv")
    assert (done.returncode, done.stdout, done.stderr) == (0, '"one"\n1\n', "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_repository(name: str, tmp_path: Path) -> None:
    given = {
        "adopt": [],
        "restore": [],
        "diff": ["1", "2"],
        "query": ["SELECT 1"],
        "report": ["-o", str(tmp_path / "report.html")],
        "export": [str(tmp_path / "away")],
        "import": [str(tmp_path / "copy")],
    }
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "butler.yaml").write_text("datastore: {}\n")
    done = _run(name, str(tmp_path / "repo"), *given.get(name, []))
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith("install the extra `butler`, as in `pip install 'arrowopaque[butler]'`")
