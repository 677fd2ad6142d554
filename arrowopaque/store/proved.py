"""Data files that another engine reads: compared with the manifest first."""

from __future__ import annotations

__all__ = ["ProvedFile"]

import os
from dataclasses import dataclass
from functools import cached_property
from io import FileIO

from arrowopaque.errors import CorruptStoreError, StoreAccessError
from arrowopaque.format.manifest import DataFile
from arrowopaque.format.spec import TableSpec
from arrowopaque.objects.duckfs import FixedFile, Reader
from arrowopaque.objects.local import open_at_once
from arrowopaque.store.parquet import ParquetObject
from arrowopaque.store.volume import Volume


@dataclass(frozen=True)
class ProvedFile(FixedFile):
    """A data file of a snapshot."""

    volume: Volume
    spec: TableSpec
    entry: DataFile

    @property
    def size(self) -> int:
        """See `FixedFile`."""
        return self.entry.bytes

    @property
    def _object(self) -> ParquetObject:
        return ParquetObject(self.volume.store, self.entry, self.spec.exact_schema, self.volume.cache)

    @cached_property
    def _place(self) -> str | None:
        # DuckDB opens a file several times for each query.
        return self.volume.store.local_path(self.entry.path)

    @property
    def _proved(self) -> tuple[str, str]:
        return self.entry.path, "proved"

    @property
    def was_proved(self) -> bool:
        """Whether the file was compared with the manifest, so that to do so
        again takes no time unless it has changed.
        """
        return self.volume.cache.get(self._proved) is not None

    def prove(self) -> None:
        """Compare the file with the manifest, unless that was done before."""
        if self._place is not None or not self.was_proved:
            self.open().close()

    def open(self) -> Reader:
        """See `FixedFile`."""
        return self._fetched() if self._place is None else self._local(self._place)

    def _fetched(self) -> Reader:
        def fetch() -> tuple[bytes, int]:
            data = self._object.whole()
            return data, len(data)

        data = self.volume.cache.load((self.entry.path, "whole"), fetch)
        self.volume.cache.put(self._proved, True, 200)
        return _InMemory(data)

    def _local(self, path: str) -> Reader:
        try:
            file = open(path, "rb", buffering=0, opener=open_at_once)
        except OSError:
            # The store says better what is wrong.
            return self._fetched()
        with file:
            self._prove_local(file)
            return _Local(os.dup(file.fileno()), self.entry.path)

    def _prove_local(self, file: FileIO) -> None:
        """Check the file again if it may have changed since it was checked."""
        status = os.fstat(file.fileno())
        if status.st_size != self.entry.bytes:
            # The store says better what is wrong, and reads no more than it has to.
            self._object.whole()
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if self.volume.cache.get(self._proved) != stamp:
            self._object.check(file.readall())
            self.volume.cache.put(self._proved, stamp, 200)


@dataclass(frozen=True, slots=True)
class _InMemory(Reader):
    """A checked object, held as a whole while it is open."""

    data: bytes

    def read(self, start: int, length: int) -> bytes:
        return self.data[start : start + length]

    def close(self) -> None:
        """Do nothing: the bytes go with the reader."""


class _Local(Reader):
    """A checked local file, whose bytes stay where they are.

    Parameters
    ----------
    descriptor
        Of the file opened; it is ours from now on.
    path
        What to call it.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path

    def read(self, start: int, length: int) -> bytes:
        try:
            data = os.pread(self._descriptor, length, start)
        except OSError as err:
            problem = f"data file {self._path}: {err.strerror or err}"
            raise StoreAccessError(f"{problem}; check the file system, then retry") from err
        if len(data) != length:
            raise CorruptStoreError(f"data file {self._path} is truncated; restore it from a copy")
        return data

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        # DuckDB does not close what it has met an error in.
        self.close()
