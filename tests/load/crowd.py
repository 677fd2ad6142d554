"""Many clients of one repository at once, and what must be true afterwards."""

from __future__ import annotations

__all__ = ["Crowd", "Deed", "Gathering", "assert_true_of", "counted_conflicts", "gather", "prepare", "work"]

import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import IntegrityError

from arrowopaque.clock import new_id
from arrowopaque.errors import ConflictError
from arrowopaque.format.names import data_file
from arrowopaque.store.catalog import FileChain, Outcome
from tests.support import specs
from tests.support.fleet import CONTEXT, launch
from tests.support.specs import row, rows
from tests.support.subjects import Repository, Subject

TABLES = ("t", "u")
OPTIONS = {
    "bulk_rows": 8,
    "flush_at_open": 0,
    "partition_rows": 60,
    "row_group_rows": 16,
    "lock_timeout": 5.0,
}
PATIENCE = 300.0
"""Seconds that the host waits for a lock of SQLite."""

_CONTESTED, _HOT, _DOOMED, _OWN = 0, 1_000, 2_000, 10_000
_HOT_KEYS = 3
_YEAR = 365 * 86_400.0


@dataclass(frozen=True)
class Crowd:
    """Who does how much."""

    repository: Repository
    writers: int
    turns: int
    maintenance: tuple[str, ...] = ("flush", "compact", "vacuum")
    retention: float = 0.0
    """Seconds that vacuum spares. Writers of a registry hold a lock while
    they read, and maintenance starts over, so that it may be none.
    """

    patience: float = PATIENCE
    """Seconds to wait for the next writer to be done."""
    litters: bool = False
    """Whether vacuum always finds something old, in a local root."""

    def open(self) -> Subject:
        return self.repository.open(patience=PATIENCE)

    def litter(self) -> None:
        """Leave a file that nothing has needed for a year."""
        path = Path(str(self.repository.base)) / data_file("t", 0, new_id())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"litter")
        os.utime(path, (time.time() - _YEAR, time.time() - _YEAR))


@dataclass
class Deed:
    """What one writer was told."""

    number: int
    rows: dict[str, dict[int, specs.Row]] = field(default_factory=lambda: {name: {} for name in TABLES})
    """The rows of its own that must be there."""
    won: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    last: dict[int, specs.Row] = field(default_factory=dict)
    """What it has last put into each hot row."""
    commits: int = 0
    conflicts: int = 0
    """Links that others were faster to append."""
    longest: float = 0.0
    """Seconds of its longest small write."""
    error: str = ""


@dataclass(frozen=True)
class Gathering:
    """What a crowd has done together."""

    deeds: list[Any]
    """What each writer reports."""
    seconds: float
    """From the first to the last of their writes."""
    maintained: dict[str, int]
    """How often each maintenance went through."""
    in_use: int
    """How often one gave up because a table was in use."""

    @property
    def commits(self) -> int:
        return sum(deed.commits for deed in self.deeds)

    @property
    def conflicts(self) -> int:
        return sum(deed.conflicts for deed in self.deeds)

    @property
    def longest(self) -> float:
        longest: float = max(deed.longest for deed in self.deeds)
        return longest


def prepare(crowd: Crowd) -> None:
    """Make the repository, with rows in files that all writers delete."""
    client = crowd.repository.create()
    for name in TABLES:
        client.manager.register(name, specs.standard())
    client.manager.register("t", specs.standard()).insert(*rows(range(_DOOMED, _DOOMED + crowd.turns)))
    client.flush()
    client.close()
    crowd.repository.clients.clear()


def _turn(client: Subject, deed: Deed, n: int, timed: Callable[[Callable[[], Any]], None]) -> None:
    """Write and delete rows of one's own, and contend for those of all."""
    t, u = (client.manager.register(name, specs.standard()) for name in TABLES)
    first = _OWN * (deed.number + 1) + 20 * n
    word = f"w{deed.number}"
    small, large = rows(range(first, first + 3), word), rows(range(first + 5, first + 15), word)

    def several_tables() -> None:
        with client.transaction():
            t.insert(*small)
            u.insert(*small)

    def changes() -> None:
        with client.transaction():
            t.replace(row(first, "new"), row(first + 5, "new"))
            t.delete(["id"], {"id": first + 1}, {"id": first + 6})
            u.delete(["id"], {"id": first + 1})

    timed(several_tables)
    t.insert(*large)
    timed(changes)
    mine, other = {r["id"]: r for r in (*small, *large)}, {r["id"]: r for r in small}
    mine |= {first: row(first, "new"), first + 5: row(first + 5, "new")}
    deed.rows["t"] |= {key: r for key, r in mine.items() if key not in (first + 1, first + 6)}
    deed.rows["u"] |= {key: r for key, r in other.items() if key != first + 1}
    deed.commits += 3
    _contend(t, deed, n, timed)


