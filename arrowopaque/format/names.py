"""Every stored name is built and parsed here, and nowhere else."""

from __future__ import annotations

__all__ = [
    "CHAIN",
    "MARKER",
    "PUBLISHED",
    "Kind",
    "Name",
    "artifact_object",
    "chain_manifest",
    "check_path",
    "data_file",
    "deletion_vector",
    "index_file",
    "is_of",
    "manifests_folder",
    "parse",
    "probe_object",
    "table_folder",
    "table_manifest",
]

import enum
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from arrowopaque.errors import ConfigurationError, CorruptStoreError

MARKER = "arrowopaque.json"
PUBLISHED = "manifest.json"

_TABLES = "tables"
_ARTIFACTS = "artifacts"
CHAIN = "manifests"
"""The folder of the chain, and of each table's manifests below its own."""
_MANIFESTS = CHAIN
_HEX = r"[0-9a-f]{32}"
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PLAIN = re.compile(r"[a-z0-9_-]+")
_MAX_PATH = 1024
_MAX_TABLE = 240
# Separates parts elsewhere, ends a name, or begins a version of an object.
_UNSAFE = "\\\x7f?"


class Kind(enum.Enum):
    """What a stored name stands for."""

    MARKER = "marker"
    PUBLISHED = "published"
    CHAIN = "chain"
    TABLE_MANIFEST = "table manifest"
    DATA = "data"
    INDEX = "index"
    DELETES = "deletes"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Name:
    """A parsed name; parts that its kind does not have are `None`."""

    kind: Kind
    table: str | None = None
    version: int | None = None
    commit: str | None = None
    partition: int | None = None
    id: str | None = None
    index: int | None = None


def check_path(path: str) -> str:
    """Return ``path`` if it stays inside the root.

    Raises
    ------
    CorruptStoreError
        It is empty, absolute, has a scheme or climbs out.
    """
    parts = path.split("/")
    unsafe = (
        not path
        or len(path) > _MAX_PATH
        or any(part in ("", ".", "..") for part in parts)
        or any(char in _UNSAFE or char < " " for char in path)
        or ":" in parts[0]
    )
    if unsafe:
        raise CorruptStoreError(f"path {path[:200]!r} leaves the store's root or is malformed")
    return path


def encode_table(table: str) -> str:
    """Return the folder name of a table, the same for no two tables.

    Anything but lower-case letters, digits, ``_`` and ``-`` is
    percent-encoded, upper case too, so that names stay apart on file systems
    that fold case.
    """
    try:
        encoded = "".join(
            char if _PLAIN.fullmatch(char) else "".join(f"%{byte:02X}" for byte in char.encode())
            for char in table
        )
    except UnicodeEncodeError as err:
        raise ConfigurationError(f"table name {table[:100]!r} is no text: {err.reason}") from err
    if not encoded or len(encoded) > _MAX_TABLE:
        raise ConfigurationError(
            f"table name {table[:100]!r} is empty or too long to be stored: give it 1 to {_MAX_TABLE} "
            "characters, of which all but a-z, 0-9, _ and - count three for each byte of UTF-8"
        )
    return encoded


def decode_table(folder: str) -> str | None:
    """Return the table of a folder name, or `None` if it is not one."""
    try:
        table = unquote(folder, errors="strict")
        return table if table and encode_table(table) == folder else None
    except (UnicodeDecodeError, ConfigurationError):
        return None


def table_folder(table: str) -> str:
    """Return the folder that holds everything of a table."""
    return f"{_TABLES}/{encode_table(table)}"


def chain_manifest(version: int) -> str:
    """Return the name of one link of the file chain."""
    return f"{_MANIFESTS}/{version:020d}.json"


def manifests_folder(table: str) -> str:
    """Return the folder that holds the manifests of a table."""
    return f"{table_folder(table)}/{_MANIFESTS}"


def table_manifest(table: str, version: int, commit: str) -> str:
    """Return the name of a table manifest."""
    return f"{manifests_folder(table)}/{version}-{commit}.json"


def data_file(table: str, partition: int, id: str) -> str:
    """Return the name of a data file."""
    return f"{_partition_folder(table, partition)}/{id}.parquet"


def index_file(table: str, partition: int, id: str, index: int) -> str:
    """Return the name of a data file's index number ``index``."""
    return f"{_partition_folder(table, partition)}/{id}.index{index}.parquet"


def deletion_vector(table: str, partition: int, id: str) -> str:
    """Return the name of a deletion vector."""
    return f"{_partition_folder(table, partition)}/{id}.dv"


def artifact_object(datastore: str, path: str) -> str:
    """Return the name of the copy of a datastore's artifact in an export.

    It parses as nothing: no maintenance of the store touches it.

    Raises
    ------
    CorruptStoreError
        The path leaves the datastore's root or is malformed.
    """
    return check_path(f"{_artifact_folder(datastore)}/{quote(path)}")


@lru_cache
def _artifact_folder(datastore: str) -> str:
    return f"{_ARTIFACTS}/{encode_table(datastore)}"


def probe_object(id: str) -> str:
    """Return the name of an object that tests a store and is then deleted."""
    return f"probe-{id}"


_FILES = {
    Kind.DATA: rf"(?P<id>{_HEX})\.parquet",
    Kind.INDEX: rf"(?P<id>{_HEX})\.index(?P<index>{_NUMBER})\.parquet",
    Kind.DELETES: rf"(?P<id>{_HEX})\.dv",
}
_FILE_PATTERNS = {kind: re.compile(file) for kind, file in _FILES.items()}
_PATTERNS = {
    Kind.CHAIN: re.compile(rf"{_MANIFESTS}/(?P<version>[0-9]{{20}})\.json"),
    Kind.TABLE_MANIFEST: re.compile(
        rf"{_TABLES}/(?P<table>[^/]+)/{_MANIFESTS}/(?P<version>{_NUMBER})-(?P<commit>{_HEX})\.json"
    ),
    **{
        kind: re.compile(rf"{_TABLES}/(?P<table>[^/]+)/partition=(?P<partition>{_NUMBER})/{file}")
        for kind, file in _FILES.items()
    },
    Kind.PROBE: re.compile(rf"probe-(?P<id>{_HEX})"),
}
_NUMBERS = ("version", "partition", "index")


def parse(path: str) -> Name | None:
    """Return what a name stands for, or `None` if it is not ours."""
    if path in _FIXED:
        return Name(_FIXED[path])
    for kind, pattern in _PATTERNS.items():
        match = pattern.fullmatch(path)
        if match is not None:
            return _name(kind, match.groupdict())
    return None


def is_of(path: str, kind: Kind, table: str, partition: int) -> bool:
    """Return whether a name is one of a kind of files of a partition."""
    folder, _, file = path.rpartition("/")
    return folder == _partition_folder(table, partition) and bool(_FILE_PATTERNS[kind].fullmatch(file))


@lru_cache
def _partition_folder(table: str, partition: int) -> str:
    return f"{table_folder(table)}/partition={partition}"


_FIXED = {MARKER: Kind.MARKER, PUBLISHED: Kind.PUBLISHED}


def _name(kind: Kind, parts: dict[str, str]) -> Name | None:
    fields: dict[str, Any] = dict(parts)
    if "table" in parts:
        fields["table"] = decode_table(parts["table"])
        if fields["table"] is None:
            return None
    for number in parts.keys() & _NUMBERS:
        fields[number] = int(parts[number])
    return Name(kind, **fields)
