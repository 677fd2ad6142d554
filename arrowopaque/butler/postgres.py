"""The SQL of the hot path on PostgreSQL, through psycopg2 or psycopg 3."""

from __future__ import annotations

__all__ = ["Postgres", "sqlstate"]

from collections.abc import Sequence
from typing import Any

import sqlalchemy

from arrowopaque.butler.ddl import STAMP
from arrowopaque.butler.host import Cursor
from arrowopaque.butler.sql import Dialect, Row, convert_row, convert_rows
from arrowopaque.format.spec import Column, ColumnKind
from arrowopaque.format.where import In, Term

_PG_TYPES = {
    ColumnKind.STRING: "TEXT",
    ColumnKind.TEXT: "TEXT",
    ColumnKind.SMALLINT: "SMALLINT",
    ColumnKind.INTEGER: "INTEGER",
    ColumnKind.BIGINT: "BIGINT",
    ColumnKind.FLOAT: "DOUBLE PRECISION",
    ColumnKind.BOOLEAN: "BOOLEAN",
    ColumnKind.BINARY: "BYTEA",
    ColumnKind.UUID: "UUID",
    ColumnKind.HASH: "TEXT",
    ColumnKind.REGION: "TEXT",
    ColumnKind.TIME: "BIGINT",
}
_LOCK_NOT_AVAILABLE = "55P03"


def sqlstate(error: sqlalchemy.exc.DBAPIError) -> str:
    """Return PostgreSQL's code of an error, nothing of another's."""
    # psycopg 3 and psycopg2 have different names for it.
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or ""


class Postgres(Dialect):
    """PostgreSQL, through psycopg2 or psycopg 3."""

    mark = "%s"
    _SAVEPOINT = "arrowopaque_lock"

    def _type(self, name: str) -> str:
        return _PG_TYPES[self.spec.by_name[name].kind]

    def _cast(self, name: str) -> str:
        return f"CAST(%s AS {self._type(name)})"

    def _null(self, column: Column) -> str:
        return f"NULL::{_PG_TYPES[column.kind]}"

    def _typed_null(self, name: str) -> str:
        return f"NULL::{name}"

    def _starts(self, column: str, prefix: str) -> tuple[str, list[Any]]:
        return f"starts_with({column}, %s)", [prefix]

    def _any_of(self, term: In) -> tuple[str, list[Any]] | None:
        column = self.quoted[term.column]
        kind = self.spec.by_name[term.column].kind
        convert = self._to_driver[term.column]
        values = list(term.values) if convert is None else [convert(value) for value in term.values]
        if len(values) == 1:
            rendered, parameters = self._equal[term.column], values
        else:
            rendered, parameters = f"{column} = ANY(%s::{_PG_TYPES[kind]}[])", [values]
        return (f"({rendered} OR {column} IS NULL)" if term.null else rendered), parameters

    def untouched(self, table: str, where: Sequence[Term]) -> tuple[str, list[Any]] | None:
        """See `Dialect`.

        The server plans each statement anew, and this one in less than half
        the time that `read` takes.
        """
        if len(where) != 1 or where[0].column not in self.spec.primary_key:
            return None
        term = where[0]
        if not isinstance(term, In) or term.null or len(term.values) != 1:
            return None
        clause, parameters = self.conditions(where)
        sources = self.names.delta, self.names.tombstones
        absent = [f"NOT (SELECT EXISTS (SELECT FROM {source}{clause}))" for source in sources]
        return f"{self._manifest_select} AND {' AND '.join(absent)}", [table, *parameters, *parameters]

    def small_lock(self) -> str:
        """See `Dialect`."""
        return f"LOCK TABLE {self.names.delta} IN ROW EXCLUSIVE MODE; "

    def try_big_lock(self, cursor: Cursor) -> bool:
        """See `Dialect`."""
        cursor.execute(f"SAVEPOINT {self._SAVEPOINT}")
        try:
            cursor.execute(f"LOCK TABLE {self.names.delta} IN EXCLUSIVE MODE NOWAIT")
        except sqlalchemy.exc.DBAPIError as err:
            if sqlstate(err) != _LOCK_NOT_AVAILABLE:
                raise
            cursor.execute(f"ROLLBACK TO SAVEPOINT {self._SAVEPOINT}; RELEASE SAVEPOINT {self._SAVEPOINT}")
            return False
        cursor.execute(f"RELEASE SAVEPOINT {self._SAVEPOINT}")
        return True

    def insert_statement(
        self, names: Sequence[str], rows: Sequence[Row], conflict: str = ""
    ) -> tuple[str, list[Any]]:
        """Return one statement that inserts stored rows into D."""
        if not names:
            return "; ".join([f"INSERT INTO {self.names.delta} DEFAULT VALUES{conflict}"] * len(rows)), []
        if len(rows) == 1:
            statement, converts = self.insertion(tuple(names))
            return statement + conflict, list(convert_row(rows[0], converts))
        columns = self._column_list(names)
        arrays, parameters = self._unnest(names, rows)
        return f"INSERT INTO {self.names.delta} ({columns}) SELECT * FROM {arrays}{conflict}", parameters

    def insert(self, cursor: Cursor, names: Sequence[str], rows: Sequence[Row], conflict: str = "") -> None:
        """See `Dialect`."""
        cursor.execute(*self.insert_statement(names, rows, conflict))

    def _unnest(self, names: Sequence[str], rows: Sequence[Row]) -> tuple[str, list[Any]]:
        arrays = ", ".join(f"%s::{self._type(name)}[]" for name in names)
        columns = zip(*convert_rows(rows, self.to_driver(names)), strict=True)
        return f"unnest({arrays}) AS v ({self._column_list(names)})", [list(column) for column in columns]

    def bury(self, cursor: Cursor, keys: list[Row], stamp: int) -> None:
        """See `Dialect`."""
        names = self.spec.primary_key
        arrays, parameters = self._unnest(names, keys)
        cursor.execute(
            f"INSERT INTO {self.names.tombstones} ({self._column_list([*names, STAMP])}) "
            f"SELECT {self._column_list(names)}, %s FROM {arrays} ON CONFLICT DO NOTHING",
            [stamp, *parameters],
        )

    def delete_keys(self, cursor: Cursor, source: str, keys: list[Row]) -> None:
        """See `Dialect`."""
        names = self.spec.primary_key
        arrays, parameters = self._unnest(names, keys)
        clause = " AND ".join(f"d.{self.quoted[name]} = v.{self.quoted[name]}" for name in names)
        cursor.execute(f"DELETE FROM {source} AS d USING {arrays} WHERE {clause}", parameters)
