"""What the processes do that `scripts/torture.py` kills, and what must hold then."""

from __future__ import annotations

__all__ = [
    "Plan",
    "TwinError",
    "changes_of",
    "differences",
    "events",
    "maintain",
    "prepare",
    "settle",
    "write",
]

import json
import os
import random
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import sqlalchemy
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import IntegrityError, OperationalError

from arrowopaque.errors import ConflictError, ObjectMissingError
from tests.load.twins import SPECS, DictTwin, Row, SqlTwin, Twin, call, create_twins, open_twins, verdict
from tests.support.subjects import RegistrySubject, Repository, Subject, UndoError

GROUPS = 24
GROUP = 20
"""Keys are in groups: those who write keys of one group take turns, so that a
table and its twin see the same order; groups lie side by side in data files.
"""
RETENTION = 2.0
"""Seconds that vacuum spares in a root, whose writers keep to a moment."""
_GONE = 60.0

Event = dict[str, Any]
Twins = dict[str, tuple[OpaqueTableStorage, Twin]]
Change = dict[str, dict[str, Row | None]]


class TwinError(Exception):
    """A table did not do what its twin did."""


@dataclass(frozen=True)
class Plan:
    """What all processes of a run know."""

    repository: Repository
    seed: int
    writers: int

    @property
    def verbs(self) -> tuple[str, ...]:
        """The maintenance there is."""
        return ("flush", "compact", "vacuum") if self.repository.kind.dialect else ("compact", "vacuum")

    def client(self, **kwargs: Any) -> Subject:
        """Return a client, which waits for locks as long as it takes."""
        return self.repository.open(patience=300.0, **kwargs)


class Log:
    """Lines that survive the death of their writer."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, event: str, **facts: Any) -> None:
        """Add a line."""
        os.write(self._file, (json.dumps({"event": event, **facts}) + "\n").encode())

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Note what a process dies of."""
        try:
            yield
        except BaseException:
            self.note("error", text=traceback.format_exc())
            raise


def events(log: Path) -> list[Event]:
    """Return what a process has noted; the last line may be torn."""
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().split("\n")[:-1]]


# What is done.


@dataclass(frozen=True)
class Step:
    """One call."""

    table: str
    verb: str
    rows: list[Row]
    arrow: bool
    guarded: bool
    """Whether in a savepoint, so that a refusal undoes this call alone."""


@dataclass(frozen=True)
class Part:
    """Some calls, perhaps in a savepoint that is undone."""

    steps: list[Step]
    nested: bool
    undone: bool


def _row(rng: random.Random, table: str, key: int) -> Row:
    word = f"{key // GROUP}-{rng.randrange(GROUP * 2)}"
    if table == "plain":
        return {"id": key, "name": word, "val": rng.choice((None, rng.randrange(10**9)))}
    number = key // GROUP * 1000 + rng.randrange(1000)
    return {
        "id": key,
        "name": word,
        "label": rng.choice((None, f"l{word}")),
        "x": number,
        "y": rng.randrange(3),
    }


