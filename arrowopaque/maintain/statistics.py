"""The statistics of a Parquet footer, as the bytes that they are.

pyarrow ends the process over a value that is shorter than its type, so that
statistics which nobody has checked cannot be asked of it.

The footer is a struct of Thrift's compact protocol; numbers of fields are
those of ``parquet.thrift`` in apache/parquet-format.
"""

from __future__ import annotations

__all__ = ["stored_statistics", "value_of"]

import struct
from collections.abc import Callable
from typing import Any, ClassVar

import pyarrow as pa

_DEPTH = 16
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
        metadata = _Reader(footer).struct(0)
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


class _Reader:
    """Thrift's compact protocol."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self, depth: int) -> dict[int, Any]:
        """Return the fields of a struct by their numbers."""
        if depth > _DEPTH:
            raise ValueError(f"a footer that nests more than {_DEPTH} deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step = head >> 4
            number = number + step if step else self._signed()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _take(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        if len(data) != count:
            raise ValueError("the footer ends within a value")
        self._at += count
        return data

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in self._PLAIN:
            return self._PLAIN[kind](self)
        if kind in (9, 10):
            return self._list(depth + 1)
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(f"the footer has a value of the unknown kind {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count, kind = head >> 4, head & 15
        if count == 15:
            count = self._unsigned()
        if kind in (1, 2):
            # Among others a boolean is a byte; alone, it is its kind.
            return list(self._take(count))
        return [self._value(kind, depth) for _ in range(count)]

    _PLAIN: ClassVar[dict[int, Callable[[_Reader], Any]]] = {
        1: lambda _: True,
        2: lambda _: False,
        3: _byte,
        4: _signed,
        5: _signed,
        6: _signed,
        7: lambda self: self._take(8),
        8: lambda self: self._take(self._unsigned()),
    }
