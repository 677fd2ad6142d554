"""Rows in the formats that commands write: streamed, batch by batch."""

from __future__ import annotations

__all__ = ["BINARY", "FORMATS", "TEXT", "file_to_write", "format_of", "rows_of", "show_rows", "write_rows"]

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import click
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from arrowopaque import clock
from arrowopaque.cli.output import Output, print_whole
from arrowopaque.errors import ConfigurationError, StoreAccessError

SHOWN_ROWS = 1000
"""The most rows that are shown to people."""

Batches = Iterable[pa.RecordBatch]


def write_rows(name: str, schema: pa.Schema, batches: Batches, stream: BinaryIO) -> None:
    """Write rows as bytes.

    Parameters
    ----------
    name
        One of `FORMATS`, but ``table``.
    schema
        The columns.
    batches
        The rows; no more than one batch of them is held.
    stream
        Where to.

    Raises
    ------
    ConfigurationError
        Two columns have one name, and the format cannot tell them apart.
    """
    twice = next((column for column in schema.names if schema.names.count(column) > 1), None)
    if twice is not None and name != "csv":
        raise ConfigurationError(f"{name} cannot hold two columns {twice!r}: give one another name, with AS")
    _WRITERS[name](schema, batches, stream)
    stream.flush()


def _write_csv(schema: pa.Schema, batches: Batches, stream: BinaryIO) -> None:
    kinds = [field.type if _is_of_csv(field.type) else pa.string() for field in schema]
    # Names may repeat, which fields of a schema may too.
    texts = pa.schema([pa.field(field.name, kind) for field, kind in zip(schema, kinds, strict=True)])
    with pa.csv.CSVWriter(stream, texts) as writer:
        for batch in batches:
            columns = [
                column if _is_of_csv(column.type) else pa.array(_texts(column), pa.string())
                for column in batch.columns
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=texts))


def _is_of_csv(kind: pa.DataType) -> bool:
    """Return whether Arrow writes values of a type as we want them."""
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(is_text or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _texts(column: pa.Array) -> Iterator[str | None]:
    for value in column.to_pylist():
        yield None if value is None else text_of(value)


def text_of(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    plain = plain_of(value)
    return plain if isinstance(plain, str) else json.dumps(plain, default=plain_of)


def plain_of(value: Any) -> Any:
    """Return what JSON has for a value."""
    if isinstance(value, Decimal):
        # Sums of integers are decimals to DuckDB.
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if isinstance(value, bool | int | float | list | dict) else str(value)


def _write_json(schema: pa.Schema, batches: Batches, stream: BinaryIO) -> None:
    """Write an array, each row on a line of its own."""
    separator = b"["
    for batch in batches:
        for row in rows_of(batch):
            stream.write(separator + b"\n" + json.dumps(row, default=plain_of, allow_nan=False).encode())
            separator = b","
    stream.write((b"[" if separator == b"[" else b"\n") + b"]\n")


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield rows as what JSON has; it has no NaN and no infinity."""
    columns = [
        pc.if_else(pc.is_finite(column), column, None) if pa.types.is_floating(column.type) else column
        for column in batch.columns
    ]
    for row in zip(*(column.to_pylist() for column in columns), strict=True):
        yield dict(zip(batch.schema.names, row, strict=True))


def _write_parquet(schema: pa.Schema, batches: Batches, stream: BinaryIO) -> None:
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_arrow(schema: pa.Schema, batches: Batches, stream: BinaryIO) -> None:
    with pa.ipc.new_file(stream, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


_WRITERS: dict[str, Callable[[pa.Schema, Batches, BinaryIO], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
    "arrow": _write_arrow,
}
TEXT = ("table", "csv", "json")
BINARY = ("parquet", "arrow")
"""What no terminal shows."""
FORMATS = (*TEXT, *BINARY)


def format_of(output: Output, kind: str | None) -> str:
    """Return the format that ``--format`` and ``--json`` ask for.

    Raises
    ------
    click.UsageError
        They ask for two.
    """
    if output.as_json and kind not in (None, "json"):
        raise click.UsageError(f"--json and --format {kind} are two formats: give one.")
    return kind or ("json" if output.as_json else "table")


def show_rows(console: Console, schema: pa.Schema, batches: Batches) -> str:
    """Show the first rows to people, and return how many in words."""
    table = Table()
    for name in schema.names:
        table.add_column(Text(name))
    rows = (row for batch in batches for row in zip(*(c.to_pylist() for c in batch.columns), strict=True))
    for row in itertools.islice(rows, SHOWN_ROWS):
        table.add_row(*(Text("NULL", "dim") if value is None else Text(text_of(value)) for value in row))
    print_whole(console, table)
    if next(rows, None) is not None:
        return f"the first {table.row_count:,} rows; for all of them use another --format"
    return f"{table.row_count:,} row" + "s" * (table.row_count != 1)


@contextmanager
def file_to_write(path: str) -> Iterator[BinaryIO]:
    """Give a new file, which gets its name when all has been written.

    Raises
    ------
    StoreAccessError
        The file cannot be written.
    """
    place = Path(path)
    # Beside it, so that it can be renamed.
    part = place.with_name(f".{place.name}.{clock.new_id()[:8]}")
    try:
        stream = part.open("xb")
    except OSError as err:
        raise StoreAccessError(f"{path} cannot be written: {err.strerror}") from err
    try:
        with stream:
            yield stream
        os.replace(part, place)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
