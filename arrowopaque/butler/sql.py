"""The SQL of the hot path: what is the same in all dialects.

``D`` is the delta (the table that the default manager would have), ``T`` its
tombstones and ``C`` the catalog, as in ``docs/DESIGN.md``.
"""

from __future__ import annotations

__all__ = ["TO_DRIVER", "Convert", "Dialect", "Row", "TableNames", "convert_rows"]

import base64
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from arrowopaque.butler.ddl import STAMP
from arrowopaque.butler.host import Cursor
from arrowopaque.format.spec import Column, ColumnKind, TableSpec
from arrowopaque.format.where import In, Prefix, Term

Row = tuple[Any, ...]
Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class TableNames:
    """Names as they stand in statements, quoted and qualified."""

    delta: str
    tombstones: str
    catalog: str


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _uuid_bytes(value: Any) -> bytes:
    return value.bytes if isinstance(value, uuid.UUID) else bytes.fromhex(value.replace("-", ""))


TO_DRIVER: dict[ColumnKind, Convert] = {
    ColumnKind.UUID: bytes.hex,
    ColumnKind.HASH: _base64,
    ColumnKind.REGION: _base64,
}
_FROM_DRIVER: dict[ColumnKind, Convert] = {
    ColumnKind.UUID: _uuid_bytes,
    ColumnKind.HASH: base64.b64decode,
    ColumnKind.REGION: base64.b64decode,
    ColumnKind.BOOLEAN: bool,
    ColumnKind.BINARY: bytes,
}


def convert_row(row: Row, converts: Sequence[Convert | None]) -> Row:
    """Return one row with each column converted."""
    return tuple(
        [
            value if convert is None or value is None else convert(value)
            for value, convert in zip(row, converts, strict=True)
        ]
    )


def convert_rows(rows: Iterable[Row], converts: Sequence[Convert | None]) -> list[Row]:
    """Return rows with each column converted."""
    rows = list(rows)
    if len(rows) < 2:
        return [convert_row(row, converts) for row in rows]
    by_column = []
    for values, convert in zip(zip(*rows, strict=True), converts, strict=True):
        by_column.append(
            values if convert is None else [None if value is None else convert(value) for value in values]
        )
    return list(zip(*by_column, strict=True))


