"""The registry binding's protocol, as ``arrowopaque/butler`` has it.

Each step that the protocol needs has a name; a variant is the protocol
without some of them. A data file is an object that holds rows (key, value,
unique) in the order of their keys; a manifest is one that names files, each
with the positions of its deleted rows.
"""

from __future__ import annotations

__all__ = ["STEPS", "Arrow", "Found"]

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

from tests.model.clients import Clash, Missing, Steps, ask, erase_all
from tests.model.database import Database, Row
from tests.model.plain import Contents

SMALL_STEPS = frozenset(
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
        "bulk clears tombstones",
        "names are new",
    }
)
FLUSH_STEPS = frozenset(
    {
        "flush locks its second phase",
        "flush compares rows",
        "flush heeds new tombstones",
        "flush hides what has changed",
        "flush builds on the current manifest",
        "flush finds positions anew",
        "flush clears what it moved",
        "flush heeds the fence",
        "flush heeds half the retention",
        "flush looks for its files",
    }
)
COMPACT_STEPS = frozenset(
    {"compact locks its swap", "compact compares the files", "compact looks for its files"}
)
VACUUM_STEPS = frozenset(
    {
        "vacuum raises the fence",
        "vacuum lists before the fence",
        "vacuum locks",
        "vacuum keeps what is named",
    }
)
STEPS = SMALL_STEPS | FLUSH_STEPS | COMPACT_STEPS | VACUUM_STEPS

Manifest = frozenset[tuple[Hashable, frozenset[int]]]
"""Files, each with its deleted positions."""


class Found(NamedTuple):
    """A live row of a data file and where it is."""

    key: int
    value: Any
    unique: Any
    file: Hashable
    position: int


class State(NamedTuple):
    """D, T and C at one moment."""

    delta: dict[int, Row]
    tombstones: dict[int, Row]
    manifest: Hashable
    fence: int


def with_hidden(manifest: Manifest, hidden: Iterable[Found]) -> Manifest:
    """Return a manifest with more positions deleted; what is in files that it
    does not name is ignored.
    """
    more: dict[Hashable, set[int]] = {}
    for found in hidden:
        more.setdefault(found.file, set()).add(found.position)
    return frozenset((file, gone | more.get(file, set())) for file, gone in manifest)


