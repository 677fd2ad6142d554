"""The registry binding's protocol, and the plain table it must look like.

Each step that the protocol needs has a name; a variant is the protocol
without some of them. Values in data files are a frozenset of (key, value,
unique) under a manifest's name, the value of the one row of C.
"""

from __future__ import annotations

__all__ = ["STEPS", "Arrow", "Clash", "Plain", "client"]

from collections.abc import Callable, Generator, Hashable
from typing import Any

from tests.model.database import Database, Row
from tests.model.explorer import Process, Statement

Steps = Generator[Statement, Any, Any]
Content = tuple[tuple[str, Any], ...]

STEPS = frozenset(
    {
        "small lock",
        "read after the lock",
        "tombstone first",
        "tombstone with a replace",
        "look in files",
        "server's error",
        "whole calls",
        "one statement",
        "exclusive lock",
        "no waiting",
        "swap compares",
        "bulk clears the delta",
        "flush compares rows",
        "flush heeds new tombstones",
        "flush builds on the current manifest",
        "flush locks its second phase",
    }
)


class Clash(Exception):  # noqa: N818  # it is an outcome
    """A key or a unique value exists."""


class Gone(Exception):  # noqa: N818  # it is an outcome
    """The transaction takes nothing more."""


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


class Plain:
    """The default manager: one table."""

    def __init__(self, sqlite: bool) -> None:
        self.sqlite = sqlite

    def insert(self, key: int, value: Any, unique: Any = None) -> Steps:
        yield from ask("insert", "R", key, value, unique)

    def ensure(self, key: int, value: Any, unique: Any = None) -> Steps:
        yield from ask("insert", "R", key, value, unique, "nothing")

    def replace(self, key: int, value: Any, unique: Any = None) -> Steps:
        yield from ask("insert", "R", key, value, unique, "update")

    def delete(self, *keys: int) -> Steps:
        yield from erase_all("R", keys)

    bulk_insert = insert
    bulk_delete = delete

    def fetch(self) -> Steps:
        (rows,) = yield from ask("select", ("R",))
        return tuple(sorted((key, row.value) for key, row in rows))

    def maintain(self) -> Steps:
        return
        yield

    flush = compact = maintain

    @staticmethod
    def start(files: dict[int, Any], delta: dict[int, Any], tombstones: set[int]) -> dict[Any, Row]:
        visible = {**{key: held for key, held in files.items() if key not in tombstones}, **delta}
        return {("R", key): Row(value, unique) for key, (value, unique) in visible.items()}

    @staticmethod
    def visible(database: Database) -> tuple[Any, ...]:
        rows = ((key, row.value) for (table, key), row in database.rows if table == "R")
        return tuple(sorted(rows))


