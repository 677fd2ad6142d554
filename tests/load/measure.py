"""What `scripts/load.py` measures beside the crowds: how fast writers are, and how long one waits."""

from __future__ import annotations

__all__ = ["Rush", "Wait", "deadlocks", "rush", "waits"]

import random
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import OperationalError

from arrowopaque.clock import new_id
from arrowopaque.format.names import data_file
from arrowopaque.objects.opening import open_store
from tests.load.crowd import PATIENCE, Crowd, Deed
from tests.support import specs
from tests.support.fleet import CONTEXT, launch
from tests.support.specs import row
from tests.support.subjects import RegistrySubject, Repository, Subject

# How fast.

HOT_KEYS = 8


@dataclass(frozen=True)
class Rush(Crowd):
    """Writers of small transactions, for some seconds."""

    seconds: float = 1.0
    hot: bool = False
    """Whether each replaces two of few rows, in any order."""


def rush(crowd: Rush, number: int, barrier: Any, results: Any) -> None:
    """Be one of the writers; a transaction that the server ends for a
    deadlock is counted.
    """
    deed, rng = Deed(number), random.Random(number)
    try:
        client = crowd.open()
        table = client.manager.register("t", specs.standard())
        barrier.wait(PATIENCE)
        end = time.monotonic() + crowd.seconds
        while (start := time.monotonic()) < end:
            try:
                with client.transaction():
                    _hot(table, rng) if crowd.hot else _own(
                        table, 10_000_000 * (number + 1) + 2 * deed.commits
                    )
                deed.commits += 1
            except OperationalError as err:
                if "deadlock detected" not in str(err):
                    raise
                deed.conflicts += 1
            deed.longest = max(deed.longest, time.monotonic() - start)
    except BaseException:  # noqa: BLE001  # the parent fails with it
        deed.error = traceback.format_exc()
        barrier.abort()
    results.put(deed)


def _own(table: OpaqueTableStorage, key: int) -> None:
    table.insert(row(key), row(key + 1))
    table.replace(row(key - 2, "new"))
    table.delete(["id"], {"id": key - 1})


def _hot(table: OpaqueTableStorage, rng: random.Random) -> None:
    for key in rng.sample(range(HOT_KEYS), 2):
        table.replace(row(key, "hot", rng.randrange(10**9)))


def deadlocks(client: RegistrySubject) -> int:
    """Return how many the server has broken in this database."""
    statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(client.sql(statement)[0][0])


# How long one waits.


@dataclass(frozen=True)
class Wait:
    """One large piece of work, and the small writes beside it."""

    work: str
    seconds: float
    writes: int
    longest: float


def _write_on(repository: Repository, ready: Any, stop: Any, results: Any) -> None:
    """Insert one row a transaction until told to stop."""
    table = repository.open(patience=PATIENCE).manager.register("t", specs.standard())
    key, spans = 10**12, []
    table.insert(row(key))
    ready.set()
    while not stop.is_set():
        key += 1
        start = time.monotonic()
        table.insert(row(key))
        spans.append((start, time.monotonic()))
    results.put(spans)


@contextmanager
def _small_writer(repository: Repository) -> Iterator[list[tuple[float, float]]]:
    ready, stop, results = CONTEXT.Event(), CONTEXT.Event(), CONTEXT.Queue()
    process = launch(_write_on, repository, ready, stop, results)
    spans: list[tuple[float, float]] = []
    try:
        assert ready.wait(PATIENCE)
        yield spans
        stop.set()
        spans += results.get(timeout=PATIENCE)
    finally:
        process.kill()
        process.join()


def waits(repository: Repository, rows: int, objects: int, seconds: float) -> list[Wait]:
    """Do each large piece of work while somebody writes single rows.

    Parameters
    ----------
    repository
        A new repository of ours in PostgreSQL.
    rows
        Rows that are flushed, merged or inserted at once.
    objects
        Objects that the vacuum deletes.
    seconds
        How long there is nothing else, to compare with.
    """
    client = repository.create()
    assert isinstance(client, RegistrySubject)
    manager: Any = client.manager
    table: Any = manager.register("t", specs.standard())
    repository.clients.clear()
    done: list[tuple[str, float, float]] = []

    def timed(work: str, action: Callable[[], Any]) -> None:
        start = time.monotonic()
        action()
        done.append((work, start, time.monotonic()))

    bulk = pa.Table.from_pylist([row(key) for key in range(10**9, 10**9 + rows)])
    with _small_writer(repository) as spans:
        timed("nothing", lambda: time.sleep(seconds))
        _fill(client, rows, 0)
        timed("flush", manager.flush)
        _fill(client, rows, 1)
        manager.flush()
        timed("compaction", manager.compact)
        _litter(repository, client, objects)
        timed("vacuum", lambda: manager.vacuum(retention=0.0))
        timed("bulk insert", lambda: table.insert_arrow(bulk))
    manager.verify("quick")
    assert table.fetch_arrow().num_rows == 3 * rows + len(spans) + 1
    client.close()
    return [_wait(work, start, end, spans) for work, start, end in done]


def _wait(work: str, start: float, end: float, spans: list[tuple[float, float]]) -> Wait:
    beside = [span[1] - span[0] for span in spans if span[0] < end and span[1] > start]
    return Wait(work, end - start, len(beside), max(beside, default=0.0))


def _fill(client: RegistrySubject, rows: int, offset: int) -> None:
    """Put every second key into the delta, as fast as the server can."""
    name = client.database.dialect.identifier_preparer.quote_identifier(str(client.database.namespace))
    statement = (
        f"INSERT INTO {name}.t (id, name, val) "
        f"SELECT 2 * g + {offset}, 'n' || g, g FROM generate_series(0, {rows - 1}) AS g"
    )
    with client.database._engine.begin() as connection:
        connection.exec_driver_sql(statement)


def _litter(repository: Repository, client: Subject, objects: int) -> None:
    """Leave files that nothing needs."""
    assert isinstance(client, RegistrySubject)
    name = client.database.dialect.identifier_preparer.quote_identifier(str(client.database.namespace))
    ((uri,),) = client.sql(f"SELECT value FROM {name}.arrowopaque_store WHERE name = 'root'")
    store = open_store(uri)
    for _ in range(objects):
        store.put(data_file("t", 0, new_id()), b"litter")
