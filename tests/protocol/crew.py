"""Clients in threads of their own, stopped and watched at exact steps."""

from __future__ import annotations

__all__ = [
    "Crew",
    "Pause",
    "age",
    "before",
    "locking",
    "observed",
    "ours",
    "refused",
    "staged",
    "storing",
    "vacuum",
    "watch_root",
    "watch_steps",
    "writes",
]

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from arrowopaque.butler.host import Cursor
from arrowopaque.maintain import flush as flush_module
from arrowopaque.objects.local import LocalStore
from arrowopaque.store.apply import stage
from arrowopaque.store.catalog import FileChain
from arrowopaque.store.volume import Volume
from tests.support.subjects import RegistrySubject, Subject

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which a step that never comes fails the test."""

_STAGED = "-- staged"
_current = threading.local()


class Pause:
    """Stops a client before one step until it is let go.

    A step is a SQL statement on the driver's cursor, or a pseudo-statement:
    a flush has staged its files, or a call of the object store.
    """

    def __init__(self, at: Callable[[str], bool], *, skip: int = 0) -> None:
        self._at = at
        self._left = skip
        self._reached = threading.Event()
        self._opened = threading.Event()

    def step(self, statement: str) -> None:
        if self._reached.is_set() or not self._at(statement):
            return
        if self._left:
            self._left -= 1
            return
        self._reached.set()
        if not self._opened.wait(PATIENCE):
            raise TimeoutError(f"nobody let the client go at {statement!r}")

    def wait(self) -> None:
        """Wait until the client has come to the step."""
        assert self._reached.wait(PATIENCE), "the client never came to the step"

    def let_go(self) -> None:
        self._opened.set()


def before(*words: str) -> Callable[[str], bool]:
    """Match statements that hold all of ``words``."""
    return lambda statement: all(word in statement for word in words)


def writes(statement: str) -> bool:
    """Match statements that change rows."""
    return statement.startswith(("INSERT", "DELETE", "UPDATE"))


def staged(statement: str) -> bool:
    """Match the end of a flush's first phase."""
    return statement == _STAGED


def locking(statement: str) -> bool:
    """Match the first statement of each attempt at the exclusive lock."""
    return statement in ("SAVEPOINT arrowopaque_lock", "PRAGMA busy_timeout = 0")


def refused(statement: str) -> bool:
    """Match what follows when the exclusive lock was refused."""
    return statement.startswith("ROLLBACK TO SAVEPOINT arrowopaque_lock")


@contextmanager
def observed(action: Callable[[str], None]) -> Iterator[None]:
    """Call ``action`` before each step of this thread."""
    outer, _current.action = getattr(_current, "action", None), action
    try:
        yield
    finally:
        _current.action = outer


def _report(statement: str) -> None:
    action = getattr(_current, "action", None)
    if action is not None:
        # What the action itself does is not reported.
        _current.action = None
        try:
            action(statement)
        finally:
            _current.action = action


def storing(operation: str) -> Callable[[str], bool]:
    """Match calls of the object store by name; a new link of the chain is an
    ``append``.
    """
    return lambda statement: statement == f"-- {operation}"


def watch_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report what every client asks of the object store."""

    def reported(owner: type, operation: str) -> None:
        original = getattr(owner, operation)

        def call(*arguments: Any) -> Any:
            _report(f"-- {operation}")
            return original(*arguments)

        monkeypatch.setattr(owner, operation, call)

    reported(FileChain, "append")
    reported(Volume, "put_manifest")
    reported(LocalStore, "delete")


def watch_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report every step of every client."""
    execute, executemany = Cursor.execute, Cursor.executemany

    def reported_execute(self: Cursor, statement: str, parameters: Any = ()) -> Cursor:
        _report(statement)
        return execute(self, statement, parameters)

    def reported_executemany(self: Cursor, statement: str, parameters: Any) -> Cursor:
        _report(statement)
        return executemany(self, statement, parameters)

    def reported_stage(*arguments: Any) -> Any:
        result = stage(*arguments)
        _report(_STAGED)
        return result

    monkeypatch.setattr(Cursor, "execute", reported_execute)
    monkeypatch.setattr(Cursor, "executemany", reported_executemany)
    monkeypatch.setattr(flush_module, "stage", reported_stage)


def ours(client: Subject) -> Any:
    """Return a client's manager; it has more methods than the host's interface."""
    return client.manager


def age(client: Subject) -> None:
    """Let everything that is stored now be old enough for `vacuum`."""
    for path in Path(str(client.repository.base)).rglob("*.*"):
        at = path.stat().st_mtime - _LONG
        os.utime(path, (at, at))


def vacuum(client: Subject, *, aged: bool = True) -> dict[str, Any]:
    """Run a vacuum, by default long after everything that is stored now."""
    if aged:
        age(client)
    reports: dict[str, Any] = ours(client).vacuum(retention=_LONG / 2)
    return reports


_LONG = 3600.0


class Crew:
    """Runs what clients do at the same time, and knows who waits."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self._pool = ThreadPoolExecutor(8)
        self._pauses: list[Pause] = []
        self._last: list[Callable[[], None]] = []

    def at_the_end(self, action: Callable[[], None]) -> None:
        """Do something when all clients are done."""
        self._last.append(action)

    def start(self, work: Callable[[], T], *pauses: Pause) -> Future[T]:
        """Start ``work``; with pauses, come back when it stands at the first."""
        if not pauses:
            return self._pool.submit(work)
        self._pauses += pauses

        def step(statement: str) -> None:
            for pause in pauses:
                pause.step(statement)

        def paused() -> T:
            with observed(step):
                return work()

        def done(_: Future[T]) -> None:
            for pause in pauses:
                pause._reached.set()

        future = self._pool.submit(paused)
        future.add_done_callback(done)
        pauses[0].wait()
        assert not future.done(), f"it never came to the step: {future.exception()!r}"
        return future

    def blocked(self, future: Future[Any], observer: RegistrySubject, *, others: int = 0) -> bool:
        """Return whether a client waits for a lock, once it does or is done.

        Requires: ``others`` other clients of the observer's repository wait.
        """
        schema = observer.database.namespace
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            f"AND datname = current_database() AND query LIKE '%{schema}%'"
        )
        end = time.monotonic() + PATIENCE
        while not future.done():
            if observer.sql(waiting)[0][0] > others:
                return True
            assert time.monotonic() < end, "the client neither waits nor ends"
        return False

    def close(self) -> None:
        for pause in self._pauses:
            pause.let_go()
        self._pool.shutdown()
        for action in self._last:
            action()