class Arrow:
    """Ours.

    Parameters
    ----------
    sqlite
        Whether the database is SQLite.
    without
        The steps that are left out.
    """

    def __init__(self, sqlite: bool, without: frozenset[str], client: int) -> None:
        assert without <= STEPS, without - STEPS
        self.sqlite = sqlite
        self._has = STEPS - without
        self._client = client
        self._made = 0

    # What every small write begins with.

    def _locked(self) -> Steps:
        """Take the small lock, then return C's manifest and the tombstones."""
        early = None
        if "read after the lock" not in self._has:
            early = yield from self._files()
        if "small lock" in self._has:
            yield from ask("lock", "row")
        return early or (yield from self._files())

    def _files(self) -> Steps:
        tombstones, catalog = yield from ask("select", ("T", "C"))
        return catalog[0][1].value, {key for key, _ in tombstones}

    def _clashes(self, state: Any, key: int, unique: Any, *, by_key: bool = True) -> bool:
        (_, content), gone = state
        if "look in files" not in self._has:
            return False
        held = [(k, u) for k, _, u in content if k not in gone]
        return any((by_key and k == key) or (k != key and u is not None and u == unique) for k, u in held)

    def _refuse(self, key: int, value: Any) -> Steps:
        if not self.sqlite and "server's error" in self._has:
            yield from ask("insert", "D", key, value)
            yield from ask("insert", "D", key, value)
        raise Clash

    def insert(self, key: int, value: Any, unique: Any = None) -> Steps:
        if self.sqlite or "read after the lock" not in self._has:
            state = yield from self._locked()
            if self._clashes(state, key, unique):
                yield from self._refuse(key, value)
            yield from ask("insert", "D", key, value, unique)
            return
        if "small lock" in self._has:
            yield from ask("lock", "row")
        yield from ask("insert", "D", key, value, unique)
        state = yield from self._files()
        if self._clashes(state, key, unique):
            yield from self._refuse(key, value)

    def ensure(self, key: int, value: Any, unique: Any = None) -> Steps:
        state = yield from self._locked()
        if not self._clashes(state, key, unique):
            yield from ask("insert", "D", key, value, unique, "nothing")

    def replace(self, key: int, value: Any, unique: Any = None) -> Steps:
        state = yield from self._locked()
        if self._clashes(state, key, unique, by_key=False):
            yield from self._refuse(key, value)
        (_, content), gone = state
        buried = "tombstone with a replace" in self._has and key in {k for k, *_ in content} - gone
        upsert = ask("insert", "D", key, value, unique, "update")
        yield from self._whole(*([self._bury([key])] if buried else []), upsert)

    def _whole(self, *parts: Steps) -> Steps:
        """Do all or nothing: PostgreSQL does so by itself."""
        if not self.sqlite or "whole calls" not in self._has:
            for part in parts:
                yield from part
            return
        yield from ask("savepoint")
        try:
            for part in parts:
                yield from part
        except Clash:
            yield from ask("undo")
            raise
        yield from ask("release")

    def _bury(self, keys: list[int]) -> Steps:
        for key in keys:
            self._made += 1
            yield from ask("insert", "T", key, (self._client, self._made), None, "nothing")

    def delete(self, *keys: int) -> Steps:
        (_, content), gone = yield from self._locked()
        buried = sorted({key for key, *_ in content if key in keys} - gone)
        if "tombstone first" in self._has:
            yield from self._bury(buried)
            yield from erase_all("D", keys)
        else:
            yield from erase_all("D", keys)
            yield from self._bury(buried)

    # Data files.

    def _exclusive(self) -> Steps:
        """Take the big lock, if nobody makes us wait."""
        if "exclusive lock" not in self._has:
            return True
        if "no waiting" not in self._has:
            yield from ask("lock", "exclusive")
            return True
        yield from ask("savepoint")
        if (yield ("lock", "exclusive", True)) == "busy":
            yield from ask("undo")
            return False
        yield from ask("release")
        return True

    def _state(self) -> Steps:
        delta, tombstones, catalog = yield from ask("select", ("D", "T", "C"))
        return dict(delta), dict(tombstones), catalog[0][1].value

    def _swap(self, old: Any, content: dict[int, Any]) -> Steps:
        self._made += 1
        held = frozenset((key, value, unique) for key, (value, unique) in content.items())
        new = ((self._client, self._made), held)
        compared = old if "swap compares" in self._has else None
        return (yield from ask("swap", compared, new))

    def bulk_insert(self, key: int, value: Any, unique: Any = None) -> Steps:
        if not (yield from self._exclusive()):
            yield from self.insert(key, value, unique)
            return
        delta, tombstones, manifest = yield from self._state()
        state = manifest, set(tombstones)
        if key in delta or self._clashes(state, key, unique):
            yield from self._refuse(key, value)
        content = {k: (v, u) for k, v, u in manifest[1]}
        content[key] = value, unique
        yield from self._swap(manifest, content)
        if key in tombstones:
            yield from erase_all("T", (key,))

    def bulk_delete(self, *keys: int) -> Steps:
        if not (yield from self._exclusive()):
            yield from self.delete(*keys)
            return
        _, tombstones, manifest = yield from self._state()
        if "bulk clears the delta" in self._has:
            yield from erase_all("D", keys)
        content = {k: (v, u) for k, v, u in manifest[1] if k not in keys}
        yield from self._swap(manifest, content)
        yield from erase_all("T", tuple(key for key in tombstones if key in keys))

    def flush(self) -> Steps:
        delta, tombstones, before = yield from self._state()
        yield ("rollback",)
        if "flush locks its second phase" in self._has:
            yield from ask("lock", "exclusive")
        delta_now, tombstones_now, manifest = yield from self._state()
        if "flush builds on the current manifest" not in self._has:
            manifest = before
        folded = {
            key
            for key, row in tombstones.items()
            if key in tombstones_now and tombstones_now[key].value == row.value
        }
        moved = {
            key: row
            for key, row in delta.items()
            if key in delta_now
            and (delta_now[key][:2] == row[:2] or "flush compares rows" not in self._has)
            and (key not in tombstones_now or key in folded or "flush heeds new tombstones" not in self._has)
        }
        if not moved and not folded:
            return
        content = {k: (v, u) for k, v, u in manifest[1] if k not in folded}
        content.update({key: (row.value, row.unique) for key, row in moved.items()})
        if (yield from self._swap(manifest, content)):
            yield from erase_all("D", tuple(moved))
            yield from erase_all("T", tuple(folded))

    def compact(self) -> Steps:
        _, _, manifest = yield from self._state()
        yield ("rollback",)
        yield from ask("lock", "exclusive")
        yield from self._swap(manifest, {k: (v, u) for k, v, u in manifest[1]})

    def fetch(self) -> Steps:
        if "one statement" in self._has:
            delta, tombstones, manifest = yield from self._state()
        else:
            while True:
                ((_, first),) = (yield from ask("select", ("C",)))[0]
                delta = dict((yield from ask("select", ("D",)))[0])
                tombstones = dict((yield from ask("select", ("T",)))[0])
                ((_, last),) = (yield from ask("select", ("C",)))[0]
                manifest = last.value
                if first == last:
                    break
        found = [(key, row.value) for key, row in delta.items()]
        found += [(key, value) for key, value, _ in manifest[1] if key not in tombstones]
        return tuple(sorted(found))

    @staticmethod
    def start(files: dict[int, Any], delta: dict[int, Any], tombstones: set[int]) -> dict[Any, Row]:
        held = frozenset((key, value, unique) for key, (value, unique) in files.items())
        rows: dict[Any, Row] = {("C", 0): Row(("first", held))}
        rows.update({("T", key): Row("first") for key in tombstones})
        rows.update({("D", key): Row(value, unique) for key, (value, unique) in delta.items()})
        return rows

    @staticmethod
    def visible_with_unique(database: Database) -> list[tuple[Any, Any, Any]]:
        rows = database.committed()
        _, content = rows["C", 0].value
        found = [(key, row.value, row.unique) for (table, key), row in rows.items() if table == "D"]
        return found + [held for held in content if ("T", held[0]) not in rows]

    @classmethod
    def visible(cls, database: Database) -> tuple[Any, ...]:
        return tuple(sorted((key, value) for key, value, _ in cls.visible_with_unique(database)))


