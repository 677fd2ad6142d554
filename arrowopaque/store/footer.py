"""A Parquet footer, of which nothing is believed that was not checked."""

from __future__ import annotations

__all__ = [
    "BOUNDS",
    "DIGESTS",
    "FILTERS",
    "TRAILER",
    "Chunk",
    "Footer",
    "chunk_digest",
    "chunks_of",
    "filters_of",
    "footer_length",
]

import base64
import hashlib
import io
import json
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from arrowopaque.format import limits
from arrowopaque.format.columns import few_values
from arrowopaque.format.thrift import Reader

DIGESTS = "arrowopaque.digests"
BOUNDS = "arrowopaque.bounds"
FILTERS = "arrowopaque.filters"
DIGEST_BYTES = 16
TRAILER = 8
"""Bytes of the footer's length and of the closing magic."""
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_ARROW_SCHEMA = b"ARROW:schema"
"""Would make the reader return other types than those that are stored."""


def footer_length(data: bytes | memoryview) -> int:
    """Return the bytes that a footer says it has, without its trailer."""
    return int.from_bytes(data[-TRAILER:-4], "little")


def chunk_digest(data: bytes | bytearray | memoryview) -> bytes:
    """Return the digest of a column chunk."""
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]


class Chunk(NamedTuple):
    """Where a column chunk lies, and how many bytes it says that it is,
    decompressed.
    """

    start: int
    length: int
    expanded: int
    has_dictionary: bool = False


def _place(chunk: pq.ColumnChunkMetaData) -> Chunk:
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    return Chunk(start, chunk.total_compressed_size, chunk.total_uncompressed_size, chunk.has_dictionary_page)


def chunks_of(metadata: pq.FileMetaData) -> list[list[Chunk]]:
    """Return every column chunk, by row group."""
    groups = (metadata.row_group(g) for g in range(metadata.num_row_groups))
    return [[_place(group.column(c)) for c in range(metadata.num_columns)] for group in groups]


def _filter_place(chunk: pq.ColumnChunkMetaData) -> Chunk:
    start, length = chunk.bloom_filter_offset, chunk.bloom_filter_length
    if start is None or length is None:
        raise ValueError(f"column {chunk.path_in_schema!r} of a row group has no key filter")
    return Chunk(start, length, length)


def filters_of(metadata: pq.FileMetaData, column: int) -> list[Chunk]:
    """Return where the Bloom filters of a column lie, by row group.

    Raises
    ------
    ValueError
        A row group has none.
    """
    return [_filter_place(metadata.row_group(g).column(column)) for g in range(metadata.num_row_groups)]


def _columns(schema: pq.ParquetSchema) -> list[tuple[Any, ...]]:
    """Return what of a schema decides how values are read."""
    columns = (schema.column(c) for c in range(len(schema.names)))
    facts = ("path", "physical_type", "length", "max_definition_level", "max_repetition_level")
    return [(*(getattr(column, fact) for fact in facts), str(column.logical_type)) for column in columns]


@lru_cache(64)
def _expected(schema: pa.Schema) -> list[tuple[Any, ...]]:
    sink = io.BytesIO()
    pq.ParquetWriter(sink, schema, store_schema=False).close()
    return _columns(pq.read_metadata(io.BytesIO(sink.getvalue())).schema)


def _check_values(tail: bytes) -> None:
    try:
        Reader(tail[:-TRAILER], limits.FOOTER_VALUES).struct(0)
    except IndexError as err:
        raise ValueError("it ends within a value") from err


