"""A scenario on ours must end as it could on the plain table."""

from __future__ import annotations

__all__ = ["Report", "Scenario", "explore", "violation"]

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.model.clients import Missing, Work, client
from tests.model.database import Database, Rules
from tests.model.explorer import Explorer
from tests.model.maintained import Maintained
from tests.model.plain import Contents, Plain

_EMPTY = Contents({}, {}, frozenset())


@dataclass(frozen=True)
class Scenario:
    """What clients do at the same time, and the rows they find in table a;
    table b is empty at first.
    """

    clients: tuple[Work, ...]
    files: dict[int, Any] = field(default_factory=dict)
    delta: dict[int, Any] = field(default_factory=dict)
    tombstones: frozenset[int] = frozenset()
    tables: str = "a"
    losing: frozenset[int] = frozenset()
    """Clients whose COMMITs may stay without a reply."""
    eternal: bool = True
    """Whether no object ever goes: there is no vacuum."""

    def database(self, kind: type[Plain | Maintained], rules: Rules) -> Database:
        rows, objects = {}, frozenset[Any]()
        for table in self.tables:
            first = table == "a"
            found = Contents(self.files, self.delta, self.tombstones) if first else _EMPTY
            more_rows, more_objects = kind.start(table, found)
            rows.update(more_rows)
            objects |= more_objects
        none = (None,) * len(self.clients)
        return Database(frozenset(rows.items()), none, objects=objects, rules=rules)


@dataclass
class Report:
    """What an exploration found."""

    states: int = 0
    violation: list[str] | None = None


class _FoundError(Exception):
    """A state that must not be."""


def _check(tables: str, database: Database) -> None:
    """Everything that C names is there, and no two visible rows have one key
    or one unique value.
    """
    for table in tables:
        try:
            rows = Maintained.visible_with_unique(database, table)
        except Missing:
            raise _FoundError(f"the catalog row of {table} names what is not there") from None
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


def _visible(kind: type[Plain | Maintained], tables: str, database: Database) -> tuple[Any, ...]:
    return tuple(kind.visible(database, table) for table in tables)


def _possible(
    scenario: Scenario, rules: Rules, crashing: frozenset[int]
) -> tuple[dict[Any, set[_Times]], int]:
    """Return how the plain tables may end, and their deadlocks."""
    make = [partial(client, Plain, work) for work in scenario.clients]
    explorer = Explorer(make, scenario.database(Plain, rules), crashing)
    possible: dict[Any, set[_Times]] = {}
    for (database, _), logs in explorer.ends(lambda _: None):
        told, times = _told(logs)
        possible.setdefault((told, _visible(Plain, scenario.tables, database)), set()).add(times)
    return possible, explorer.deadlocks


def _like(told: Any, other: Any) -> bool:
    """Return whether clients were told the same; a reader whose files are gone
    may say so.
    """
    if isinstance(told, tuple) and isinstance(other, tuple) and len(told) == len(other):
        if told == ("fetch", "gone"):
            return bool(other[0] == "fetch")
        return all(_like(one, two) for one, two in zip(told, other, strict=True))
    return bool(told == other)


def _ends(possible: dict[Any, set[_Times]], told: Any, visible: Any) -> set[_Times]:
    if "gone" not in repr(told):
        return possible.get((told, visible), set())
    found = (ends for (other, seen), ends in possible.items() if seen == visible and _like(told, other))
    return set().union(*found)


def explore(
    scenario: Scenario,
    *,
    sqlite: bool = False,
    without: frozenset[str] = frozenset(),
    crashing: frozenset[int] = frozenset(),
    deadlocks_allowed: bool = False,
) -> Report:
    """Return what is wrong with a protocol and how it comes to that.

    With ``deadlocks_allowed`` a client may be told of a deadlock that the
    plain tables would not have; everything else must be as ever.
    """
    eternal = scenario.eternal and "names are new" not in without
    everyone = frozenset(range(len(scenario.clients)))
    rules = Rules(sqlite, scenario.losing, eternal=eternal)
    aborting = rules._replace(aborting=everyone if deadlocks_allowed else frozenset())
    possible, deadlocks = _possible(scenario, aborting, crashing)
    make = [
        partial(client, partial(Maintained, sqlite, without, number), work)
        for number, work in enumerate(scenario.clients)
    ]
    explorer = Explorer(make, scenario.database(Maintained, rules), crashing)
    report = Report()
    try:
        for place, logs in explorer.ends(partial(_check, scenario.tables)):
            told, times = _told(logs)
            ends = _ends(possible, told, _visible(Maintained, scenario.tables, place[0]))
            # A call that began after a commit must not be told of the time before it.
            if not any(all(a >= b for a, b in zip(end, times, strict=True)) for end in ends):
                found = f"the plain table never ends so: {told}, {place[0].rows}"
                report.violation = [found, *explorer.trace(place)]
                break
    except _FoundError as found:
        report.violation = [str(found)]
    report.states = len(explorer.came_from)
    if report.violation is None and explorer.deadlocks and not deadlocks and not deadlocks_allowed:
        report.violation = ["a deadlock that the plain table does not have"]
    return report


def violation(scenario: Scenario, **kwargs: Any) -> list[str] | None:
    """Return what is wrong, if anything; see `explore`."""
    return explore(scenario, **kwargs).violation
