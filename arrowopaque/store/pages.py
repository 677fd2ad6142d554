"""The pages of a column chunk, of which a footer says only how much they are
together, and does not prove it.
"""

from __future__ import annotations

__all__ = ["check_pages"]

from typing import Any

from arrowopaque.format.thrift import Reader

# Numbers of fields and types are those of ``parquet.thrift`` in apache/parquet-format.
_TYPE, _EXPANDED, _LENGTH, _COUNT = 1, 2, 3, 1
_DICTIONARY = 2
_DATA = {0: 5, 3: 8}
"""Types of pages that hold rows, and the fields that say of how many."""
_HEADER_VALUES = 64
"""A header has some eight structs and strings."""


def check_pages(chunk: bytes | memoryview, rows: int, expanded: int) -> None:
    """Compare pages with what is said of their chunk.

    A page's own header decides how much memory its reader takes, so that
    there is no bound on it unless the headers are within what is said.

    Parameters
    ----------
    chunk
        The bytes of a column chunk.
    rows
        Rows that it has.
    expanded
        Bytes that it takes at most, decompressed.

    Raises
    ------
    ValueError
        It is another.
    """
    at = counted = size = 0
    while at < len(chunk):
        reader = Reader(chunk, _HEADER_VALUES, at)
        try:
            header = reader.struct(0)
            kind = _natural(header[_TYPE])
            size += _natural(header[_EXPANDED])
            counted += _natural(header[_DATA[kind]][_COUNT]) if kind in _DATA else 0
            at = reader.at + _natural(header[_LENGTH])
        except (KeyError, IndexError, TypeError, ValueError) as err:
            raise ValueError(f"a page's header cannot be read ({err!r})") from err
        if kind != _DICTIONARY and kind not in _DATA:
            raise ValueError(f"a page of the unknown type {kind}")
    if at != len(chunk):
        raise ValueError(f"its pages have {at} bytes, not {len(chunk)}")
    if counted != rows:
        raise ValueError(f"its pages have {counted} values, not {rows}")
    if size > expanded:
        raise ValueError(f"its pages expand to {size} bytes, its footer says {expanded}")


def _natural(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise TypeError(f"{value!r} is no number of bytes or rows")
    return value
