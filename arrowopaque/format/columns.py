"""Many values from Python to Arrow and back, those that are their own stored form."""

from __future__ import annotations

__all__ = ["FEW", "few_values", "plain_array", "python_list"]

import itertools
import operator
import uuid
from array import array
from collections.abc import Callable, Sequence
from itertools import repeat
from types import NoneType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.format.spec import BITS, STRINGS, Column, ColumnKind

_INT = operator.attrgetter("int")
_TO_BYTES: Callable[[int, int], bytes] = int.to_bytes

FEW = 8
"""Values that are cheaper to convert one by one than together."""


def few_values(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return values of the engine's types, none of them NULL, as Arrow.

    Arrow's own conversion imports pandas where that is installed, which takes
    longer than to open a repository.

    Raises
    ------
    ValueError, TypeError, pyarrow.ArrowException
        They are not of that type.
    """
    if pa.types.is_fixed_size_binary(kind):
        if {*map(len, values)} - {kind.byte_width}:
            raise ValueError(f"values that have not {kind.byte_width} bytes")
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(b"".join(values))])
    if pa.types.is_string(kind):
        encoded = [str.encode(value) for value in values]
        ends = array("i", itertools.accumulate(map(len, encoded), initial=0))
        data = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
        return pa.Array.from_buffers(kind, len(values), data)
    return pa.array(values, kind)


def python_list(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return the values of a column, bytes of one width in a twentieth of the
    time that Arrow takes.
    """
    if column.null_count or not pa.types.is_fixed_size_binary(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]  # pyarrow is untyped
    pieces = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return [*itertools.chain.from_iterable(_bytes_of(piece) for piece in pieces if len(piece))]


def _bytes_of(array: pa.Array) -> list[bytes]:
    width, data = array.type.byte_width, array.buffers()[1]
    # Of "V", not "S": that would drop zeros at the end.
    found: list[bytes] = np.frombuffer(data, f"V{width}", len(array), array.offset * width).tolist()
    return found


def plain_array(column: Column, values: Sequence[Any]) -> pa.Array | None:
    """Return plain values as Arrow, `None` if each has to be looked at."""
    make = _MAKERS.get(column.kind)
    if make is None:
        return None
    try:
        return make(column, values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def _uuids(column: Column, values: Sequence[Any]) -> pa.Array | None:
    if {*map(type, values)} != {uuid.UUID}:
        return None
    data = pa.py_buffer(b"".join(map(_TO_BYTES, map(_INT, values), repeat(16))))
    return pa.Array.from_buffers(column.arrow_type, len(values), [None, data])


def _integers(column: Column, values: Sequence[Any]) -> pa.Array | None:
    # Arrow would take NumPy's truth for a number.
    return pa.array(values, column.arrow_type) if {*map(type, values)} <= {int, NoneType} else None


def _strings(column: Column, values: Sequence[Any]) -> pa.Array | None:
    # Told what they are to be, Arrow would take bytes; it finds out as soon as it converts them.
    stored = pa.array(values)
    if pa.types.is_null(stored.type):
        return pa.nulls(len(values), column.arrow_type)
    if stored.type != column.arrow_type:
        return None
    # As many bytes at most as there may be characters is soon seen, and enough.
    longest = None if column.length is None else pc.max(pc.binary_length(stored)).as_py()
    return stored if longest is None or longest <= column.length else None


_MAKERS: dict[ColumnKind, Callable[[Column, Sequence[Any]], pa.Array | None]] = {
    ColumnKind.UUID: _uuids,
    **dict.fromkeys(STRINGS, _strings),
    **dict.fromkeys(BITS, _integers),
}
"""What makes a column of values that are their own stored form."""
