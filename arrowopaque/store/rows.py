"""Rows as callers get them: immutable mappings."""

from __future__ import annotations

__all__ = ["Row", "to_few_rows", "to_rows"]

import itertools
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
        return hash(tuple(self.values()))

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        positions = {name: at for at, name in enumerate(self)}
        return Row, (positions, tuple(self.values()))


class _Batch(dict[str, Sequence[Any]]):
    """The columns of rows that were read together, as Python values: each is
    made when a row is first asked for it.
    """

    def __init__(self, values: Values, table: pa.Table) -> None:
        super().__init__()
        self.positions = values.spec.positions
        self._values = values
        self._table = table

    def __missing__(self, name: str) -> Sequence[Any]:
        at = self.positions[name]
        # Two threads may both make it: they make the same.
        column = self[name] = self._values.python_column(at, self._table.column(at).to_pylist())
        return column


class _BatchRow(Row):
    """One row of a batch."""

    __slots__ = ("_at", "_batch")

    def __init__(self, batch: _Batch, at: int) -> None:
        self._batch = batch
        self._at = at

    def __getitem__(self, name: str) -> Any:
        return self._batch[name][self._at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch.positions)

    def __len__(self) -> int:
        return len(self._batch.positions)

    def __contains__(self, name: object) -> bool:
        return name in self._batch.positions


def to_few_rows(values: Values, rows: Iterable[Sequence[Any]]) -> list[Row]:
    """Return stored rows that have all columns of their spec."""
    positions = values.spec.positions
    return [Row(positions, values.python_row(row)) for row in rows]


def to_rows(values: Values, table: pa.Table) -> Iterator[Row]:
    """Yield the rows of a table that has all columns of its spec."""
    return map(_BatchRow, itertools.repeat(_Batch(values, table)), range(table.num_rows))
