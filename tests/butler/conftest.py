"""Which kinds of repository each Butler test runs on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler, Config

from tests.support.answers import load_registry
from tests.support.butlers import SEED, ButlerRepository, open_butlers
from tests.support.postgres import DRIVERS, PostgresServer
from tests.support.subjects import KINDS, Kind, Placement, Site

Case = tuple[str, Placement]


def _cases(kinds: tuple[str, ...], function: Any) -> list[Case]:
    """Return the kinds and placements that a suite's test runs on."""
    needed: frozenset[str] = getattr(function, "needs", frozenset())
    return [
        (kind.name, placement)
        for kind in (KINDS[name] for name in kinds)
        if needed <= kind.traits
        for placement in ((Placement.DELTA,) if getattr(function, "once", False) else kind.placements)
    ]


def pytest_pycollect_makeitem(
    collector: pytest.Collector, name: str, obj: object
) -> list[pytest.Item] | None:
    """Leave out a suite's test that no kind of the class has the traits for."""
    kinds = getattr(getattr(collector, "cls", None), "kinds", ())
    if kinds and name.startswith("test_") and not _cases(kinds, obj):
        return []
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a suite's test every kind and placement that it asks for."""
    kinds = getattr(metafunc.cls, "kinds", ())
    if kinds and "repository" in metafunc.fixturenames:
        cases = _cases(kinds, metafunc.function)
        names = [f"{kind}-{where.value}" if KINDS[kind].is_arrow else kind for kind, where in cases]
        metafunc.parametrize("repository", cases, indirect=True, ids=names)


@pytest.fixture(scope="session")
def butler_database(postgres_server: PostgresServer) -> str:
    """One database for all repositories: each has a schema of its own.

    The driver is another one than that of most other tests, if there is one.
    """
    return postgres_server.new_database().url(DRIVERS[-1])


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path | None]:
    """A finished repository to copy, where everything lies in its folder."""
    made: dict[str, Path] = {}

    def find(kind: Kind) -> Path | None:
        if kind.dialect != "sqlite" or kind.store == "s3":
            return None
        if kind.name not in made:
            source = ButlerRepository(
                kind, Site(tmp_path_factory.mktemp("template")), Placement.DELTA, "template"
            )
            source.create()
            made[kind.name] = source.root
        return made[kind.name]

    return find


@pytest.fixture
def new_repository(
    tmp_path: Path, request: pytest.FixtureRequest, template: Callable[[Kind], Path | None]
) -> Iterator[Callable[..., ButlerRepository]]:
    """Makes repositories, and closes all their clients."""
    made: list[ButlerRepository] = []

    def make(kind_name: str, placement: Placement = Placement.DELTA) -> ButlerRepository:
        kind = KINDS[kind_name]
        site = Site(
            tmp_path,
            postgres=request.getfixturevalue("butler_database") if kind.dialect == "postgresql" else None,
            s3=f"s3://{request.getfixturevalue('s3_bucket')}" if kind.store == "s3" else None,
        )
        made.append(ButlerRepository(kind, site, placement, f"{tmp_path.name}_{len(made)}"))
        made[-1].make(template(kind))
        return made[-1]

    yield make
    for repository in made:
        repository.close()


@pytest.fixture
def repository(
    request: pytest.FixtureRequest, new_repository: Callable[..., ButlerRepository]
) -> Iterator[ButlerRepository]:
    """A repository of the kind asked for, with nothing stored."""
    kind, placement = request.param
    with open_butlers(placement):
        yield new_repository(kind, placement)


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the host's test data; copy it to write to it."""
    place = tmp_path_factory.mktemp("loaded")
    Butler.makeRepo(str(place), config=Config(SEED))
    with Butler.from_config(str(place), writeable=True) as butler:
        load_registry(butler)
    return place


@pytest.fixture
def registry(loaded: Path, tmp_path: Path) -> Iterator[Butler]:
    """A writeable repository with the host's test data."""
    shutil.copytree(loaded, tmp_path / "registry")
    with Butler.from_config(str(tmp_path / "registry"), writeable=True) as butler:
        yield butler
