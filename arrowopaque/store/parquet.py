"""Parquet objects whose every byte is checked before it is believed.

The manifest holds the digest of an object's footer, and the footer holds a
digest of every column chunk, so a reader that fetches one row group of one
column can still prove what it got. See "Digests" in ``docs/FORMAT.md``.
"""

from __future__ import annotations

__all__ = [
    "POSITION",
    "ParquetObject",
    "has_any_length",
    "index_schema",
    "plain",
    "stored_schema",
    "text_bytes",
    "to_exact",
]

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format import limits
from arrowopaque.format.document import digest
from arrowopaque.format.keyfilter import KeyFilter
from arrowopaque.format.manifest import DataFile, IndexFile
from arrowopaque.format.spec import TableSpec
from arrowopaque.objects.base import ObjectStore
from arrowopaque.store.cache import Cache
from arrowopaque.store.footer import (
    TRAILER,
    Footer,
    chunk_digest,
)
from arrowopaque.store.pages import check_pages
from arrowopaque.store.sparse import Sparse, cut

_GAP = 32 * 1024
"""Unwanted bytes that are cheaper to read along than to skip."""

_PIECE_BYTES = 2**30
"""Bytes to decode at once at most. Smaller pieces cost time."""


def has_any_length(kind: pa.DataType) -> bool:
    """Return whether values of a type differ in length."""
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def text_bytes(column: pa.Array | pa.ChunkedArray) -> int:
    """Return the bytes of all strings of a column, each counted."""
    return pc.sum(pc.binary_length(column), min_count=0).as_py()  # type: ignore[no-any-return]  # pyarrow is untyped


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


POSITION = "position"
"""The column of an index file that says where in the data file a row is."""


def stored_schema(spec: TableSpec, entry: DataFile | IndexFile) -> pa.Schema:
    """Return the columns of a data file, or of an index file."""
    return spec.exact_schema if isinstance(entry, DataFile) else index_schema(spec, entry.columns)


def index_schema(spec: TableSpec, columns: Sequence[str]) -> pa.Schema:
    """Return the columns of an index."""
    fields = [spec.exact_schema.field(name) for name in columns]
    return pa.schema([*fields, pa.field(POSITION, pa.int64(), False)])


