"""A small PostgreSQL at READ COMMITTED, or SQLite with BEGIN IMMEDIATE.

Tables are dictionaries of rows by key. There are snapshots per statement,
row locks, waits for unique values, table locks and savepoints; nothing else.
"""

from __future__ import annotations

__all__ = ["Database", "Row"]

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tests.model.explorer import BlockedError, Statement

Place = tuple[str, Hashable]
"""A table and a key."""


class Row(NamedTuple):
    """A row; ``identity`` tells one from another inserted later in its place."""

    value: Any
    unique: Any = None
    identity: Any = "initial"


class Level(NamedTuple):
    """What a transaction has done since a savepoint."""

    changes: frozenset[tuple[Place, Row | None]] = frozenset()
    locks: frozenset[str] = frozenset()


class Transaction(NamedTuple):
    levels: tuple[Level, ...] = (Level(),)
    aborted: bool = False

    def changes(self) -> dict[Place, Row | None]:
        return {place: row for level in self.levels for place, row in level.changes}

    def locks(self) -> frozenset[str]:
        return frozenset().union(*(level.locks for level in self.levels))

    def with_change(self, place: Place, row: Row | None) -> Transaction:
        last = self.levels[-1]
        changes = frozenset({**dict(last.changes), place: row}.items())
        return self._replace(levels=(*self.levels[:-1], last._replace(changes=changes)))

    def with_lock(self, mode: str) -> Transaction:
        last = self.levels[-1]
        return self._replace(levels=(*self.levels[:-1], last._replace(locks=last.locks | {mode})))


@dataclass(frozen=True)
class Database:
    """One state; `step` returns the next."""

    rows: frozenset[tuple[Place, Row]]
    transactions: tuple[Transaction | None, ...]
    commits: frozenset[tuple[int, int]] = frozenset()
    """Which client has committed how often: real time, for the checks."""
    sqlite: bool = False

    def __hash__(self) -> int:
        return hash((self.rows, self.transactions, self.commits))

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

    def step(self, process: int, statement: Statement) -> list[tuple[Database, Any]]:
        return [self._after(process, statement)]

    def _after(self, process: int, statement: Statement) -> tuple[Database, Any]:
        kind, *arguments = statement
        if kind == "now":
            return self, self.commits
        if kind in ("commit", "rollback"):
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
        if self.sqlite and any(self.transactions):
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
        commits = self.commits | {(process, count)}
        return replace(ended, rows=frozenset(rows.items()), commits=commits), "committed"


class _Statement:
    """One statement of one client."""

    def __init__(self, database: Database, process: int, transaction: Transaction) -> None:
        self._database = database
        self._process = process
        self._transaction = transaction
        self._committed = database.committed()
        self._own = transaction.changes()
        self._others: dict[Place, Row | None] = {}
        self._modes: set[str] = set()
        for number, other in enumerate(database.transactions):
            if number != process and other is not None:
                self._others.update(other.changes())
                self._modes |= other.locks()

    def _wait(self) -> BlockedError:
        """Return a wait in which the locks had so far are kept."""
        return BlockedError(self._database._with(self._process, self._transaction))

    def _failed(self, error: str) -> tuple[Transaction, str]:
        # SQLite undoes the statement, PostgreSQL refuses the rest.
        return self._transaction._replace(aborted=not self._database.sqlite), error

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

    def lock(self, mode: str, nowait: bool = False) -> tuple[Transaction, str]:
        conflicting = {"exclusive", "row"} if mode == "exclusive" else {"exclusive"}
        if not self._database.sqlite and self._modes & conflicting:
            if nowait:
                return self._transaction._replace(aborted=True), "busy"
            raise self._wait()
        return self._transaction.with_lock(mode), "done"

    def select(
        self, tables: tuple[str, ...], keys: tuple[Hashable, ...] | None = None
    ) -> tuple[Transaction, Any]:
        result = []
        for table in tables:
            wanted = None if table == "C" else keys
            rows = ((place[1], self._visible(place)) for place in self._places(table, wanted))
            result.append(tuple((key, row) for key, row in rows if row is not None))
        return self._transaction, tuple(result)

    def _writing(self) -> None:
        """Take the lock that every writing statement takes by itself."""
        self._transaction, _ = self.lock("row")

    def insert(
        self, table: str, key: Hashable, value: Any, unique: Any = None, conflict: str = "error"
    ) -> tuple[Transaction, Any]:
        if table == "D":
            self._writing()
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
        if table == "D":
            self._writing()
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

    def swap(self, old: Any, new: Any) -> tuple[Transaction, Any]:
        place = ("C", 0)
        if place in self._others:
            raise self._wait()
        row = self._visible(place)
        assert row is not None, "the catalog row is never deleted"
        if old is not None and row.value != old:
            return self._transaction, False
        return self._transaction.with_change(place, row._replace(value=new)), True
