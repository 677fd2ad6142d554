"""Predicates as data: a conjunction of terms on single columns."""

from __future__ import annotations

__all__ = ["In", "Many", "Prefix", "Term", "Where", "array_of", "mask", "prefix_end"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.format.columns import python_list


class Many(Sequence[Any]):
    """So many values that each would be too dear as an object.

    Parameters
    ----------
    array
        The values in stored form: ascending, each once, no NULL, no NaN.
    """

    def __init__(self, array: pa.Array) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, at: Any) -> Any:
        return self.array[at].as_py()

    def __iter__(self) -> Iterator[Any]:
        return iter(python_list(self.array))


@dataclass(frozen=True, slots=True)
class In:
    """``column`` equals one of ``values`` (stored form), each once, or is
    NULL if ``null``.
    """

    column: str
    values: tuple[Any, ...] | Many
    null: bool = False


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return the values of an `In` as Arrow."""
    return values.array if isinstance(values, Many) else pa.array(values, kind)


@dataclass(frozen=True, slots=True)
class Prefix:
    """``column`` starts with ``prefix``, literally and case-sensitively."""

    column: str
    prefix: str


Term = In | Prefix
Where = Sequence[Term]


def prefix_end(prefix: str) -> str | None:
    """Return the least string above every string with ``prefix``.

    `None` means that there is none. Strings compare by code point, which is
    the order of their UTF-8 bytes.
    """
    for i in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[i])
        if code < 0x10FFFF:
            following = 0xE000 if code == 0xD7FF else code + 1
            return prefix[:i] + chr(following)
    return None


def mask(table: pa.Table, where: Where) -> pa.Array | pa.ChunkedArray | None:
    """Return which rows of ``table`` satisfy ``where``; `None` means all."""
    result = None
    for term in where:
        part = _term_mask(table.column(term.column), term)
        result = part if result is None else pc.and_(result, part)
    return result


def _term_mask(column: pa.ChunkedArray, term: Term) -> pa.ChunkedArray:
    if isinstance(term, Prefix):
        return pc.fill_null(pc.starts_with(column, term.prefix), False)
    values = term.values
    if pa.types.is_floating(column.type):
        # Arrow compares bits here; in SQL both zeros are equal and NaN is to nothing.
        values = (*(value for value in values if value == value), *(-value for value in values if value == 0))
    found = pc.is_in(column, value_set=array_of(values, column.type), skip_nulls=True)
    return pc.or_(found, pc.is_null(column)) if term.null else found
