"""Rows as callers get them: immutable mappings."""

from __future__ import annotations

__all__ = ["Row", "to_few_rows", "to_rows"]

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from arrowopaque.format.values import Values


class Row(Mapping[str, Any]):
    """One row; its keys are the table's columns in order.

    Parameters
    ----------
    columns
        Position of each column, shared by all rows of a batch.
    values
        The row's values.
    """

    __slots__ = ("_columns", "_values")

    def __init__(self, columns: Mapping[str, int], values: Sequence[Any]) -> None:
        self._columns = columns
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[self._columns[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __hash__(self) -> int:
        return hash(tuple(self._values))

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Row, (dict(self._columns), tuple(self._values))


def to_few_rows(values: Values, rows: Iterable[Sequence[Any]]) -> list[Row]:
    """Return stored rows that have all columns of their spec."""
    positions = values.spec.positions
    return [Row(positions, values.python_row(row)) for row in rows]


def to_rows(values: Values, table: pa.Table) -> list[Row]:
    """Return the rows of a table that has all columns of its spec."""
    columns = values.python_columns([column.to_pylist() for column in table.columns])
    positions = values.spec.positions
    return [Row(positions, row) for row in zip(*columns, strict=True)]
