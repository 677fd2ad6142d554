"""Thrift's compact protocol, in which Parquet writes its footers and the headers of pages.

pyarrow says nothing of a footer until it has parsed it as a whole, and of a
page nothing at all.
"""

from __future__ import annotations

__all__ = ["Reader"]

from collections.abc import Callable
from typing import Any, ClassVar

from arrowopaque.format import limits

_DEPTH = 16
_FIELDS = 2**15


class Reader:
    """Reads bytes as values.

    Parameters
    ----------
    data
        The bytes.
    most
        Structs and strings that are taken at most: each of them takes a
        parser far more memory than it takes bytes.
    at
        Where to begin.
    """

    def __init__(self, data: bytes | memoryview, most: int = limits.FOOTER_VALUES, at: int = 0) -> None:
        self._data = data
        self._at = at
        self._most = self._left = most

    @property
    def at(self) -> int:
        """Where what was read ends."""
        return self._at

    def struct(self, depth: int) -> dict[int, Any]:
        """Return the fields of a struct by their numbers.

        Raises
        ------
        ValueError, IndexError
            It is none, or more than is taken.
        """
        if depth > _DEPTH:
            raise ValueError(f"it nests more than {_DEPTH} deep")
        self._count()
        fields: dict[int, Any] = {}
        number = 0
        # Every byte counts here: a page has some forty, and a scan reads the header of each.
        data = self._data
        while head := data[self._at]:
            self._at += 1
            step = head >> 4
            number = number + step if step else self._signed()
            if number in fields or not 0 < number < _FIELDS:
                # Parsers differ in which of two they take, and in what they take the number for.
                raise ValueError(f"a struct with a second field {number}, or a number that is none")
            fields[number] = self._value(head & 15, depth)
        self._at += 1
        return fields

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"more than {self._most} structs and strings")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _take(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        if len(data) != count:
            raise ValueError("it ends within a value")
        self._at += count
        return bytes(data)

    def _unsigned(self) -> int:
        value = self._data[self._at]
        if value < 128:
            self._at += 1
            return value
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
        raise ValueError(f"a value of the unknown kind {kind}")

    def _string(self) -> bytes:
        self._count()
        return self._take(self._unsigned())

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count, kind = head >> 4, head & 15
        if count == 15:
            count = self._unsigned()
        if kind in (1, 2):
            # Among others a boolean is a byte; alone, it is its kind.
            return list(self._take(count))
        return [self._value(kind, depth) for _ in range(count)]

    _PLAIN: ClassVar[dict[int, Callable[[Reader], Any]]] = {
        1: lambda _: True,
        2: lambda _: False,
        3: _byte,
        4: _signed,
        5: _signed,
        6: _signed,
        7: lambda self: self._take(8),
        8: _string,
    }
