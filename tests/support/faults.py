"""Faults in the two ports: the object store and the driver of the database.

Every call of either is a *step*. `Faults` counts the steps of what runs
inside `Faults.recording`, and makes one of them go wrong inside
`Faults.striking`.
"""

from __future__ import annotations

__all__ = ["Fault", "Faults", "FaultyStore", "Mode", "Step", "injected"]

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
import sqlalchemy

from arrowopaque.butler import catalog, host
from arrowopaque.errors import StoreAccessError
from arrowopaque.objects.base import ObjectInfo, ObjectStore, Put
from arrowopaque.objects.opening import open_store
from arrowopaque.store import root

T = TypeVar("T")

MESSAGE = "injected fault"


class Mode(enum.Enum):
    """How a step goes wrong."""

    ERROR = "error"
    """It is refused before it has any effect."""
    LOST = "lost"
    """It has its effect, and the reply is lost."""
    GONE = "gone"
    """It and all that follow are refused: the storage or the server is away."""
    TRUNCATED = "truncated"
    """A bad store keeps half of an object, or deletes half of the objects, and then reports an error."""
    SLOW = "slow"
    """It succeeds after `Faults.delay`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and at which of the steps whose names begin with ``name``, counted from 1."""

    step: int
    mode: Mode
    name: str = ""

    def __str__(self) -> str:
        return f"{self.step}/{self.mode.value}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        step, _, mode = text.partition("/")
        return cls(int(step), Mode(mode))


def injected(error: BaseException | None) -> bool:
    """Return whether a fault is behind an error."""
    while error is not None:
        if MESSAGE in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@dataclass(frozen=True, slots=True)
class Step:
    """One call that can go wrong."""

    name: str
    act: Callable[[], Any]
    refuse: Callable[[], BaseException]
    """Makes the error of a call without effect."""
    lose: Callable[[], BaseException]
    """Makes the error of a call whose reply is lost."""
    halve: Callable[[], object] | None = None
    """Has half of the effect, where that can be."""


class Faults:
    """Makes steps go wrong, on demand.

    Only what runs inside `recording` or `striking` is counted; everything
    else passes through.
    """

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.struck: str | None = None
        self.delay: Callable[[], object] = lambda: None
        """What a slow step takes: tests move a clock here."""
        self.later = timedelta(0)
        """By how much the store's clock is ahead of what is stored."""
        self._counts = False
        self._fault: Fault | None = None
        self._met = 0

    @contextmanager
    def recording(self) -> Iterator[list[str]]:
        """Give the list of steps, in order."""
        with self.striking(None):
            yield self.steps

    @contextmanager
    def striking(self, fault: Fault | None) -> Iterator[None]:
        """Let ``fault`` happen."""
        self.steps, self.struck, self._fault, self._counts = [], None, fault, True
        self._met = 0
        try:
            yield
        finally:
            self._counts = False

    def take(self, step: Step) -> Any:
        """Do one step, or let it go wrong."""
        if not self._counts:
            return step.act()
        self.steps.append(step.name)
        fault = self._fault
        is_away = self.struck is not None and fault is not None and fault.mode is Mode.GONE
        if fault is None or not (is_away or step.name.startswith(fault.name)):
            return step.act()
        self._met += 1
        number = self._met
        if number < fault.step or (number > fault.step and fault.mode is not Mode.GONE):
            return step.act()
        self.struck = self.struck or step.name
        if fault.mode is Mode.SLOW:
            self.delay()
            return step.act()
        if fault.mode is Mode.LOST:
            step.act()
            raise step.lose()
        if fault.mode is Mode.TRUNCATED:
            assert step.halve is not None, f"{step.name} has no half"
            step.halve()
        raise step.lose() if fault.mode is Mode.GONE else step.refuse()

    # The object store.

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Reach the stores that are opened from now on, and the driver's cursors of `watch`ed engines."""

        def open_faulty(uri: str, *, writeable: bool = True) -> ObjectStore:
            return FaultyStore(open_store(uri, writeable=writeable), self)

        patch.setattr(catalog, "open_store", open_faulty)
        patch.setattr(root, "open_store", open_faulty)
        plain = host._cursor

        def faulty_cursor(connection: Any, dialect: sqlalchemy.Dialect, **how: Any) -> Any:
            return FaultyCursor(plain(connection, dialect, **how), dialect, self)

        patch.setattr(host, "_cursor", faulty_cursor)

    # The database.

    def watch(self, engine: sqlalchemy.Engine) -> None:
        """Reach what SQLAlchemy sends through ``engine``, its commits too."""
        dialect: Any = engine.dialect
        for name in ("do_execute", "do_executemany", "do_execute_no_params"):
            setattr(dialect, name, self._executing(dialect, getattr(dialect, name)))
        commit = dialect.do_commit

        def do_commit(connection: Any) -> None:
            raw = getattr(connection, "dbapi_connection", connection)
            self.take(self._statement(dialect, raw, "COMMIT", lambda: commit(connection)))

        dialect.do_commit = do_commit

    def _executing(self, dialect: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        def execute(cursor: Any, statement: str, *arguments: Any) -> Any:
            act = lambda: original(cursor, statement, *arguments)  # noqa: E731  # it needs this call's names
            return self.take(self._statement(dialect, cursor.connection, statement, act))

        return execute

    def _statement(self, dialect: Any, raw: Any, statement: str, act: Callable[[], Any]) -> Step:
        operational = dialect.loaded_dbapi.OperationalError

        def refuse() -> BaseException:
            if dialect.name == "postgresql" and statement != "COMMIT":
                # A server that refuses a statement aborts the transaction.
                with suppress(dialect.loaded_dbapi.Error), raw.cursor() as cursor:
                    cursor.execute("SELECT 1 / 0")
            elif dialect.name == "postgresql":
                raw.close()
            return _error(operational, statement)

        def lose() -> BaseException:
            if dialect.name == "postgresql":
                raw.close()
            return _error(operational, statement)

        return Step("sql " + " ".join(statement.split())[:150], act, refuse, lose)


def _error(kind: type[BaseException], name: str) -> BaseException:
    return kind(f"{MESSAGE}: {name[:100]}")


class FaultyCursor:
    """The driver's cursor, each statement of it a step."""

    def __init__(self, cursor: Any, dialect: sqlalchemy.Dialect, faults: Faults) -> None:
        self._inner = cursor
        self._dialect = dialect
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, statement: str, *parameters: Any) -> Any:
        return self._take(statement, lambda: self._inner.execute(statement, *parameters))

    def executemany(self, statement: str, parameters: Any) -> Any:
        return self._take(statement, lambda: self._inner.executemany(statement, parameters))

    def _take(self, statement: str, act: Callable[[], Any]) -> Any:
        step = self._faults._statement(self._dialect, self._inner.connection, statement, act)
        return self._faults.take(step)