class Dialect(ABC):
    """The statements of one table on one kind of database.

    Parameters
    ----------
    spec
        The table.
    names
        Its names in statements.
    quote
        Quotes a column's name.
    """

    mark: str
    """The driver's parameter marker."""

    def __init__(self, spec: TableSpec, names: TableNames, quote: Callable[[str], str]) -> None:
        self.spec = spec
        self.names = names
        self.quoted = {name: quote(name) for name in (*spec.names, STAMP)}
        self.from_driver = [_FROM_DRIVER.get(column.kind) for column in spec.columns]
        self.key_from_driver = [_FROM_DRIVER.get(spec.by_name[name].kind) for name in spec.primary_key]
        self._to_driver = {column.name: TO_DRIVER.get(column.kind) for column in spec.columns}
        self._equal = {name: f"{self.quoted[name]} = {self._cast(name)}" for name in spec.names}
        self._delta_select = self._select(0, spec.names)
        self._tombstone_select = self._select(1, spec.primary_key) if spec.primary_key else ""
        self._state_select = self.small_lock() + self._tombstone_select
        self._catalog_select = self._select_catalog()
        self._manifest_select = f"SELECT manifest FROM {names.catalog} WHERE table_name = {self.mark}"
        self._reads: dict[str, str] = {}
        self._insertions: dict[tuple[str, ...], tuple[str, list[Convert | None]]] = {}

    def to_driver(self, names: Sequence[str]) -> list[Convert | None]:
        """Return what turns stored values into the driver's."""
        return [self._to_driver[name] for name in names]

    def _select(self, tag: int, kept: Sequence[str]) -> str:
        columns = ", ".join(
            self.quoted[name] if name in kept else self._null(self.spec.by_name[name])
            for name in self.spec.names
        )
        # The stamp, or C's fence, travels in the second column, the manifest in the third.
        stamp = self.quoted[STAMP] if tag == 1 else self._typed_null("BIGINT")
        source = self.names.delta if tag == 0 else self.names.tombstones
        return f"SELECT {tag}, {stamp}, {self._typed_null('TEXT')}, {columns} FROM {source}"

    def _select_catalog(self) -> str:
        columns = ", ".join(self._null(column) for column in self.spec.columns)
        return (
            f"SELECT 2, fence, manifest, {columns} FROM {self.names.catalog} WHERE table_name = {self.mark}"
        )

    @abstractmethod
    def _null(self, column: Column) -> str: ...

    @abstractmethod
    def _typed_null(self, name: str) -> str: ...

    def condition(self, term: Term) -> tuple[str, list[Any]] | None:
        """Return a term as SQL; `None` if it must be checked outside."""
        if isinstance(term, Prefix):
            return self._starts(self.quoted[term.column], term.prefix)
        if term.null or len(term.values) != 1:
            return self._any_of(term)
        convert = self._to_driver[term.column]
        (value,) = term.values if convert is None else map(convert, term.values)
        return self._equal[term.column], [value]

    @abstractmethod
    def _starts(self, column: str, prefix: str) -> tuple[str, list[Any]]: ...

    @abstractmethod
    def _any_of(self, term: In) -> tuple[str, list[Any]] | None:
        """Return a term of several values, or NULL, as SQL."""

    def conditions(self, terms: Iterable[Term]) -> tuple[str, list[Any]]:
        """Return the WHERE clause of those terms that SQL can check."""
        parts, parameters = [], []
        for term in terms:
            rendered = self.condition(term)
            if rendered is not None:
                parts.append(rendered[0])
                parameters += rendered[1]
        return (" WHERE " + " AND ".join(parts) if parts else ""), parameters

    def read(self, table: str, where: Sequence[Term]) -> tuple[str, list[Any]]:
        """Return the statement that reads D, T and C at one moment."""
        if len(where) == 1 and isinstance(where[0], In) and len(where[0].values) == 1 and not where[0].null:
            return self._read_of_one(table, where[0])
        clause, parameters = self.conditions(where)
        parts = [self._delta_select + clause]
        if self.spec.primary_key:
            keys = [term for term in where if term.column in self.spec.primary_key]
            of_keys = self.conditions(keys) if len(keys) < len(where) else (clause, parameters)
            parts.append(self._tombstone_select + of_keys[0])
            parameters = parameters + of_keys[1]
        parts.append(self._catalog_select)
        return " UNION ALL ".join(parts), [*parameters, table]

    def _read_of_one(self, table: str, term: In) -> tuple[str, list[Any]]:
        """Return what `read` does for one value of a column: rendered once,
        as it is the same for each.
        """
        column, convert = term.column, self._to_driver[term.column]
        statement = self._reads.get(column)
        if statement is None:
            clause = f" WHERE {self._equal[column]}"
            parts = [self._delta_select + clause]
            if self.spec.primary_key:
                parts.append(self._tombstone_select + clause * (column in self.spec.primary_key))
            statement = self._reads[column] = " UNION ALL ".join([*parts, self._catalog_select])
        value = term.values[0] if convert is None else convert(term.values[0])
        count = 1 + (column in self.spec.primary_key)
        return statement, [*([value] * count), table]

    def untouched(self, table: str, where: Sequence[Term]) -> tuple[str, list[Any]] | None:
        """Return the statement that reads C's manifest if D and T have
        nothing that ``where`` asks for, else no row; `None` where that takes
        as long as to read all three.
        """
        return None

    def read_small(self, table: str, limit: int) -> tuple[str, list[Any]]:
        """Return the statement that reads all of D, T and C, or nothing if D
        or T has more than ``limit`` rows.
        """
        sources = [self.names.delta, *([self.names.tombstones] if self.spec.primary_key else [])]
        some = [f"SELECT 1 FROM {source} LIMIT {int(limit) + 1}" for source in sources]
        small = " AND ".join(f"(SELECT count(*) FROM ({rows}) AS s) <= {int(limit)}" for rows in some)
        parts = [f"{self._delta_select} WHERE {small}"]
        if self.spec.primary_key:
            parts.append(f"{self._tombstone_select} WHERE {small}")
        parts.append(f"{self._catalog_select} AND {small}")
        return " UNION ALL ".join(parts), [table]

    def current(self, table: str) -> tuple[str, list[Any]]:
        """Return the statement that reads C alone."""
        return self._catalog_select, [table]

    def read_some(self, table: str, limit: int) -> tuple[str, list[Any]]:
        """Return the statement that reads some of D, and all of T and C."""
        order = ", ".join(self.quoted[name] for name in self.spec.primary_key)
        some = f"SELECT * FROM ({self._delta_select} ORDER BY {order} LIMIT {int(limit)}) AS d"
        return f"{some} UNION ALL {self._tombstone_select} UNION ALL {self._catalog_select}", [table]

    def read_between(self, table: str, after: Row | None, until: Row | None) -> tuple[str, list[Any]]:
        """Return the statement that reads D and T between two primary keys,
        and C.
        """
        clause, parameters = self.between(after, until)
        parts = [self._delta_select + clause, self._tombstone_select + clause, self._catalog_select]
        return " UNION ALL ".join(parts), [*parameters, *parameters, table]

    def between(self, after: Row | None, until: Row | None) -> tuple[str, list[Any]]:
        """Return the WHERE clause of the primary keys after one, up to
        another, in the database's own order.
        """
        names = self.spec.primary_key
        marks = ", ".join(self._cast(name) for name in names)
        parts: list[str] = []
        parameters: list[Any] = []
        for sign, key in ((">", after), ("<=", until)):
            if key is not None:
                parts.append(f"({self._column_list(names)}) {sign} ({marks})")
                parameters += convert_row(key, self.to_driver(names))
        return (" WHERE " + " AND ".join(parts) if parts else ""), parameters

    def key_at(self, after: Row | None, skip: int) -> tuple[str, list[Any]]:
        """Return the statement that reads the primary key of D that has
        ``skip`` others between ``after`` and itself.
        """
        clause, parameters = self.between(after, None)
        columns = self._column_list(self.spec.primary_key)
        order = f"ORDER BY {columns} LIMIT 1 OFFSET {int(skip)}"
        return f"SELECT {columns} FROM {self.names.delta}{clause} {order}", parameters

    def delete_between(self, cursor: Cursor, after: Row | None, until: Row | None) -> None:
        """Delete the rows of D between two primary keys."""
        clause, parameters = self.between(after, until)
        cursor.execute(f"DELETE FROM {self.names.delta}{clause}", parameters)

    def state(self, table: str, where: Sequence[Term]) -> tuple[str, list[Any]]:
        """Return the statement that reads C and T, after taking D's small
        lock.
        """
        clause, parameters = self.conditions(where)
        return f"{self._state_select}{clause} UNION ALL {self._catalog_select}", [*parameters, table]

    def manifest(self, table: str) -> tuple[str, list[Any]]:
        """Return the statement that reads C's manifest alone."""
        return self._manifest_select, [table]

    def insertion(self, names: tuple[str, ...]) -> tuple[str, list[Convert | None]]:
        """Return what inserts one row of some columns into D, and what makes
        its parameters: rendered once, as it is the same for each call.
        """
        known = self._insertions.get(names)
        if known is None:
            marks = ", ".join(self._cast(name) for name in names)
            values = f"({self._column_list(names)}) VALUES ({marks})" if names else "DEFAULT VALUES"
            known = f"INSERT INTO {self.names.delta} {values}", self.to_driver(names)
            self._insertions[names] = known
        return known

    @abstractmethod
    def small_lock(self) -> str:
        """Return the command, with its separator, that a small write opens
        with.
        """

    @abstractmethod
    def try_big_lock(self, cursor: Cursor) -> bool:
        """Take D's exclusive lock if nobody makes us wait."""

    @abstractmethod
    def insert(self, cursor: Cursor, names: Sequence[str], rows: Sequence[Row], conflict: str = "") -> None:
        """Insert stored rows into D; one that fails leaves none behind."""

    @abstractmethod
    def bury(self, cursor: Cursor, keys: list[Row], stamp: int) -> None:
        """Insert tombstones; those that exist keep their stamp."""

    @abstractmethod
    def delete_keys(self, cursor: Cursor, source: str, keys: list[Row]) -> None:
        """Delete rows of D or T by primary key."""

    def delete_where(self, cursor: Cursor, terms: Sequence[Term]) -> None:
        """Delete rows of D by terms that SQL can check."""
        clause, parameters = self.conditions(terms)
        cursor.execute(f"DELETE FROM {self.names.delta}{clause}", parameters)

    def delete_equal(self, cursor: Cursor, names: Sequence[str], rows: Sequence[Row]) -> None:
        """Delete rows of D that equal one of ``rows`` in the columns
        ``names``.
        """
        clause = " AND ".join(f"{self.quoted[name]} = {self._cast(name)}" for name in names)
        statement = f"DELETE FROM {self.names.delta} WHERE {clause}"
        cursor.executemany(statement, convert_rows(rows, self.to_driver(names)))

    def _cast(self, name: str) -> str:
        """Return a parameter marker for a value of a column."""
        return self.mark

    def insert_returning(self, cursor: Cursor, names: Sequence[str], row: Row, conflict: str) -> list[Row]:
        """Insert a stored row into D and return the primary key it got."""
        statement, converts = self.insertion(tuple(names))
        returning = self._column_list(self.spec.primary_key)
        return cursor.execute(
            f"{statement}{conflict} RETURNING {returning}", convert_row(row, converts) if names else row
        ).rows()

    def swap(self, cursor: Cursor, table: str, old: str | None, new: str) -> bool:
        """Compare-and-swap the catalog row."""
        mark = self.mark
        cursor.execute(
            f"UPDATE {self.names.catalog} SET parent = manifest, manifest = {mark} "
            f"WHERE table_name = {mark} AND manifest = {mark}",
            (new, table, old or ""),
        )
        return cursor.rowcount == 1

    def ancestor(self, cursor: Cursor, table: str) -> str | None:
        """Return the manifest that the last swap took the place of."""
        statement = f"SELECT parent FROM {self.names.catalog} WHERE table_name = {self.mark}"
        return cursor.execute(statement, (table,)).rows()[0][0] or None

    def raise_fence(self, cursor: Cursor, table: str) -> None:
        """Count a vacuum in the catalog row."""
        cursor.execute(
            f"UPDATE {self.names.catalog} SET fence = fence + 1 WHERE table_name = {self.mark}", (table,)
        )

    def upsert_clause(self) -> str:
        """Return the ON CONFLICT clause of a replace."""
        key = set(self.spec.primary_key)
        rest = [self.quoted[name] for name in self.spec.names if name not in key]
        if not rest:
            return " ON CONFLICT DO NOTHING"
        target = ", ".join(self.quoted[name] for name in self.spec.primary_key)
        updates = ", ".join(f"{name} = excluded.{name}" for name in rest)
        return f" ON CONFLICT ({target}) DO UPDATE SET {updates}"

    def _column_list(self, names: Sequence[str]) -> str:
        return ", ".join(self.quoted[name] for name in names)
