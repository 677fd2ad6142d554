"""A scenario on ours must end as it could on the plain table."""

from __future__ import annotations

__all__ = ["Scenario", "violation"]

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.model.database import Database
from tests.model.explorer import Explorer
from tests.model.registry import Arrow, Plain, Work, client


@dataclass(frozen=True)
class Scenario:
    """What clients do at the same time, and the rows they find."""

    clients: tuple[Work, ...]
    files: dict[int, Any] = field(default_factory=dict)
    delta: dict[int, Any] = field(default_factory=dict)
    tombstones: frozenset[int] = frozenset()

    def database(self, kind: type[Plain | Arrow], sqlite: bool) -> Database:
        rows = kind.start(self.files, self.delta, set(self.tombstones))
        return Database(frozenset(rows.items()), (None,) * len(self.clients), sqlite=sqlite)


class _FoundError(Exception):
    """A state that must not be."""


def _check(database: Database) -> None:
    """No two visible rows have one key or one unique value."""
    rows = Arrow.visible_with_unique(database)
    keys = [key for key, _, _ in rows]
    uniques = [unique for _, _, unique in rows if unique is not None]
    if len(set(keys)) < len(keys) or len(set(uniques)) < len(uniques):
        raise _FoundError(f"two visible rows share a key or a unique value: {sorted(rows, key=repr)}")


_Times = tuple[frozenset[Any], ...]


def _told(logs: tuple[Any, ...]) -> tuple[Any, _Times]:
    """Return what clients were told, and what each call had before it."""
    told, times = [], []
    for log in logs:
        entries = log if isinstance(log, tuple) else (log,)
        told.append(tuple(entry[:2] if isinstance(entry, tuple) else entry for entry in entries))
        times += [entry[2] for entry in entries if isinstance(entry, tuple) and len(entry) == 3]
    return tuple(told), tuple(times)


def _possible(
    scenario: Scenario, sqlite: bool, crashing: frozenset[int]
) -> tuple[dict[Any, set[_Times]], int]:
    """Return how the plain table may end, and its deadlocks."""
    make = [partial(client, partial(Plain, sqlite), work) for work in scenario.clients]
    explorer = Explorer(make, scenario.database(Plain, sqlite), crashing)
    possible: dict[Any, set[_Times]] = {}
    for (database, _), logs in explorer.ends(lambda _: None):
        told, times = _told(logs)
        possible.setdefault((told, Plain.visible(database)), set()).add(times)
    return possible, explorer.deadlocks


def violation(
    scenario: Scenario,
    *,
    sqlite: bool = False,
    without: frozenset[str] = frozenset(),
    crashing: frozenset[int] = frozenset(),
) -> list[str] | None:
    """Return what is wrong with a protocol and how it comes to that."""
    possible, deadlocks = _possible(scenario, sqlite, crashing)
    make = [
        partial(client, partial(Arrow, sqlite, without, number), work)
        for number, work in enumerate(scenario.clients)
    ]
    explorer = Explorer(make, scenario.database(Arrow, sqlite), crashing)
    try:
        for place, logs in explorer.ends(_check):
            told, times = _told(logs)
            ends = possible.get((told, Arrow.visible(place[0])), set())
            # A call that began after a commit must not be told of the time before it.
            if not any(all(a >= b for a, b in zip(end, times, strict=True)) for end in ends):
                return [f"the plain table never ends so: {told}, {place[0].rows}", *explorer.trace(place)]
    except _FoundError as found:
        return [str(found)]
    if explorer.deadlocks and not deadlocks:
        return ["a deadlock that the plain table does not have"]
    return None