def _step(rng: random.Random, group: int) -> Step:
    table = rng.choice(tuple(SPECS))
    verb = rng.choice(("insert", "insert", "ensure", "replace", "replace", "delete"))
    count = rng.choice((1, 1, 2, 4, GROUP // 2, GROUP))
    keys = sorted(rng.sample(range(group * GROUP, (group + 1) * GROUP), count))
    rows = [_row(rng, table, key) for key in keys]
    guarded = (verb != "delete" and (table == "unique" or verb == "insert")) and rng.random() < 0.97
    return Step(table, verb, rows, verb != "delete" and rng.random() < 0.3, guarded)


def choose(rng: random.Random, groups: list[int]) -> list[Part]:
    """Return the parts of a transaction."""
    parts = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        steps = [_step(rng, rng.choice(groups)) for _ in range(rng.choice((1, 2, 3)))]
        nested = rng.random() < 0.4
        parts.append(Part(steps, nested, nested and rng.random() < 0.4))
    return parts


def _do(client: Subject, twins: Twins, step: Step) -> int:
    """Do one call to a table and to its twin; return the rows that it wrote."""
    table, twin = twins[step.table]
    mine = partial(call, table, step.verb, step.rows, arrow=step.arrow)
    other = partial(call, twin, step.verb, step.rows)
    if not step.guarded:
        mine()
        other()
        return len(step.rows)
    part = partial(client.transaction, savepoint=True)
    taken = verdict(part, mine), verdict(part, other)
    if taken[0] != taken[1]:
        raise TwinError(f"{step}: taken by the table: {taken[0]}, by its twin: {taken[1]}")
    return len(step.rows) if taken[0] else 0


def _transact(client: Subject, twins: Twins, parts: list[Part]) -> int:
    written = 0
    for part in parts:
        before = {name: dict(twin.rows) for name, (_, twin) in twins.items() if isinstance(twin, DictTwin)}
        try:
            with client.transaction(savepoint=part.nested):
                count = sum(_do(client, twins, step) for step in part.steps)
                if part.undone:
                    raise UndoError
            written += count
        except UndoError:
            for name, rows in before.items():
                twins[name][1].rows = rows  # type: ignore[attr-defined]  # a DictTwin
    return written


def _take_turns(client: Subject, groups: list[int]) -> None:
    if client.dialect == "postgresql":
        assert isinstance(client, RegistrySubject)
        for group in groups:
            query = sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(group))
            with client.database.query(query) as result:
                result.fetchall()


# The processes.


def write(plan: Plan, role: str, number: int, log: Path, ready: Connection) -> None:
    """Write until killed."""
    notes = Log(log)
    with notes.errors():
        client, rng = plan.client(), random.Random(f"{plan.seed} {number} {role}")
        twins = open_twins(client)
        mine = [g for g in range(GROUPS) if client.dialect or g % plan.writers == int(role)]
        _recall(twins, set(mine))
        ready.send_bytes(b"ready")
        while True:
            groups = sorted(rng.sample(mine, rng.choice((1, 1, 2))))
            _attempt(client, twins, notes, groups, choose(rng, groups), rng.random() < 0.1)


def _recall(twins: Twins, groups: set[int]) -> None:
    """Let a writer of a root know the rows that it may change."""
    for table, twin in twins.values():
        if isinstance(twin, DictTwin):
            twin.rows = {row["id"]: dict(row) for row in table.fetch() if row["id"] // GROUP in groups}


def _attempt(
    client: Subject, twins: Twins, notes: Log, groups: list[int], parts: list[Part], undone: bool
) -> None:
    before = {name: dict(twin.rows) for name, (_, twin) in twins.items() if isinstance(twin, DictTwin)}
    began = time.monotonic()
    try:
        with client.transaction():
            _take_turns(client, groups)
            written = _transact(client, twins, parts)
            if undone:
                raise UndoError
            if before:
                notes.note("begin", change=_change(before, twins))
        notes.note("done", rows=written)
        return
    except UndoError:
        notes.note("undone")
    except IntegrityError:
        notes.note("refused")
    except (ObjectMissingError, OperationalError) as err:
        if not _may_end_so(client, err, time.monotonic() - began):
            raise
        notes.note("retry")
    for name, rows in before.items():
        twins[name][1].rows = rows  # type: ignore[attr-defined]  # a DictTwin


def _may_end_so(client: Subject, err: Exception, seconds: float) -> bool:
    """Return whether a transaction that took some seconds may end with an error."""
    if isinstance(err, ObjectMissingError):
        # A vacuum may take what a root's transaction longer than the retention sees.
        return not client.dialect and seconds >= RETENTION
    # Tables are written in any order, also in bulk: see the decision on deadlocks.
    return "deadlock detected" in str(err)


def _change(before: dict[str, dict[int, Row]], twins: Twins) -> Change:
    change: Change = {}
    for name, old in before.items():
        new: dict[int, Row] = twins[name][1].rows  # type: ignore[attr-defined]  # a DictTwin
        keys = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
        change[name] = {str(key): new.get(key) for key in sorted(keys)}
    return change


def maintain(plan: Plan, verb: str, number: int, log: Path, ready: Connection) -> None:
    """Flush, compact or vacuum until killed."""
    notes = Log(log)
    with notes.errors():
        client, rng = plan.client(), random.Random(f"{plan.seed} {number} {verb}")
        manager: Any = client.manager
        retention = 0.0 if client.dialect else RETENTION
        action: Callable[[], Any] = getattr(manager, verb)
        if verb == "vacuum":
            action = partial(manager.vacuum, retention=retention)
        ready.send_bytes(b"ready")
        while True:
            try:
                action()
                notes.note(verb)
            except ConflictError:
                notes.note("retry")
            time.sleep(rng.uniform(0.0, 0.1))


# What must hold.


def prepare(plan: Plan) -> None:
    """Make the repository."""
    client = plan.repository.create()
    create_twins(client)
    _forget(plan, client)


def _forget(plan: Plan, client: Subject) -> None:
    """Close a client; the repository is handed to other processes without it."""
    client.close()
    plan.repository.clients.clear()


def settle(plan: Plan) -> None:
    """Wait until the server has noticed that its clients are dead."""
    if plan.repository.kind.dialect != "postgresql":
        return
    client = plan.client()
    assert isinstance(client, RegistrySubject)
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    client.database._engine.dispose()
    end = time.monotonic() + _GONE
    while client.sql(others)[0][0]:
        if time.monotonic() > end:
            raise TwinError(f"sessions of dead clients are still there after {_GONE:.0f} s")
        time.sleep(0.01)
    _forget(plan, client)


def changes_of(logs: list[tuple[str, list[Event]]]) -> dict[str, list[tuple[Change, bool]]]:
    """Return each writer's changes to a root, and whether each was
    acknowledged.
    """
    changes: dict[str, list[tuple[Change, bool]]] = {}
    for role, found in logs:
        mine: list[tuple[Change, bool]] = []
        for event in found:
            if event["event"] == "begin":
                mine.append((event["change"], False))
            elif event["event"] == "done" and mine:
                mine[-1] = mine[-1][0], True
            elif mine and not mine[-1][1]:
                # Refused at the commit, or given up: nothing of it may be there.
                mine.pop()
        changes[role] = mine
    return changes


def differences(plan: Plan, changes: dict[str, list[tuple[Change, bool]]]) -> list[str]:
    """Reopen the repository, prove it sound, and return what differs from
    the twins, if anything.
    """
    client = plan.client()
    try:
        manager: Any = client.manager
        manager.verify()
        tables = {name: client.manager.register(name, spec()) for name, spec in SPECS.items()}
        held = {name: _by_key(table.fetch()) for name, table in tables.items()}
        if isinstance(client, RegistrySubject):
            wrong = _unlike_twins(client, held)
        else:
            wrong = _unlike_notes(plan, held, changes)
        return wrong
    finally:
        _forget(plan, client)


def _by_key(rows: Any) -> dict[int, Row]:
    found = [dict(row) for row in rows]
    by_key = {row["id"]: row for row in found}
    assert len(by_key) == len(found), "verify has looked"
    return by_key


def _compared(name: str, held: dict[int, Row], wanted: dict[int, Row]) -> list[str]:
    return [
        f"table {name}, key {key}: is {held.get(key)}, must be {wanted.get(key)}"
        for key in sorted(held.keys() | wanted.keys())
        if held.get(key) != wanted.get(key)
    ]


def _unlike_twins(client: RegistrySubject, held: dict[str, dict[int, Row]]) -> list[str]:
    return [
        line
        for name, rows in held.items()
        for line in _compared(name, rows, _by_key(SqlTwin(client, name).fetch()))
    ]


_remembered: dict[str, dict[str, dict[int, Row]]] = {}
"""What each root must hold, as of the last look at it."""


def _unlike_notes(
    plan: Plan, held: dict[str, dict[int, Row]], changes: dict[str, list[tuple[Change, bool]]]
) -> list[str]:
    """Every acknowledged change is there, and a last one that was not
    acknowledged wholly or not at all.
    """
    known = _remembered.setdefault(plan.repository.name, {name: {} for name in SPECS})
    for mine in changes.values():
        pending = mine[-1][0] if mine and not mine[-1][1] else None
        for change, acknowledged in mine:
            if acknowledged:
                _apply(known, change)
        if pending is not None and _is_there(held, pending):
            _apply(known, pending)
    return [line for name in SPECS for line in _compared(name, held[name], known[name])]


def _is_there(held: dict[str, dict[int, Row]], change: Change) -> bool:
    """Return whether any row of a change is there: then all of it must be."""
    return any(held[name].get(int(key)) == row for name, rows in change.items() for key, row in rows.items())


def _apply(known: dict[str, dict[int, Row]], change: Change) -> None:
    for name, rows in change.items():
        for key, row in rows.items():
            if row is None:
                known[name].pop(int(key), None)
            else:
                known[name][int(key)] = row
