"""Parquet objects whose every byte is checked before it is believed.

The manifest holds the digest of an object's footer, and the footer holds a
digest of every column chunk, so a reader that fetches one row group of one
column can still prove what it got. See "Digests" in ``docs/FORMAT.md``.
"""

from __future__ import annotations

__all__ = ["Encoded", "ParquetObject", "encode", "plain", "to_exact"]

import base64
import hashlib
import io
import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format.manifest import DataFile, IndexFile, digest
from arrowopaque.objects.base import ObjectStore
from arrowopaque.store.cache import Cache

_DIGESTS = "arrowopaque.digests"
_COLUMNS = "arrowopaque.columns"
_DIGEST_BYTES = 16
_DICTIONARY_LIMIT = 256
_SAMPLE = 8_192
_TRAILER = 8
_GAP = 32 * 1024
"""Unwanted bytes that are cheaper to read along than to skip."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A Parquet object ready to be stored, and what a manifest says of it."""

    data: bytes
    facts: dict[str, Any]


def plain(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array of the engine's types."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else pa.concat_arrays(array.chunks)
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def to_exact(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table of the engine's types in the types that are handed out
    and stored.
    """
    arrays = []
    for column, field in zip(table.columns, schema, strict=True):
        if isinstance(field.type, pa.BaseExtensionType):
            column = pa.chunked_array(
                [pa.ExtensionArray.from_storage(field.type, chunk) for chunk in column.chunks], field.type
            )
        arrays.append(column)
    return pa.Table.from_arrays(arrays, schema=schema)


def _is_repetitive(column: pa.ChunkedArray) -> bool:
    sample = column.slice(0, _SAMPLE)
    distinct: int = pc.count_distinct(sample).as_py()
    return distinct <= min(_DICTIONARY_LIMIT, max(1, len(sample) // 4))


def _encodings(table: pa.Table) -> tuple[list[str], dict[str, str]]:
    dictionary: list[str] = []
    encodings: dict[str, str] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            if _is_repetitive(column):
                dictionary.append(name)
            else:
                encodings[name] = "DELTA_BYTE_ARRAY"
        elif pa.types.is_integer(column.type):
            encodings[name] = "DELTA_BINARY_PACKED"
    return dictionary, encodings


def encode(
    table: pa.Table, schema: pa.Schema, notes: dict[str, dict[str, str]], row_group_rows: int
) -> Encoded:
    """Return a table, rows in the order given, as a Parquet object.

    Parameters
    ----------
    table
        Rows in the engine's types.
    schema
        The same columns in the types that are stored.
    notes
        What a reader should know of a column's values, by column.
    row_group_rows
        Rows of a row group.
    """
    # Without rows there is one group that has none.
    groups = max(1, -(-table.num_rows // row_group_rows))
    blank = "~" * _base64_length(groups * table.num_columns * _DIGEST_BYTES)
    dictionary, encodings = _encodings(table)
    sink = pa.BufferOutputStream()
    writer = pq.ParquetWriter(
        sink,
        schema,
        store_schema=False,
        compression="zstd",
        use_dictionary=dictionary,
        column_encoding=encodings or None,
        write_statistics=True,
    )
    with writer:
        writer.write_table(to_exact(table, schema), row_group_size=row_group_rows)
        writer.add_key_value_metadata({_COLUMNS: json.dumps(notes), _DIGESTS: blank})
    data = bytearray(sink.getvalue())
    _fill_digests(data, blank)
    footer = _footer_length(data) + _TRAILER
    sealed = bytes(data)
    facts = {
        "rows": table.num_rows,
        "bytes": len(sealed),
        "digest": digest(sealed),
        "footer": footer,
        "footer_digest": digest(sealed[-footer:]),
    }
    return Encoded(sealed, facts)


def _base64_length(size: int) -> int:
    return -(-size // 3) * 4


def _footer_length(data: bytes | bytearray) -> int:
    return int.from_bytes(data[-_TRAILER:-4], "little")


def _fill_digests(data: bytearray, blank: str) -> None:
    """Put the chunks' digests in the place that was kept free for them."""
    metadata = pq.read_metadata(io.BytesIO(data))
    view = memoryview(data)
    digests = b"".join(
        _chunk_digest(view[start : start + length]) for group in _chunks(metadata) for start, length in group
    )
    view.release()
    # The key-value metadata comes after the row groups and their statistics.
    place = data.rfind(blank.encode())
    data[place : place + len(blank)] = base64.b64encode(digests)


def _chunk_digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _chunks(metadata: pq.FileMetaData) -> list[list[tuple[int, int]]]:
    """Return the (start, length) of every column chunk, by row group."""
    result = []
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        chunks = []
        for c in range(metadata.num_columns):
            chunk = group.column(c)
            start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
            chunks.append((start, chunk.total_compressed_size))
        result.append(chunks)
    return result


class _Footer:
    """A checked footer."""

    __slots__ = ("chunks", "digests", "metadata", "offsets", "positions")

    def __init__(self, tail: bytes) -> None:
        self.metadata = pq.read_metadata(pa.BufferReader(tail))
        stored = self.metadata.metadata or {}
        self.digests = base64.b64decode(stored[_DIGESTS.encode()], validate=True)
        self.chunks = _chunks(self.metadata)
        self.positions = {self.metadata.schema.column(c).name: c for c in range(self.metadata.num_columns)}
        self.offsets = [0]
        for g in range(self.metadata.num_row_groups):
            self.offsets.append(self.offsets[-1] + self.metadata.row_group(g).num_rows)
        if len(self.digests) != len(self.chunks) * self.metadata.num_columns * _DIGEST_BYTES:
            raise ValueError("the digests do not match the column chunks")

    def digest(self, group: int, column: int) -> bytes:
        at = (group * self.metadata.num_columns + column) * _DIGEST_BYTES
        return self.digests[at : at + _DIGEST_BYTES]


class _Sparse(io.RawIOBase):
    """A file of which only some ranges are at hand."""

    def __init__(self, size: int, parts: Iterable[tuple[int, bytes]]) -> None:
        self._parts = sorted(parts)
        self._starts = [start for start, _ in self._parts]
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = self._size - self._at
        start, data = self._parts[max(bisect_right(self._starts, self._at) - 1, 0)]
        skip = self._at - start
        piece = data[skip : skip + size]
        if skip < 0 or len(piece) != size:
            raise OSError(f"read of {size} bytes at {self._at} was not prepared")
        self._at += size
        return piece


class ParquetObject:
    """A stored Parquet object, read in checked pieces.

    Parameters
    ----------
    store
        Where it lies.
    entry
        What the manifest says of it.
    cache
        Keeps footers and decoded columns.
    """

    def __init__(self, store: ObjectStore, entry: DataFile | IndexFile, cache: Cache) -> None:
        self.entry = entry
        self._store = store
        self._cache = cache

    def _corrupt(self, reason: str) -> CorruptStoreError:
        return CorruptStoreError(
            f"data file {self._store.uri}/{self.entry.path}: {reason}; restore it from a copy"
        )

    @property
    def footer(self) -> _Footer:
        """The footer, fetched and checked on first use."""
        return self._cache.load((self.entry.path, "footer"), self._load_footer)

    def _load_footer(self) -> tuple[_Footer, int]:
        size = self.entry.footer
        if not _TRAILER < size <= self.entry.bytes:
            raise self._corrupt(f"a footer of {size} bytes does not fit in {self.entry.bytes}")
        tail = self._store.get_range(self.entry.path, self.entry.bytes - size, size)
        if digest(tail) != self.entry.footer_digest:
            raise self._corrupt("its footer is altered")
        try:
            footer = _Footer(tail)
        except (pa.ArrowException, KeyError, ValueError, OSError) as err:
            raise self._corrupt(f"its footer cannot be read ({err})") from err
        if footer.offsets[-1] != self.entry.rows:
            raise self._corrupt(f"it has {footer.offsets[-1]} rows, the manifest says {self.entry.rows}")
        # A parsed footer takes about as much again as its bytes, several times over.
        return footer, 4 * size

    @property
    def groups(self) -> int:
        """Number of row groups."""
        return len(self.footer.chunks)

    @property
    def offsets(self) -> list[int]:
        """Position of each row group's first row, and the row count."""
        return self.footer.offsets

    def bounds(self, column: str) -> list[tuple[Any, Any] | None]:
        """Return each row group's least and greatest value, where known."""
        footer = self.footer
        c = footer.positions[column]
        result: list[tuple[Any, Any] | None] = []
        for g in range(len(footer.chunks)):
            statistics = footer.metadata.row_group(g).column(c).statistics
            known = statistics is not None and statistics.has_min_max
            result.append((statistics.min, statistics.max) if known else None)
        return result

    def column(self, group: int, name: str) -> pa.Array:
        """Return one decoded column of one row group."""
        return self.columns([group], [name])[group, name]

    def group(self, group: int, names: Sequence[str]) -> list[pa.Array]:
        """Return decoded columns of one row group, cached."""
        path, cache = self.entry.path, self._cache
        arrays = [cache.get((path, group, name)) for name in names]
        if any(array is None for array in arrays):
            found = self.columns([group], names)
            return [found[group, name] for name in names]
        return arrays

    def columns(self, groups: Sequence[int], names: Sequence[str]) -> dict[tuple[int, str], pa.Array]:
        """Return decoded columns of row groups, cached."""
        result: dict[tuple[int, str], pa.Array] = {}
        missing_groups: list[int] = []
        missing_names: set[str] = set()
        for group in groups:
            for name in names:
                array = self._cache.get((self.entry.path, group, name))
                if array is None:
                    missing_names.add(name)
                    if not missing_groups or missing_groups[-1] != group:
                        missing_groups.append(group)
                else:
                    result[group, name] = array
        if missing_groups:
            self._decode_into(result, missing_groups, [name for name in names if name in missing_names])
        return result

    def _decode_into(
        self, result: dict[tuple[int, str], pa.Array], groups: list[int], names: list[str]
    ) -> None:
        table = self.read(groups, names)
        offsets, at = self.footer.offsets, 0
        for group in groups:
            rows = offsets[group + 1] - offsets[group]
            for name in names:
                # A copy, so that a cached column does not pin its neighbours.
                array = pa.concat_arrays([plain(table.column(name).slice(at, rows))])
                result[group, name] = array
                self._cache.put((self.entry.path, group, name), array, array.nbytes + 200)
            at += rows

    def read(self, groups: Sequence[int], names: Sequence[str]) -> pa.Table:
        """Return row groups as one table, past the cache."""
        footer = self.footer
        wanted = [(group, footer.positions[name]) for group in groups for name in names]
        source = _Sparse(self.entry.bytes, self._fetch(wanted))
        try:
            file = pq.ParquetFile(pa.PythonFile(source, mode="r"), metadata=footer.metadata, pre_buffer=False)
            table = file.read_row_groups(list(groups), columns=list(names), use_threads=False)
        except (pa.ArrowException, OSError) as err:
            raise self._corrupt(f"it cannot be decoded ({err})") from err
        columns = [plain(table.column(name)) for name in names]
        return pa.table(columns, names=list(names))

    def _fetch(self, wanted: list[tuple[int, int]]) -> list[tuple[int, bytes]]:
        """Return the checked bytes of column chunks, by position."""
        chunks = sorted((*self.footer.chunks[g][c], g, c) for g, c in wanted)
        runs: list[tuple[int, int]] = []
        for start, length, _, _ in chunks:
            if runs and start - sum(runs[-1]) <= _GAP:
                runs[-1] = (runs[-1][0], start + length - runs[-1][0])
            else:
                runs.append((start, length))
        parts = list(
            zip([start for start, _ in runs], self._store.get_ranges(self.entry.path, runs), strict=True)
        )
        starts = [start for start, _ in parts]
        for start, length, g, c in chunks:
            at, data = parts[bisect_right(starts, start) - 1]
            if _chunk_digest(memoryview(data)[start - at : start - at + length]) != self.footer.digest(g, c):
                raise self._corrupt(f"row group {g} of column {c} is altered")
        return parts

    def whole(self) -> bytes:
        """Return the object, compared with the manifest's size and digest.

        Raises
        ------
        CorruptStoreError
            They differ.
        """
        data = self._store.get(self.entry.path)
        self.check(data)
        return data

    def check(self, data: bytes) -> None:
        """Compare what was read elsewhere; see `whole`."""
        if len(data) != self.entry.bytes:
            raise self._corrupt(f"it has {len(data)} bytes, the manifest says {self.entry.bytes}")
        if digest(data) != self.entry.digest:
            raise self._corrupt("it is altered")

    def check_whole(self) -> None:
        """Compare the object with the manifest; see `whole`."""
        self.whole()