class Arrow:
    """One of our tables, as one client has it.

    Parameters
    ----------
    sqlite
        Whether the database is SQLite.
    without
        The steps that are left out.
    client
        The client's number.
    table
        The table's name.
    """

    def __init__(self, sqlite: bool, without: frozenset[str], client: int, table: str) -> None:
        assert without <= STEPS, without - STEPS
        self.sqlite = sqlite
        self.has = STEPS - without
        self.delta, self.tombstones, self.catalog = f"D{table}", f"T{table}", f"C{table}"
        self._client = client
        self._made = 0
        self._cache: dict[Hashable, Any] = {}

    # Objects: a cache is never told of a change.

    def new_name(self) -> tuple[Any, ...]:
        self._made += 1
        return (self.catalog, self._client, self._made)

    def load(self, *names: Hashable) -> Steps:
        """Return what objects hold."""
        absent = tuple(name for name in names if name not in self._cache)
        if absent:
            found = yield ("get", *absent)
            if None in found:
                raise Missing
            self._cache.update(zip(absent, found, strict=True))
        return [self._cache[name] for name in names]

    def manifest(self, name: Hashable) -> Steps:
        """Return a manifest and the live rows of its files."""
        ((_, files),) = yield from self.load(name)
        contents = yield from self.load(*(file for file, _ in sorted(files, key=repr)))
        rows: list[Found] = []
        for (file, gone), content in zip(sorted(files, key=repr), contents, strict=True):
            rows += [
                Found(row[0], row[1], row[2], file, at) for at, row in enumerate(content) if at not in gone
            ]
        return files, rows

    def put_file(self, rows: Iterable[tuple[int, Any, Any]]) -> Steps:
        name = self.new_name()
        yield ("put", name, tuple(sorted(rows, key=lambda row: row[0])))
        return name

    def swap(self, old: Hashable, files: Manifest) -> Steps:
        """Put a manifest and let C name it; return whether C was as expected."""
        ((version, _),) = yield from self.load(old)
        name = self.new_name() if "names are new" in self.has else (self.catalog, "version", version + 1)
        yield ("put", name, (version + 1, files))
        compared = old if "swap compares" in self.has else None
        return (yield from ask("catalog", self.catalog, "swap", compared, name))

    # What every small write begins with.

    def _locked(self) -> Steps:
        """Take the small lock, then return the live rows of files and T."""
        early = None
        if "read after the lock" not in self.has:
            early = yield from self._files()
        if "small lock" in self.has:
            yield from ask("lock", self.delta, "row")
        return early or (yield from self._files())

    def _files(self) -> Steps:
        tombstones, catalog = yield from ask("select", (self.tombstones, self.catalog))
        _, rows = yield from self.manifest(catalog[0][1].value[0])
        return rows, {key for key, _ in tombstones}

    def _clashes(self, state: Any, key: int, unique: Any, *, by_key: bool = True) -> Steps:
        rows, gone = state
        if "look in files" not in self.has:
            return False
        if by_key and key in {row.key for row in rows} - gone:
            return True
        owners = {row.key for row in rows if unique is not None and row.unique == unique} - {key}
        if not owners:
            return False
        # Their tombstones are read when it is known whose.
        (tombstones,) = yield from ask("select", (self.tombstones,))
        return bool(owners - {key for key, _ in tombstones})

    def _refuse(self, key: int, value: Any) -> Steps:
        if not self.sqlite and "server's error" in self.has:
            yield from ask("insert", self.delta, key, value)
            yield from ask("insert", self.delta, key, value)
        raise Clash

    def insert(self, key: int, value: Any, unique: Any = None) -> Steps:
        if self.sqlite or "read after the lock" not in self.has:
            state = yield from self._locked()
            if (yield from self._clashes(state, key, unique)):
                yield from self._refuse(key, value)
            yield from ask("insert", self.delta, key, value, unique)
            return
        if "small lock" in self.has:
            yield from ask("lock", self.delta, "row")
        yield from ask("insert", self.delta, key, value, unique)
        state = yield from self._files()
        if (yield from self._clashes(state, key, unique)):
            yield from self._refuse(key, value)

    def ensure(self, key: int, value: Any, unique: Any = None) -> Steps:
        state = yield from self._locked()
        if not (yield from self._clashes(state, key, unique)):
            yield from ask("insert", self.delta, key, value, unique, "nothing")

    def replace(self, key: int, value: Any, unique: Any = None) -> Steps:
        state = yield from self._locked()
        if (yield from self._clashes(state, key, unique, by_key=False)):
            yield from self._refuse(key, value)
        rows, gone = state
        buried = "tombstone with a replace" in self.has and key in {row.key for row in rows} - gone
        upsert = ask("insert", self.delta, key, value, unique, "update")
        yield from self._whole(*([self._bury([key])] if buried else []), upsert)

    def _whole(self, *parts: Steps) -> Steps:
        """Do all or nothing: PostgreSQL does so by itself."""
        if not self.sqlite or "whole calls" not in self.has:
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
            yield from ask("insert", self.tombstones, key, self.new_name(), None, "nothing")

    def delete(self, *keys: int) -> Steps:
        rows, gone = yield from self._locked()
        buried = sorted({row.key for row in rows if row.key in keys} - gone)
        if "tombstone first" in self.has:
            yield from self._bury(buried)
            yield from erase_all(self.delta, keys)
        else:
            yield from erase_all(self.delta, keys)
            yield from self._bury(buried)

    # Bulk writes.

    def _exclusive(self) -> Steps:
        """Take the big lock, if nobody makes us wait, in a savepoint."""
        yield from ask("savepoint")
        if "exclusive lock" not in self.has:
            return True
        if "no waiting" not in self.has:
            yield from ask("lock", self.delta, "exclusive")
            return True
        if (yield ("lock", self.delta, "exclusive", True)) == "busy":
            yield from ask("undo")
            return False
        return True

    def state(self) -> Steps:
        """Read D, T and C in one statement."""
        delta, tombstones, catalog = yield from ask("select", (self.delta, self.tombstones, self.catalog))
        return State(dict(delta), dict(tombstones), *catalog[0][1].value)

    def bulk_insert(self, key: int, value: Any, unique: Any = None) -> Steps:
        yield from self._bulk_write(key, value, unique, replacing=False)

    def bulk_replace(self, key: int, value: Any, unique: Any = None) -> Steps:
        yield from self._bulk_write(key, value, unique, replacing=True)

    def _bulk_write(self, key: int, value: Any, unique: Any, *, replacing: bool) -> Steps:
        if not (yield from self._exclusive()):
            yield from (self.replace if replacing else self.insert)(key, value, unique)
            return
        state = yield from self.state()
        files, rows = yield from self.manifest(state.manifest)
        taken = key in state.delta or (yield from self._clashes((rows, set(state.tombstones)), key, None))
        held = {k for k, row in state.delta.items() if unique is not None and row.unique == unique} - {key}
        if (
            (taken and not replacing)
            or held
            or (yield from self._clashes((rows, set(state.tombstones)), key, unique, by_key=False))
        ):
            yield from ask("undo")
            yield from self._refuse(key, value)
        file = yield from self.put_file([(key, value, unique)])
        if key in state.delta and "bulk clears the delta" in self.has:
            yield from erase_all(self.delta, (key,))
        if key in state.tombstones and "bulk clears tombstones" in self.has:
            yield from erase_all(self.tombstones, (key,))
        changed = with_hidden(files, [row for row in rows if row.key == key])
        yield from self.swap(state.manifest, changed | {(file, frozenset())})
        yield from ask("release")

    def bulk_delete(self, *keys: int) -> Steps:
        if not (yield from self._exclusive()):
            yield from self.delete(*keys)
            return
        state = yield from self.state()
        files, rows = yield from self.manifest(state.manifest)
        if "bulk clears the delta" in self.has:
            yield from erase_all(self.delta, keys)
        if "bulk clears tombstones" in self.has:
            yield from erase_all(self.tombstones, tuple(k for k in sorted(state.tombstones) if k in keys))
        hidden = [row for row in rows if row.key in keys]
        if hidden:
            yield from self.swap(state.manifest, with_hidden(files, hidden))
        yield from ask("release")

    def fetch(self) -> Steps:
        if "one statement" in self.has:
            state = yield from self.state()
        else:
            while True:
                ((_, first),) = (yield from ask("select", (self.catalog,)))[0]
                delta = dict((yield from ask("select", (self.delta,)))[0])
                tombstones = dict((yield from ask("select", (self.tombstones,)))[0])
                ((_, last),) = (yield from ask("select", (self.catalog,)))[0]
                state = State(delta, tombstones, *last.value)
                if first == last:
                    break
        try:
            _, rows = yield from self.manifest(state.manifest)
        except Missing:
            return "gone"
        found = [(key, row.value) for key, row in state.delta.items()]
        return tuple(sorted([*found, *((r.key, r.value) for r in rows if r.key not in state.tombstones)]))

    # Worlds.

    @staticmethod
    def start(table: str, contents: Contents) -> tuple[dict[Any, Row], frozenset[Any]]:
        """Return the rows and objects of a table: one file, if any."""
        files, delta, tombstones = contents
        file, manifest = (f"C{table}", "first file"), (f"C{table}", "first")
        held = tuple((key, value, unique) for key, (value, unique) in sorted(files.items()))
        named = frozenset([(file, frozenset[int]())] if files else [])
        rows: dict[Any, Row] = {(f"C{table}", 0): Row((manifest, 0))}
        rows.update({(f"T{table}", key): Row("first") for key in tombstones})
        rows.update({(f"D{table}", key): Row(value, unique) for key, (value, unique) in delta.items()})
        return rows, frozenset([(manifest, (1, named), 0), *([(file, held, 0)] if files else [])])

    @staticmethod
    def visible_with_unique(database: Database, table: str) -> list[tuple[Any, Any, Any]]:
        """Return what a table holds, if everything that is open is undone.

        Raises
        ------
        Missing
            C names what is not there.
        """
        rows = database.committed()
        objects: dict[Any, Any] = {name: content for name, content, _ in database.objects}
        found = [(key, row.value, row.unique) for (name, key), row in rows.items() if name == f"D{table}"]
        manifest = objects.get(rows[f"C{table}", 0].value[0])
        if manifest is None:
            raise Missing
        for file, gone in manifest[1]:
            if file not in objects:
                raise Missing
            live = (row for at, row in enumerate(objects[file]) if at not in gone)
            found += [row for row in live if (f"T{table}", row[0]) not in rows]
        return found

    @classmethod
    def visible(cls, database: Database, table: str) -> tuple[Any, ...]:
        """Return the same without unique values."""
        return tuple(sorted((key, value) for key, value, _ in cls.visible_with_unique(database, table)))
