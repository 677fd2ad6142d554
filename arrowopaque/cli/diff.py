"""``diff``: which rows differ between two versions."""

from __future__ import annotations

__all__ = ["diff"]

import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
import pyarrow as pa
from rich.table import Table

from arrowopaque.cli.command import Command, pass_output
from arrowopaque.cli.exits import Exit
from arrowopaque.cli.formats import TEXT, format_of, rows_of, show_rows, write_rows
from arrowopaque.cli.output import Output
from arrowopaque.cli.target import open_target, target_argument, tell_of_files

if TYPE_CHECKING:
    from arrowopaque.difference import Counts, Difference


FIELDS = {
    "tables.TABLE.added": "rows whose key is in V2 alone",
    "tables.TABLE.removed": "rows whose key is in V1 alone",
    "tables.TABLE.changed": "rows whose key is in both, with another value",
    "tables.TABLE.rows[].change": "added, removed, or how a changed row was before and after",
    "tables.TABLE.rows[].row.COLUMN": "its values",
}


@click.command(cls=Command, json_fields=FIELDS)
@target_argument
@click.argument("versions", metavar="V1 V2", nargs=2)
@click.option("--table", metavar="TABLE", help="Compare this table alone.")
@click.option(
    "--rows",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show so many of the rows that differ, at most, of each table.  [default: 0; with csv all]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(TEXT),
    help="csv has the rows alone; --json is the same as --format json.  [default: table]",
)
@pass_output
def diff(
    output: Output,
    place: str,
    versions: tuple[str, str],
    table: str | None,
    rows: int | None,
    kind: str | None,
) -> None:
    """Count the rows that differ between two versions, and show them.

    V1 and V2 are versions, or times (ISO 8601, UTC if they name no zone). In
    a repository a version is one of --table. Ends with code 1 if rows
    differ.
    """
    kind = format_of(output, kind)
    output.as_json = kind == "json"
    with open_target(place) as target:
        files = target.files
        found = files.diff(*versions, *([table] if table else []))
        if not files.is_owned:
            tell_of_files(output, f"between {versions[0]} and {versions[1]}")
        counts = _counts(output, found)
        if kind == "csv":
            _write_csv({name: found[name] for name in counts if counts[name]}, rows)
        else:
            _show(output, found, counts, rows or 0)
    if any(counts.values()):
        click.get_current_context().exit(Exit.FOUND)


def _counts(output: Output, found: Mapping[str, Difference]) -> dict[str, Counts]:
    with output.progress("comparing", sum(map(len, found.values()))) as done:
        return {name: difference.counts(done) for name, difference in found.items()}


def _write_csv(found: Mapping[str, Difference], limit: int | None) -> None:
    if len(found) > 1:
        raise click.UsageError(f"csv has rows of one table: give --table, one of {', '.join(found)}.")
    for difference in found.values():
        batches = _limited(difference.rows(), limit)
        for first in batches:
            rest = itertools.chain([first], batches)
            write_rows("csv", first.schema, rest, sys.stdout.buffer)


def _limited(batches: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """Yield the first rows, and compute no more of them."""
    left = limit
    while left is None or left > 0:
        batch = next(batches, None)
        if batch is None:
            return
        yield batch.slice(0, left)
        left = None if left is None else left - batch.num_rows


def _show(output: Output, found: Mapping[str, Difference], counts: Mapping[str, Counts], limit: int) -> None:
    rows = {name: list(_limited(difference.rows(), limit)) for name, difference in found.items()}
    data = {
        name: {**asdict(count), "rows": [row for batch in rows[name] for row in _rows_of(batch)]}
        for name, count in counts.items()
    }
    table = Table("table", "added", "removed", "changed", title="Rows that differ")
    for name, count in counts.items():
        table.add_row(name, *(f"{number:,}" for number in asdict(count).values()))
    output.show({"tables": data}, table)
    if not output.as_json:
        for batches in rows.values():
            if batches:
                show_rows(output.stdout, batches[0].schema, batches)


def _rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield rows as JSON has them, apart from what they are."""
    names = batch.schema.names[1:]
    rows = rows_of(pa.RecordBatch.from_arrays(batch.columns[1:], names=names))
    for change, row in zip(batch.column(0).to_pylist(), rows, strict=True):
        yield {"change": change, "row": row}
