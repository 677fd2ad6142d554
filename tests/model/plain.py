"""The default manager: what ours must look like."""

from __future__ import annotations

__all__ = ["Contents", "Plain"]

from typing import Any, NamedTuple

from tests.model.clients import Steps, ask, erase_all
from tests.model.database import Database, Row


class Contents(NamedTuple):
    """What a table holds at first: value and unique value by key."""

    files: dict[int, Any]
    delta: dict[int, Any]
    tombstones: frozenset[int]


class Plain:
    """One SQL table."""

    def __init__(self, table: str) -> None:
        self._name = f"R{table}"

    def insert(self, key: int, value: Any, unique: Any = None) -> Steps:
        yield from ask("insert", self._name, key, value, unique)

    def ensure(self, key: int, value: Any, unique: Any = None) -> Steps:
        yield from ask("insert", self._name, key, value, unique, "nothing")

    def replace(self, key: int, value: Any, unique: Any = None) -> Steps:
        yield from ask("insert", self._name, key, value, unique, "update")

    def delete(self, *keys: int) -> Steps:
        yield from erase_all(self._name, keys)

    bulk_insert = insert
    bulk_replace = replace
    bulk_delete = delete

    def fetch(self) -> Steps:
        (rows,) = yield from ask("select", (self._name,))
        return tuple(sorted((key, row.value) for key, row in rows))

    def maintain(self, *_: Any) -> Steps:
        return
        yield

    flush = compact = vacuum = pass_time = maintain

    @staticmethod
    def start(table: str, contents: Contents) -> tuple[dict[Any, Row], frozenset[Any]]:
        """Return the rows and objects of a table."""
        files, delta, tombstones = contents
        visible = {**{key: held for key, held in files.items() if key not in tombstones}, **delta}
        rows = {(f"R{table}", key): Row(value, unique) for key, (value, unique) in visible.items()}
        return rows, frozenset()

    @staticmethod
    def visible(database: Database, table: str) -> tuple[Any, ...]:
        """Return what a table holds, if everything that is open is undone."""
        rows = ((key, row.value) for (name, key), row in database.rows if name == f"R{table}")
        return tuple(sorted(rows))
