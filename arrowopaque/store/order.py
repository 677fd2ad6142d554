"""Sort rows as data files hold them."""

from __future__ import annotations

__all__ = ["Sorted", "arrow_order", "distinct", "sort_rows"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.store.decoding import has_any_length, plain
from arrowopaque.store.keys import WORD, comparable, first_word
from arrowopaque.store.parallel import run_all


@dataclass(frozen=True, slots=True)
class Sorted:
    """Rows in ascending order of some columns.

    To sort them by something else begins with the order in which they came:
    what came together is much alike, and near in memory.
    """

    rows: pa.Table
    given: pa.Table | None = None
    """The rows in the order in which they came, perhaps among others; `None`
    if that is their order.
    """
    came: npt.NDArray[np.int64] | None = None
    """Where each row is in ``given``."""
    is_distinct: bool = False
    """Whether no two rows have the same value of the first column; where not,
    it is not known.
    """

    @classmethod
    def of(cls, rows: pa.Table, columns: Sequence[str]) -> Self:
        """Sort rows; equal ones keep their order."""
        order, is_distinct = _order(rows.select(list(columns)))
        if order is None:
            return cls(rows.combine_chunks(), is_distinct=is_distinct)
        return cls(_taken(rows, order), rows, order, is_distinct)

    def slice(self, start: int, length: int) -> Sorted:
        """Return some rows that follow each other."""
        came = None if self.came is None else self.came[start : start + length]
        return replace(self, rows=self.rows.slice(start, length), came=came)

    def filter(self, keep: npt.NDArray[np.bool_]) -> Sorted:
        """Return the rows that are to be kept."""
        came = None if self.came is None else self.came[keep]
        return replace(self, rows=self.rows.filter(pa.array(keep)), came=came)

    def numbered(self, columns: Sequence[str], number: str) -> pa.Table:
        """Return some columns, and a column ``number`` of the rows' numbers,
        in the order in which the rows came.
        """
        rows, numbers = self.rows.select(list(columns)), np.arange(len(self.rows))
        if self.came is not None:
            assert self.given is not None, "they came from there"
            if len(self.given) == len(rows):
                rows, order = self.given.select(list(columns)).combine_chunks(), np.empty_like(numbers)
                order[self.came] = numbers
            else:
                order = np.argsort(self.came)
                rows = _taken(rows, order)
            numbers = order
        return rows.append_column(number, pa.array(numbers, pa.int64()))


def sort_rows(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return rows in ascending order of ``columns``; equal ones keep theirs."""
    return Sorted.of(rows, columns).rows


def _taken(rows: pa.Table, order: npt.NDArray[Any]) -> pa.Table:
    """Return rows in another order, in one piece."""
    places = pa.array(order)
    columns = run_all([partial(column.take, places) for column in rows.columns], len(places))
    return pa.table(columns, schema=rows.schema).combine_chunks()


def _order(keys: pa.Table) -> tuple[npt.NDArray[Any] | None, bool]:
    """Return the positions of rows in their order, `None` if they are in it;
    and whether their first values are known to be distinct.

    Arrow compares fixed-size binaries byte by byte, through several tables.
    Their first bytes as numbers tell most of them apart at a tenth of that.
    """
    prefix = _prefix(plain(keys.column(0)))
    if prefix is None:
        return arrow_order(keys), False
    if len(prefix) < 2 or (prefix[1:] > prefix[:-1]).all():
        return None, True
    order: npt.NDArray[Any] = np.argsort(prefix)
    prefix = prefix[order]
    same = prefix[1:] == prefix[:-1]
    is_distinct = not same.any()
    if not is_distinct:
        tied = np.append(same, False) | np.insert(same, 0, False)
        members = np.sort(order[tied])
        order[tied] = members[arrow_order(keys.take(pa.array(members)))]
    return None if np.array_equal(order, np.arange(len(order))) else order, is_distinct


def arrow_order(keys: pa.Table) -> npt.NDArray[Any]:
    """Return the positions of rows in ascending order of all columns."""
    # Arrow would take a name that begins with a dot for a path into a struct.
    places = [str(place) for place in range(keys.num_columns)]
    order = pc.sort_indices(keys.rename_columns(places), [(place, "ascending") for place in places])
    result: npt.NDArray[Any] = order.to_numpy()
    return result


def _prefix(column: pa.Array) -> npt.NDArray[Any] | None:
    """Return numbers that sort as the values do, apart from ties; `None` if
    it takes the values themselves.
    """
    if column.null_count:
        return None
    if pa.types.is_integer(column.type):
        numbers: npt.NDArray[Any] = column.to_numpy()
        return numbers
    if not pa.types.is_fixed_size_binary(column.type) or column.type.byte_width < WORD:
        return None
    return first_word(comparable(column))


def distinct(array: pa.Array) -> pa.Array:
    """Return a column's values without NULLs, ascending and each once."""
    array = array.drop_null()
    if has_any_length(array.type):
        # Python sorts its own strings in a tenth of NumPy's time.
        return pa.array(sorted({*array.to_pylist()}), array.type)
    if not len(array):
        return array
    if pa.types.is_floating(array.type):
        return pa.array(np.unique(array.to_numpy()), array.type)
    array = plain(sort_rows(pa.table([array], ["value"]), ["value"]).column(0))
    values = comparable(array)
    keep = np.append(True, values[1:] != values[:-1])
    return array if keep.all() else array.filter(pa.array(keep))
