"""Commands are run in this process, on real repositories and roots."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from arrowopaque import Options, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.cli.main import main
from tests.support import specs
from tests.support.butlers import ButlerRepository
from tests.support.postgres import PostgresServer
from tests.support.subjects import KINDS, Placement, Site, override_options


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


@pytest.fixture
def new_repository(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., ButlerRepository]]:
    """Makes Butler repositories that keep the options given, and closes them."""
    made: list[ButlerRepository] = []

    def make(kind_name: str = "arrow-sqlite-local", **options: Any) -> ButlerRepository:
        kind, database = KINDS[kind_name], None
        if kind.dialect == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            database = server.new_database().url("postgresql+psycopg2")
        site = Site(tmp_path, postgres=database)
        made.append(ButlerRepository(kind, site, Placement.DELTA, f"repo_{len(made)}"))
        with override_options(options):
            made[-1].make(None)
        return made[-1]

    yield make
    for repository in made:
        repository.close()
