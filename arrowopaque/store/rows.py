"""Rows as callers get them: immutable mappings."""

from __future__ import annotations

__all__ = ["Row", "to_few_rows", "to_rows"]

import itertools
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any

import pyarrow as pa

from arrowopaque.format.uuids import uuid_of, uuids_of
from arrowopaque.format.values import Values
from arrowopaque.store.decoding import python_values

_NEAR = 512
"""Rows whose values are made together: few enough to be gone before Python
searches what is new for garbage.
"""


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

    def keys(self) -> KeysView[str]:
        """Return the columns' names."""
        return self._columns.keys()

    # A dict's own views are made sooner than those that ask a mapping for one value after another.

    def values(self) -> ValuesView[Any]:
        """Return the values, in the order of the columns."""
        return self._as_dict().values()

    def items(self) -> ItemsView[str, Any]:
        """Return the names, each with its value."""
        return self._as_dict().items()

    def _as_dict(self) -> dict[str, Any]:
        return dict(zip(self._columns, self._values, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self.values()))

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        positions = {name: at for at, name in enumerate(self)}
        return Row, (positions, tuple(self.values()))


class _Stored(dict[int, Sequence[Any]]):
    """The columns of a table, by position, as stored values: each is made when
    it is first asked for.
    """

    def __init__(self, table: pa.Table) -> None:
        super().__init__()
        self.table = table

    def __missing__(self, at: int) -> Sequence[Any]:
        # Two threads may both make it: they make the same.
        column = self[at] = python_values(self.table.column(at))
        return column


class _Batch(dict[str, Sequence[Any]]):
    """The columns of some rows of a table, by name, as Python values."""

    def __init__(self, values: Values, stored: _Stored, start: int) -> None:
        super().__init__()
        self.positions = values.spec.positions
        self._values = values
        self._stored = stored
        self._start = start
        self._whole: Mapping[str, Sequence[Any]] | None = None

    def __missing__(self, name: str) -> Sequence[Any]:
        at = self.positions[name]
        decode = self._values.decoder(at)
        if decode is None:
            column = self._stored[at][self._start : self._start + _NEAR]
        else:
            # Not of all rows at once: what they are made of would stay as long as one of the rows.
            piece = self._stored.table.column(at).slice(self._start, _NEAR)
            stored = python_values(piece)
            if decode is uuid_of and not piece.null_count:
                column = uuids_of(stored)
            else:
                column = [None if value is None else decode(value) for value in stored]
        self[name] = column
        return column

    def whole(self) -> Mapping[str, Sequence[Any]]:
        """Return all columns, in the table's order."""
        if self._whole is None:
            self._whole = {name: self[name] for name in self.positions}
        return self._whole


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

    def keys(self) -> KeysView[str]:
        return self._batch.positions.keys()

    def _as_dict(self) -> dict[str, Any]:
        at = self._at
        return {name: column[at] for name, column in self._batch.whole().items()}


def to_few_rows(values: Values, rows: Iterable[Sequence[Any]]) -> list[Row]:
    """Return stored rows that have all columns of their spec."""
    positions = values.spec.positions
    return [Row(positions, values.python_row(row)) for row in rows]


def to_rows(values: Values, table: pa.Table) -> Iterator[Row]:
    """Yield the rows of a table that has all columns of its spec."""
    stored, rows = _Stored(table), table.num_rows
    return itertools.chain.from_iterable(
        map(
            _BatchRow,
            itertools.repeat(_Batch(values, stored, start)),
            range(min(_NEAR, rows - start)),
        )
        for start in range(0, rows, _NEAR)
    )