class ParquetObject:
    """A stored Parquet object, read in checked pieces.

    Parameters
    ----------
    store
        Where it lies.
    entry
        What the manifest says of it.
    schema
        The columns that it must have.
    cache
        Keeps footers and decoded columns.
    """

    def __init__(
        self, store: ObjectStore, entry: DataFile | IndexFile, schema: pa.Schema, cache: Cache
    ) -> None:
        self.entry = entry
        self._schema = schema
        self._store = store
        self._cache = cache

    def _corrupt(self, reason: str) -> CorruptStoreError:
        return CorruptStoreError(
            f"data file {self._store.uri}/{self.entry.path}: {reason}; restore it from a copy"
        )

    @property
    def footer(self) -> Footer:
        """The footer, fetched and checked on first use."""
        return self._cache.load((self.entry.path, "footer"), self._load_footer)

    def _load_footer(self) -> tuple[Footer, int]:
        size = self._footer_size()
        return self._parsed(self._store.get_range(self.entry.path, self.entry.bytes - size, size))

    def _footer_size(self) -> int:
        size = self.entry.footer
        if not TRAILER < size <= self.entry.bytes:
            raise self._corrupt(f"a footer of {size} bytes does not fit in {self.entry.bytes}")
        if size > limits.FOOTER_BYTES:
            raise self._corrupt(f"its footer has {size} bytes, more than {limits.FOOTER_BYTES}")
        return size

    def _parsed(self, tail: bytes) -> tuple[Footer, int]:
        if digest(tail) != self.entry.footer_digest:
            raise self._corrupt("its footer is altered")
        try:
            footer = Footer(tail, self.entry.bytes, self._schema)
        except (pa.ArrowException, KeyError, ValueError, OSError) as err:
            raise self._corrupt(f"its footer cannot be read ({err})") from err
        if footer.offsets[-1] != self.entry.rows:
            raise self._corrupt(f"it has {footer.offsets[-1]} rows, the manifest says {self.entry.rows}")
        # A parsed footer takes about as much again as its bytes, several times over.
        return footer, 4 * len(tail)

    @property
    def groups(self) -> int:
        """Number of row groups."""
        return len(self.footer.chunks)

    @property
    def offsets(self) -> list[int]:
        """Position of each row group's first row, and the row count."""
        return self.footer.offsets

    def bounds(self, kind: pa.DataType) -> tuple[pa.Array, pa.Array] | None:
        """Return each row group's least and greatest value of the column, of
        type ``kind``, that rows are sorted by first, if they are stated.
        """
        try:
            return self.footer.bounds(kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError, RecursionError) as err:
            raise self._corrupt(f"its bounds are none ({err})") from err

    def raw_footer(self) -> bytes:
        """Return the footer's bytes, checked, without their trailer."""
        size = self._footer_size()
        tail = self._store.get_range(self.entry.path, self.entry.bytes - size, size)
        self._parsed(tail)
        return tail[:-TRAILER]

    def _kind(self, column: str) -> pa.DataType:
        """Return a column's type as the engine has it."""
        kind = self._schema.field(column).type
        return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind

    def column(self, group: int, name: str) -> pa.Array:
        """Return one decoded column of one row group."""
        return self.columns([group], [name])[group, name]

    def group(self, group: int, names: Sequence[str]) -> list[pa.Array]:
        """Return decoded columns of one row group, cached together."""
        key = (self.entry.path, "row", group, tuple(names))
        arrays = self._cache.get(key)
        if arrays is None:
            found = self.columns([group], names)
            arrays = [found[group, name] for name in names]
            # Counted again: they may stay here when each by itself is dropped.
            self._cache.put(key, arrays, sum(array.nbytes + 200 for array in arrays))
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
        source = Sparse(self.entry.bytes, self._fetch(wanted))
        try:
            file = pq.ParquetFile(pa.PythonFile(source, mode="r"), metadata=footer.metadata, pre_buffer=False)
            columns = self._decoded(file, groups, names)
            for name, array in zip(names, columns, strict=True):
                self._check_decoded(name, array, sum(footer.rows(group) for group in groups))
        except (pa.ArrowException, ValueError, OSError) as err:
            raise self._corrupt(f"row groups {groups[0]}-{groups[-1]} cannot be decoded ({err})") from err
        return pa.table(columns, names=list(names))

    def _decoded(self, file: pq.ParquetFile, groups: Sequence[int], names: Sequence[str]) -> list[pa.Array]:
        swelling = [name for name in names if any(self._may_swell(group, name) for group in groups)]
        others = [name for name in names if name not in swelling]
        table = file.read_row_groups(list(groups), columns=others, use_threads=False)
        return [
            self._guarded(file, groups, name) if name in swelling else plain(table.column(name))
            for name in names
        ]

    def _may_swell(self, group: int, name: str) -> bool:
        """Return whether a chunk may decode to more than is taken: each row
        may stand for the same value, which may be all of the chunk.
        """
        expanded = self.footer.chunk(group, name).expanded
        is_short = self.footer.rows(group) * expanded <= limits.CHUNK_BYTES
        return not is_short and has_any_length(self._kind(name))

    def _guarded(self, file: pq.ParquetFile, groups: Sequence[int], name: str) -> pa.Array:
        """Return a column, decoded piece by piece."""
        pieces = []
        for group in groups:
            rows, size = _PIECE_BYTES // max(self.footer.chunk(group, name).expanded, 1), 0
            for piece in file.iter_batches(max(rows, 1), [group], [name], use_threads=False):
                pieces.append(plain(piece.column(0)))
                size += text_bytes(pieces[-1])
                if size > limits.CHUNK_BYTES:
                    raise ValueError(
                        f"column {name!r} of row group {group} has more than {limits.CHUNK_BYTES} bytes"
                    )
        return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)

    def _check_decoded(self, name: str, array: pa.Array, rows: int) -> None:
        if array.type != self._kind(name) or len(array) != rows:
            raise ValueError(f"{len(array)} values of {array.type} in column {name!r} of {rows} rows")
        if pa.types.is_string(array.type):
            # That it is UTF-8 is the writer's word.
            array.validate(full=True)

    def _fetch(self, wanted: list[tuple[int, int]]) -> list[tuple[int, bytes]]:
        """Return the checked bytes of column chunks, by position."""
        chunks = sorted((*self.footer.chunks[g][c][:2], g, c) for g, c in wanted)
        parts = self._ranges([chunk[:2] for chunk in chunks])
        for start, length, g, c in chunks:
            view = cut(parts, start, length)
            if chunk_digest(view) != self.footer.digest(g, c):
                raise self._corrupt(f"row group {g} of column {c} is altered")
            self._check_pages(view, g, c)
        return parts

    def _ranges(self, wanted: list[tuple[int, int]]) -> list[tuple[int, bytes]]:
        """Return the bytes of (start, length) ranges, in their order; those
        that are near each other by one request.
        """
        runs: list[tuple[int, int]] = []
        for start, length in wanted:
            if runs and start - sum(runs[-1]) <= _GAP:
                runs[-1] = (runs[-1][0], start + length - runs[-1][0])
            else:
                runs.append((start, length))
        return list(
            zip([start for start, _ in runs], self._store.get_ranges(self.entry.path, runs), strict=True)
        )

    def filters(self, groups: Sequence[int], column: str) -> dict[int, KeyFilter]:
        """Return the filters of row groups, cached; nothing if the file has
        none.

        Parameters
        ----------
        groups
            Which row groups, ascending.
        column
            The column that rows are sorted by first.
        """
        if not self.footer.has_filters:
            return {}
        cached = {group: self._cache.get((self.entry.path, "filter", group)) for group in groups}
        found = {group: known for group, known in cached.items() if known is not None}
        missing = [group for group in groups if group not in found]
        return found | self._load_filters(missing, column) if missing else found

    def _load_filters(self, groups: Sequence[int], column: str) -> dict[int, KeyFilter]:
        found = {}
        try:
            places = {group: self.footer.filter(group, column) for group in groups}
            parts = self._ranges(sorted(place[:2] for place, _ in places.values()))
            for group, (place, wanted) in places.items():
                data = cut(parts, place.start, place.length)
                if chunk_digest(data) != wanted:
                    raise ValueError("it is altered")
                kept = found[group] = KeyFilter(bytes(data))
                self._cache.put((self.entry.path, "filter", group), kept, kept.nbytes + 300)
        except (ValueError, IndexError) as err:
            raise self._corrupt(f"its key filters cannot be read ({err})") from err
        return found

    def _check_pages(self, chunk: memoryview, group: int, column: int) -> None:
        try:
            check_pages(chunk, self.footer.rows(group), self.footer.chunks[group][column].expanded)
        except ValueError as err:
            raise self._corrupt(f"row group {group} of column {column}: {err}") from err

    def whole(self) -> bytes:
        """Return the object, compared with the manifest's size and digest.

        Raises
        ------
        CorruptStoreError
            They differ.
        """
        data = self._store.get(self.entry.path, self.entry.bytes)
        self.check(data)
        return data

    def check(self, data: bytes) -> None:
        """Compare what was read elsewhere; see `whole`."""
        if len(data) != self.entry.bytes:
            raise self._corrupt(f"it has {len(data)} bytes, the manifest says {self.entry.bytes}")
        if digest(data) != self.entry.digest:
            raise self._corrupt("it is altered")
        size = self._footer_size()
        self._cache.load((self.entry.path, "footer"), lambda: self._parsed(data[-size:]))

    def check_whole(self) -> None:
        """Compare the object with the manifest; see `whole`."""
        self.whole()
