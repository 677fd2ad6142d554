"""Which kinds of repository each test of the conformance suite runs on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import PostgresServer
from tests.support.subjects import KINDS, Placement, Site, Subject, open_repository

Case = tuple[str, Placement, bool]


def _cases(kinds: tuple[str, ...], function: Any) -> list[Case]:
    """Return the kinds and placements that a suite's test runs on."""
    needed: frozenset[str] = getattr(function, "needs", frozenset())
    result: list[Case] = []
    for kind in (KINDS[name] for name in kinds):
        if needed - {"bridge"} <= kind.traits:
            placements = (Placement.DELTA,) if getattr(function, "once", False) else kind.placements
            result.extend((kind.name, placement, "bridge" in needed) for placement in placements)
    return result


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
    if kinds and "subject" in metafunc.fixturenames:
        cases = _cases(kinds, metafunc.function)
        names = [
            f"{kind}-{placement.value}" if KINDS[kind].is_arrow else kind for kind, placement, _ in cases
        ]
        metafunc.parametrize("subject", cases, indirect=True, ids=names)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """One database for all repositories: each has a schema of its own."""
    return postgres_server.new_database().url("postgresql+psycopg2")


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a bulk write do several things at once, as one of many rows does."""
    monkeypatch.setattr("arrowopaque.store.plan.LONG", 2)


@pytest.fixture
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """A client of an empty repository of the kind asked for."""
    name, placement, with_bridge = request.param
    kind = KINDS[name]
    site = Site(
        tmp_path,
        postgres=request.getfixturevalue("postgres_url") if kind.dialect == "postgresql" else None,
        s3=f"s3://{request.getfixturevalue('s3_bucket')}" if kind.store == "s3" else None,
    )
    with open_repository(name, site, placement=placement, with_bridge=with_bridge) as client:
        yield client
