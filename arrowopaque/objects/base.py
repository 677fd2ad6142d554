"""The object-store port: what the engine asks of local disk, memory or S3."""

from __future__ import annotations

__all__ = ["ObjectInfo", "ObjectStore", "Put"]

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime


class Put(enum.Enum):
    """Outcome of a conditional write."""

    CREATED = "created"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One listed object; ``modified`` is UTC by the store's own clock."""

    path: str
    size: int
    modified: datetime


class ObjectStore(ABC):
    """Objects under one root.

    Every ``path`` is relative to the root, with ``/`` between its parts, and
    is refused with `CorruptStoreError` if it leaves the root. A missing object
    is `ObjectMissingError`; whatever else the storage refuses is
    `StoreAccessError`, naming the object.
    """

    uri: str
    """The root, never holding credentials."""
    workers = 1
    """How many objects are worth asking for at once."""

    @abstractmethod
    def get(self, path: str, most: int | None = None) -> bytes:
        """Return a whole object.

        Parameters
        ----------
        path
            The object.
        most
            The bytes that it may have.

        Raises
        ------
        CorruptStoreError
            It has more, and was not read.
        """

    @abstractmethod
    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``.

        Raises
        ------
        CorruptStoreError
            The object is shorter than that.
        """

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several ``(start, length)`` ranges of one object."""
        return [self.get_range(path, start, length) for start, length in ranges]

    @abstractmethod
    def put(self, path: str, data: bytes) -> None:
        """Write an object, atomically and durably, replacing what is there."""

    @abstractmethod
    def put_if_absent(self, path: str, data: bytes) -> Put:
        """Write an object unless its name exists.

        Of any number of racing calls exactly one is told ``CREATED``.
        """

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Return an object's bytes, or `None` if it does not exist."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects below the folder ``prefix``, in any order."""

    @abstractmethod
    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; absent ones are fine."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the time by the clock that stamps ``ObjectInfo.modified``."""

    def remove_leftovers(self, before: datetime) -> int:
        """Remove what writes that crashed have left outside of every listing,
        and was last written ``before`` a moment of the store's clock.

        Returns
        -------
        count
            How many; most storages have none.
        """
        return 0

    def turn(self) -> AbstractContextManager[None]:
        """Wait until no other client of this host is committing, not for long.

        A courtesy: two that commit at once do the work of both, and one does
        it in vain. Nothing is right or wrong for it.
        """
        return nullcontext()

    def local_path(self, path: str) -> str | None:
        """Return the object's path in the file system, if it has one."""
        return None

    @abstractmethod
    def probe(self) -> None:
        """Prove that conditional writes work here.

        Raises
        ------
        ConfigurationError
            A second conditional write of one name was not refused.
        """
