"""Families of scenarios, and for each step one that goes wrong without it."""

from __future__ import annotations

__all__ = ["FAMILIES", "NEEDED", "OPPOSITE", "PLACES", "PLACES_NAMES"]

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from tests.model.compare import Scenario

FILE, DELTA = ("in a file", None), ("in the delta", None)
PLACES: dict[str, dict[str, Any]] = {
    "nowhere": {},
    "file": {"files": {1: FILE}},
    "delta": {"delta": {1: DELTA}},
    "deleted": {"files": {1: FILE}, "tombstones": frozenset({1})},
    "replaced": {"files": {1: FILE}, "delta": {1: DELTA}, "tombstones": frozenset({1})},
}
"""Where the row with key 1 is."""
PLACES_NAMES = list(PLACES)

_VALUED = ("insert", "ensure", "replace", "bulk_insert", "bulk_replace")


def _named(number: int, *operations: Any) -> list[Any]:
    """Give every value that is written a name of its own."""
    named: list[Any] = []
    for at, (kind, *rest) in enumerate(operations):
        if kind == "in":
            named.append((kind, rest[0], _named(10 * number + at, rest[1])[0]))
        elif kind in ("try", "savepoint", "undone"):
            named.append((kind, *_named(10 * number + at, *rest)))
        elif kind in _VALUED:
            named.append((kind, rest[0], f"value {number}.{at}", *rest[1:]))
        else:
            named.append((kind, *rest))
    return named


def clients(*each: list[Any]) -> tuple[Any, ...]:
    """Return clients of one transaction each."""
    return tuple([(_named(number, *operations), "commit")] for number, operations in enumerate(each, 1))


def steady(number: int, *operations: Any, ending: str = "commit") -> Any:
    """Return a client with a transaction for each operation."""
    return [([one], ending) for one in _named(number, *operations)]


FLUSH = [("flush",)]
CALLS = [(name, 1) for name in (*_VALUED, "delete", "bulk_delete")]
OTHERS = [*CALLS, ("fetch",), ("flush",), ("compact",)]


def _pairs() -> Iterator[Scenario]:
    """Yield one call beside another, and two calls beside a flush."""
    for first, second, place in itertools.product(OTHERS, OTHERS, PLACES.values()):
        yield Scenario(clients([first], [second], FLUSH), **place)
        if first[0] not in ("flush", "compact") and second[0] not in ("flush", "compact"):
            yield Scenario(clients([first, second], FLUSH), **place)


def _caught() -> Iterator[Scenario]:
    """Yield calls whose errors are caught, and savepoints."""
    for first, second, kind in itertools.product(CALLS, CALLS, ("try", "savepoint", "undone")):
        for place in PLACES.values():
            yield Scenario(clients([(kind, first), second], [("replace", 1)]), **place)


def _readers() -> Iterator[Scenario]:
    """Yield a reader beside writes of two keys."""
    for first, second in itertools.product(("insert", "replace", "delete", "bulk_delete"), repeat=2):
        for place in PLACES.values():
            yield Scenario(clients([(first, 1), (second, 2)], [("fetch",)]), **place)


ONE, OTHER = ("one", "a"), ("other", "b")
UNIQUE_PLACES: list[dict[str, Any]] = [
    {"files": {1: ONE}},
    {"delta": {1: ONE}},
    {"files": {1: ONE}, "delta": {2: OTHER}},
]


def _unique() -> Iterator[Scenario]:
    """Yield calls that meet on a unique value."""
    calls = [("insert", 2, "a"), ("ensure", 2, "a"), ("replace", 2, "a"), ("replace", 1, "b"), ("delete", 1)]
    calls += [("bulk_insert", 2, "a"), ("bulk_replace", 1, "b")]
    for first, second in itertools.product(calls, repeat=2):
        for place in UNIQUE_PLACES:
            yield Scenario(clients([("try", first)], [second], FLUSH), **place)


