"""Some ranges of an object, as a file of which nothing else can be read."""

from __future__ import annotations

__all__ = ["Parts", "Sparse", "cut"]

import io
from bisect import bisect_right
from collections.abc import Iterable

Parts = list[tuple[int, bytes]]
"""Bytes by where they begin, ascending."""


def cut(parts: Parts, start: int, length: int) -> memoryview:
    """Return some bytes of one of several parts, by where they lie."""
    at, data = parts[bisect_right(parts, start, key=lambda part: part[0]) - 1]
    return memoryview(data)[start - at : start - at + length]


class Sparse(io.RawIOBase):
    """A file of which only some ranges are at hand."""

    def __init__(self, size: int, parts: Iterable[tuple[int, bytes]]) -> None:
        self._parts = sorted(parts)
        self._starts = [start for start, _ in self._parts]
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, which must be of one part."""
        if size < 0:
            size = self._size - self._at
        start, data = self._parts[max(bisect_right(self._starts, self._at) - 1, 0)]
        skip = self._at - start
        piece = data[skip : skip + size]
        if skip < 0 or len(piece) != size:
            raise OSError(f"read of {size} bytes at {self._at} was not prepared")
        self._at += size
        return piece
