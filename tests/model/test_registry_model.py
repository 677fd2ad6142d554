"""The registry protocol has no violation, and none of its steps is spare."""

from __future__ import annotations

import pytest

from tests.model.compare import Scenario, violation
from tests.model.registry import STEPS
from tests.model.scenarios import CALLS, FAMILIES, FLUSH, NEEDED, OPPOSITE, PLACES, clients

SAMPLED = {
    "pairs": 13,
    "caught": 11,
    "readers": 5,
    "unique": 11,
    "vacuum": 13,
    "two tables": 29,
    "lost commits": 5,
    "stale caches": 5,
    "positions": 3,
    "tiers": 3,
}
"""Every which scenario is explored; ``python -m tests.model`` explores all."""


@pytest.mark.parametrize("sqlite", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_protocol_ends_as_the_plain_table(family: str, sqlite: bool) -> None:
    scenarios = list(FAMILIES[family]())[:: SAMPLED[family]]
    for scenario in scenarios:
        assert violation(scenario, sqlite=sqlite) is None, scenario


@pytest.mark.parametrize("place", PLACES)
def test_clients_that_die(place: str) -> None:
    for call in CALLS[::2]:
        scenario = Scenario(clients([call, ("replace", 1)], FLUSH), **PLACES[place])
        assert violation(scenario, crashing=frozenset({0, 1})) is None, scenario


def test_vacuum_that_dies() -> None:
    scenario = Scenario(clients(FLUSH, [("vacuum",)]), eternal=False, **PLACES["replaced"])
    assert violation(scenario, crashing=frozenset({0, 1})) is None


@pytest.mark.parametrize("scenario", OPPOSITE)
def test_bulk_writes_of_two_tables_in_opposite_order(scenario: Scenario) -> None:
    """Decision 9: they may deadlock as the plain tables would not, and nothing worse."""
    found = violation(scenario)
    assert found is not None
    assert "gave up" in found[0]
    assert violation(scenario, deadlocks_allowed=True) is None
    assert violation(scenario, sqlite=True) is None


ALSO_WITHOUT = {
    # Comparing would find it out; but then nothing would be flushed beside a bulk write.
    "flush builds on the current manifest": {"swap compares"},
    # Each finds out what the other does not, but not with every retention.
    "flush heeds half the retention": {"flush heeds the fence"},
    # Whoever holds the lock has nobody beside it; comparing is for those who do not.
    "swap compares": {"compact locks its swap"},
    "compact locks its swap": {"swap compares"},
}


@pytest.mark.parametrize("step", sorted(STEPS))
def test_step_is_needed(step: str) -> None:
    scenario, sqlite = NEEDED[step], step == "whole calls"
    assert violation(scenario, sqlite=sqlite) is None
    without = frozenset({step, *ALSO_WITHOUT.get(step, ())})
    assert violation(scenario, sqlite=sqlite, without=without) is not None


def test_half_the_retention_suffices_for_the_stores_own() -> None:
    """Without a fence it is enough, as long as no vacuum has a shorter retention."""
    scenario = NEEDED["flush heeds half the retention"]
    assert violation(scenario, without=frozenset({"flush heeds the fence"})) is None
