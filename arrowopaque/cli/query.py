"""``query``: SQL over the tables."""

from __future__ import annotations

__all__ = ["query"]

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import click
import pyarrow as pa
from rich.console import Console

from arrowopaque.cli.command import Command, pass_output
from arrowopaque.cli.formats import BINARY, FORMATS, file_to_write, format_of, show_rows, write_rows
from arrowopaque.cli.interruptible import heeding_interrupts, interruptible, stopped
from arrowopaque.cli.output import Output
from arrowopaque.cli.target import Target, at_option, open_target, store_at, target_argument
from arrowopaque.errors import ConfigurationError, StoreAccessError

_BATCH = 65_536
"""Rows that are held at once."""


FIELDS = {
    "[].COLUMN": "an array of rows, each an object on a line of its own; what JSON has not is text, "
    "bytes are hexadecimal, NaN and infinity are null",
}


@click.command(cls=Command, json_fields=FIELDS)
@target_argument
@click.argument("sql", required=False, metavar="[SQL]")
@at_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="How to write the rows; --json is the same as --format json.  [default: table]",
)
@click.option("-o", "--output", "file", metavar="FILE", help="Write the rows to a file, not to stdout.")
@pass_output
def query(
    output: Output, place: str, sql: str | None, at: str | None, kind: str | None, file: str | None
) -> None:
    """Ask the tables something in SQL, as DuckDB has it.

    SQL is a SELECT over one view a table, and in a repository also over
    datasets, dataset_types, collections, collection_members,
    dataset_locations and trash; "-" reads it from stdin. Without it a prompt
    takes statements, each ended by ";". An arrow file is one of Arrow IPC,
    or Feather 2. UUIDs are text unless the SQL begins with "SET
    arrow_lossless_conversion = true;".
    """
    kind = _kind(output, kind, file)
    text = sys.stdin.read() if sql == "-" else sql
    if text is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError('no SQL: give a SELECT, or "-" to read it from stdin.')
    if text is None and (file is not None or kind in BINARY):
        raise click.UsageError("a prompt answers at the terminal: give SQL to write a file.")
    with open_target(place) as target:
        if text is None:
            _converse(output, target, at, kind)
        else:
            with _rows(_asked(output, target, at, text), text) as rows:
                _show(output, rows, kind, file)


def _kind(output: Output, kind: str | None, file: str | None) -> str:
    if kind in BINARY and file is None and sys.stdout.isatty():
        raise click.UsageError(f"{kind} is not for terminals: give -o FILE, or redirect stdout.")
    return format_of(output, kind)


class _Rows(NamedTuple):
    """What a query answers, as it is computed."""

    reader: pa.RecordBatchReader
    stop: Callable[[], None]
    """Lets that fail."""


@contextmanager
def _rows(asked: Any, text: str) -> Iterator[_Rows]:
    # Imported late: it takes a tenth of a second.
    from arrowopaque.query import interrupt

    with heeding_interrupts():
        relation = asked.sql(text)
    stop = partial(interrupt, relation)
    rows = _Rows(interruptible(partial(relation.to_arrow_reader, _BATCH), stop), stop)
    try:
        yield rows
    finally:
        # Alone it may wait for what DuckDB computes ahead, however long that takes.
        stopped(rows.reader.close, stop)


def _batches(rows: _Rows, done: Callable[[float], None]) -> Iterator[pa.RecordBatch]:
    """Yield an answer; what fails on the way is DuckDB's, though Arrow
    raises it.
    """
    while (batch := _next_batch(rows)) is not None:
        yield batch
        done(batch.num_rows)


def _next_batch(rows: _Rows) -> pa.RecordBatch | None:
    try:
        return interruptible(rows.reader.read_next_batch, rows.stop)
    except StopIteration:
        return None
    except (OSError, pa.ArrowException) as err:
        kind = StoreAccessError if str(err).startswith("IO Error") else ConfigurationError
        raise kind(str(err)) from err


def _asked(output: Output, target: Target, at: str | None, text: str) -> Any:
    """Return what a query is asked of."""
    if at is None:
        return target
    from arrowopaque.query import mentioned

    return store_at(output, target, at, *mentioned(text, target.files.names()))


def _show(output: Output, rows: _Rows, kind: str, file: str | None = None) -> None:
    schema = rows.reader.schema
    if file is not None:
        with file_to_write(file) as stream, output.progress("rows", None) as done:
            _write(output, schema, _batches(rows, done), kind, stream)
        return
    batches = _batches(rows, lambda _: None)
    if kind == "table":
        output.say(show_rows(output.stdout, schema, batches))
    else:
        write_rows(kind, schema, batches, sys.stdout.buffer)


def _write(
    output: Output, schema: pa.Schema, batches: Iterator[pa.RecordBatch], kind: str, stream: BinaryIO
) -> None:
    if kind != "table":
        write_rows(kind, schema, batches, stream)
        return
    text = io.TextIOWrapper(stream, "utf-8")
    output.say(show_rows(Console(file=text), schema, batches))
    text.detach()


def _converse(output: Output, target: Target, at: str | None, kind: str) -> None:
    # Imported late: a query that is given needs no prompt.
    from arrowopaque.cli.prompt import Vocabulary, converse

    asked = target if at is None else store_at(output, target, at)
    files = target.files
    tables = {name: files.spec(name).names for name in files.names()}
    views = target.views if at is None else ()
    words = Vocabulary({**tables, **dict.fromkeys(views, ())})

    def answer(text: str) -> None:
        with _rows(asked, text) as rows:
            _show(output, rows, kind)

    converse(output, answer, words)