def _vacuum() -> Iterator[Scenario]:
    """Yield a vacuum of any retention beside what stages files, and readers."""
    work = [("flush",), ("compact",), ("bulk_insert", 2), ("bulk_delete", 1), ("replace", 1), ("fetch",)]
    for first, second, place in itertools.product(work, work, PLACES.values()):
        yield Scenario(clients([first], [second], [("vacuum",)]), eternal=False, **place)
    for place in PLACES.values():
        flushes = (steady(1, ("flush",)), steady(2, ("vacuum",), ("vacuum",)))
        yield Scenario(flushes, eternal=False, **place)
        aged = clients(FLUSH, [("vacuum", 2)], [("pass_time", 3)])
        yield Scenario(aged, eternal=False, **place)


def _two_tables() -> Iterator[Scenario]:
    """Yield transactions over two tables, both in the same order, and readers
    and flushes of either.
    """
    calls = [("insert", 1), ("replace", 1), ("delete", 1), ("bulk_insert", 1), ("bulk_delete", 1)]
    rest: list[list[Any]] = [[("fetch",), ("in", "b", ("fetch",))], FLUSH, [("in", "b", ("flush",))]]
    for first, second, place in itertools.product(calls, calls, PLACES.values()):
        both = [first, ("in", "b", second)]
        yield Scenario(clients(both, both), tables="ab", **place)
        for third in rest:
            yield Scenario(clients(both, third), tables="ab", **place)
        yield Scenario(clients([first, ("in", "b", ("undone", second))], rest[0]), tables="ab", **place)


def _lost_commits() -> Iterator[Scenario]:
    """Yield clients one of whose COMMITs is not answered, and go on."""
    for call, place in itertools.product([*CALLS, ("flush",), ("compact",)], PLACES.values()):
        yield Scenario((steady(1, call, ("fetch",)), *clients(FLUSH)), losing=frozenset({0}), **place)
        yield Scenario((steady(1, call, ("ensure", 1)), *clients(FLUSH)), losing=frozenset({0, 1}), **place)


def _stale_caches() -> Iterator[Scenario]:
    """Yield clients that have read before, while others commit and roll back."""
    for call, place in itertools.product(CALLS, PLACES.values()):
        warm = steady(1, ("fetch",), ("fetch",))
        gone = steady(2, ("bulk_insert", 2), ending="rollback")
        yield Scenario((warm, [*gone, *steady(3, call, ("fetch",))]), **place)
        yield Scenario((warm, gone, steady(3, call)), **place)


def _positions() -> Iterator[Scenario]:
    """Yield deletes and flushes beside a compaction that replaces their file."""
    both: dict[str, Any] = {"files": {1: FILE, 2: FILE}}
    places = [both, {**both, "tombstones": frozenset({1})}, {**both, "delta": {3: DELTA}}]
    for call, place in itertools.product([*CALLS, ("bulk_delete", 2)], places):
        yield Scenario((*clients([call]), *clients([("compact",)]), *clients(FLUSH)), **place)
        yield Scenario((steady(1, call, ("flush",)), *clients([("compact",)])), **place)


def _tiers() -> Iterator[Scenario]:
    """Yield calls beside a compaction of one of two files."""
    others = [("replace", 2), ("delete", 2), ("bulk_delete", 2)]
    for call, key in itertools.product([*CALLS, *others], (1, 2)):
        two_files = steady(1, ("bulk_insert", 2), call)
        yield Scenario((two_files, *clients([("compact", frozenset({key}))], FLUSH)), files={1: FILE})


FAMILIES: dict[str, Callable[[], Iterator[Scenario]]] = {
    "pairs": _pairs,
    "caught": _caught,
    "readers": _readers,
    "unique": _unique,
    "vacuum": _vacuum,
    "two tables": _two_tables,
    "lost commits": _lost_commits,
    "stale caches": _stale_caches,
    "positions": _positions,
    "tiers": _tiers,
}

OPPOSITE = [
    Scenario(clients([first, ("in", "b", second)], [("in", "b", third), fourth]), tables="ab")
    for first, second, third, fourth in [
        (("bulk_insert", 1), ("bulk_insert", 1), ("bulk_insert", 2), ("bulk_insert", 2)),
        (("bulk_insert", 1), ("insert", 1), ("bulk_insert", 2), ("insert", 2)),
        (("bulk_insert", 1), ("insert", 1), ("insert", 1), ("insert", 2)),
    ]
]
"""Bulk writes of two tables in opposite order: the one difference that is left."""


