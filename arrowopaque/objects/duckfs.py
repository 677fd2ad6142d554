"""A read-only fsspec file system of a fixed set of files, for DuckDB."""

from __future__ import annotations

__all__ = ["PROTOCOL", "FixedFile", "FixedFiles", "Reader", "url"]

import io
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fsspec import AbstractFileSystem

from arrowopaque.errors import ArrowOpaqueError, ObjectMissingError, ReadOnlyError

PROTOCOL = "arrowopaque"
_PREFIX = f"{PROTOCOL}://"
# Files never change: the same time for all, and for ever.
_MODIFIED = datetime(2000, 1, 1, tzinfo=UTC)


def url(path: str) -> str:
    """Return what DuckDB calls a file."""
    return _PREFIX + path


class Reader(ABC):
    """One opened file."""

    @abstractmethod
    def read(self, start: int, length: int) -> bytes:
        """Return bytes that are proved to be what was stored.

        Raises
        ------
        CorruptStoreError
            They are not.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what the file holds."""


class FixedFile(ABC):
    """A file whose size is known without asking anybody."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Its bytes."""

    @abstractmethod
    def open(self) -> Reader:
        """Return the file opened.

        Raises
        ------
        CorruptStoreError
            It is missing, or not what was stored.
        """


class FixedFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec publishes no types
    """Exactly the files that are given: no others exist, none can be written.

    Parameters
    ----------
    files
        The files by path.
    """

    protocol = PROTOCOL
    cachable = False

    def __init__(self, files: Mapping[str, FixedFile]) -> None:
        super().__init__()
        self._files = files
        self.failure: ArrowOpaqueError | None = None
        """The first error of a read: DuckDB passes on nothing but its text."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix(_PREFIX)

    def _find(self, path: str) -> FixedFile:
        found = self._files.get(self._strip_protocol(path))
        if found is None:
            raise FileNotFoundError(path)
        return found

    def open(self, path: str, mode: str = "rb", **_: Any) -> io.RawIOBase:
        """Open a file for reading."""
        if mode != "rb":
            raise ReadOnlyError(f"{path} cannot be opened with mode {mode!r}: data files are read-only")
        file = self._find(path)
        try:
            return _Handle(file.open(), file.size, self)
        except ArrowOpaqueError as err:
            raise self.failed(err) from err

    def failed(self, error: ArrowOpaqueError) -> ArrowOpaqueError:
        """Remember an error, and return it."""
        self.failure = self.failure or error
        return error

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Describe a file."""
        return {"name": self._strip_protocol(path), "size": self._find(path).size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """Return a time that never changes."""
        return _MODIFIED

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the file of that very name: nothing is listed."""
        name = self._strip_protocol(path)
        return [name] if name in self._files else []

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Refuse to list."""
        raise ObjectMissingError(f"{path}: data files are not listed")


class _Handle(io.RawIOBase):
    """An open file with a position for each thread.

    DuckDB reads one handle from several threads, each time with a seek and a
    read between which the others go on.
    """

    def __init__(self, reader: Reader, size: int, files: FixedFiles) -> None:
        self._reader = reader
        self._size = size
        self._files = files
        self._of_thread = threading.local()
        self._of_thread.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        at: int | None = getattr(self._of_thread, "at", None)
        if at is None:
            raise io.UnsupportedOperation("a thread has no position before it seeks")
        return at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self.tell()
        elif whence == io.SEEK_END:
            offset += self._size
        self._of_thread.at = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        at = self.tell()
        left = max(self._size - at, 0)
        try:
            data = self._reader.read(at, left if size < 0 else min(size, left))
        except ArrowOpaqueError as err:
            raise self._files.failed(err) from err
        self._of_thread.at = at + len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()
