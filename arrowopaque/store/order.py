"""Sort rows as data files hold them."""

from __future__ import annotations

__all__ = ["arrow_order", "distinct", "sort_rows"]

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.store.decoding import has_any_length, plain
from arrowopaque.store.keys import WORD, comparable, first_word


def sort_rows(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return rows in ascending order of ``columns``; equal ones keep theirs."""
    order = _order(rows.select(list(columns)))
    if order is not None:
        rows = rows.take(pa.array(order))
    return rows.combine_chunks()


def _order(keys: pa.Table) -> npt.NDArray[Any] | None:
    """Return the positions of rows in their order; `None` if they are in it.

    Arrow compares fixed-size binaries byte by byte, through several tables.
    Their first bytes as numbers tell most of them apart at a tenth of that.
    """
    prefix = _prefix(plain(keys.column(0)))
    if prefix is None:
        return arrow_order(keys)
    if len(prefix) < 2 or (prefix[1:] > prefix[:-1]).all():
        return None
    order: npt.NDArray[Any] = np.argsort(prefix)
    prefix = prefix[order]
    same = prefix[1:] == prefix[:-1]
    if same.any():
        tied = np.append(same, False) | np.insert(same, 0, False)
        members = np.sort(order[tied])
        order[tied] = members[arrow_order(keys.take(pa.array(members)))]
    return None if np.array_equal(order, np.arange(len(order))) else order


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
