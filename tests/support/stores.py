"""Object stores under test, and ways to look around them."""

from __future__ import annotations

__all__ = ["Backend", "LocalBackend", "MemoryBackend", "S3Backend"]

import abc
from pathlib import Path

from arrowopaque.objects.base import ObjectStore
from arrowopaque.objects.memory import MemoryStore
from arrowopaque.objects.opening import open_store
from tests.support.s3server import S3Server


class Backend(abc.ABC):
    """One empty root; `peek` and `plant` go around the store."""

    uri: str

    def open(self, *, writeable: bool = True) -> ObjectStore:
        return open_store(self.uri, writeable=writeable)

    @abc.abstractmethod
    def peek(self, path: str) -> bytes | None:
        """Return what is stored, or `None`."""

    @abc.abstractmethod
    def plant(self, path: str, data: bytes) -> None:
        """Store something."""


class LocalBackend(Backend):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = folder.as_uri()

    def peek(self, path: str) -> bytes | None:
        file = self.folder / path
        return file.read_bytes() if file.is_file() else None

    def plant(self, path: str, data: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


class MemoryBackend(Backend):
    """There is no way around the store but a second one of the same name."""

    def __init__(self, name: str) -> None:
        self.uri = f"memory://{name}"
        self._other = MemoryStore(name)

    def peek(self, path: str) -> bytes | None:
        return None if self._other.size(path) is None else self._other.get(path)

    def plant(self, path: str, data: bytes) -> None:
        self._other.put(path, data)


class S3Backend(Backend):
    def __init__(self, server: S3Server, bucket: str, prefix: str = "some/prefix") -> None:
        self.server = server
        self.bucket = bucket
        self.prefix = prefix
        self.uri = f"s3://{bucket}/{prefix}"

    def peek(self, path: str) -> bytes | None:
        return self.server.peek(self.bucket, f"{self.prefix}/{path}")

    def plant(self, path: str, data: bytes) -> None:
        self.server.plant(self.bucket, f"{self.prefix}/{path}", data)
