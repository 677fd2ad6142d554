"""Key filters of row groups that lie together, read at once and checked one by one."""

from __future__ import annotations

__all__ = ["FilterRun"]

import itertools
from collections.abc import Sequence

from arrowopaque.format.keyfilter import KeyFilter
from arrowopaque.store.footer import chunk_digest

_OBJECT_BYTES = 200


class FilterRun:
    """Filters as they are stored; of many, random keys ask for one.

    Parameters
    ----------
    parts
        The bytes of each.
    digests
        What the footer says that their digests are.
    """

    __slots__ = ("_data", "_digests", "_ends", "_made")

    def __init__(self, parts: Sequence[bytes | memoryview], digests: Sequence[bytes]) -> None:
        self._data = b"".join(parts)
        self._ends = [*itertools.accumulate(map(len, parts), initial=0)]
        self._digests = digests
        self._made: list[KeyFilter | None] = [None] * len(parts)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return len(self._data) + _OBJECT_BYTES * (1 + len(self._made))

    def filter(self, number: int) -> KeyFilter:
        """Return one of them, checked on first use.

        Raises
        ------
        ValueError, IndexError
            It is altered, or none.
        """
        made = self._made[number]
        if made is None:
            start, stop = self._ends[number], self._ends[number + 1]
            if chunk_digest(memoryview(self._data)[start:stop]) != self._digests[number]:
                raise ValueError("it is altered")
            made = self._made[number] = KeyFilter(self._data, start, stop)
        return made
