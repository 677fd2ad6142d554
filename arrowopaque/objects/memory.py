"""Objects in this process's memory."""

from __future__ import annotations

__all__ = ["MemoryStore"]

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from arrowopaque import clock
from arrowopaque.errors import ObjectMissingError
from arrowopaque.objects.base import ObjectInfo, Put
from arrowopaque.objects.checked import CheckedStore


@dataclass(frozen=True, slots=True)
class _Contents:
    """The objects of one name, with the time each was written."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)


_named: dict[str, _Contents] = {}


class MemoryStore(CheckedStore):
    """A store that lives as long as the process.

    Parameters
    ----------
    name
        Stores of one name share their objects.
    writeable
        Whether anything may be written or deleted.
    """

    def __init__(self, name: str, *, writeable: bool = True) -> None:
        super().__init__(f"memory://{name}", writeable=writeable)
        # `setdefault` is atomic: racing openers get the same contents.
        self._contents = _named.setdefault(name, _Contents())

    @staticmethod
    def discard(name: str) -> None:
        """Forget a name; its memory goes with the last store that is open."""
        _named.pop(name, None)

    def _read(self, path: str, most: int | None = None) -> bytes:
        with self._contents.lock:
            found = self._contents.objects.get(path)
        if found is None:
            raise ObjectMissingError(f"{self._name(path)} does not exist")
        self._check_size(path, len(found[0]), most)
        return found[0]

    def _read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        data = self._read(path)
        return [data[start : start + length] for start, length in ranges]

    def _write(self, path: str, data: bytes) -> None:
        with self._contents.lock:
            self._contents.objects[path] = (bytes(data), clock.now())

    def _create(self, path: str, data: bytes) -> Put:
        with self._contents.lock:
            if path in self._contents.objects:
                return Put.EXISTS
            self._contents.objects[path] = (bytes(data), clock.now())
            return Put.CREATED

    def _size(self, path: str) -> int | None:
        with self._contents.lock:
            found = self._contents.objects.get(path)
        return None if found is None else len(found[0])

    def _walk(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = f"{prefix}/" if prefix else ""
        with self._contents.lock:
            items = list(self._contents.objects.items())
        for path, (data, modified) in items:
            if path.startswith(folder):
                yield ObjectInfo(path, len(data), modified)

    def _remove(self, paths: Sequence[str]) -> None:
        with self._contents.lock:
            for path in paths:
                self._contents.objects.pop(path, None)

    def _stamp(self, path: str) -> datetime:
        return clock.now()
