"""The registry protocol has no violation, and none of its steps is spare."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.model.compare import Scenario, violation
from tests.model.registry import STEPS

FILE, DELTA = ("in a file", None), ("in the delta", None)
PLACES: dict[str, dict[str, Any]] = {
    "nowhere": {},
    "file": {"files": {1: FILE}},
    "delta": {"delta": {1: DELTA}},
    "deleted": {"files": {1: FILE}, "tombstones": frozenset({1})},
    "replaced": {"files": {1: FILE}, "delta": {1: DELTA}, "tombstones": frozenset({1})},
}
"""Where the row with key 1 is."""


def _named(number: int, *operations: Any) -> list[Any]:
    """Give every value that is written a name of its own."""
    named: list[Any] = []
    for at, (kind, *rest) in enumerate(operations):
        if kind in ("try", "savepoint", "undone"):
            named.append((kind, *_named(10 * number + at, *rest)))
        elif kind in ("insert", "ensure", "replace", "bulk_insert"):
            named.append((kind, rest[0], f"value {number}.{at}", *rest[1:]))
        else:
            named.append((kind, *rest))
    return named


def _clients(*each: list[Any]) -> tuple[Any, ...]:
    return tuple([(_named(number, *operations), "commit")] for number, operations in enumerate(each, 1))


FLUSH = [("flush",)]
CALLS = [(name, 1) for name in ("insert", "ensure", "replace", "delete", "bulk_insert", "bulk_delete")]
OTHERS = [*CALLS, ("fetch",), ("flush",), ("compact",)]


def _pairs() -> Iterator[Scenario]:
    """Yield one call beside another, and two calls beside a flush."""
    for first, second, place in itertools.product(OTHERS, OTHERS, PLACES.values()):
        yield Scenario(_clients([first], [second], FLUSH), **place)
        if first[0] not in ("flush", "compact") and second[0] not in ("flush", "compact"):
            yield Scenario(_clients([first, second], FLUSH), **place)


def _caught() -> Iterator[Scenario]:
    """Yield calls whose errors are caught, and savepoints."""
    for first, second, kind in itertools.product(CALLS, CALLS, ("try", "savepoint", "undone")):
        for place in PLACES.values():
            yield Scenario(_clients([(kind, first), second], [("replace", 1)]), **place)


def _readers() -> Iterator[Scenario]:
    """Yield a reader beside writes of two keys."""
    for first, second in itertools.product(("insert", "replace", "delete", "bulk_delete"), repeat=2):
        for place in PLACES.values():
            yield Scenario(_clients([(first, 1), (second, 2)], [("fetch",)]), **place)


ONE, OTHER = ("one", "a"), ("other", "b")


UNIQUE_PLACES: list[dict[str, Any]] = [
    {"files": {1: ONE}},
    {"delta": {1: ONE}},
    {"files": {1: ONE}, "delta": {2: OTHER}},
]


def _unique() -> Iterator[Scenario]:
    """Yield calls that meet on a unique value."""
    calls = [("insert", 2, "a"), ("ensure", 2, "a"), ("replace", 2, "a"), ("replace", 1, "b"), ("delete", 1)]
    for first, second in itertools.product(calls, repeat=2):
        for place in UNIQUE_PLACES:
            yield Scenario(_clients([("try", first)], [second], FLUSH), **place)


FAMILIES = {"pairs": _pairs, "caught": _caught, "readers": _readers, "unique": _unique}
SAMPLED = {"pairs": 7, "caught": 5, "readers": 3, "unique": 5}
"""Every which scenario is explored; the others were, when the protocol was made."""


@pytest.mark.parametrize("sqlite", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_protocol_ends_as_the_plain_table(family: str, sqlite: bool) -> None:
    scenarios = list(FAMILIES[family]())[:: SAMPLED[family]]
    for scenario in scenarios:
        assert violation(scenario, sqlite=sqlite) is None, scenario


@pytest.mark.parametrize("place", PLACES)
def test_clients_that_die(place: str) -> None:
    for call in CALLS:
        scenario = Scenario(_clients([call, ("replace", 1)], FLUSH), **PLACES[place])
        assert violation(scenario, crashing=frozenset({0, 1})) is None, scenario


def _two_flushes(*operations: Any) -> tuple[Any, ...]:
    """Return operations, a transaction each, beside a flush."""
    return ([([one], "commit") for one in _named(1, *operations)], [(FLUSH, "commit")])


NEEDED: dict[str, Scenario] = {
    "small lock": Scenario(_clients([("replace", 1)], FLUSH), delta={1: DELTA}),
    "read after the lock": Scenario(_clients([("insert", 1)], FLUSH), delta={1: DELTA}),
    "tombstone first": Scenario(_clients([("delete", 1), ("fetch",)], [("replace", 1)]), files={1: FILE}),
    "tombstone with a replace": Scenario(_clients([("replace", 1)]), files={1: FILE}),
    "look in files": Scenario(_clients([("insert", 1)]), files={1: FILE}),
    "server's error": Scenario(_clients([("try", ("insert", 1))]), files={1: FILE}),
    "whole calls": Scenario(_clients([("try", ("replace", 1, "b"))]), files={1: ONE}, delta={2: OTHER}),
    "one statement": Scenario(_clients([("replace", 1)], [("fetch",)]), files={1: FILE}),
    "exclusive lock": Scenario(_clients([("bulk_insert", 1)], [("insert", 1)])),
    "no waiting": Scenario(
        _clients([("insert", 1), ("bulk_insert", 2)], [("insert", 3), ("bulk_insert", 4)])
    ),
    "swap compares": Scenario(_clients([("bulk_insert", 2)], [("compact",)]), files={1: FILE}),
    "bulk clears the delta": Scenario(_clients([("bulk_delete", 1)]), delta={1: DELTA}),
    "flush compares rows": Scenario(_clients([("replace", 1)], FLUSH), delta={1: DELTA}),
    "flush heeds new tombstones": Scenario(
        _two_flushes(("flush",), ("replace", 1), ("fetch",)), delta={1: ("value 1.1", None)}
    ),
    "flush builds on the current manifest": Scenario(_clients([("bulk_insert", 2)], FLUSH), delta={1: DELTA}),
    "flush locks its second phase": Scenario(_clients([("delete", 1)], FLUSH), delta={1: DELTA}),
}
"""A scenario that goes wrong without the step."""


@pytest.mark.parametrize("step", sorted(STEPS))
def test_step_is_needed(step: str) -> None:
    scenario, sqlite = NEEDED[step], step == "whole calls"
    assert violation(scenario, sqlite=sqlite) is None
    without = {step}
    if step == "flush builds on the current manifest":
        # Comparing would find it out; but then nothing would be flushed beside a bulk write.
        without.add("swap compares")
    assert violation(scenario, sqlite=sqlite, without=frozenset(without)) is not None
