"""Commands are run in this process, on real repositories and roots."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from arrowopaque import Options, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.cli.main import main
from tests.support import specs


@dataclass(frozen=True)
class Ran:
    """What a command has written, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run() -> Run:
    """Run ``arrowopaque`` with some arguments, perhaps with an answer on stdin."""

    def call(*arguments: str, answer: str = "") -> Ran:
        result = CliRunner().invoke(main, list(arguments), input=answer, terminal_width=100)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Return a root with two tables, of 60 rows and of none."""
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2))
    root.register("here", from_lsst("here", specs.standard()))
    root.register("empty", from_lsst("empty", specs.standard()))
    root.table("here").insert(*[specs.row(n, val=n) for n in range(60)])
    return str(tmp_path / "root")