class FaultyStore(ObjectStore):
    """An object store, each call of it a step."""

    def __init__(self, inner: ObjectStore, faults: Faults) -> None:
        self.uri = inner.uri
        self._inner = inner
        self._faults = faults

    def _take(
        self, method: str, path: str, act: Callable[[], T], halve: Callable[[], object] | None = None
    ) -> T:
        name = f"{method} {path}"

        def error() -> BaseException:
            return _error(StoreAccessError, f"{self.uri}/{path}: {method}")

        result: T = self._faults.take(Step(name, act, error, error, halve))
        return result

    def get(self, path: str, most: int | None = None) -> bytes:
        return self._take("get", path, lambda: self._inner.get(path, most))

    def get_range(self, path: str, start: int, length: int) -> bytes:
        return self._take("get_range", path, lambda: self._inner.get_range(path, start, length))

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self._take("get_ranges", path, lambda: self._inner.get_ranges(path, ranges))

    def put(self, path: str, data: bytes) -> None:
        def halve() -> None:
            self._inner.put(path, data[: len(data) // 2])

        self._take("put", path, lambda: self._inner.put(path, data), halve)

    def put_if_absent(self, path: str, data: bytes) -> Put:
        return self._take("put_if_absent", path, lambda: self._inner.put_if_absent(path, data))

    def size(self, path: str) -> int | None:
        return self._take("size", path, lambda: self._inner.size(path))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(self._take("list", prefix, lambda: [*self._inner.list(prefix)]))

    def delete(self, paths: Iterable[str]) -> None:
        doomed = [*paths]

        def halve() -> None:
            self._inner.delete(doomed[: len(doomed) // 2])

        self._take("delete", ", ".join(doomed), lambda: self._inner.delete(doomed), halve)

    def now(self) -> datetime:
        return self._take("now", "", self._inner.now) + self._faults.later

    def remove_leftovers(self, before: datetime) -> int:
        return self._take("remove_leftovers", "", lambda: self._inner.remove_leftovers(before))

    def local_path(self, path: str) -> str | None:
        return self._inner.local_path(path)

    def probe(self) -> None:
        self._take("probe", "", self._inner.probe)
