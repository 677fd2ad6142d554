"""A small PostgreSQL at READ COMMITTED, or SQLite with BEGIN IMMEDIATE, and an object store.

Tables are dictionaries of rows by key; the first letter of a table's name
says what it is: a delta D, tombstones T, a catalog row C, a plain table R.
There are snapshots per statement, row locks, waits for unique values, table
locks and savepoints; nothing else. Objects are no part of any transaction.
"""

from __future__ import annotations

__all__ = ["Database", "Row"]

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tests.model.explorer import BlockedError, Statement

Place = tuple[str, Hashable]
"""A table and a key."""

Lock = tuple[str, str]
"""A table and a mode, ``row`` or ``exclusive``."""


class Row(NamedTuple):
    """A row; ``identity`` tells one from another inserted later in its place."""

    value: Any
    unique: Any = None
    identity: Any = "initial"


class Level(NamedTuple):
    """What a transaction has done since a savepoint."""

    changes: frozenset[tuple[Place, Row | None]] = frozenset()
    locks: frozenset[Lock] = frozenset()


class Transaction(NamedTuple):
    levels: tuple[Level, ...] = (Level(),)
    aborted: bool = False

    def changes(self) -> dict[Place, Row | None]:
        return {place: row for level in self.levels for place, row in level.changes}

    def locks(self) -> frozenset[Lock]:
        return frozenset[Lock]().union(*(level.locks for level in self.levels))

    def with_change(self, place: Place, row: Row | None) -> Transaction:
        last = self.levels[-1]
        changes = frozenset({**dict(last.changes), place: row}.items())
        return self._replace(levels=(*self.levels[:-1], last._replace(changes=changes)))

    def with_lock(self, lock: Lock) -> Transaction:
        last = self.levels[-1]
        return self._replace(levels=(*self.levels[:-1], last._replace(locks=last.locks | {lock})))


class Rules(NamedTuple):
    """What may happen; the same in all states of a run."""

    sqlite: bool = False
    losing: frozenset[int] = frozenset()
    """Clients whose COMMITs may stay without a reply, done or not."""
    aborting: frozenset[int] = frozenset()
    """Clients whose transactions may be a deadlock's victims at any time."""
    eternal: bool = True
    """Whether no object ever goes or changes: then access to them commutes
    with everything.
    """


_ORDINARY = Rules()


