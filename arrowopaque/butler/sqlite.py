"""The SQL of the hot path on SQLite."""

from __future__ import annotations

__all__ = ["Sqlite"]

import json
from collections.abc import Sequence
from typing import Any

from arrowopaque.butler.ddl import STAMP
from arrowopaque.butler.host import Cursor
from arrowopaque.butler.sql import Dialect, Row, convert_row, convert_rows
from arrowopaque.format.spec import Column, ColumnKind
from arrowopaque.format.where import In


class Sqlite(Dialect):
    """SQLite: BEGIN IMMEDIATE has serialised the writers already."""

    mark = "?"
    _IN_JSON = frozenset(ColumnKind) - {ColumnKind.FLOAT, ColumnKind.BINARY}

    def _null(self, column: Column) -> str:
        return "NULL"

    def _typed_null(self, name: str) -> str:
        return "NULL"

    def _starts(self, column: str, prefix: str) -> tuple[str, list[Any]]:
        return f"substr({column}, 1, ?) = ?", [len(prefix), prefix]

    def _any_of(self, term: In) -> tuple[str, list[Any]] | None:
        column = self.quoted[term.column]
        kind = self.spec.by_name[term.column].kind
        values = list(term.values)
        if term.null and not values:
            return f"{column} IS NULL", []
        if kind not in self._IN_JSON or any(isinstance(value, str) and "\0" in value for value in values):
            return None
        convert = self._to_driver[term.column]
        if convert is not None:
            values = [convert(value) for value in values]
        if len(values) == 1:
            rendered, parameters = self._equal[term.column], values
        else:
            rendered, parameters = f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(values)]
        return (f"({rendered} OR {column} IS NULL)" if term.null else rendered), parameters

    def small_lock(self) -> str:
        """See `Dialect`."""
        return ""

    def try_big_lock(self, cursor: Cursor) -> bool:
        """See `Dialect`."""
        return True

    def insert(self, cursor: Cursor, names: Sequence[str], rows: Sequence[Row], conflict: str = "") -> None:
        """See `Dialect`."""
        statement, converts = self.insertion(tuple(names))
        if len(rows) == 1:
            cursor.execute(statement + conflict, convert_row(rows[0], converts))
        else:
            cursor.executemany(statement + conflict, convert_rows(rows, converts) if names else rows)

    def bury(self, cursor: Cursor, keys: list[Row], stamp: int) -> None:
        """See `Dialect`."""
        names = self.spec.primary_key
        rows = [(*key, stamp) for key in convert_rows(keys, self.to_driver(names))]
        marks = ", ".join("?" for _ in range(len(names) + 1))
        cursor.executemany(
            f"INSERT INTO {self.names.tombstones} ({self._column_list([*names, STAMP])}) VALUES ({marks}) "
            "ON CONFLICT DO NOTHING",
            rows,
        )

    def delete_keys(self, cursor: Cursor, source: str, keys: list[Row]) -> None:
        """See `Dialect`."""
        names = self.spec.primary_key
        clause = " AND ".join(f"{self.quoted[name]} = ?" for name in names)
        cursor.executemany(f"DELETE FROM {source} WHERE {clause}", convert_rows(keys, self.to_driver(names)))
