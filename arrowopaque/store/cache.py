"""A bounded cache of immutable things, shared by all clones of a store."""

from __future__ import annotations

__all__ = ["Cache"]

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Cache:
    """Least-recently-used values under one budget of bytes.

    Keys must be immutable ids (a path of an immutable object and a part of
    it), so that nothing ever needs to be invalidated.

    Parameters
    ----------
    budget
        Bytes to keep at most.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes that are kept now."""
        return self._used

    def get(self, key: Hashable) -> Any | None:
        """Return a value, or `None`."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of ``size`` bytes, dropping the longest unused ones."""
        if size > self._budget:
            return
        with self._lock:
            old = self._entries.pop(key, None)
            self._used += size - (old[1] if old else 0)
            self._entries[key] = (value, size)
            while self._used > self._budget:
                _, (_, freed) = self._entries.popitem(last=False)
                self._used -= freed

    def load(self, key: Hashable, make: Callable[[], tuple[T, int]]) -> T:
        """Return a value, making it if it is absent.

        Two threads may make the same value at once; either is good.
        """
        value: T | None = self.get(key)
        if value is None:
            value, size = make()
            self.put(key, value, size)
        return value
