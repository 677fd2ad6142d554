"""Objects of an S3 bucket, through s3fs.

The endpoint is that of ``S3_ENDPOINT_URL``, as lsst-resources reads it, or
else whatever botocore finds (``AWS_ENDPOINT_URL``, its configuration files).
Credentials, region, retries and time-outs are botocore's own settings.
"""

from __future__ import annotations

__all__ = ["S3Store"]

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from aiobotocore.session import AioSession  # type: ignore[import-untyped]  # publishes no types
from aiohttp import ClientError as HTTPError
from botocore.exceptions import (  # type: ignore[import-untyped]  # publishes no types
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from fsspec.asyn import sync
from s3fs import S3FileSystem

from arrowopaque.clock import backoff, pause
from arrowopaque.errors import (
    ArrowOpaqueError,
    ConfigurationError,
    CorruptStoreError,
    ObjectMissingError,
    StoreAccessError,
)
from arrowopaque.format.names import check_path
from arrowopaque.objects.base import ObjectInfo, Put
from arrowopaque.objects.checked import CheckedStore

# S3's limit for one PutObject. A longer object is uploaded in parts, and some
# servers let every one of racing conditional multipart uploads win.
_SINGLE_PUT = 5 * 2**30
_DELETE_BATCH = 1000
_CREATE_TRIES = 8
_CONNECTIONS = 64

_FOREIGN = (OSError, BotoCoreError, ClientError, HTTPError)
_CREDENTIALS = (NoCredentialsError, PartialCredentialsError)
# Complaints about the configuration whose text holds no credential.
_HARMLESS = (ConfigNotFound, ConfigParseError, InvalidRegionError, PartialCredentialsError, ProfileNotFound)


@dataclass(frozen=True, slots=True)
class _Environment:
    """The settings of S3. They are neither shown nor pickled: some are credentials."""

    values: tuple[tuple[str, str], ...] = field(repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _environment, ()


class S3Store(CheckedStore):
    """The objects of a bucket below a prefix.

    A conditional write whose reply is lost is repeated by the layers below,
    and then refused because of itself. What is stored therefore decides: equal
    bytes are ours. So every conditional write must hold something of its own.

    Parameters
    ----------
    bucket
        The bucket's name.
    prefix
        What all keys begin with, without the slash after it.
    writeable
        Whether anything may be written or deleted.
    """

    workers = 8

    def __init__(self, bucket: str, prefix: str = "", *, writeable: bool = True) -> None:
        super().__init__(f"s3://{bucket}/{prefix}".rstrip("/"), writeable=writeable)
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._environment = _environment()
        # Says at once what is wrong with them; the client is made when it is used.
        _endpoint(dict(self._environment.values))

    @property
    def _fs(self) -> Any:
        return _file_system(self._environment)

    def _key(self, path: str) -> str:
        return self._prefix + path

    def _full(self, path: str) -> str:
        return f"{self._bucket}/{self._prefix}{path}"

    def _call(self, operation: str, **arguments: Any) -> Any:
        return self._fs.call_s3(operation, Bucket=self._bucket, **arguments)

    def _read(self, path: str, most: int | None = None) -> bytes:
        fs = self._fs
        with self._translated(path):
            size, data = sync(fs.loop, _read_whole, fs, self._bucket, self._key(path), most)
        self._check_size(path, size, most)
        return bytes(data)

    def _read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        with self._translated(path):
            found = self._fs.cat_ranges(
                [self._full(path)] * len(ranges),
                [start for start, _ in ranges],
                [start + length for start, length in ranges],
                on_error="return",
            )
        return [self._settled_range(path, item) for item in found]

    def _settled_range(self, path: str, found: bytes | Exception) -> bytes:
        if isinstance(found, bytes):
            return found
        if _answer(found)[0] == 416:
            return b""
        with self._translated(path):
            raise found

    def _write(self, path: str, data: bytes) -> None:
        with self._translated(path):
            self._fs.pipe_file(self._full(path), data)

    def _create(self, path: str, data: bytes) -> Put:
        if len(data) >= _SINGLE_PUT:
            raise ConfigurationError(
                f"{self._name(path)} of {len(data)} bytes is too long for a conditional write; "
                f"S3 allows less than {_SINGLE_PUT} bytes"
            )
        last: Exception | None = None
        for attempt in range(_CREATE_TRIES):
            if attempt:
                pause(backoff(attempt))
            last = self._try_create(path, data)
            if last is None:
                return Put.CREATED
            stored = self._stored(path)
            if stored is not None:
                return Put.CREATED if stored == data else Put.EXISTS
        raise StoreAccessError(
            f"{self._name(path)}: {_CREATE_TRIES} conditional writes were neither accepted nor refused; "
            "it may still appear; check the server, then read the object before it is written again"
        ) from last

    def _try_create(self, path: str, data: bytes) -> Exception | None:
        """Return what left the outcome of a conditional write open, or `None` if it succeeded."""
        with self._translated(path):
            try:
                self._fs.pipe_file(self._full(path), data, mode="create", chunksize=_SINGLE_PUT)
            except _FOREIGN as exc:
                status, code = _answer(exc)
                if status == 501:
                    raise ConfigurationError(
                        f"the server of {self.uri} has no conditional writes ({code}); choose another"
                    ) from exc
                # Refused, in conflict with another write, or no answer that tells.
                if status in (0, 409, 412) or status >= 500:
                    return exc
                raise
        return None

    def _stored(self, path: str) -> bytes | None:
        try:
            return self._read(path)
        except ObjectMissingError:
            return None

    def _size(self, path: str) -> int | None:
        try:
            return int(self._head(path)["ContentLength"])
        except ObjectMissingError:
            return None

    def _head(self, path: str) -> Mapping[str, Any]:
        with self._translated(path):
            head: Mapping[str, Any] = self._call("head_object", Key=self._key(path))
        return head

    def _walk(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = self._key(f"{prefix}/" if prefix else "")
        token: dict[str, str] = {}
        while True:
            with self._translated(prefix):
                page = self._call("list_objects_v2", Prefix=folder, **token)
            for item in page.get("Contents", ()):
                path = item["Key"][len(self._prefix) :]
                if _addressable(path):
                    yield ObjectInfo(path, item["Size"], item["LastModified"].astimezone(UTC))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _remove(self, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), _DELETE_BATCH):
            batch = paths[start : start + _DELETE_BATCH]
            keys = [{"Key": self._key(path)} for path in batch]
            with self._translated(batch[0]):
                reply = self._call("delete_objects", Delete={"Objects": keys, "Quiet": True})
            failed = [error for error in reply.get("Errors", ()) if error.get("Code") != "NoSuchKey"]
            if failed:
                first = failed[0]
                raise StoreAccessError(
                    f"s3://{self._bucket}/{first.get('Key')}: {first.get('Code')}: it and {len(failed) - 1} "
                    "more were not deleted; check that these credentials may delete, then retry"
                )

    def _stamp(self, path: str) -> datetime:
        # The Date of a reply may be a proxy's; this is the clock that listings show.
        self._write(path, b"")
        try:
            modified: datetime = self._head(path)["LastModified"]
        finally:
            self._remove([path])
        return modified.astimezone(UTC)

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except ArrowOpaqueError:
            raise
        except _FOREIGN as exc:
            status, code = _answer(exc)
            # One with a file name is of this machine, as where a credential_process does not exist.
            if isinstance(exc, FileNotFoundError) and exc.filename is None and code != "NoSuchBucket":
                raise ObjectMissingError(f"{self._name(path)} does not exist") from exc
            raise StoreAccessError(
                f"{self._name(path)}: {code or type(exc).__name__}; {_advice(exc, status, code)}"
            ) from exc


async def _read_whole(fs: Any, bucket: str, key: str, most: int | None) -> tuple[int, bytes]:
    """Return an object's size, and its bytes unless they are more than ``most``.

    One request: the reply tells the size before the bytes are fetched.
    """
    for is_last in (False, True):
        reply = await fs._call_s3("get_object", Bucket=bucket, Key=key)
        size = int(reply["ContentLength"])
        try:
            return size, b"" if most is not None and size > most else await reply["Body"].read()
        except _FOREIGN:
            # The connection broke off in the middle.
            if is_last:
                raise
        finally:
            reply["Body"].close()
    raise AssertionError("the last attempt returns or raises")


def _addressable(path: str) -> bool:
    """Tell objects from what consoles store to show a folder."""
    try:
        return bool(check_path(path))
    except CorruptStoreError:
        return False


def _answer(exc: Exception) -> tuple[int, str]:
    """Return the HTTP status and the code of a server's refusal, or 0 if there was no answer."""
    for error in (exc, exc.__cause__):
        response = getattr(error, "response", None)
        if isinstance(response, Mapping):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return int(status), str(response.get("Error", {}).get("Code", ""))
    return 0, ""


def _advice(exc: Exception, status: int, code: str) -> str:
    if isinstance(exc, _CREDENTIALS) or status in (401, 403):
        return "check that this process has credentials that allow it"
    if code == "NoSuchBucket":
        return "create the bucket or correct the URI"
    if status >= 500:
        return "the server is failing or busy, retry later"
    if status == 0:
        return "check the endpoint and the network, then retry"
    return f"the server answered with status {status}, check its log"


# One client for all stores that see the same settings; a forked child makes its own.
_clients: dict[tuple[int, _Environment], Any] = {}


def _file_system(environment: _Environment) -> Any:
    key = (os.getpid(), environment)
    found = _clients.get(key)
    # `setdefault` is atomic: of two made at once one is kept, and no lock can be forked while held.
    return _clients.setdefault(key, _connect(dict(environment.values))) if found is None else found


def _environment() -> _Environment:
    settings = os.environ  # noqa: TID251  # the one place that settings of S3 are read
    return _Environment(
        tuple(
            sorted(
                (name, value)
                for name, value in settings.items()
                if name.startswith("AWS_") or name == "S3_ENDPOINT_URL"
            )
        )
    )


def _connect(settings: Mapping[str, str]) -> Any:
    endpoint, session = _endpoint(settings)
    client = S3FileSystem(
        endpoint_url=endpoint,
        session=session,
        config_kwargs={"max_pool_connections": _CONNECTIONS},
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    # botocore repeats requests; s3fs has to add only the reads that broke off.
    client.retries = 2
    problem = _failure_to_start(client)
    if problem is not None:
        # Not from what botocore raised, which may show lines of a credentials file.
        raise problem
    _split_url("the endpoint_url in botocore's configuration", client.s3.meta.endpoint_url, keys=False)
    return client


def _failure_to_start(client: Any) -> ArrowOpaqueError | None:
    """Let botocore read its settings and files; return what is wrong with them."""
    try:
        client.connect()
    except (*_HARMLESS, ValueError) as exc:
        problem = str(exc) if isinstance(exc, _HARMLESS) else type(exc).__name__
        return ConfigurationError(f"botocore: {problem}; correct its settings and files")
    except (BotoCoreError, OSError) as exc:
        return StoreAccessError(
            f"botocore: {type(exc).__name__}; check where credentials come from, then retry"
        )
    return None


def _endpoint(settings: Mapping[str, str]) -> tuple[str | None, Any]:
    """Return the URL and session of ``https://key:secret@host``, as lsst-resources reads it."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        _split_url(name, settings.get(name, ""), keys=False)
    parts = _split_url("S3_ENDPOINT_URL", settings.get("S3_ENDPOINT_URL", ""), keys=True)
    keys, at, host = parts.netloc.rpartition("@")
    url = urlunsplit(parts._replace(netloc=host)) or None
    if not at:
        return url, None
    key, colon, secret = keys.partition(":")
    if not colon or ":" in secret:
        raise ConfigurationError("the credentials in S3_ENDPOINT_URL are not of the form KEY:SECRET@HOST")
    session = AioSession()
    session.set_credentials(unquote(key), unquote(secret))
    return url, session


def _split_url(name: str, url: str, *, keys: bool) -> SplitResult:
    """Split the URL of a setting, which is never shown: it may hold credentials."""
    parts = _url_of_host(url)
    if parts is None:
        raise ConfigurationError(
            f"{name} is no http:// or https:// URL of a host; a slash in credentials is written %2F"
        )
    if "@" in parts.netloc and not keys:
        raise ConfigurationError(f"{name} holds credentials; give them to botocore in another way")
    return parts


def _url_of_host(url: str) -> SplitResult | None:
    """Split an empty URL, or one of a scheme, a host and perhaps a port and a path."""
    try:
        parts = urlsplit(url)
        has_host = parts.hostname is not None and parts.port != 0
    except ValueError:
        return None
    is_plain = "@" not in parts.path and not parts.query and not parts.fragment
    return parts if not url or (parts.scheme in ("http", "https") and has_host and is_plain) else None