@dataclass(frozen=True)
class Database:
    """One state; `step` returns the next."""

    rows: frozenset[tuple[Place, Row]]
    transactions: tuple[Transaction | None, ...]
    commits: frozenset[tuple[int, int]] = frozenset()
    """Which client has committed how often: real time, for the checks."""
    objects: frozenset[tuple[Hashable, Any, int]] = frozenset()
    """Name, content and age of each."""
    time: int = 0
    """How much of the retention has gone by, in halves."""
    rules: Rules = _ORDINARY

    def __hash__(self) -> int:
        return hash((self.rows, self.transactions, self.commits, self.objects, self.time))

    def committed(self) -> dict[Place, Row]:
        return dict(self.rows)

    def crash(self, process: int) -> Database:
        return self._with(process, None)

    def victims(self, process: int) -> Database | None:
        transaction = self.transactions[process]
        return None if transaction is None else self._with(process, transaction._replace(aborted=True))

    def _with(self, process: int, transaction: Transaction | None) -> Database:
        transactions = (*self.transactions[:process], transaction, *self.transactions[process + 1 :])
        return replace(self, transactions=transactions)

    def is_local(self, statement: Statement) -> bool:
        return self.rules.eternal and statement[0] in ("put", "get")

    def step(self, process: int, statement: Statement) -> list[tuple[Database, Any]]:
        kind, *arguments = statement
        if kind == "now":
            return [(self, self.commits)]
        if kind in ("put", "get", "list", "free", "clock", "tick"):
            return [getattr(_Objects(self), kind)(*arguments)]
        outcomes = [self._after(process, kind, arguments)]
        if kind == "commit" and process in self.rules.losing:
            outcomes += [(world, "lost") for world in (outcomes[0][0], self._end(process, "rollback")[0])]
        if kind not in ("commit", "rollback", "settle") and process in self.rules.aborting:
            aborted = self.victims(process)
            outcomes += [] if aborted is None else [(aborted, "deadlock")]
        return outcomes

    def _after(self, process: int, kind: str, arguments: list[Any]) -> tuple[Database, Any]:
        if kind in ("commit", "rollback", "settle"):
            return self._end(process, kind)
        transaction = self._begun(process)
        if kind == "undo":
            return self._with(process, Transaction(transaction.levels[:-1])), "done"
        if transaction.aborted:
            return self, "aborted"
        changed, result = getattr(_Statement(self, process, transaction), kind)(*arguments)
        return self._with(process, changed), result

    def _begun(self, process: int) -> Transaction:
        transaction = self.transactions[process]
        if transaction is not None:
            return transaction
        if self.rules.sqlite and any(self.transactions):
            raise BlockedError(self)
        return Transaction()

    def _end(self, process: int, kind: str) -> tuple[Database, Any]:
        transaction = self.transactions[process]
        ended = self._with(process, None)
        if kind == "rollback" or (transaction is not None and transaction.aborted):
            return ended, "rolled back"
        rows = self.committed()
        for place, row in (transaction.changes() if transaction else {}).items():
            if row is None:
                rows.pop(place, None)
            else:
                rows[place] = row
        count = sum(1 for client, _ in self.commits if client == process)
        # What maintenance settles between has no counterpart on the plain table.
        commits = self.commits if kind == "settle" else self.commits | {(process, count)}
        return replace(ended, rows=frozenset(rows.items()), commits=commits), "committed"


