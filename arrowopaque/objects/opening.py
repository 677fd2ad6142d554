"""From a URI to a store."""

from __future__ import annotations

__all__ = ["canonical_uri", "open_store"]

import os
import re
from urllib.parse import unquote, unquote_to_bytes

from arrowopaque.errors import ConfigurationError, CorruptStoreError
from arrowopaque.format.names import check_path
from arrowopaque.objects.base import ObjectStore
from arrowopaque.objects.local import LocalStore
from arrowopaque.objects.memory import MemoryStore

_SUPPORTED = "a path, file:///path, memory://name or s3://bucket/prefix"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?=(//)?)")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def open_store(uri: str, *, writeable: bool = True) -> ObjectStore:
    """Return the store under a root; the storage itself is not touched.

    Parameters
    ----------
    uri
        A path, ``file:///path``, ``memory://name`` or ``s3://bucket/prefix``.
    writeable
        Whether anything may be written or deleted.

    Raises
    ------
    ConfigurationError
        The URI is malformed, of another scheme or holds credentials.
    """
    # What is refused is not shown, but for its scheme: it may hold credentials.
    if not uri.strip() or "\0" in uri:
        raise ConfigurationError(f"a store root is neither empty nor holds a NUL; give {_SUPPORTED}")
    match = _SCHEME.match(uri)
    if match is None and "://" in uri:
        raise ConfigurationError(
            f"a store root begins with its scheme, without spaces and quotes; give {_SUPPORTED}"
        )
    if match is None:
        return LocalStore(uri, writeable=writeable)
    scheme = match[1].lower()
    if match[2] is None:
        raise ConfigurationError(f"after the scheme of a store root there are two slashes; give {_SUPPORTED}")
    if scheme not in ("file", "memory", "s3"):
        raise ConfigurationError(f"store roots that begin {match[0]} are not supported; give {_SUPPORTED}")
    return _open(scheme, uri[match.end() + 2 :], writeable)


def canonical_uri(uri: str) -> str:
    """Return the one spelling of a root: absolute, with a scheme, without a slash at its end."""
    return open_store(uri, writeable=False).uri


def _open(scheme: str, rest: str, writeable: bool) -> ObjectStore:
    authority, slash, path = rest.partition("/")
    if {"@", ":"} & {*unquote(authority)}:
        raise ConfigurationError(
            f"a {scheme}:// root holds no credentials and no port; give credentials in the way of the client"
        )
    if "?" in rest or "#" in rest:
        raise ConfigurationError(f"a {scheme}:// root has no query and no fragment; give {_SUPPORTED}")
    if scheme == "file":
        return _open_file(authority, slash + path, writeable)
    if scheme == "memory":
        return MemoryStore(_folder(scheme, rest), writeable=writeable)
    if not _BUCKET.fullmatch(authority):
        raise ConfigurationError(f"{authority!r} is no bucket name; give s3://bucket/prefix")
    # Imported late: only users of S3 pay for its clients.
    from arrowopaque.objects.s3 import S3Store

    return S3Store(authority, _folder(scheme, path) if path.strip("/") else "", writeable=writeable)


def _open_file(host: str, path: str, writeable: bool) -> ObjectStore:
    if not path:
        raise ConfigurationError(f"file://{host} has no path; give file:///path")
    if host not in ("", "localhost"):
        raise ConfigurationError(f"file://{host}/ names another host; give file:///path")
    decoded = os.fsdecode(unquote_to_bytes(path))
    if "\0" in decoded:
        raise ConfigurationError(f"file://{path} holds a NUL; give another path")
    return LocalStore(decoded, writeable=writeable)


def _folder(scheme: str, path: str) -> str:
    try:
        return check_path(path.strip("/"))
    except CorruptStoreError as exc:
        raise ConfigurationError(f"{scheme}://{path[:200]} is malformed; give {_SUPPORTED}") from exc
