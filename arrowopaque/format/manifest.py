"""The manifest model and its invariants.

Every document is immutable once stored and names its format, so that a newer
one is refused by name instead of being misread.
"""

from __future__ import annotations

__all__ = [
    "FORMAT",
    "INVARIANTS",
    "DataFile",
    "Deletes",
    "Document",
    "IndexFile",
    "Key",
    "Marker",
    "MetaTable",
    "Partition",
    "TableEntry",
    "TableManifest",
    "check_manifest",
    "decode_key",
    "dump",
    "encode_key",
    "load",
]

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from arrowopaque.errors import CorruptStoreError, FormatVersionError
from arrowopaque.format import names
from arrowopaque.format.spec import ColumnKind, TableSpec

FORMAT = 1
"""Version of the stored format; see ``docs/FORMAT.md``."""

Key = tuple[Any, ...]
"""A primary key in stored form."""

JsonKey = tuple[str | int | bool | None, ...]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Document(_Model):
    """What is stored as JSON by itself."""


class Marker(Document):
    """``arrowopaque.json``: whose root this is."""

    format: int = FORMAT
    store: str
    binding: str
    created: datetime
    options: dict[str, Any] = {}


class _ParquetObject(_Model):
    path: str
    rows: int
    bytes: int
    digest: str
    footer: int
    """Bytes of the footer, its length and the closing magic included."""
    footer_digest: str


class IndexFile(_ParquetObject):
    """A data file's rows in the order of other columns, with positions."""

    columns: tuple[str, ...]


class Deletes(_Model):
    """A deletion vector: which positions of a data file are gone."""

    path: str
    bytes: int
    digest: str
    count: int


class DataFile(_ParquetObject):
    """An immutable Parquet file sorted by primary key."""

    min: JsonKey
    max: JsonKey
    indexes: tuple[IndexFile, ...] = ()
    deletes: Deletes | None = None

    @property
    def live(self) -> int:
        """Rows that are not deleted."""
        return self.rows - (self.deletes.count if self.deletes else 0)


class Partition(_Model):
    """A half-open range of the leading key column, from ``lower`` on."""

    number: int
    lower: str | int | bool | None
    files: tuple[DataFile, ...] = ()


class TableManifest(Document):
    """One table's partitions and data files at one version."""

    format: int = FORMAT
    table: str
    version: int
    commit: str
    parent: str | None
    created: datetime
    partitions: tuple[Partition, ...]
    next_partition: int

    @property
    def name(self) -> str:
        """Where this manifest is stored."""
        return names.table_manifest(self.table, self.version, self.commit)

    def files(self) -> Iterator[tuple[Partition, DataFile]]:
        """Yield every data file with its partition."""
        for partition in self.partitions:
            for file in partition.files:
                yield partition, file

    def objects(self) -> Iterator[str]:
        """Yield the path of every object that this manifest names."""
        for _, file in self.files():
            yield file.path
            yield from (index.path for index in file.indexes)
            if file.deletes:
                yield file.deletes.path

    @property
    def rows(self) -> int:
        """Rows that are not deleted."""
        return sum(file.live for _, file in self.files())


class TableEntry(_Model):
    """What the meta-table says of one table."""

    spec: TableSpec
    manifest: str | None


class MetaTable(Document):
    """The store's opaque tables at one version."""

    format: int = FORMAT
    store: str
    version: int
    parent: int | None
    commit: str
    created: datetime
    writer: str
    floor: int = 0
    """Version of the last fence."""
    swept: datetime | None = None
    """No vacuum has deleted what was stored after this, by the store's clock."""
    receipts: tuple[str, ...] = ()
    """The receipts that this commit has taken."""
    taken: int = 0
    """Version of the last link before this one that has taken receipts."""
    tables: dict[str, TableEntry] = {}
    stub: bool = False
    """Whether vacuum emptied this document; its name and commit id stay."""


_SEAL = "seal"

AnyDocument = TypeVar("AnyDocument", bound=Document)


def dump(document: BaseModel) -> bytes:
    """Return a document as it is stored, sealed by its own digest."""
    body = document.model_dump(mode="json")
    return json.dumps({**body, _SEAL: _seal(body)}, indent=1).encode()


