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

_PLAIN = dict.fromkeys(STRINGS, str) | dict.fromkeys(BITS, int)
"""Types whose values are their stored form, as long as they fit."""

_INT = operator.attrgetter("int")
_TO_BYTES: Callable[[int, int, str], bytes] = int.to_bytes  # type: ignore[assignment]  # its arguments have names

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
    kinds = {*map(type, values)}
    if kinds == {uuid.UUID} and column.kind is ColumnKind.UUID:
        ints = map(_INT, values)
        data = pa.py_buffer(b"".join(map(_TO_BYTES, ints, repeat(16), repeat("big"))))
        return pa.Array.from_buffers(column.arrow_type, len(values), [None, data])
    if not kinds <= {_PLAIN.get(column.kind), NoneType}:
        return None
    try:
        stored = pa.array(values, column.arrow_type)
    except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
        return None
    # As many bytes at most as there may be characters is soon seen, and enough.
    is_limited = column.length is not None and column.kind in STRINGS
    longest = pc.max(pc.binary_length(stored)).as_py() if is_limited else None
    return stored if longest is None or longest <= column.length else None
