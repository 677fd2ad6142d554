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
_DATA = {0: (5, 2), 3: (8, 4)}
"""Types of pages that hold rows, the fields that tell of them, and therein of their encoding."""
_VERBATIM = {0, 6}
"""Encodings that hold each value's own bytes: ``PLAIN`` and ``DELTA_LENGTH_BYTE_ARRAY``."""
_HEADER_VALUES = 64
"""A header has some eight structs and strings."""


def check_pages(chunk: bytes | memoryview, rows: int, expanded: int) -> bool:
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

    Returns
    -------
    bool
        Whether all values are there, so that they are no more than that.

    Raises
    ------
    ValueError
        It is another.
    """
    at = counted = size = 0
    encodings = set()
    while at < len(chunk):
        reader = Reader(chunk, _HEADER_VALUES, at)
        try:
            header = reader.struct(0)
            kind = _natural(header[_TYPE])
            size += _natural(header[_EXPANDED])
            if kind in _DATA:
                field, encoding = _DATA[kind]
                counted += _natural(header[field][_COUNT])
                encodings.add(_natural(header[field][encoding]))
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
    return encodings <= _VERBATIM


def _natural(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise TypeError(f"{value!r} is no number of bytes or rows")
    return value
