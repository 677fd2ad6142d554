"""Sort rows as data files hold them."""

from __future__ import annotations

__all__ = ["arrow_order", "sort_rows"]

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.store.decoding import plain

_PREFIX = 8


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
    if not pa.types.is_fixed_size_binary(column.type) or column.type.byte_width < _PREFIX:
        return None
    width, start = column.type.byte_width, column.offset
    raw = np.frombuffer(column.buffers()[1], np.uint8, (start + len(column)) * width)
    first = np.ascontiguousarray(raw.reshape(-1, width)[start:, :_PREFIX])
    return first.view(">u8").ravel().astype(np.uint64)
