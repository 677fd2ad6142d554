"""Clients of a table: what they do, and the log of what they are told."""

from __future__ import annotations

__all__ = ["Clash", "Gone", "Missing", "Operation", "Steps", "Work", "ask", "client", "erase_all"]

from collections.abc import Callable, Generator, Hashable
from typing import Any

from tests.model.explorer import Process, Statement

Steps = Generator[Statement, Any, Any]

Operation = tuple[Any, ...]
"""A method's name and arguments; ``try``, ``savepoint``, ``undone`` and ``in``
(another table) hold others.
"""

Work = list[tuple[list[Operation], str]]
"""Transactions: their operations, and how each ends."""

MAINTENANCE = ("flush", "compact", "vacuum", "pass_time")


class Clash(Exception):  # noqa: N818  # it is an outcome
    """A key or a unique value exists."""


class Gone(Exception):  # noqa: N818  # it is an outcome
    """The transaction takes nothing more."""


class Missing(Exception):  # noqa: N818  # it is an outcome
    """An object is not there."""


def ask(*statement: Any) -> Steps:
    """Run a statement and return its result."""
    result = yield statement
    if result == "clash":
        raise Clash
    if result in ("aborted", "deadlock"):
        raise Gone
    return result


def erase_all(table: str, keys: tuple[Hashable, ...] | None) -> Steps:
    """Run a DELETE."""
    for key, identity in (yield from ask("find", table, keys)):
        yield from ask("erase", table, key, identity)


def client(make: Callable[[str], Any], work: Work) -> Process:
    """Return a client's process; its result is the log of what it was told."""
    tables: dict[str, Any] = {}
    log: list[Any] = []

    def table(name: str) -> Any:
        if name not in tables:
            tables[name] = make(name)
        return tables[name]

    for operations, ending in work:
        try:
            for operation in operations:
                yield from _do(table, "a", operation, log)
            log.append((ending, (yield (ending,))))
        except Clash:
            yield ("rollback",)
        except Gone:
            log.append("gave up")
            yield ("rollback",)
        except Missing:
            log.append("missing")
            yield ("rollback",)
    return tuple(log)


def _do(table: Callable[[str], Any], where: str, operation: Operation, log: list[Any]) -> Steps:
    name, *arguments = operation
    if name == "in":
        yield from _do(table, arguments[0], arguments[1], log)
    elif name == "try":
        try:
            yield from _do(table, where, arguments[0], log)
        except Clash:
            pass
    elif name in ("savepoint", "undone"):
        yield from _within(table, where, operation, log)
    elif name in MAINTENANCE:
        yield from getattr(table(where), name)(*arguments)
    else:
        since = yield ("now",)
        try:
            log.append((name, (yield from getattr(table(where), name)(*arguments)), since))
        except Clash:
            log.append((name, "clash", since))
            raise


def _within(table: Callable[[str], Any], where: str, operation: Operation, log: list[Any]) -> Steps:
    name, *operations = operation
    yield from ask("savepoint")
    try:
        for inner in operations:
            yield from _do(table, where, inner, log)
    except Clash:
        yield from ask("undo")
        return
    yield from ask("release" if name == "savepoint" else "undo")
