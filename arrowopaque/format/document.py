"""Documents: sealed JSON objects, read as if a stranger had written them."""

from __future__ import annotations

__all__ = ["FORMAT", "Count", "Document", "Model", "digest", "dump", "load"]

import hashlib
import json
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arrowopaque.errors import ConfigurationError, CorruptStoreError, FormatVersionError
from arrowopaque.format import limits

FORMAT = 1
"""Version of the stored format; see ``docs/FORMAT.md``."""

Count = Annotated[int, Field(strict=True, ge=0, le=limits.INTEGER)]
"""A number of things, of bytes, or of a version."""

_SEAL = "seal"
_SHOWN = 60


class Model(BaseModel):
    """A part of a document; unknown names in it are those of later releases."""

    # Made ready at once: pydantic before 2.14 lets threads that use a model first see it half made.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Document(Model):
    """What is stored as JSON by itself."""

    max_bytes: ClassVar[int] = limits.DOCUMENT_BYTES
    """What is longer is refused before it is read."""


AnyDocument = TypeVar("AnyDocument", bound=Document)


def dump(document: Document) -> bytes:
    """Return a document as it is stored, sealed by its own digest.

    Raises
    ------
    ConfigurationError
        Readers would refuse it for its size.
    """
    body = _canonical(document.model_dump(mode="json"))
    data = b'%s,"%s":"%s"}\n' % (body[:-1], _SEAL.encode(), digest(body).encode())
    if len(data) > document.max_bytes:
        raise ConfigurationError(
            f"a {type(document).__name__} document of {len(data)} bytes is more than the "
            f"{document.max_bytes} that readers take: compact the table, or use a store of its own"
        )
    return data


def _canonical(body: dict[str, Any]) -> bytes:
    """Return the bytes that the seal is the digest of."""
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def load(kind: type[AnyDocument], data: bytes, where: str) -> AnyDocument:
    """Parse a stored document.

    Parameters
    ----------
    kind
        The document's class.
    data
        The stored bytes.
    where
        What to name in an error.

    Raises
    ------
    FormatVersionError
        It is of a newer format.
    CorruptStoreError
        It is not such a document.
    """
    try:
        raw = _parse(data, kind.max_bytes)
    except (ValueError, RecursionError) as err:
        raise CorruptStoreError(f"{where} is not a {kind.__name__} document: {err}") from err
    version = raw.get("format") if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise CorruptStoreError(f"{where} is not a {kind.__name__} document: it names no format")
    if version > FORMAT:
        raise FormatVersionError(
            f"{where} has format {_shown(version)}, this release reads up to {FORMAT}: upgrade arrowopaque"
        )
    seal = raw.pop(_SEAL, None)
    if seal != digest(_canonical(raw)):
        raise CorruptStoreError(
            f"{where} is altered: its content does not match its seal; restore it from a copy"
        )
    try:
        return kind.model_validate(raw)
    except ValidationError as err:
        raise CorruptStoreError(f"{where} is not a sound {kind.__name__} document: {_first(err)}") from err


def _parse(data: bytes, most: int) -> Any:
    if len(data) > most:
        raise ValueError(f"it has {len(data)} bytes, more than {most}")
    deep = _depth(data)
    if deep > limits.DOCUMENT_DEPTH:
        raise ValueError(f"it nests {deep} deep, more than {limits.DOCUMENT_DEPTH}")
    return json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant)


def _depth(data: bytes) -> int:
    """Return how deep JSON nests; in what is no JSON, anything."""
    # Without escapes, every second quote ends a string.
    plain = np.frombuffer(data.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    outside = np.bitwise_xor.accumulate(plain == ord('"')) == 0
    opened = ((plain == ord("{")) | (plain == ord("["))) & outside
    closed = ((plain == ord("}")) | (plain == ord("]"))) & outside
    depth = np.cumsum(opened.view(np.int8) - closed.view(np.int8), dtype=np.int32)
    return int(depth.max(initial=0))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {_shown(twice)} is in one object twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    place = ".".join(map(str, found["loc"]))
    return f"{place[:200]}: {found['msg']}, got {_shown(found['input'])}"


def digest(data: bytes | bytearray | memoryview) -> str:
    """Return the digest that manifests carry: SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()
