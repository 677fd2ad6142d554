"""The statistics of a Parquet footer, as the bytes that they are.

pyarrow ends the process over a value that is shorter than its type, so that
statistics which nobody has checked cannot be asked of it.

Numbers of fields are those of ``parquet.thrift`` in apache/parquet-format.
"""

from __future__ import annotations

__all__ = ["stored_statistics", "value_of"]

import struct
from typing import Any

import pyarrow as pa

from arrowopaque.format.thrift import Reader

_ROW_GROUPS, _COLUMNS, _METADATA, _STATISTICS = 4, 1, 3, 12
_MOST, _LEAST = (1, 5), (2, 6)
"""The deprecated field and its successor."""

Ends = tuple[list[bytes], list[bytes]]
"""What is said of the least value, and of the greatest."""


def stored_statistics(footer: bytes) -> list[list[Ends]]:
    """Return the statistics of every column chunk, by row group.

    Parameters
    ----------
    footer
        A footer without its trailer.

    Raises
    ------
    ValueError
        It is no such struct.
    """
    try:
        metadata = Reader(footer).struct(0)
        groups = [[chunk[_METADATA] for chunk in group[_COLUMNS]] for group in metadata[_ROW_GROUPS]]
        return [[_ends(chunk.get(_STATISTICS, {})) for chunk in chunks] for chunks in groups]
    except (IndexError, KeyError, TypeError, AttributeError) as err:
        raise ValueError(f"the footer is no Parquet metadata: {err}") from err


def _ends(statistics: dict[int, Any]) -> Ends:
    least, most = (
        [statistics[field] for field in fields if field in statistics] for fields in (_LEAST, _MOST)
    )
    if not all(isinstance(value, bytes) for value in (*least, *most)):
        raise ValueError("the footer has statistics that are no bytes")
    return least, most


def value_of(data: bytes, kind: pa.DataType) -> Any:
    """Return what the bytes of a statistic stand for; strings stay bytes.

    Raises
    ------
    ValueError
        They have another length than values of ``kind``.
    """
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return data
    if pa.types.is_fixed_size_binary(kind):
        if len(data) != kind.byte_width:
            raise ValueError(f"{len(data)} bytes for one of {kind.byte_width}")
        return data
    try:
        return struct.unpack(_form(kind), data)[0]
    except struct.error as err:
        raise ValueError(f"{len(data)} bytes for a value of {kind}") from err


def _form(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return "<d"
    if pa.types.is_boolean(kind):
        return "<?"
    return "<q" if kind.bit_width == 64 else "<i"
