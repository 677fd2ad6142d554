"""The calls of a table as data: what to write, what to delete."""

from __future__ import annotations

__all__ = ["Call", "Mode", "Selection"]

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from arrowopaque.format.columns import python_list
from arrowopaque.format.where import In
from arrowopaque.store.base import Base
from arrowopaque.store.matches import Match, rows_of

Row = tuple[Any, ...]


class Mode(enum.Enum):
    """What to do with a row whose key exists."""

    INSERT = "insert"
    ENSURE = "ensure"
    REPLACE = "replace"


class Call:
    """The rows of one insert, ensure or replace, in stored form.

    Parameters
    ----------
    names
        The columns that are given.
    columns
        The values of each name, as a sequence or as Arrow.
    count
        How many rows there are, perhaps without any column.
    """

    __slots__ = ("_columns", "_given", "_rows", "count", "names")

    def __init__(self, names: tuple[str, ...], columns: Sequence[Any], count: int) -> None:
        self.names = names
        self.count = count
        self._given: Sequence[Any] = columns
        self._columns: Sequence[Sequence[Any]] | None = None
        self._rows: Sequence[Row] | None = None

    @classmethod
    def of_rows(cls, names: tuple[str, ...], rows: Sequence[Row]) -> Call:
        """Return the call that writes ``rows``."""
        call = cls(names, (), len(rows))
        call._rows = rows
        return call

    @classmethod
    def of_table(cls, table: pa.Table, names: tuple[str, ...]) -> Call:
        """Return the call that writes some columns of a table's rows."""
        return cls(names, [table.column(name) for name in names], table.num_rows)

    @property
    def rows(self) -> Sequence[Row]:
        """The rows, each with the values of `names`."""
        if self._rows is None:
            self._rows = list(zip(*self.columns, strict=True)) if self.names else [()] * self.count
        return self._rows

    @property
    def columns(self) -> Sequence[Sequence[Any]]:
        """The values of each name."""
        if self._columns is None and self._given:
            self._columns = [python_list(values) if _is_arrow(values) else values for values in self._given]
        elif self._columns is None:
            self._columns = list(zip(*self._rows, strict=True)) if self._rows else [()] * len(self.names)
        return self._columns

    def keys(self, columns: Sequence[str]) -> list[Row]:
        """Return some columns of every row; absent ones are NULL."""
        if self._rows is not None and self.count == 1 and self.has(columns):
            (row,) = self._rows
            return [tuple([row[self.names.index(name)] for name in columns])]
        return list(zip(*map(self.column, columns), strict=True)) if columns else [()] * self.count

    def column(self, name: str) -> Sequence[Any]:
        """Return the values of one column, NULL if it is absent."""
        return self.columns[self.names.index(name)] if name in self.names else (None,) * self.count

    def table(self, schema: pa.Schema) -> pa.Table:
        """Return the columns of ``schema`` as Arrow; absent ones are NULL."""
        source = dict(zip(self.names, self._given or self.columns, strict=True))
        columns = [_as_arrow(source.get(field.name), field.type, self.count) for field in schema]
        return pa.Table.from_arrays(columns, schema=schema)

    def has(self, columns: Sequence[str]) -> bool:
        """Return whether the rows give all of ``columns``."""
        return {*columns}.issubset(self.names)


def _is_arrow(values: Any) -> bool:
    return isinstance(values, pa.Array | pa.ChunkedArray)


def _as_arrow(values: Any, kind: pa.DataType, count: int) -> pa.Array | pa.ChunkedArray:
    if values is None:
        return pa.nulls(count, kind)
    return values if _is_arrow(values) else pa.array(values, kind)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a delete names: rows that satisfy ``where`` and, if there are
    ``tuples``, whose ``columns`` are one of them.
    """

    where: tuple[In, ...] = ()
    columns: tuple[str, ...] = ()
    tuples: frozenset[Row] | None = None

    def matches(self, base: Base, names: Sequence[str]) -> list[Match]:
        """Return the rows of data files, tombstoned ones included."""
        columns = list(dict.fromkeys([*names, *self.columns]))
        found = base.matches(self.where, columns)
        if self.tuples is None:
            return list(found)
        kept = []
        for match in found:
            keep = [row in self.tuples for row in rows_of(match.rows.select(list(self.columns)))]
            if any(keep):
                chosen = pa.array(keep)
                positions = match.positions[chosen.to_numpy(zero_copy_only=False)]
                kept.append(Match(match.path, positions, match.rows.filter(chosen)))
        return kept
