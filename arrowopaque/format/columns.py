"""Python values that are their own stored form, as Arrow."""

from __future__ import annotations

__all__ = ["FEW", "plain_array"]

import uuid
from collections.abc import Sequence
from types import NoneType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.format.spec import BITS, STRINGS, Column, ColumnKind

_PLAIN = dict.fromkeys(STRINGS, str) | dict.fromkeys(BITS, int)
"""Types whose values are their stored form, as long as they fit."""

FEW = 8
"""Values that are cheaper to convert one by one than together."""


def plain_array(column: Column, values: Sequence[Any]) -> pa.Array | None:
    """Return plain values as Arrow, `None` if each has to be looked at."""
    kinds = {*map(type, values)}
    if kinds == {uuid.UUID} and column.kind is ColumnKind.UUID:
        data = pa.py_buffer(b"".join([value.int.to_bytes(16) for value in values]))
        return pa.Array.from_buffers(column.arrow_type, len(values), [None, data])
    if not kinds <= {_PLAIN.get(column.kind), NoneType}:
        return None
    try:
        array = pa.array(values, column.arrow_type)
    except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
        return None
    # As many bytes at most as there may be characters is soon seen, and enough.
    is_limited = column.length is not None and column.kind in STRINGS
    longest = pc.max(pc.binary_length(array)).as_py() if is_limited else None
    return array if longest is None or longest <= column.length else None
