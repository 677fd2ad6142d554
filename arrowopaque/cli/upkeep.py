"""``flush`` and ``compact``: rewrite data files, table by table."""

from __future__ import annotations

__all__ = ["compact", "flush"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from arrowopaque.cli.command import Command, dry_run_option, pass_output, tables_argument
from arrowopaque.cli.exits import Exit
from arrowopaque.cli.output import Output
from arrowopaque.cli.target import RootTarget, open_target, target_argument
from arrowopaque.errors import ConfigurationError, ConflictError
from arrowopaque.maintain.progress import Progress
from arrowopaque.maintain.status import StoreStatus, TableStatus

_COMMON = {
    "place": "what was asked for",
    "dry_run": "whether nothing was done",
    "busy.TABLE": "why a table was left alone: others used it",
}
FLUSHED = {
    **_COMMON,
    "tables.TABLE.rows": "rows that were moved to data files, or would be",
    "tables.TABLE.tombstones": "deletions that were",
    "tables.TABLE.commits": "manifests that this took; null in a dry run",
}
COMPACTED = {
    **_COMMON,
    "tables.TABLE.partitions": "partitions that were rewritten, or would be",
    "tables.TABLE.files_before": "files that were merged, or would be",
    "tables.TABLE.files_after": "files that have taken their place; null in a dry run",
}

Act = Callable[[str, Progress], Mapping[str, Any]]


@click.command(cls=Command, json_fields=FLUSHED)
@click.argument("place", metavar="REPO")
@tables_argument
@dry_run_option
@pass_output
@click.pass_context
def flush(ctx: click.Context, output: Output, place: str, tables: tuple[str, ...], dry_run: bool) -> None:
    """Move recent rows from the registry's database to data files.

    Writers wait only for the SQL at the end. A table that others use all the
    time is left alone; then the command goes on with the others and ends
    with code 5.
    """
    with open_target(place, writeable=not dry_run) as target:
        if isinstance(target, RootTarget):
            raise ConfigurationError(
                f"{place!r} is the root of a store, not a repository: only a registry keeps rows to flush"
            )
        manager = target.store
        before = _chosen(manager.status(), tables)
        if dry_run:
            planned = {
                name: {"rows": table.delta, "tombstones": table.tombstones, "commits": None}
                for name, table in before.items()
            }
            _show(output, place, planned, None, _flushed)
            return
        counts = {name: (table.delta or 0) + (table.tombstones or 0) for name, table in before.items()}

        def act(name: str, progress: Progress) -> Mapping[str, Any]:
            found: Mapping[str, Any] = manager.flush(name, progress=progress)
            return found

        done, busy = _each(output, counts, act)
    _show(output, place, done, busy, _flushed)
    if busy:
        ctx.exit(Exit.CONFLICT)


@click.command(cls=Command, json_fields=COMPACTED)
@target_argument
@tables_argument
@click.option("--full", is_flag=True, help="Leave one file in each partition, and no deleted row.")
@dry_run_option
@pass_output
@click.pass_context
def compact(
    ctx: click.Context, output: Output, place: str, tables: tuple[str, ...], full: bool, dry_run: bool
) -> None:
    """Merge data files, and give back the space of deleted rows.

    Merges what is worth its cost, or with --full everything. A table that
    others use all the time is left alone; then the command goes on with the
    others and ends with code 5.
    """
    with open_target(place, writeable=not dry_run) as target:
        store = target.store
        if isinstance(target, RootTarget) and not dry_run:
            target.root.check_writeable()
        before = _chosen(store.status(), tables)
        plans = {name: t.full_compaction if full else t.compaction for name, t in before.items()}
        if dry_run:
            planned = {
                name: {"partitions": plan.partitions, "files_before": plan.files, "files_after": None}
                for name, plan in plans.items()
            }
            _show(output, place, planned, None, _compacted)
            return

        def act(name: str, progress: Progress) -> Mapping[str, Any]:
            found: Mapping[str, Any] = store.compact(name, full=full, progress=progress)
            return found

        done, busy = _each(output, {name: plan.rows for name, plan in plans.items()}, act)
    _show(output, place, done, busy, _compacted)
    if busy:
        ctx.exit(Exit.CONFLICT)


def _chosen(status: StoreStatus, tables: Sequence[str]) -> dict[str, TableStatus]:
    """Return the tables that were named, or all.

    Raises
    ------
    ConfigurationError
        There is no such table.
    """
    unknown = [name for name in tables if name not in status.tables]
    if unknown:
        raise ConfigurationError(
            f"there is no table {unknown[0]!r} in {status.uri}; it has {sorted(status.tables)}"
        )
    return {name: status.tables[name] for name in tables or status.tables}


def _each(output: Output, counts: Mapping[str, int], act: Act) -> tuple[dict[str, Any], dict[str, str]]:
    """Do something to each table, and return what was done and which were busy.

    Parameters
    ----------
    output
        Shows how far it is.
    counts
        How much there is to do in each table.
    act
        Does it.
    """
    done: dict[str, Any] = {}
    busy: dict[str, str] = {}
    for name, count in counts.items():
        with output.progress(name, count) as progress:
            try:
                done.update({table: asdict(report) for table, report in act(name, progress).items()})
            except ConflictError as err:
                busy[name] = str(err)
    return done, busy


def _show(
    output: Output,
    place: str,
    tables: Mapping[str, Any],
    busy: Mapping[str, str] | None,
    words: Callable[[Mapping[str, Any], str], str],
) -> None:
    """Write what was done, or would be if ``busy`` is `None`."""
    would = "would be " if busy is None else ""
    data = {"place": place, "dry_run": busy is None, "tables": tables, "busy": busy or {}}
    output.show(data, *(f"{name}: {words(table, would)}" for name, table in tables.items()))
    for problem in (busy or {}).values():
        output.say(f"left alone: {problem}")


def _flushed(table: Mapping[str, Any], would: str) -> str:
    return f"{table['rows']:,} rows and {table['tombstones']:,} deletions {would}moved to data files"


def _compacted(table: Mapping[str, Any], would: str) -> str:
    after = "" if would else f", into {table['files_after']:,}"
    return f"{table['files_before']:,} files of {table['partitions']:,} partitions {would}merged{after}"
