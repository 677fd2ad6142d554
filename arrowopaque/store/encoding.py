"""Rows as a Parquet object, as it is stored."""

from __future__ import annotations

__all__ = ["Encoded", "Layout", "encode"]

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrowopaque.errors import ConfigurationError
from arrowopaque.format import limits
from arrowopaque.format.document import digest
from arrowopaque.format.keyfilter import can_filter
from arrowopaque.format.manifest import encode_leading
from arrowopaque.store.decoding import has_any_length, is_repetitive, text_bytes, to_exact
from arrowopaque.store.footer import (
    BOUNDS,
    DIGEST_BYTES,
    DIGESTS,
    FILTERS,
    TRAILER,
    Chunk,
    chunk_digest,
    chunks_of,
    filters_of,
    footer_length,
)

_COLUMNS = "arrowopaque.columns"
_FILTER_ROWS = 1_024
"""Rows below which keys are read as soon as a filter of them."""
_FALSE_POSITIVES = 0.03
"""Of keys that are not there; with it a full row group takes a byte a row."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows are stored."""

    row_group_rows: int
    has_filters: bool = False
    """Whether each row group says which values of its first sorted column it
    cannot have, where that is worth its bytes.
    """
    has_statistics: bool = True
    """Whether other readers are told each column's least and greatest value."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A Parquet object ready to be stored, and what a manifest says of it."""

    data: bytes
    facts: dict[str, Any]


def _encodings(table: pa.Table, leading: str) -> tuple[list[str], dict[str, str]]:
    dictionary: list[str] = []
    encodings: dict[str, str] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            if is_repetitive(column):
                dictionary.append(name)
            else:
                # Where neighbours are not alike, zstd finds what values share in two thirds of the time, to
                # write and to read; and a reader knows that they are no more than the page.
                encodings[name] = "DELTA_BYTE_ARRAY" if name == leading else "DELTA_LENGTH_BYTE_ARRAY"
        elif pa.types.is_integer(column.type):
            encodings[name] = "DELTA_BINARY_PACKED"
    return dictionary, encodings


def encode(
    table: pa.Table,
    schema: pa.Schema,
    leading: str,
    notes: dict[str, dict[str, str]],
    layout: Layout,
) -> Encoded:
    """Return a table, rows in the order given, as a Parquet object.

    Parameters
    ----------
    table
        Rows in the engine's types.
    schema
        The same columns in the types that are stored.
    leading
        The column that rows are sorted by first.
    notes
        What a reader should know of a column's values, by column.
    layout
        How it is stored.
    """
    row_group_rows = layout.row_group_rows
    # Without rows there is one group that has none.
    groups = max(1, -(-table.num_rows // row_group_rows))
    blank = "~" * _base64_length(groups * table.num_columns * DIGEST_BYTES)
    dictionary, encodings = _encodings(table, leading)
    facts = _bounds(table.column(leading), row_group_rows)
    filters = layout.has_filters and table.num_rows >= _FILTER_ROWS and can_filter(table.column(leading).type)
    if filters:
        # Of other characters, so that neither is found in the other.
        facts[FILTERS] = "^" * _base64_length(groups * DIGEST_BYTES)
    sink = pa.BufferOutputStream()
    writer = pq.ParquetWriter(
        sink,
        schema,
        store_schema=False,
        compression="zstd",
        use_dictionary=dictionary,
        column_encoding=encodings or None,
        write_statistics=layout.has_statistics,
        bloom_filter_options=_filter_options(leading, min(table.num_rows, row_group_rows))
        if filters
        else None,
    )
    with writer:
        writer.write_table(to_exact(table, schema), row_group_size=row_group_rows)
        writer.add_key_value_metadata({_COLUMNS: json.dumps(notes), **facts, DIGESTS: blank})
    data = bytearray(sink.getvalue())
    expanded = _fill_digests(data, blank)
    if filters:
        _fill_in(data, facts[FILTERS], filters_of(_metadata(data), table.column_names.index(leading)))
    footer = footer_length(data) + TRAILER
    _check_limits(table, data, footer, row_group_rows)
    _check_chunks(table, expanded, row_group_rows)
    sealed = bytes(data)
    said = {
        "rows": table.num_rows,
        "bytes": len(sealed),
        "digest": digest(sealed),
        "footer": footer,
        "footer_digest": digest(sealed[-footer:]),
    }
    return Encoded(sealed, said)


def _bounds(column: pa.ChunkedArray, row_group_rows: int) -> dict[str, str]:
    """Return what readers skip row groups by; nothing where they cannot."""
    if not len(column) or column.null_count or pa.types.is_floating(column.type):
        return {}
    starts = range(0, len(column), row_group_rows)
    stops = [*starts[1:], len(column)]
    ends = [(column[i].as_py(), column[j - 1].as_py()) for i, j in zip(starts, stops, strict=True)]
    return {BOUNDS: json.dumps([[encode_leading(end) for end in pair] for pair in ends])}


def _base64_length(size: int) -> int:
    return -(-size // 3) * 4


def _check_limits(table: pa.Table, data: bytearray, footer: int, row_group_rows: int) -> None:
    """Refuse to write what readers refuse to read."""
    groups = -(-table.num_rows // row_group_rows)
    for what, value, most in (
        ("rows", table.num_rows, limits.FILE_ROWS),
        ("bytes", len(data), limits.DATA_FILE_BYTES),
        ("row groups", groups, limits.ROW_GROUPS),
        ("rows in a row group", min(row_group_rows, table.num_rows), limits.GROUP_ROWS),
        ("bytes of a footer", footer, limits.FOOTER_BYTES),
    ):
        if value > most:
            raise ConfigurationError(
                f"a data file would have {value} {what}, readers take {most}: "
                "change the options partition_rows and row_group_rows"
            )


def _check_chunks(table: pa.Table, expanded: int, row_group_rows: int) -> None:
    """Refuse columns that take too much in one row group, encoded or not."""
    sizes = [expanded]
    for column in table.columns:
        # All of it is seldom as much as one row group may have.
        if has_any_length(column.type) and column.nbytes > limits.CHUNK_BYTES:
            starts = range(0, len(column), row_group_rows)
            sizes += [text_bytes(column.slice(start, row_group_rows)) for start in starts]
    if max(sizes) > limits.CHUNK_BYTES:
        raise ConfigurationError(
            f"a column would have {max(sizes)} bytes in one row group, readers take {limits.CHUNK_BYTES}: "
            "lower the option row_group_rows"
        )


def _fill_digests(data: bytearray, blank: str) -> int:
    """Put the chunks' digests in the place that was kept free for them, and
    return how many bytes the largest has, decompressed.
    """
    chunks = [chunk for group in chunks_of(_metadata(data)) for chunk in group]
    _fill_in(data, blank, chunks)
    return max(chunk.expanded for chunk in chunks)


def _metadata(data: bytearray) -> pq.FileMetaData:
    return pq.read_metadata(io.BytesIO(data))


def _fill_in(data: bytearray, blank: str, parts: Sequence[Chunk]) -> None:
    """Put the digests of parts of an object in the place of ``blank``."""
    view = memoryview(data)
    digests = b"".join(chunk_digest(view[part.start : part.start + part.length]) for part in parts)
    view.release()
    # The key-value metadata comes after the row groups and their statistics.
    place = data.rfind(blank.encode())
    data[place : place + len(blank)] = base64.b64encode(digests)


def _filter_options(column: str, rows: int) -> dict[str, dict[str, float]]:
    return {column: {"ndv": rows, "fpp": _FALSE_POSITIVES}}
