"""A client of each kind of repository that is ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import PostgresServer
from tests.support.subjects import KINDS, Site, open_repository


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """One database for all repositories: each has a schema of its own."""
    return postgres_server.new_database().url("postgresql+psycopg2")


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A client of an empty repository of the kind asked for."""
    kind = KINDS[request.param]
    site = Site(
        tmp_path,
        postgres=request.getfixturevalue("postgres_url") if kind.dialect == "postgresql" else None,
        s3=f"s3://{request.getfixturevalue('s3_bucket')}" if kind.store == "s3" else None,
    )
    with open_repository(request.param, site) as found:
        yield found
