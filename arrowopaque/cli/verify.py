"""``verify``: prove a store sound."""

from __future__ import annotations

__all__ = ["verify"]

import click
from rich.table import Table

from arrowopaque.cli.command import Command, pass_output
from arrowopaque.cli.exits import Exit
from arrowopaque.cli.output import Output
from arrowopaque.cli.target import at_option, open_target, store_at, target_argument
from arrowopaque.maintain.findings import Check, Level, VerifyReport

FIELDS = {
    "tables.TABLE.rows": "visible rows, of data files and database",
    "tables.TABLE.delta": "rows that are only in the database",
    "tables.TABLE.tombstones": "rows of data files whose deletion is only in the database",
    "tables.TABLE.files": "data files",
    "tables.TABLE.bytes": "of data files and indexes",
    "findings[].check": "what did not hold: " + ", ".join(Check),
    "findings[].table": "the table concerned; null for the store as a whole",
    "findings[].object": "the object, as a URI, or the table as a whole",
    "findings[].problem": "what is wrong with it",
    "findings[].advice": "what to do about it",
}


@click.command(cls=Command, json_fields=FIELDS)
@target_argument
@click.option(
    "--level",
    type=click.Choice([level.value for level in Level]),
    default=Level.FULL.value,
    show_default=True,
    help="Read every byte, or only the catalog, manifests, listings and footers.",
)
@at_option
@pass_output
@click.pass_context
def verify(ctx: click.Context, output: Output, place: str, level: str, at: str | None) -> None:
    """Prove a store sound, and list all that is not.

    Ends with code 1 if there is something.
    """
    with open_target(place) as target:
        report = store_at(output, target, at).verify(level, raising=False, doing=output.progress)
    output.show(_data(report), *_told(report))
    if report.findings:
        output.say(f"{len(report.findings)} findings in {place}")
        ctx.exit(Exit.FOUND)


def _data(report: VerifyReport) -> dict[str, object]:
    return {"tables": report.tables, "findings": report.findings}


def _told(report: VerifyReport) -> list[Table | str]:
    looked_at = Table("table", "files", "rows", "bytes", title="Looked at")
    for name, table in report.tables.items():
        looked_at.add_row(name, str(table.files), f"{table.rows:,}", f"{table.bytes:,}")
    return [looked_at, *(f"{finding.check}: {finding.error()}" for finding in report.findings)]
