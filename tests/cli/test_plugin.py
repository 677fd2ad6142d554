"""The commands are sub-commands of ``butler`` too."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import click

from arrowopaque.cli.main import COMMANDS
from arrowopaque.cli.plugin import commands

TREE = Path(__file__).resolve().parents[2]
DECLARED = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["entry-points"]["butler.cli"]


def test_entry_point_is_what_is_declared() -> None:
    (place,) = DECLARED.values()
    assert EntryPoint("arrowopaque", place, "butler.cli").load() is commands


def test_all_commands_are_there() -> None:
    (group,) = commands()
    assert isinstance(group, click.Group)
    assert group.name == "arrowopaque"
    assert group.list_commands(click.Context(group)) == list(COMMANDS)


def test_butler_runs_them(tmp_path: Path, place: str) -> None:
    """Where the package is not installed a folder on the path declares it."""
    metadata = tmp_path / "declared" / "arrowopaque_declared-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: arrowopaque-declared\nVersion: 1\n")
    lines = [f"{name} = {target}\n" for name, target in DECLARED.items()]
    (metadata / "entry_points.txt").write_text("".join(["[butler.cli]\n", *lines]))
    # An installed package that declares it as well is passed over: it would be listed twice.
    script = (
        "import sys, importlib.metadata as m\n"
        "from lsst.daf.butler.cli import butler\n"
        "butler.entry_points = lambda **which: {p.name: p for p in m.entry_points(**which)}.values()\n"
        "sys.argv[0] = 'butler'\n"
        "butler.main()\n"
    )
    paths = [str(tmp_path / "declared"), str(TREE)]

    def butler(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
        )

    listed = butler("--help")
    assert listed.returncode == 0, listed.stderr
    assert "\n  arrowopaque " in listed.stdout
    told = butler("arrowopaque", "status", place)
    assert told.returncode == 0, told.stderr
    assert "here\n  rows       60\n" in told.stdout


def test_help_imports_nothing_of_lsst() -> None:
    source = (
        "import sys\n"
        "from arrowopaque.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "assert not {'lsst', 'sqlalchemy', 'duckdb'} & {name.partition('.')[0] for name in sys.modules}\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)
