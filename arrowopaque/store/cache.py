"""A bounded cache of immutable things, shared by all clones of a store."""

from __future__ import annotations

__all__ = ["OBJECT_BYTES", "SCANNED", "BorrowedCache", "Cache", "bytes_of"]

import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


_SMALL = 2**18
"""Bytes up to which a value is small: footers' bounds, filters, manifests."""

OBJECT_BYTES = 64
"""Bytes of memory for each value that is an object of Python's, besides its
content.
"""

SCANNED = 0.75
"""Share of the budget up to which scans fill it, and which they may take."""


def bytes_of(rows: Iterable[Sequence[Any]]) -> int:
    """Return about how many bytes of memory tuples of values take."""
    return sum(OBJECT_BYTES + sum(map(sys.getsizeof, row)) for row in rows)


class Cache:
    """Least-recently-used values under one budget of bytes.

    Small values, of which many are fetched in the time of one that is large,
    are dropped only if they take half of the budget.

    Keys must be immutable ids (a path of an immutable object and a part of
    it), so that nothing ever needs to be invalidated.

    Parameters
    ----------
    budget
        Bytes to keep at most.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._small, self._large = _Segment(), _Segment()
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes that are kept now."""
        return self._small.used + self._large.used

    @property
    def has_room(self) -> bool:
        """Whether so much is unused that a scan, whose rows may never be
        asked for again, can have some of it.
        """
        return self.used < self._budget * SCANNED

    def get(self, key: Hashable) -> Any | None:
        """Return a value, or `None`."""
        # A small write asks twice, which is a tenth of its time.
        with self._lock:
            entries = self._small.entries
            entry = entries.get(key)
            if entry is None:
                entries = self._large.entries
                entry = entries.get(key)
                if entry is None:
                    return None
            entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Any, size: int, *, is_large: bool = False) -> None:
        """Keep a value of ``size`` bytes, dropping the longest unused ones;
        one that ``is_large`` is dropped like those that have many.
        """
        if size > self._budget:
            return
        with self._lock:
            self._small.drop(key)
            self._large.drop(key)
            (self._large if is_large or size > _SMALL else self._small).add(key, value, size)
            while self.used > self._budget:
                spare_small = self._large.entries and self._small.used <= self._budget // 2
                (self._large if spare_small else self._small).drop_oldest()

    def drop(self, key: Hashable) -> None:
        """Forget a value."""
        with self._lock:
            self._small.drop(key)
            self._large.drop(key)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._small, self._large = _Segment(), _Segment()

    def load(self, key: Hashable, make: Callable[[], tuple[T, int]]) -> T:
        """Return a value, making it if it is absent.

        Two threads may make the same value at once; either is good.
        """
        value: T | None = self.get(key)
        if value is None:
            value, size = make()
            self.put(key, value, size)
        return value


class BorrowedCache(Cache):
    """Another cache, for as long as others have it too.

    What is kept in a cache and uses it would keep it for ever.

    Parameters
    ----------
    owner
        That cache.
    """

    def __init__(self, owner: Cache) -> None:
        super().__init__(0)
        self._owner = weakref.ref(owner)

    def get(self, key: Hashable) -> Any | None:
        """See `Cache`."""
        owner = self._owner()
        return None if owner is None else owner.get(key)

    def put(self, key: Hashable, value: Any, size: int, *, is_large: bool = False) -> None:
        """See `Cache`."""
        owner = self._owner()
        if owner is not None:
            owner.put(key, value, size, is_large=is_large)

    def drop(self, key: Hashable) -> None:
        """See `Cache`."""
        owner = self._owner()
        if owner is not None:
            owner.drop(key)


class _Segment:
    """Values in the order in which they were used last."""

    def __init__(self) -> None:
        self.entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.used = 0

    def add(self, key: Hashable, value: Any, size: int) -> None:
        self.entries[key] = (value, size)
        self.used += size

    def drop(self, key: Hashable) -> None:
        entry = self.entries.pop(key, None)
        if entry is not None:
            self.used -= entry[1]

    def drop_oldest(self) -> None:
        _, (_, size) = self.entries.popitem(last=False)
        self.used -= size
