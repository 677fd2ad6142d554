"""The suite over all backends, and races between processes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from arrowopaque.objects.base import Put
from arrowopaque.objects.memory import MemoryStore
from tests.objects.suite import ObjectStoreSuite
from tests.support.racing import race_in_processes
from tests.support.s3server import S3Server
from tests.support.stores import Backend, LocalBackend, MemoryBackend, S3Backend

_serial = itertools.count()


class TestLocalStore(ObjectStoreSuite):
    race_rounds = 100

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return LocalBackend(tmp_path / "a folder%20 ü" / "root")

    def test_of_racing_processes_one_creates(self, backend: Backend) -> None:
        check_process_race(backend, rounds=100)


class TestMemoryStore(ObjectStoreSuite):
    race_rounds = 200

    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend(f"suite/{next(_serial)}")

    def test_a_discarded_name_is_empty(self) -> None:
        store = MemoryStore("discarded")
        store.put("a", b"x")
        MemoryStore.discard("discarded")
        assert list(MemoryStore("discarded").list()) == []
        assert store.get("a") == b"x"
        MemoryStore.discard("never existed")


class TestS3Store(ObjectStoreSuite):
    race_rounds = 15

    @pytest.fixture
    def backend(self, s3_server: S3Server, s3_bucket: str) -> Backend:
        return S3Backend(s3_server, s3_bucket)

    def test_of_racing_processes_one_creates(self, backend: Backend) -> None:
        check_process_race(backend, rounds=15)


def check_process_race(backend: Backend, rounds: int) -> None:
    for number, outcomes in enumerate(race_in_processes(4, rounds, backend.uri)):
        winners = [data for outcome, data in outcomes if outcome is Put.CREATED]
        assert winners == [backend.peek(f"round-{number}")]


def test_a_suite_that_weakens_a_test_is_refused() -> None:
    with pytest.raises(TypeError, match="test_put_replaces"):
        type("Weak", (ObjectStoreSuite,), {"test_put_replaces": lambda self: None})
