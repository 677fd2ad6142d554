"""What the database would refuse of a call's rows, known beforehand.

Rows that the database refuses take the small path, so that the error is its
own and leaves the transaction in the state that the plain table would.
"""

from __future__ import annotations

__all__ = ["refused", "refused_columns"]

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.format.spec import Column, ColumnKind, TableSpec

SHORT = 32
"""Strings up to this length are checked by SQLite too."""


def _nonempty(column: Column, dialect: str) -> bool:
    """Return whether SQLite's CHECK refuses the empty string."""
    short = column.kind is ColumnKind.STRING and column.length is not None and column.length <= SHORT
    return short and dialect == "sqlite"


def refused(spec: TableSpec, dialect: str, names: Sequence[str], row: Sequence[Any]) -> bool:
    """Return whether the database would refuse a stored row, by itself."""
    for name, value in zip(names, row, strict=True):
        column = spec.by_name[name]
        if value is None and not column.nullable:
            return True
        if value == "" and _nonempty(column, dialect):
            return True
        if dialect == "postgresql" and isinstance(value, str) and "\0" in value:
            return True
    return any(
        not column.nullable and column.default is None and column.name not in names for column in spec.columns
    )


def refused_columns(spec: TableSpec, dialect: str, rows: pa.Table) -> bool:
    """Return whether the database would refuse any of a table's rows."""
    for column in spec.columns:
        data = rows.column(column.name)
        if data.null_count and not column.nullable:
            return True
        if _nonempty(column, dialect) and pc.any(pc.equal(data, "")).as_py():
            return True
        if dialect == "postgresql" and pa.types.is_string(data.type) and any(map(_has_nul, data.chunks)):
            return True
    return False


def _has_nul(strings: pa.StringArray) -> bool:
    """Return whether a string has the character that PostgreSQL has none of."""
    _, ends, text = strings.buffers()
    if not len(strings) or text is None:
        return False
    places = np.frombuffer(ends, np.int32)
    start, stop = places[strings.offset], places[strings.offset + len(strings)]
    # That no byte is zero is seen in a thirtieth of the time; a zero may be what a NULL hides.
    if np.frombuffer(text, np.uint8)[start:stop].all():
        return False
    return bool(pc.any(pc.match_substring(strings, "\0")).as_py())