def _contend(t: OpaqueTableStorage, deed: Deed, n: int, timed: Callable[[Callable[[], Any]], None]) -> None:
    word = f"w{deed.number}"
    try:
        timed(partial(t.insert, row(_CONTESTED + n, word)))
        deed.won.add(_CONTESTED + n)
    except IntegrityError:
        deed.lost.add(_CONTESTED + n)
    hot = row(_HOT + n % _HOT_KEYS, word, n)
    timed(partial(t.replace, hot))
    deed.last[hot["id"]] = hot
    timed(partial(t.delete, ["id"], {"id": _DOOMED + n}))
    deed.commits += 3


@contextmanager
def counted_conflicts(deed: Deed) -> Iterator[None]:
    """Count the links that others were faster to append."""
    append = FileChain.append

    def counted(chain: FileChain, meta: Any) -> Outcome:
        outcome = append(chain, meta)
        deed.conflicts += outcome is Outcome.CONFLICT
        return outcome

    FileChain.append = counted  # type: ignore[method-assign, assignment]  # in a process of its own
    yield
    FileChain.append = append  # type: ignore[method-assign]


def work(crowd: Crowd, number: int, barrier: Any, results: Any) -> None:
    """Be one of the writers."""
    deed = Deed(number)

    def timed(action: Callable[[], Any]) -> None:
        start = time.perf_counter()
        try:
            action()
        finally:
            deed.longest = max(deed.longest, time.perf_counter() - start)

    try:
        client = crowd.open()
        barrier.wait(PATIENCE)
        with counted_conflicts(deed):
            for n in range(crowd.turns):
                _turn(client, deed, n, timed)
    except BaseException:  # noqa: BLE001  # the parent fails with it
        deed.error = traceback.format_exc()
        barrier.abort()
    results.put(deed)


def _maintain(crowd: Crowd, verb: str, stop: Any, results: Any) -> None:
    error, done, in_use = "", 0, 0
    try:
        manager: Any = crowd.open().manager
        while True:
            if verb == "vacuum" and crowd.litters:
                crowd.litter()
            try:
                busy = _maintain_once(crowd, manager, verb)
                done, in_use = done + (not busy), in_use + busy
            except ConflictError:
                # The table was in use for as long as it had patience.
                in_use += 1
            if stop.wait(0.2):
                break
    except BaseException:  # noqa: BLE001  # the parent fails with it
        error = traceback.format_exc()
    results.put((verb, done, in_use, error))


def _maintain_once(crowd: Crowd, manager: Any, verb: str) -> bool:
    """Do it, and return whether a table was left alone because it was in use."""
    if verb != "vacuum":
        getattr(manager, verb)()
        return False
    reports = manager.vacuum(retention=crowd.retention)
    return isinstance(reports, dict) and any(report.busy for report in reports.values())


def gather(crowd: Crowd, target: Callable[..., None] = work) -> Gathering:
    """Let all writers loose, with maintenance beside them."""
    barrier, results, reports = CONTEXT.Barrier(crowd.writers + 1), CONTEXT.Queue(), CONTEXT.Queue()
    stop = CONTEXT.Event()
    keepers = [launch(_maintain, crowd, verb, stop, reports) for verb in crowd.maintenance]
    writers = [launch(target, crowd, number, barrier, results) for number in range(crowd.writers)]
    with suppress(BrokenBarrierError):
        # A writer that could not begin says why.
        barrier.wait(PATIENCE)
    start = time.perf_counter()
    deeds = [results.get(timeout=crowd.patience) for _ in writers]
    seconds = time.perf_counter() - start
    stop.set()
    kept = [reports.get(timeout=PATIENCE) for _ in keepers]
    for process in (*keepers, *writers):
        process.join()
    errors = [error for *_, error in kept if error] + [deed.error for deed in deeds if deed.error]
    assert not errors, errors[0]
    return Gathering(
        deeds, seconds, {verb: done for verb, done, *_ in kept}, sum(report[2] for report in kept)
    )


def assert_true_of(crowd: Crowd, deeds: list[Deed]) -> None:
    """No row is lost, duplicated or resurrected, and each contested key went
    to the one who was told so.
    """
    client = crowd.open()
    manager: Any = client.manager
    manager.verify()
    held = {}
    for name in TABLES:
        found = [dict(r) for r in client.manager.register(name, specs.standard()).fetch()]
        held[name] = {r["id"]: r for r in found}
        assert len(held[name]) == len(found)
    for n in range(crowd.turns):
        winners = [deed.number for deed in deeds if n in deed.won]
        assert len(winners) == 1, f"key {n} was given to {winners}"
        assert all(n in deed.lost for deed in deeds if deed.number not in winners)
        assert held["t"].pop(n)["name"] == f"w{winners[0]}"
        assert _DOOMED + n not in held["t"]
    for key in range(_HOT, _HOT + min(_HOT_KEYS, crowd.turns)):
        assert held["t"].pop(key) in [deed.last[key] for deed in deeds]
    for name in TABLES:
        wanted = {key: r for deed in deeds for key, r in deed.rows[name].items()}
        assert held[name] == wanted
    client.close()
    crowd.repository.clients.clear()