def _seal(body: dict[str, Any]) -> str:
    return digest(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


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
        raw = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise CorruptStoreError(f"{where} is not a {kind.__name__} document: {err}") from err
    version = raw.get("format") if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise CorruptStoreError(f"{where} is not a {kind.__name__} document: it names no format")
    if version > FORMAT:
        raise FormatVersionError(
            f"{where} has format {version}, this release reads up to {FORMAT}: upgrade arrowopaque"
        )
    seal = raw.pop(_SEAL, None)
    if seal != _seal(raw):
        raise CorruptStoreError(
            f"{where} is altered: its content does not match its seal; restore it from a copy"
        )
    try:
        return kind.model_validate(raw)
    except ValidationError as err:
        first = err.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CorruptStoreError(
            f"{where} is not a sound {kind.__name__} document: {place}: {first['msg']}"
        ) from err


def digest(data: bytes | memoryview) -> str:
    """Return the digest that manifests carry: SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def encode_key(spec: TableSpec, key: Key) -> JsonKey:
    """Return a stored key as JSON values, in key order."""
    return tuple(_encode(value) for value in key)


def _encode(value: Any) -> str | int | bool | None:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, str | int | bool):
        return value
    raise TypeError(f"no JSON form for {value!r}")


_BYTES = {ColumnKind.UUID, ColumnKind.BINARY, ColumnKind.HASH, ColumnKind.REGION}


def decode_key(spec: TableSpec, key: JsonKey) -> Key:
    """Return a key of a manifest in stored form."""
    return tuple(
        _decode(spec.by_name[name].kind, value) for name, value in zip(spec.primary_key, key, strict=False)
    )


def decode_leading(spec: TableSpec, value: str | int | bool | None) -> Any:
    """Return a partition's lower bound in stored form; `None` is the least."""
    return None if value is None else decode_key(spec, (value,))[0]


def encode_leading(value: Any) -> str | int | bool | None:
    """Return a partition's lower bound as a JSON value."""
    return None if value is None else _encode(value)


def _decode(kind: ColumnKind, value: Any) -> Any:
    if kind in _BYTES:
        return bytes.fromhex(value)
    if kind is ColumnKind.FLOAT:
        return float.fromhex(value)
    return value


def partitions_are_ordered(manifest: TableManifest, spec: TableSpec) -> str | None:
    """Lower bounds rise, the first is open, numbers are unique."""
    if not manifest.partitions:
        return None
    bounds = [decode_leading(spec, partition.lower) for partition in manifest.partitions]
    if bounds[0] is not None or any(bound is None for bound in bounds[1:]):
        return "only the first partition may have no lower bound"
    if any(not low < high for low, high in itertools.pairwise(bounds[1:])):
        return "partition bounds do not rise"
    numbers = [partition.number for partition in manifest.partitions]
    if len(set(numbers)) != len(numbers) or max(numbers) >= manifest.next_partition:
        return f"partition numbers {numbers} repeat or reach {manifest.next_partition}"
    return None


def files_are_inside_partitions(manifest: TableManifest, spec: TableSpec) -> str | None:
    """Every file's keys lie inside its partition, smallest first."""
    uppers = [decode_leading(spec, partition.lower) for partition in manifest.partitions[1:]] + [None]
    for partition, upper in zip(manifest.partitions, uppers, strict=True):
        lower = decode_leading(spec, partition.lower)
        for file in partition.files:
            least, most = decode_key(spec, file.min), decode_key(spec, file.max)
            if least > most:
                return f"{file.path}: its least key is above its greatest"
            if (lower is not None and least[0] < lower) or (upper is not None and most[0] >= upper):
                return f"{file.path}: its keys leave partition {partition.number}"
    return None


def files_have_live_rows(manifest: TableManifest, spec: TableSpec) -> str | None:
    """No file is empty, and none is deleted as a whole."""
    for _, file in manifest.files():
        if file.rows < 1 or file.live < 1:
            return f"{file.path}: {file.rows} rows, {file.live} live"
    return None


def paths_are_ours(manifest: TableManifest, spec: TableSpec) -> str | None:
    """Every path has the form for its kind, table and partition, once."""
    seen: set[str] = set()
    for partition, file in manifest.files():
        wanted = [(file.path, names.Kind.DATA)]
        wanted += [(index.path, names.Kind.INDEX) for index in file.indexes]
        wanted += [(file.deletes.path, names.Kind.DELETES)] if file.deletes else []
        for path, kind in wanted:
            name = names.parse(path)
            if name is None or (name.kind, name.table, name.partition) != (
                kind,
                manifest.table,
                partition.number,
            ):
                return f"{path!r} is no {kind.value} file of {manifest.table!r}, partition {partition.number}"
            if path in seen:
                return f"{path} is named twice"
            seen.add(path)
    return None


def indexes_are_complete(manifest: TableManifest, spec: TableSpec) -> str | None:
    """Every file has the indexes that the spec asks for, of its own size."""
    for _, file in manifest.files():
        if tuple(index.columns for index in file.indexes) != spec.lookups:
            return f"{file.path}: its indexes are not {spec.lookups}"
        if any(index.rows > file.rows for index in file.indexes):
            return f"{file.path}: an index has more rows than the file"
    return None


Invariant = Callable[[TableManifest, TableSpec], str | None]

INVARIANTS: tuple[Invariant, ...] = (
    partitions_are_ordered,
    files_are_inside_partitions,
    files_have_live_rows,
    paths_are_ours,
    indexes_are_complete,
)
"""What must hold of every table manifest; each returns what is wrong."""


def check_manifest(manifest: TableManifest, spec: TableSpec) -> None:
    """Check every invariant.

    Raises
    ------
    CorruptStoreError
        One does not hold; the message names it.
    """
    for invariant in INVARIANTS:
        try:
            problem = invariant(manifest, spec)
        except (TypeError, ValueError, KeyError) as err:
            problem = f"malformed key ({err})"
        if problem:
            raise CorruptStoreError(f"{manifest.name}: {invariant.__name__.replace('_', ' ')}: {problem}")
