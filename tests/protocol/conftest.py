"""Repositories in which bulk starts at two rows, and clients to race in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from tests.protocol.crew import Crew, watch_root, watch_steps
from tests.support.postgres import DRIVERS, PostgresServer
from tests.support.subjects import RegistrySubject, RootSubject, Site, open_repository

_OPTIONS = {"bulk_rows": 2, "flush_at_open": 0, "lock_timeout": 20.0}


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a bulk write do several things at once, as one of many rows does."""
    monkeypatch.setattr("arrowopaque.store.plan.LONG", 2)


@pytest.fixture(scope="session")
def postgres_urls(postgres_server: PostgresServer) -> dict[str, str]:
    database = postgres_server.new_database()
    # A wait that would never end fails the test instead.
    engine = sqlalchemy.create_engine(database.url(DRIVERS[0]), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"ALTER DATABASE {database.name} SET lock_timeout = '20s'"))
    engine.dispose()
    return {driver: database.url(driver) for driver in DRIVERS}


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are stopped in the middle of a commit here, and the others go on."""
    monkeypatch.setattr("arrowopaque.objects.local._TURN", 0.02)


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """The driver that PostgreSQL is spoken to through."""
    return str(request.param)


@pytest.fixture
def postgres(driver: str, postgres_urls: dict[str, str], tmp_path: Path) -> Iterator[RegistrySubject]:
    """A client of an empty repository of ours on PostgreSQL."""
    site = Site(tmp_path, postgres=postgres_urls[driver])
    with open_repository("arrow-postgres-local", site, option_values=dict(_OPTIONS)) as client:
        yield client


@pytest.fixture
def plain_postgres(driver: str, postgres_urls: dict[str, str], tmp_path: Path) -> Iterator[RegistrySubject]:
    """A client of an empty repository of the SQL manager on PostgreSQL."""
    with open_repository("sql-postgres", Site(tmp_path, postgres=postgres_urls[driver])) as client:
        yield client


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[RegistrySubject]:
    """A client of an empty repository of ours on SQLite."""
    with open_repository("arrow-sqlite-local", Site(tmp_path), option_values=dict(_OPTIONS)) as client:
        yield client


@pytest.fixture
def plain_sqlite(tmp_path: Path) -> Iterator[RegistrySubject]:
    """A client of an empty repository of the SQL manager on SQLite."""
    with open_repository("sql-sqlite", Site(tmp_path)) as client:
        yield client


@pytest.fixture(params=["sqlite", *DRIVERS])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RegistrySubject]:
    """A client of an empty repository of ours on every database."""
    if request.param == "sqlite":
        kind, site = "arrow-sqlite-local", Site(tmp_path)
    else:
        urls = request.getfixturevalue("postgres_urls")
        kind, site = "arrow-postgres-local", Site(tmp_path, postgres=urls[request.param])
    with open_repository(kind, site, option_values=dict(_OPTIONS)) as client:
        yield client


@pytest.fixture
def root(tmp_path: Path) -> Iterator[RootSubject]:
    """A client of an empty root."""
    with open_repository("arrow-root-local", Site(tmp_path), option_values=dict(_OPTIONS)) as client:
        yield client


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """Threads for the clients; every step of theirs is reported."""
    watch_steps(monkeypatch)
    watch_root(monkeypatch)
    crew = Crew(monkeypatch)
    yield crew
    crew.close()
