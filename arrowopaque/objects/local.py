"""Objects as files of a local or network file system."""

from __future__ import annotations

__all__ = ["LocalStore", "open_at_once"]

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import BinaryIO
from urllib.parse import quote

from arrowopaque.clock import backoff, monotonic, new_id, pause
from arrowopaque.errors import ConfigurationError, CorruptStoreError, ObjectMissingError, StoreAccessError
from arrowopaque.format.names import check_path
from arrowopaque.objects.base import ObjectInfo, Put
from arrowopaque.objects.checked import CheckedStore

_TURN = 2.0
"""Seconds to wait for a turn."""
_TURN_POLL = 0.002
_TEMPORARY = ".tmp-"
_LEFTOVER = re.compile(re.escape(_TEMPORARY) + "[0-9a-f]{32}")
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})
_ADVICE = {
    errno.ENOSPC: "free some space, then retry",
    errno.EDQUOT: "raise the quota or free some space, then retry",
    errno.EACCES: "give this user access to it, then retry",
    errno.EPERM: "give this user access to it, then retry",
    errno.EROFS: "mount the file system writeable, or open the store read-only",
    errno.ENOTDIR: "move away the file that lies where a folder has to be",
    errno.EISDIR: "move away the folder that lies where a file has to be",
}


class LocalStore(CheckedStore):
    """A folder.

    Parameters
    ----------
    root
        The folder's path; it is made when something is first written.
    writeable
        Whether anything may be written or deleted.
    """

    def __init__(self, root: str, *, writeable: bool = True) -> None:
        root = os.path.abspath(root)
        # abspath keeps two leading slashes, in a URI they would start a host name.
        super().__init__("file://" + quote(b"/" + os.fsencode(root).lstrip(b"/")), writeable=writeable)
        self._root = os.path.realpath(root)
        self._inside = os.path.join(self._root, "")
        self._was_there = False

    def local_path(self, path: str) -> str:
        """See `ObjectStore`."""
        return self._locate(check_path(path))

    def _locate(self, path: str) -> str:
        plain = os.path.join(self._root, path)
        if not os.path.realpath(plain).startswith(self._inside):
            raise CorruptStoreError(f"{self._name(path)} leaves the store's root through a symbolic link")
        return plain

    def _read(self, path: str, most: int | None) -> bytes:
        with self._opened(path) as file:
            self._was_there = True
            self._check_size(path, os.fstat(file.fileno()).st_size, most)
            data = file.read() if most is None else file.read(most + 1)
        # It may have grown since.
        self._check_size(path, len(data), most)
        return data

    def _read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        found = []
        with self._opened(path) as file:
            for start, length in ranges:
                file.seek(start)
                found.append(file.read(length))
        return found

    def _write(self, path: str, data: bytes) -> None:
        target = self._locate(path)
        with self._translated(path), self._staged(target, data) as temporary:
            os.replace(temporary, target)
            _sync_folder(os.path.dirname(target))

    def _create(self, path: str, data: bytes) -> Put:
        target = self._locate(path)
        with self._translated(path), self._staged(target, data) as temporary:
            created = self._link(temporary, target)
            _sync_folder(os.path.dirname(target))
        return Put.CREATED if created else Put.EXISTS

    def _link(self, temporary: str, target: str) -> bool:
        try:
            os.link(temporary, target)
        except FileExistsError:
            # NFS repeats a request whose reply was lost, and is then told that our own link exists.
            return os.stat(temporary).st_nlink == 2
        except OSError as exc:
            if exc.errno in _NO_LINKS:
                raise ConfigurationError(
                    f"{self.uri} has no hard links ({exc.strerror}), which conditional writes need; "
                    "choose another file system"
                ) from exc
            raise
        return True

    def _size(self, path: str) -> int | None:
        with self._translated(path):
            try:
                status = os.stat(self._locate(path))
            except _ABSENT:
                return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def _walk(self, prefix: str) -> Iterator[ObjectInfo]:
        for path, entry in self._files(prefix):
            if not entry.name.startswith(_TEMPORARY) and (info := self._describe(path, entry)) is not None:
                yield info

    def remove_leftovers(self, before: datetime) -> int:
        """See `ObjectStore`; these are temporary files."""
        old = [
            self._for_writing(path)
            for path, entry in self._files("")
            if _LEFTOVER.fullmatch(entry.name)
            and (info := self._describe(path, entry)) is not None
            and info.modified < before
        ]
        self._remove(old)
        return len(old)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """See `ObjectStore`; here it is a lock of the root's folder, which
        ends with its process.
        """
        handle = None
        with suppress(OSError):
            handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if handle is not None:
                _lock_soon(handle)
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def _files(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        folders = [prefix]
        while folders:
            folder = folders.pop()
            for entry in self._entries(folder):
                path = f"{folder}/{entry.name}" if folder else entry.name
                with self._translated(path):
                    is_folder = entry.is_dir(follow_symlinks=False)
                if is_folder:
                    folders.append(path)
                else:
                    yield path, entry

    def _describe(self, path: str, entry: os.DirEntry[str]) -> ObjectInfo | None:
        """Return what is listed of a file, or `None` if it is none or has just vanished."""
        with self._translated(path):
            if not entry.is_file(follow_symlinks=False):
                return None
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                return None
        return ObjectInfo(path, status.st_size, _utc(status.st_mtime))

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        with self._translated(folder):
            try:
                with os.scandir(self._locate(folder) if folder else self._root) as entries:
                    return list(entries)
            except _ABSENT:
                return []

    def _remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            with self._translated(path), suppress(*_ABSENT):
                os.unlink(self._locate(path))

    def _stamp(self, path: str) -> datetime:
        with self._translated(path), self._staged(self._locate(path), b"") as temporary:
            return _utc(os.stat(temporary).st_mtime)

    @contextmanager
    def _staged(self, target: str, data: bytes) -> Iterator[str]:
        """Give a durable temporary file beside ``target``, and remove it."""
        folder = os.path.dirname(target)
        temporary = os.path.join(folder, _TEMPORARY + new_id())
        try:
            try:
                _write_durably(temporary, data)
            except FileNotFoundError:
                self._check_root()
                _make_folder(folder)
                _write_durably(temporary, data)
            self._was_there = True
            yield temporary
        finally:
            # What cannot be removed is an invisible name; the outcome of the write stands.
            with suppress(OSError):
                os.unlink(temporary)

    def _check_root(self) -> None:
        """Refuse to make a root anew that has been there: it is moved or not
        mounted, and what is written in its place is lost when it comes back.
        """
        if self._was_there and not (os.path.isdir(self._root) and os.listdir(self._root)):
            raise StoreAccessError(f"{self.uri} was there and is gone: mount it or move it back, then retry")

    @contextmanager
    def _opened(self, path: str) -> Iterator[BinaryIO]:
        with self._translated(path):
            try:
                with open(self._locate(path), "rb", opener=open_at_once) as file:
                    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                        raise CorruptStoreError(f"{self._name(path)} is no file; restore it from a copy")
                    yield file
            except _ABSENT as exc:
                raise ObjectMissingError(f"{self._name(path)} does not exist") from exc

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except (ObjectMissingError, StoreAccessError):
            raise
        except OSError as exc:
            advice = _ADVICE.get(exc.errno or 0, "check the file system, then retry")
            raise StoreAccessError(f"{self._name(path)}: {exc.strerror or exc}; {advice}") from exc


def _lock_soon(handle: int) -> None:
    """Lock an open folder; whoever has waited long goes on without."""
    end = monotonic() + _TURN
    # Some network file systems have no locks.
    with suppress(OSError):
        while not _is_locked(handle) and monotonic() < end:
            pause(backoff(0, base=_TURN_POLL))


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_at_once(path: str, flags: int) -> int:
    """Open without waiting, as the ``opener`` of `open`: a pipe would wait for
    somebody who writes to it.
    """
    return os.open(path, flags | os.O_NONBLOCK)


def _write_durably(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: str) -> None:
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(path)
        _sync_folder(os.path.dirname(path))


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as exc:
        # Some network file systems cannot sync a folder; their server does it.
        if exc.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
