"""The manifest model and its invariants.

Every document is immutable once stored and names its format, so that a newer
one is refused by name instead of being misread.
"""

from __future__ import annotations

__all__ = [
    "INVARIANTS",
    "DataFile",
    "Deletes",
    "IndexFile",
    "Key",
    "Marker",
    "MetaTable",
    "Partition",
    "TableEntry",
    "TableManifest",
    "check_manifest",
    "decode_key",
    "encode_key",
]

import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

from pydantic import AwareDatetime, Field, model_validator

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format import limits, names
from arrowopaque.format.document import FORMAT, Count, Document, Model
from arrowopaque.format.spec import BITS, ColumnKind, TableSpec

Key = tuple[Any, ...]
"""A primary key in stored form."""

_SHOWN = 120

JsonKey = tuple[str | int | bool | None, ...]


class Marker(Document):
    """``arrowopaque.json``: whose root this is."""

    max_bytes: ClassVar[int] = limits.MARKER_BYTES

    format: Count = FORMAT
    store: str
    binding: str
    created: AwareDatetime
    options: dict[str, Any] = Field(default_factory=dict)


class _ParquetObject(Model):
    path: str
    rows: Count
    bytes: Count
    digest: str
    footer: Count
    """Bytes of the footer, its length and the closing magic included."""
    footer_digest: str


class IndexFile(_ParquetObject):
    """A data file's rows in the order of other columns, with positions."""

    columns: tuple[str, ...]


class Deletes(Model):
    """A deletion vector: which positions of a data file are gone."""

    path: str
    bytes: Count
    digest: str
    count: Count


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

    @property
    def all_bytes(self) -> int:
        """Bytes of the file, its indexes and its deletion vector."""
        beside = sum(index.bytes for index in self.indexes) + (self.deletes.bytes if self.deletes else 0)
        return self.bytes + beside


class Partition(Model):
    """A half-open range of the leading key column, from ``lower`` on."""

    number: Count
    lower: str | int | bool | None
    files: tuple[DataFile, ...] = ()


class TableManifest(Document):
    """One table's partitions and data files at one version."""

    format: Count = FORMAT
    table: str
    version: Count
    commit: str
    parent: str | None
    created: AwareDatetime
    partitions: tuple[Partition, ...]
    next_partition: Count

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


class TableEntry(Model):
    """What the meta-table says of one table."""

    spec: TableSpec
    manifest: str | None


class MetaTable(Document):
    """The store's opaque tables at one version."""

    format: Count = FORMAT
    store: str
    version: Count
    parent: Count | None
    commit: str
    created: AwareDatetime
    writer: str
    floor: Count = 0
    """Version of the last fence."""
    swept: AwareDatetime | None = None
    """No vacuum has deleted what was stored after this, by the store's clock."""
    receipts: tuple[str, ...] = ()
    """The receipts that this commit has taken."""
    taken: Count = 0
    """Version of the last link before this one that has taken receipts."""
    tables: dict[str, TableEntry] = Field(default_factory=dict)
    stub: bool = False
    """Whether vacuum emptied this document; its name and commit id stay."""

    @model_validator(mode="after")
    def _check_tables(self) -> Self:
        for table, entry in self.tables.items():
            names.table_folder(table)
            found = None if entry.manifest is None else names.parse(entry.manifest)
            if entry.manifest is not None and (found is None or found.table != table):
                raise ValueError(
                    f"table {table!r} has {entry.manifest[:100]!r}, which is no manifest of its own"
                )
        return self


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
    return tuple(map(_decode, spec.key_kinds, key))


def decode_leading(spec: TableSpec, value: str | int | bool | None) -> Any:
    """Return a partition's lower bound in stored form; `None` is the least."""
    return None if value is None else _decode(spec.key_kinds[0], value)


def encode_leading(value: Any) -> str | int | bool | None:
    """Return a partition's lower bound as a JSON value."""
    return None if value is None else _encode(value)


def _decode(kind: ColumnKind, value: Any) -> Any:
    if kind in _BYTES:
        return bytes.fromhex(value)
    if kind is ColumnKind.FLOAT:
        return float.fromhex(value)
    return value


def keys_have_their_types(manifest: TableManifest, spec: TableSpec) -> str | None:
    """Every key has a value of the right type for each column of the key."""
    if manifest.partitions and not spec.primary_key:
        return "a table without a primary key has no data files"
    kinds = spec.key_kinds
    for partition in manifest.partitions:
        if partition.lower is not None and not _fits(kinds[0], partition.lower):
            return f"{_shown(partition.lower)} is no lower bound of partition {partition.number}"
        for file in partition.files:
            for key in (file.min, file.max):
                if len(key) != len(kinds) or not all(map(_fits, kinds, key)):
                    return f"{file.path}: {_shown(key)} is no key of {spec.primary_key}"
    return None


def _fits(kind: ColumnKind, value: Any) -> bool:
    """Return whether a JSON value stands for one of a column."""
    if kind in BITS:
        limit = 1 << (BITS[kind] - 1)
        return isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit
    if kind is ColumnKind.BOOLEAN:
        return isinstance(value, bool)
    if not isinstance(value, str):
        return False
    decoded = _decode(kind, value)
    return kind is not ColumnKind.UUID or len(decoded) == 16


def _shown(value: Any) -> str:
    return repr(value)[:_SHOWN]


def sizes_are_bounded(manifest: TableManifest, spec: TableSpec) -> str | None:
    """No object is larger than readers take."""
    for _, file in manifest.files():
        for entry in (file, *file.indexes):
            if entry.rows > limits.FILE_ROWS or entry.bytes > limits.DATA_FILE_BYTES:
                return f"{entry.path}: {entry.rows} rows in {entry.bytes} bytes"
            if entry.footer > limits.FOOTER_BYTES:
                return f"{entry.path}: a footer of {entry.footer} bytes"
        if file.deletes and file.deletes.bytes > limits.deletes_bytes(file.rows):
            return f"{file.deletes.path}: {file.deletes.bytes} bytes to delete {file.rows} rows"
    return None


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
            if not names.is_of(path, kind, manifest.table, partition.number):
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
    keys_have_their_types,
    sizes_are_bounded,
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
        except (TypeError, ValueError, LookupError) as err:
            problem = f"malformed key ({err})"
        if problem:
            raise CorruptStoreError(f"{manifest.name}: {invariant.__name__.replace('_', ' ')}: {problem}")