def _vacuumed(*each: list[Any], **rows: Any) -> Scenario:
    return Scenario(clients(*each), eternal=False, **rows)


NEEDED: dict[str, Scenario] = {
    "small lock": Scenario(clients([("replace", 1)], FLUSH), delta={1: DELTA}),
    "read after the lock": Scenario(clients([("insert", 1)], FLUSH), delta={1: DELTA}),
    "tombstone first": Scenario(clients([("delete", 1), ("fetch",)], [("replace", 1)]), files={1: FILE}),
    "tombstone with a replace": Scenario(clients([("replace", 1)]), files={1: FILE}),
    "look in files": Scenario(clients([("insert", 1)]), files={1: FILE}),
    "server's error": Scenario(clients([("try", ("insert", 1))]), files={1: FILE}),
    "whole calls": Scenario(clients([("try", ("replace", 1, "b"))]), files={1: ONE}, delta={2: OTHER}),
    "one statement": Scenario(clients([("replace", 1)], [("fetch",)]), files={1: FILE}),
    "exclusive lock": Scenario(clients([("bulk_insert", 1)], [("insert", 1)])),
    "no waiting": Scenario(clients([("insert", 1), ("bulk_insert", 2)], [("insert", 3), ("bulk_insert", 4)])),
    "swap compares": Scenario(clients([("bulk_insert", 2)], [("compact",)]), files={1: FILE}),
    "bulk clears the delta": Scenario(clients([("bulk_delete", 1)]), delta={1: DELTA}),
    "bulk clears tombstones": Scenario(clients([("bulk_insert", 1)]), **PLACES["deleted"]),
    "names are new": Scenario(
        (
            [(_named(1, ("bulk_insert", 2), ("fetch",)), "rollback"), *steady(2, ("fetch",))],
            steady(3, ("bulk_insert", 3)),
        )
    ),
    "flush locks its second phase": Scenario(clients([("delete", 1)], FLUSH), delta={1: DELTA}),
    "flush compares rows": Scenario(clients([("replace", 1)], FLUSH), delta={1: DELTA}),
    "flush heeds new tombstones": Scenario(
        (steady(1, ("flush",), ("replace", 1), ("fetch",)), *clients(FLUSH)), delta={1: ("value 1.1", None)}
    ),
    "flush hides what has changed": Scenario(clients([("replace", 1)], FLUSH), delta={1: DELTA, 2: DELTA}),
    "flush builds on the current manifest": Scenario(clients([("bulk_insert", 2)], FLUSH), delta={1: DELTA}),
    "flush finds positions anew": Scenario(
        clients([("compact",)], FLUSH), files={1: FILE, 2: FILE}, tombstones=frozenset({1})
    ),
    "flush clears what it moved": Scenario(clients([("replace", 1)], FLUSH), delta={1: DELTA, 2: DELTA}),
    "flush heeds the fence": _vacuumed(FLUSH, [("vacuum",)], delta={1: DELTA}),
    "flush heeds half the retention": _vacuumed(FLUSH, [("vacuum", 2)], [("pass_time", 3)], delta={1: DELTA}),
    "flush looks for its files": _vacuumed(FLUSH, [("vacuum",)], delta={1: DELTA}),
    "compact locks its swap": Scenario(clients([("bulk_insert", 2)], [("compact",)]), files={1: FILE}),
    "compact compares the files": Scenario(clients([("bulk_delete", 1)], [("compact",)]), files={1: FILE}),
    "compact looks for its files": _vacuumed([("compact",)], [("vacuum",)], files={1: FILE}),
    "vacuum raises the fence": _vacuumed(FLUSH, [("vacuum",)], delta={1: DELTA}),
    "vacuum lists before the fence": _vacuumed(FLUSH, [("vacuum",)], delta={1: DELTA}),
    "vacuum locks": _vacuumed(FLUSH, [("vacuum",)], delta={1: DELTA}),
    "vacuum keeps what is named": _vacuumed([("vacuum",)], files={1: FILE}),
}
"""A scenario that goes wrong without the step."""
