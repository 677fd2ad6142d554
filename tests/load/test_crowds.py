"""Many writers at once, few of them here; `scripts/load.py` has sixteen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from arrowopaque import StoreRoot
from tests.load.crowd import OPTIONS, Crowd, assert_true_of, gather, prepare
from tests.load.fleets import Farm, assert_there_once, farm_jobs, one_commit_each
from tests.support import specs
from tests.support.postgres import PostgresServer
from tests.support.specs import row, rows
from tests.support.subjects import KINDS, RegistrySubject, Repository, Site, Subject, open_repository


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Site]:
    def make(kind: str) -> Site:
        postgres = s3 = None
        if KINDS[kind].dialect == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            postgres = server.new_database().url("postgresql+psycopg2")
        if KINDS[kind].store == "s3":
            s3 = f"s3://{request.getfixturevalue('s3_bucket')}/load"
        return Site(tmp_path, postgres=postgres, s3=s3)

    return make


CROWDS = {
    "arrow-postgres-local": (4, 4),
    "arrow-postgres-s3": (3, 2),
    "arrow-sqlite-local": (3, 3),
    "arrow-root-local": (3, 3),
    "arrow-root-s3": (2, 2),
}
"""Writers and their turns."""


@pytest.mark.parametrize("kind", CROWDS)
def test_crowd(kind: str, site: Callable[[str], Site]) -> None:
    writers, turns = CROWDS[kind]
    repository = Repository(KINDS[kind], site(kind), option_values=dict(OPTIONS))
    crowd = Crowd(repository, writers, turns)
    if not KINDS[kind].dialect:
        # A root's transactions keep to a moment that vacuum must not take from them.
        crowd = Crowd(
            repository,
            writers,
            turns,
            ("compact", "vacuum"),
            retention=86_400.0,
            litters=KINDS[kind].store == "local",
        )
    prepare(crowd)
    deeds = gather(crowd).deeds
    assert_true_of(crowd, deeds)
    if crowd.litters:
        assert StoreRoot(str(repository.base), writeable=False).head.floor > 0


@pytest.mark.parametrize("kind", ["arrow-root-local", "arrow-root-s3"])
def test_every_commit_to_a_root_is_there_once(kind: str, site: Callable[[str], Site]) -> None:
    writers, commits = 4, 4
    repository = Repository(KINDS[kind], site(kind), option_values=dict(OPTIONS))
    crowd = Crowd(repository, writers, commits, ())
    prepare(crowd)
    before = StoreRoot(str(repository.base), writeable=False).version
    gather(crowd, one_commit_each)
    assert_there_once(crowd, before)


def test_batch_farm(site: Callable[[str], Site]) -> None:
    """Jobs stage beside each other, and two processes commit all receipts."""
    repository = Repository(KINDS["arrow-root-local"], site("arrow-root-local"), option_values=dict(OPTIONS))
    crowd = Farm(repository, writers=4, turns=10, maintenance=("vacuum",), retention=600.0)
    prepare(crowd)
    deeds = gather(crowd, farm_jobs).deeds
    before = StoreRoot(str(repository.base), writeable=False).version
    receipts = [receipt for deed in deeds for receipt in deed.receipts]
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: StoreRoot(str(repository.base)).commit_staged(receipts), range(2)))
    root = StoreRoot(str(repository.base), writeable=False)
    assert root.version == before + 1
    assert sorted(len(report.taken) for report in reports) == [0, 40]
    assert sorted(r["id"] for r in root.table("u").fetch()) == list(range(40 * 25))
    root.verify()


@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-postgres-local", "arrow-root-local"])
def test_forty_threads_with_clones(kind: str, site: Callable[[str], Site]) -> None:
    """As a server: each request clones the one manager, reads and writes."""
    count = 40
    with open_repository(kind, site(kind), option_values=dict(OPTIONS)) as client:
        table = client.manager.register("t", specs.standard())
        table.insert(*rows(range(1000, 1010)))
        client.flush()
        barrier = threading.Barrier(count)
        with ThreadPoolExecutor(count) as pool:
            won = list(pool.map(lambda number: _serve(client, barrier, number), range(count)))
        assert [sum(won[start : start + 4]) for start in range(0, count, 4)] == [1] * (count // 4)
        client.refresh()
        found = {r["id"]: r for r in map(dict, table.fetch())}
        assert {key for key in found if key < 1000} == set(range(count))
        assert all(found[key] == row(key, "b", key) for key in range(count))
        for group in range(count // 4):
            assert won[int(found[5000 + group]["name"])]
        if isinstance(client, RegistrySubject):
            client.flush()
        client.second().manager.verify()


def _serve(client: Subject, barrier: threading.Barrier, number: int) -> bool:
    """Read and write as one request; return whether it won its contested key."""
    barrier.wait(120)
    mine = client.clone()
    own = mine.manager.get("t")
    assert own is not None
    assert [r["val"] for r in own.fetch(id=1000 + number % 10)] == [10 * (1000 + number % 10)]
    own.insert(row(number))
    with mine.transaction():
        own.replace(row(number, "b", number))
        assert [r["val"] for r in own.fetch(id=number)] == [number]
    try:
        own.insert(row(5000 + number // 4, str(number)))
    except IntegrityError:
        return False
    return True