class _Objects:
    """One call of the object store, or of its clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: Hashable, content: Hashable) -> tuple[Database, Any]:
        kept = (found for found in self._database.objects if found[0] != name)
        objects = frozenset([*kept, (name, content, self._database.time)])
        return replace(self._database, objects=objects), None

    def get(self, *names: Hashable) -> tuple[Database, Any]:
        found = {name: content for name, content, _ in self._database.objects}
        return self._database, tuple(found.get(name) for name in names)

    def list(self, age: int) -> tuple[Database, Any]:
        cutoff = self._database.time - age
        return self._database, frozenset(name for name, _, at in self._database.objects if at <= cutoff)

    def free(self, names: frozenset[Hashable]) -> tuple[Database, Any]:
        left = frozenset(found for found in self._database.objects if found[0] not in names)
        return replace(self._database, objects=left), None

    def clock(self) -> tuple[Database, Any]:
        return self._database, self._database.time

    def tick(self) -> tuple[Database, Any]:
        return replace(self._database, time=self._database.time + 1), None


class _Statement:
    """One statement of one client."""

    def __init__(self, database: Database, process: int, transaction: Transaction) -> None:
        self._database = database
        self._process = process
        self._transaction = transaction
        self._committed = database.committed()
        self._own = transaction.changes()
        self._others: dict[Place, Row | None] = {}
        self._locks: set[Lock] = set()
        for number, other in enumerate(database.transactions):
            if number != process and other is not None:
                self._others.update(other.changes())
                self._locks |= other.locks()

    def _wait(self) -> BlockedError:
        """Return a wait in which the locks had so far are kept."""
        return BlockedError(self._database._with(self._process, self._transaction))

    def _failed(self, error: str) -> tuple[Transaction, str]:
        # SQLite undoes the statement, PostgreSQL refuses the rest.
        return self._transaction._replace(aborted=not self._database.rules.sqlite), error

    def _visible(self, place: Place) -> Row | None:
        return self._own[place] if place in self._own else self._committed.get(place)

    def _places(self, table: str, keys: tuple[Hashable, ...] | None) -> Iterator[Place]:
        found = {place for place in (*self._committed, *self._own) if place[0] == table}
        return iter(sorted((p for p in found if keys is None or p[1] in keys), key=repr))

    def savepoint(self) -> tuple[Transaction, str]:
        return self._transaction._replace(levels=(*self._transaction.levels, Level())), "done"

    def release(self) -> tuple[Transaction, str]:
        *rest, outer, inner = self._transaction.levels
        changes = frozenset({**dict(outer.changes), **dict(inner.changes)}.items())
        merged = Level(changes, outer.locks | inner.locks)
        return self._transaction._replace(levels=(*rest, merged)), "done"

    def lock(self, table: str, mode: str, nowait: bool = False) -> tuple[Transaction, str]:
        conflicting = {(table, "exclusive"), *([(table, "row")] if mode == "exclusive" else [])}
        if not self._database.rules.sqlite and self._locks & conflicting:
            if nowait:
                return self._transaction._replace(aborted=True), "busy"
            raise self._wait()
        return self._transaction.with_lock((table, mode)), "done"

    def select(
        self, tables: tuple[str, ...], keys: tuple[Hashable, ...] | None = None
    ) -> tuple[Transaction, Any]:
        result = []
        for table in tables:
            wanted = None if table[0] == "C" else keys
            rows = ((place[1], self._visible(place)) for place in self._places(table, wanted))
            result.append(tuple((key, row) for key, row in rows if row is not None))
        return self._transaction, tuple(result)

    def _writing(self, table: str) -> None:
        """Take the lock that every writing statement takes by itself."""
        if table[0] == "D":
            self._transaction, _ = self.lock(table, "row")

    def insert(
        self, table: str, key: Hashable, value: Any, unique: Any = None, conflict: str = "error"
    ) -> tuple[Transaction, Any]:
        self._writing(table)
        place = (table, key)
        if place in self._others:
            raise self._wait()
        old = self._visible(place)
        if old is not None and conflict != "update":
            return (self._transaction, False) if conflict == "nothing" else self._failed("clash")
        if unique is not None and self._held(table, key, unique):
            return (self._transaction, False) if conflict == "nothing" else self._failed("clash")
        identity = old.identity if old else (self._process, len(self._own), len(self._database.commits))
        return self._transaction.with_change(place, Row(value, unique, identity)), True

    def _held(self, table: str, key: Hashable, unique: Any) -> bool:
        """Return whether another row has a unique value, once that is sure."""
        for place, changed in self._others.items():
            rows = (changed, self._committed.get(place))
            if place[0] == table and any(row is not None and row.unique == unique for row in rows):
                raise self._wait()
        found = ((p, self._visible(p)) for p in self._places(table, None))
        return any(row is not None and p[1] != key and row.unique == unique for p, row in found)

    def find(self, table: str, keys: tuple[Hashable, ...] | None) -> tuple[Transaction, Any]:
        """Begin a DELETE: see which rows there are."""
        self._writing(table)
        rows = ((place[1], self._visible(place)) for place in self._places(table, keys))
        return self._transaction, tuple((key, row.identity) for key, row in rows if row is not None)

    def erase(self, table: str, key: Hashable, identity: Any) -> tuple[Transaction, Any]:
        """Go on with a DELETE: wait for a row's holder, look again, delete."""
        place = (table, key)
        committed = self._committed.get(place)
        if place in self._others:
            if committed is not None and committed.identity == identity:
                raise self._wait()
            return self._transaction, False
        row = self._visible(place)
        if row is None or row.identity != identity:
            return self._transaction, False
        return self._transaction.with_change(place, None), True

    def catalog(self, table: str, change: str, old: Any = None, new: Any = None) -> tuple[Transaction, Any]:
        """Change the catalog row: swap its manifest, or raise its fence."""
        place = (table, 0)
        if place in self._others:
            raise self._wait()
        row = self._visible(place)
        assert row is not None, "the catalog row is never deleted"
        manifest, fence = row.value
        if change == "raise":
            return self._transaction.with_change(place, row._replace(value=(manifest, fence + 1))), True
        if old is not None and manifest != old:
            return self._transaction, False
        return self._transaction.with_change(place, row._replace(value=(new, fence))), True
