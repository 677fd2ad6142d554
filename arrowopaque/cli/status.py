"""``status``: what the tables consist of, and what is due."""

from __future__ import annotations

__all__ = ["status"]

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from arrowopaque.cli.command import Command, pass_output
from arrowopaque.cli.output import Output, bytes_text
from arrowopaque.cli.target import RootTarget, Target, at_option, open_target, store_at, target_argument
from arrowopaque.maintain.status import Due, StoreStatus, TableStatus

FIELDS = {
    "place": "what was asked for",
    "at": "the earlier version that was; null for now",
    "uri": "the root of the store",
    "store": "the store's id",
    "binding": "what says which files are current: registry or root",
    "tables.TABLE.rows": "visible rows, as far as they can be seen from here",
    "tables.TABLE.live": "rows of data files that no deletion vector hides",
    "tables.TABLE.deleted": "rows of data files that one hides",
    "tables.TABLE.delta": "rows that are only in the database; null at a registry's root",
    "tables.TABLE.tombstones": "rows of data files whose deletion is only in the database; null likewise",
    "tables.TABLE.bytes": "of data files, indexes and deletion vectors",
    "tables.TABLE.partitions": "ranges of the leading key column",
    "tables.TABLE.files": "data files",
    "tables.TABLE.version": "of the manifest; null before there are data files",
    "tables.TABLE.committed": "when that was, by the clock of whoever wrote it",
    "tables.TABLE.age": "seconds since then; the age of the delta is not known: its rows carry no time",
    "tables.TABLE.compaction.partitions": "partitions that `compact` would rewrite",
    "tables.TABLE.compaction.files": "files that it would merge",
    "tables.TABLE.compaction.rows": "rows that it would write",
    "tables.TABLE.full_compaction.partitions": "partitions that `compact --full` would rewrite",
    "tables.TABLE.full_compaction.files": "files that it would merge",
    "tables.TABLE.full_compaction.rows": "rows that it would write",
    "tables.TABLE.superseded": "manifests that `vacuum` would delete, about, and what only they name",
    "due[].action": "flush, compact or vacuum",
    "due[].table": "the table",
    "due[].reason": "why it is due",
    "due[].command": "what to run",
}

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


@click.command(cls=Command, json_fields=FIELDS)
@target_argument
@at_option
@pass_output
def status(output: Output, place: str, at: str | None) -> None:
    """Tell what the tables consist of, and what maintenance is due.

    Reads no data file, locks nobody out, and changes nothing. At the root of
    a registry's store it tells of what was last published there: rows that
    are only in the database do not show. An earlier version is past all
    maintenance: nothing is due.
    """
    with open_target(place) as target:
        found: StoreStatus = store_at(output, target, at).status()
        repository = _writer(target)
    due = [{**asdict(item), "command": _command(item, repository)} for item in found.due]
    data: dict[str, Any] = {
        "place": place,
        "at": at,
        "uri": found.uri,
        "store": found.store,
        "binding": found.binding,
        "tables": {name: asdict(table) for name, table in found.tables.items()},
        "due": due,
    }
    output.show(data, *_told(found, due, is_past=at is not None))


def _writer(target: Target) -> str:
    """Return what maintenance is run on: a registry's store is written through
    its repository alone, whose name is not known here.
    """
    is_offline = isinstance(target, RootTarget) and not target.root.is_owned
    return "REPO" if is_offline else shlex.quote(target.place)


def _command(due: Due, repository: str) -> str:
    return f"arrowopaque {due.action} {repository}"


def _told(found: StoreStatus, due: list[dict[str, Any]], *, is_past: bool) -> Iterator[str]:
    yield f"store {found.store} of a {found.binding}, at {found.uri}"
    for name, table in found.tables.items():
        yield from ("", name, *(f"  {what:11}{said}" for what, said in _lines(table)))
    if is_past:
        return
    yield ""
    if not due:
        yield "no maintenance is due"
    for command in dict.fromkeys(item["command"] for item in due):
        yield f"due: {command}"
        yield from (f"  {item['table']}: {item['reason']}" for item in due if item["command"] == command)


def _lines(table: TableStatus) -> Iterator[tuple[str, str]]:
    yield "rows", f"{table.rows:,}"
    yield "in files", f"{table.live:,} and {table.deleted:,} deleted"
    if table.delta is None:
        yield "recent", "unknown: only the repository's database has them"
    elif table.delta or table.tombstones:
        yield "recent", f"{table.delta:,} only in the database, {table.tombstones:,} tombstones"
    yield (
        "size",
        f"{bytes_text(table.bytes)} in {table.files:,} files, {table.partitions:,} partitions",
    )
    if table.age is not None:
        yield "version", f"{table.version}, committed {_ago(table.age)} ago"


def _ago(seconds: float) -> str:
    for unit, size in _UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' * (count > 1)}"
    return f"{max(0, int(seconds))} s"