Operation = tuple[Any, ...]
"""A method's name and arguments; ``try``, ``savepoint`` and ``undone`` hold others."""

Work = list[tuple[list[Operation], str]]
"""Transactions: their operations, and how each ends."""


def client(make: Callable[[], Plain | Arrow], work: Work) -> Process:
    """Return a client's process; its result is the log of what it was told."""
    table = make()
    log: list[Any] = []
    for operations, ending in work:
        try:
            for operation in operations:
                yield from _do(table, operation, log)
            log.append((ending, (yield (ending,))))
        except Clash:
            yield ("rollback",)
        except Gone:
            log.append("gave up")
            yield ("rollback",)
    return tuple(log)


def _do(table: Plain | Arrow, operation: Operation, log: list[Any]) -> Steps:
    name, *arguments = operation
    if name == "try":
        try:
            yield from _do(table, arguments[0], log)
        except Clash:
            pass
    elif name in ("savepoint", "undone"):
        yield from _within(table, name, arguments, log)
    elif name in ("flush", "compact"):
        yield from getattr(table, name)()
    else:
        since = yield ("now",)
        try:
            log.append((name, (yield from getattr(table, name)(*arguments)), since))
        except Clash:
            log.append((name, "clash", since))
            raise


def _within(table: Plain | Arrow, name: str, operations: list[Operation], log: list[Any]) -> Steps:
    yield from ask("savepoint")
    try:
        for operation in operations:
            yield from _do(table, operation, log)
    except Clash:
        yield from ask("undo")
        return
    yield from ask("release" if name == "savepoint" else "undo")
