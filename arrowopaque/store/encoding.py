"""Rows as a Parquet object, as it is stored."""

from __future__ import annotations

__all__ = ["Encoded", "Layout", "encode"]

import base64
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
_FALSE_POSITIVES = 0.003
"""Of keys that are not there, for each of which a row group's keys are read in
vain; with it a full row group takes two bytes a row.
"""
_SAMPLES, _SAMPLE_ROWS = 4, 512
"""Pieces of a column that are encoded on trial, and their rows: what is true of
its beginning alone, as of the first rows in time, is not to decide.
"""
_WORTHWHILE = 0.95
"""Share of a column's bytes from which on to compress it is not worth its time."""


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


class _Columns:
    """How each column is encoded and compressed."""

    def __init__(self, table: pa.Table, leading: str) -> None:
        self.dictionary: list[str] = []
        self.encodings: dict[str, str] = {}
        self.codecs = dict.fromkeys(table.column_names, "zstd")
        for name, column in zip(table.column_names, table.columns, strict=True):
            if not has_any_length(column.type):
                self._add_numbers(name, column, name == leading)
            elif is_repetitive(column):
                self.dictionary.append(name)
            else:
                # Where neighbours are not alike, zstd finds what values share in two thirds of the time, to
                # write and to read; and a reader knows that they are no more than the page.
                self.encodings[name] = "DELTA_BYTE_ARRAY" if name == leading else "DELTA_LENGTH_BYTE_ARRAY"

    def _add_numbers(self, name: str, column: pa.ChunkedArray, is_leading: bool) -> None:
        """Choose for values of one width, by some of them: those that follow
        each other, like places of rows, differ by less than they are; those
        that do not may have high bytes in common; random ids have nothing.
        """
        is_integer = pa.types.is_integer(column.type)
        if is_integer:
            self.encodings[name] = "DELTA_BINARY_PACKED"
        if len(column) < _SAMPLES * _SAMPLE_ROWS:
            return
        sample = _sample(column)
        encodings = [self.encodings.get(name, "PLAIN")]
        if is_integer and not is_leading:
            encodings.append("BYTE_STREAM_SPLIT")
        trials = {encoding: _encoded(sample, encoding) for encoding in encodings}
        best = self.encodings[name] = min(encodings, key=lambda encoding: trials[encoding].length)
        if trials[best].length > _WORTHWHILE * trials[best].expanded:
            self.codecs[name] = "none"


def _sample(column: pa.ChunkedArray) -> pa.ChunkedArray:
    starts = np.linspace(0, len(column) - _SAMPLE_ROWS, _SAMPLES, dtype=int).tolist()
    pieces = [column.slice(start, _SAMPLE_ROWS).chunks for start in starts]
    return pa.chunked_array(itertools.chain.from_iterable(pieces), column.type)


def _encoded(column: pa.ChunkedArray, encoding: str) -> Chunk:
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table([column], names=["c"]), sink, use_dictionary=False, column_encoding={"c": encoding},
        compression="zstd", write_statistics=False, store_schema=False,
    )  # fmt: skip
    return chunks_of(_metadata(sink.getvalue()))[0][0]


def _metadata(stored: pa.Buffer) -> pq.FileMetaData:
    return pq.read_metadata(pa.BufferReader(stored))


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
    columns = _Columns(table, leading)
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
        compression=columns.codecs,
        use_dictionary=columns.dictionary,
        column_encoding=columns.encodings or None,
        write_statistics=layout.has_statistics,
        bloom_filter_options=_filter_options(leading, min(table.num_rows, row_group_rows))
        if filters
        else None,
    )
    with writer:
        writer.write_table(to_exact(table, schema), row_group_size=row_group_rows)
        writer.add_key_value_metadata({_COLUMNS: json.dumps(notes), **facts, DIGESTS: blank})
    stored = sink.getvalue()
    metadata, view = _metadata(stored), memoryview(stored)
    size = footer_length(view) + TRAILER
    chunks = [chunk for group in chunks_of(metadata) for chunk in group]
    footer = bytearray(view[-size:])
    _fill_in(footer, blank, view, chunks)
    if filters:
        _fill_in(footer, facts[FILTERS], view, filters_of(metadata, table.column_names.index(leading)))
    sealed = b"".join([view[:-size], footer])
    _check_limits(table, sealed, size, row_group_rows)
    _check_chunks(table, max(chunk.expanded for chunk in chunks), row_group_rows)
    said = {
        "rows": table.num_rows,
        "bytes": len(sealed),
        "digest": digest(sealed),
        "footer": size,
        "footer_digest": digest(footer),
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


def _check_limits(table: pa.Table, data: bytes, footer: int, row_group_rows: int) -> None:
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


def _fill_in(footer: bytearray, blank: str, stored: memoryview, parts: Sequence[Chunk]) -> None:
    """Put the digests of parts of an object in the place of ``blank``."""
    digests = b"".join(chunk_digest(stored[part.start : part.start + part.length]) for part in parts)
    # The key-value metadata comes after the row groups and their statistics.
    place = footer.rfind(blank.encode())
    footer[place : place + len(blank)] = base64.b64encode(digests)


def _filter_options(column: str, rows: int) -> dict[str, dict[str, float]]:
    return {column: {"ndv": rows, "fpp": _FALSE_POSITIVES}}
