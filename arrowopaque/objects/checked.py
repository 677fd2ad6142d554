"""What every backend does alike: checks of paths, ranges and write access."""

from __future__ import annotations

__all__ = ["CheckedStore"]

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from arrowopaque.clock import new_id
from arrowopaque.errors import ConfigurationError, CorruptStoreError, ReadOnlyError
from arrowopaque.format.names import check_path, probe_object
from arrowopaque.objects.base import ObjectInfo, ObjectStore, Put


class CheckedStore(ObjectStore):
    """The port's contract over a few unchecked operations of a backend.

    The operations that begin with ``_`` get paths that are known to stay
    inside the root, and writes only in a store that may be written.

    Parameters
    ----------
    uri
        The canonical root.
    writeable
        Whether anything may be written or deleted.
    """

    def __init__(self, uri: str, *, writeable: bool) -> None:
        self.uri = uri
        self._writeable = writeable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    def get(self, path: str, most: int | None = None) -> bytes:
        """See `ObjectStore`."""
        return self._read(check_path(path), most)

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """See `ObjectStore`."""
        return self.get_ranges(path, [(start, length)])[0]

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `ObjectStore`; an empty range is served without a look at the object.

        Requires: no start and no length is negative.
        """
        assert all(start >= 0 and length >= 0 for start, length in ranges), ranges
        check_path(path)
        wanted = [span for span in ranges if span[1]]
        found = iter(self._read_ranges(path, wanted) if wanted else ())
        result = [next(found) if length else b"" for _, length in ranges]
        for data, (start, length) in zip(result, ranges, strict=True):
            if len(data) != length:
                raise CorruptStoreError(
                    f"{self._name(path)} is truncated or altered: {length} bytes were asked for "
                    f"at {start}, {len(data)} came"
                )
        return result

    def put(self, path: str, data: bytes) -> None:
        """See `ObjectStore`."""
        self._write(self._for_writing(path), data)

    def put_if_absent(self, path: str, data: bytes) -> Put:
        """See `ObjectStore`."""
        return self._create(self._for_writing(path), data)

    def size(self, path: str) -> int | None:
        """See `ObjectStore`."""
        return self._size(check_path(path))

    def delete(self, paths: Iterable[str]) -> None:
        """See `ObjectStore`; nothing is deleted if one of the paths is refused."""
        checked = [self._for_writing(path) for path in paths]
        if checked:
            self._remove(checked)

    def now(self) -> datetime:
        """See `ObjectStore`; something is written to learn the time."""
        return self._stamp(self._for_writing(probe_object(new_id())))

    def local_path(self, path: str) -> str | None:
        """See `ObjectStore`."""
        check_path(path)
        return None

    def probe(self) -> None:
        """See `ObjectStore`."""
        path = probe_object(new_id())
        try:
            first = self.put_if_absent(path, b"first")
            second = self.put_if_absent(path, b"second")
            kept = self.get(path)
        finally:
            self.delete([path])
        if (first, second, kept) != (Put.CREATED, Put.EXISTS, b"first"):
            raise ConfigurationError(
                f"{self.uri} does not honour conditional writes: a second write of one name was not "
                "refused, so concurrent commits would be lost; choose another storage"
            )

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore`; a bad prefix is refused before the first item is asked for."""
        return self._walk(check_path(prefix.removesuffix("/")) if prefix else "")

    def _name(self, path: str) -> str:
        """Return what messages call an object."""
        return f"{self.uri.rstrip('/')}/{path}"

    def _for_writing(self, path: str) -> str:
        check_path(path)
        if not self._writeable:
            raise ReadOnlyError(f"{self._name(path)} cannot be written: {self.uri} was opened read-only")
        return path

    def _check_size(self, path: str, size: int, most: int | None) -> None:
        """Refuse an object that is longer than it may be."""
        if most is not None and size > most:
            raise CorruptStoreError(
                f"{self._name(path)} has {size} bytes, more than the {most} that it may have; "
                "restore it from a copy"
            )

    @abstractmethod
    def _read(self, path: str, most: int | None) -> bytes:
        """Return a whole object unless it has more than ``most`` bytes."""

    @abstractmethod
    def _read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        """Return what there is of some ranges, none of them empty."""

    @abstractmethod
    def _write(self, path: str, data: bytes) -> None:
        """Write an object, atomically and durably."""

    @abstractmethod
    def _create(self, path: str, data: bytes) -> Put:
        """Write an object unless its name exists."""

    @abstractmethod
    def _size(self, path: str) -> int | None:
        """Return an object's bytes, or `None` if it does not exist."""

    @abstractmethod
    def _walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a folder, or all if it is empty."""

    @abstractmethod
    def _remove(self, paths: Sequence[str]) -> None:
        """Delete objects; absent ones are fine."""

    @abstractmethod
    def _stamp(self, path: str) -> datetime:
        """Return the time the storage stamps on ``path``, written for this and deleted."""
