"""``history``: which versions there are, and what each changed."""

from __future__ import annotations

__all__ = ["history"]

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC
from typing import Any

import click
from rich.table import Table

from arrowopaque.cli.command import Command, pass_output
from arrowopaque.cli.output import Output, bytes_text
from arrowopaque.cli.target import at_option, open_target, target_argument
from arrowopaque.store.history import TableChange, Version

FIELDS = {
    "versions[].version": "of the root; in a repository, of the data files of the table that it changed",
    "versions[].created": "when it was committed, by the clock of the host that did",
    "versions[].commit": "the commit's id",
    "versions[].writer": "that host; null in a repository, which does not record it",
    "versions[].changes[].table": "a table that it changed, or all where what it changed is not known",
    "versions[].changes[].rows": "rows in the table's data files after it",
    "versions[].changes[].files": "data files after it",
    "versions[].changes[].bytes": "bytes of those, without indexes",
    "versions[].changes[].rows_added": "rows that came; null, as all below, where the version before is gone",
    "versions[].changes[].rows_removed": "rows that went, or were replaced",
    "versions[].changes[].rows_rewritten": "as many rows came in new files as went with old ones: "
    "a compaction, or a replacement of all of them",
    "versions[].changes[].files_added": "data files that came",
    "versions[].changes[].files_removed": "data files that went",
    "older": "whether there are older versions: none, deleted, or not shown",
}


@click.command(cls=Command, json_fields=FIELDS)
@target_argument
@click.argument("table", required=False, metavar="[TABLE]")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    default=20,
    show_default=True,
    help="The most versions to show.",
)
@at_option
@pass_output
def history(output: Output, place: str, table: str | None, limit: int, at: str | None) -> None:
    """Show the versions of a store, newest first, and what each changed.

    A root counts versions of the whole store; in a repository each TABLE
    counts those of its own data files.
    """
    with open_target(place) as target:
        files = target.files
        if at is not None:
            files = files.at(at, *([table] if table else []))
        found = list(itertools.islice(files.history(table), limit + 1))
    shown = found[:limit]
    older = _older(found, limit)
    output.show({"versions": [_data(version) for version in shown], "older": older}, _told(shown))
    if older == "deleted":
        output.say("older versions are not there any more: a vacuum has taken them, or a recovery")
    elif older == "not shown":
        output.say(f"there are older versions: show more with --limit {2 * limit}")


def _older(found: Sequence[Version], limit: int) -> str:
    if len(found) > limit:
        return "not shown"
    return "deleted" if any(version.is_oldest for version in found) else "none"


def _data(version: Version) -> dict[str, Any]:
    data = asdict(version)
    del data["is_oldest"]
    return data


def _told(versions: Sequence[Version]) -> Table:
    table = Table(title="Versions")
    for heading in ("version", "when (UTC)"):
        table.add_column(heading, no_wrap=True)
    for heading in ("by", "commit", "table"):
        table.add_column(heading, overflow="fold")
    for heading in ("changed rows", "files", "rows", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for version in versions:
        when = version.created.astimezone(UTC)
        about = (str(version.version), f"{when:%Y-%m-%d %H:%M}", version.writer or "", version.commit[:8])
        for change in version.changes:
            table.add_row(*about, change.table, *_counts(change))
        if not version.changes:
            table.add_row(*about)
    return table


def _counts(change: TableChange) -> tuple[str, ...]:
    rows = _signed(change.rows_added, change.rows_removed)
    if change.rows_rewritten:
        rows = f"{change.rows_rewritten:,} rewritten"
    files = _signed(change.files_added, change.files_removed)
    return rows, files, f"{change.rows:,}", bytes_text(change.bytes)


def _signed(added: int | None, removed: int | None) -> str:
    return "?" if added is None or removed is None else f"+{added:,} -{removed:,}"
