"""Repositories whose every call can be made to fail."""

from __future__ import annotations

import pytest

from tests.support.faults import Faults
from tests.support.postgres import PostgresServer


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    faults = Faults()
    faults.install(monkeypatch)
    monkeypatch.setattr("arrowopaque.clock.pause", lambda _: None)
    return faults


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database().url("postgresql+psycopg2")