class Footer:
    """A checked footer.

    Parameters
    ----------
    tail
        The footer with its trailer.
    size
        Bytes of the whole object.
    schema
        The columns that it must have.

    Raises
    ------
    ValueError, pyarrow.ArrowException, OSError, KeyError
        It cannot be read, or is not such a footer.
    """

    __slots__ = ("_bounds", "_end", "_filters", "chunks", "digests", "metadata", "offsets", "positions")

    def __init__(self, tail: bytes, size: int, schema: pa.Schema) -> None:
        if tail[-4:] == _ENCRYPTED:
            raise ValueError("it is encrypted")
        if tail[-4:] != _MAGIC or footer_length(tail) + TRAILER != len(tail):
            raise ValueError(f"a footer of {footer_length(tail)} bytes is stated")
        if len(tail) > limits.FOOTER_UNCOUNTED:
            _check_values(tail)
        file = pq.ParquetFile(pa.BufferReader(tail), thrift_container_size_limit=limits.ROW_GROUPS)
        self.metadata = file.metadata
        stored = self.metadata.metadata or {}
        if _ARROW_SCHEMA in stored:
            raise ValueError("it has an Arrow schema of its own")
        found, wanted = _columns(self.metadata.schema), _expected(schema)
        if found != wanted:
            odd = next((c for c in found if c not in wanted), None)
            raise ValueError(f"its columns are not {schema.names}" + (f": {odd}" if odd else ""))
        self.digests = base64.b64decode(stored[DIGESTS.encode()], validate=True)
        self.positions = {name: c for c, name in enumerate(schema.names)}
        self.offsets = [0]
        types, groups = [column[1] for column in found], range(self.metadata.num_row_groups)
        self.chunks = [self._group(g, 4, size - len(tail), types) for g in groups]
        self._bounds = stored.get(BOUNDS.encode())
        self._filters = base64.b64decode(stored.get(FILTERS.encode(), b""), validate=True)
        self._end = size - len(tail)
        if len(self.digests) != len(self.chunks) * len(self.positions) * DIGEST_BYTES:
            raise ValueError("the digests do not match the column chunks")
        if len(self._filters) not in (0, len(self.chunks) * DIGEST_BYTES):
            raise ValueError("the digests do not match the key filters")

    def _group(self, number: int, low: int, high: int, types: list[str]) -> list[Chunk]:
        """Check a row group, whose chunks must lie in ``[low, high)`` and be
        of the schema's types.
        """
        group = self.metadata.row_group(number)
        rows = group.num_rows
        if not (1 if self.metadata.num_row_groups > 1 else 0) <= rows <= limits.GROUP_ROWS:
            raise ValueError(f"row group {number} has {rows} rows, the limit is {limits.GROUP_ROWS}")
        self.offsets.append(self.offsets[-1] + rows)
        places = []
        for c in range(len(self.positions)):
            chunk = group.column(c)
            if chunk.physical_type != types[c]:
                # To ask Arrow for its statistics would end the process.
                raise ValueError(f"row group {number} of column {c} is of type {chunk.physical_type}")
            place = _place(chunk)
            start, length, expanded, _ = place
            what = f"row group {number} of column {c}"
            inside = low <= start and 0 < length <= high - start
            if chunk.file_path or not (inside or rows == length == 0):
                raise ValueError(f"{what} lies elsewhere: {length} bytes at {start}")
            if rows and chunk.has_dictionary_page and start >= chunk.data_page_offset:
                # Arrow would begin at the other page, which no digest proves.
                raise ValueError(f"{what} has its dictionary at {start}, after its rows")
            if chunk.num_values != rows:
                raise ValueError(f"{what} has {chunk.num_values} values, not {rows}")
            if not 0 <= expanded <= limits.CHUNK_BYTES:
                raise ValueError(f"{what} expands to {expanded} bytes, the limit is {limits.CHUNK_BYTES}")
            places.append(place)
        return places

    def bounds(self, kind: pa.DataType) -> tuple[pa.Array, pa.Array] | None:
        """Return the least and the greatest value that each row group has in
        the column, of type ``kind``, by which rows are sorted; `None` if
        nothing is said.

        Raises
        ------
        ValueError, TypeError, pyarrow.ArrowException
            They are no such values.
        """
        if self._bounds is None:
            return None
        ends = json.loads(self._bounds)
        if not isinstance(ends, list) or len(ends) != len(self.chunks):
            raise ValueError(f"not one pair for each of {len(self.chunks)} row groups")
        is_text = pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
        least, most = [
            few_values([end if is_text else bytes.fromhex(end) for end in side], kind)
            for side in zip(*ends, strict=True)
        ]
        if least.null_count or most.null_count:
            raise ValueError("NULL among them")
        return least, most

    def chunk(self, group: int, name: str) -> Chunk:
        """Return a column chunk."""
        return self.chunks[group][self.positions[name]]

    def rows(self, group: int) -> int:
        """Return the rows of a row group."""
        return self.offsets[group + 1] - self.offsets[group]

    def digest(self, group: int, column: int) -> bytes:
        """Return the digest that a column chunk must have."""
        at = (group * self.metadata.num_columns + column) * DIGEST_BYTES
        return self.digests[at : at + DIGEST_BYTES]

    @property
    def has_filters(self) -> bool:
        """Whether every row group has a filter of the column that rows are
        sorted by first.
        """
        return bool(self._filters)

    def filter(self, group: int, column: str) -> tuple[Chunk, bytes]:
        """Return where a row group's filter lies, and the digest that it must
        have.

        Raises
        ------
        ValueError
            It lies elsewhere, or is longer than is taken.
        """
        place = _filter_place(self.metadata.row_group(group).column(self.positions[column]))
        if not (4 <= place.start and 0 < place.length <= self._end - place.start):
            raise ValueError(f"the key filter of row group {group} lies elsewhere")
        if place.length > limits.FILTER_BYTES:
            raise ValueError(f"the key filter of row group {group} has {place.length} bytes")
        at = group * DIGEST_BYTES
        return place, self._filters[at : at + DIGEST_BYTES]
