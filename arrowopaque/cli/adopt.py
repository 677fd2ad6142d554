"""``adopt``: give a repository of the SQL manager to ours, in place."""

from __future__ import annotations

__all__ = ["PLAN", "adopt", "rows_option"]

from typing import TYPE_CHECKING, Any

import click
from rich.table import Column, Table

from arrowopaque import clock
from arrowopaque.cli.command import Command, dry_run_option, pass_output, yes_option
from arrowopaque.cli.exits import Exit
from arrowopaque.cli.output import Output, bytes_text
from arrowopaque.cli.verify import FIELDS as VERIFIED
from arrowopaque.errors import ConflictError

if TYPE_CHECKING:
    from arrowopaque.butler.adopt import AdoptPlan
    from arrowopaque.butler.either import Either

PLAN = {
    "plan.database": "the registry's database",
    "plan.config": "the configuration file whose managers change",
    "plan.root": "where the store is; ID stands for the identity of one that is not made yet",
    "plan.stage": "how far an earlier run has come; null if nothing was done yet",
    "plan.done": "whether there is nothing to do; then nothing else is told",
}
FIELDS = {
    **PLAN,
    "plan.tables.TABLE.rows": "rows to move",
    "plan.tables.TABLE.exact": "whether they were counted; else the database's estimate",
    "plan.tables.TABLE.sql_bytes": "about what they take in SQL",
    "plan.tables.TABLE.bytes": "about what they will take",
    "plan.tables.TABLE.seconds": "about how long it takes to move them",
    "plan.others[]": "opaque tables that no datastore uses: they stay as they are",
    "root": "where the store is",
    "moved.TABLE": "rows that were moved",
    "seconds": "how long that took",
    "rows_per_second": "how fast it was",
    **VERIFIED,
}

rows_option = click.option(
    "--rows",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="Rows moved in one transaction: more are faster, fewer make others wait less.",
)


@click.command(cls=Command, json_fields=FIELDS)
@click.argument("place", metavar="REPO")
@click.option(
    "--root",
    metavar="URI",
    help="Folder to make the store in, by default $ARROWOPAQUE_ROOT or, with SQLite, beside the database.",
)
@rows_option
@click.option(
    "--clients-closed", is_flag=True, help="Every client that was open before the switch has been closed."
)
@dry_run_option
@yes_option
@pass_output
@click.pass_context
def adopt(
    ctx: click.Context,
    output: Output,
    /,
    place: str,
    root: str | None,
    rows: int,
    dry_run: bool,
    **answers: bool,
) -> None:
    """Give a repository of the SQL manager to arrowopaque, in place.

    First it is switched: from then on it opens with arrowopaque. Then, once
    no client is left that was opened before, its rows move to data files,
    while others go on reading and writing. Interrupted, run it again.
    """
    # Imported late: lsst takes seconds.
    from arrowopaque.butler import adopt as steps
    from arrowopaque.butler.either import open_either

    with open_either(place, writeable=not dry_run) as repository:
        plan = steps.plan_adoption(repository, root)
        if dry_run or plan.done:
            output.show({"plan": _data(plan)}, *_told(plan))
            return
        if not output.as_json:
            output.show(None, *_told(plan))
        output.confirm(f"Adopt {place}?", yes=answers["yes"])
        if not repository.is_ours:
            steps.prepare(repository, root)
        steps.switch(repository)
    with open_either(place, writeable=True) as repository:
        _begin(output, repository, **answers)
        report = _move(output, repository, plan, rows)
    output.show({"plan": _data(plan), **report}, *_reported(report))
    if report["findings"]:
        ctx.exit(Exit.FOUND)


def _begin(output: Output, repository: Either, *, yes: bool, clients_closed: bool) -> None:
    """Make sure, as far as one can, that nobody is left who sees the delta alone."""
    from arrowopaque.butler import adopt as steps
    from arrowopaque.butler.either import other_clients

    stage = steps.stage_of(repository)
    if stage.keeps_delta and not clients_closed:
        since = steps.switched_at(repository)
        found = other_clients(repository.db, since)
        for client in found:
            output.say(f"maybe still open: {client}")
        output.say(
            f"{repository.place} opens with arrowopaque since {since}. Clients that were opened before see "
            "all rows now, but would miss those that move. "
            "Close them: jobs, services, notebooks, on every host."
        )
        if yes and found:
            raise ConflictError(
                f"{len(found)} clients may have been opened before the switch: close them and run this "
                "again, or add --clients-closed if they are no clients of this repository, or newer ones"
            )
        output.confirm("Is every client that was opened before closed?", yes=yes)
    steps.begin_moving(repository)


def _move(output: Output, repository: Either, plan: AdoptPlan, rows: int) -> dict[str, Any]:
    from arrowopaque.butler import adopt as steps
    from arrowopaque.butler.manager import ArrowOpaqueTableStorageManager

    began = clock.monotonic()
    total = sum(table.rows for table in plan.tables.values())
    with output.progress("moving rows", total) as told:
        moved = steps.move(repository, rows, told)
    seconds = clock.monotonic() - began
    steps.finish(repository)
    report = ArrowOpaqueTableStorageManager.of_butler(repository.butler).verify("quick", raising=False)
    return {
        "root": steps.root_of(repository),
        "moved": moved,
        "seconds": seconds,
        "rows_per_second": sum(moved.values()) / max(seconds, 1e-9),
        "tables": report.tables,
        "findings": report.findings,
    }


def _data(plan: AdoptPlan) -> dict[str, Any]:
    tables = {
        name: {
            "rows": table.rows,
            "exact": table.exact,
            "sql_bytes": table.sql_bytes,
            "bytes": table.bytes,
            "seconds": table.seconds,
        }
        for name, table in plan.tables.items()
    }
    return {
        "database": plan.database,
        "config": plan.config,
        "root": plan.root,
        "stage": plan.stage,
        "done": plan.done,
        "tables": tables,
        "others": list(plan.others),
    }


def _told(plan: AdoptPlan) -> list[Table | str]:
    if plan.done:
        return [f"{plan.database} is arrowopaque's already; its store is {plan.root}"]
    shown = Table(
        Column("table", no_wrap=True),
        "rows to move",
        "in SQL, about",
        "then, about",
        "takes, about",
        title="To adopt",
    )
    for name, table in plan.tables.items():
        rows = f"{'' if table.exact else 'about '}{table.rows:,}"
        minutes = f"{table.seconds / 60:,.1f} min"
        shown.add_row(name, rows, bytes_text(table.sql_bytes), bytes_text(table.bytes), minutes)
    lines: list[Table | str] = [shown, f"database: {plan.database}", f"configuration: {plan.config}"]
    lines.append(f"store: {plan.root}")
    if plan.stage is not None:
        lines.append(f"begun already, and {plan.stage}")
    if plan.others:
        lines.append(f"no datastore uses these tables, they stay as they are: {', '.join(plan.others)}")
    return lines


def _reported(report: dict[str, Any]) -> list[Table | str]:
    shown = Table(
        Column("table", no_wrap=True),
        "rows moved",
        "rows in data files",
        "bytes",
        "rows left in SQL",
        title="Adopted",
    )
    for name, moved in report["moved"].items():
        table = report["tables"][name]
        shown.add_row(name, f"{moved:,}", f"{table.rows:,}", f"{table.bytes:,}", f"{table.delta:,}")
    rate = f"{report['seconds']:,.1f} s, {report['rows_per_second']:,.0f} rows/s"
    findings = [f"{finding.check}: {finding.error()}" for finding in report["findings"]]
    proved = f"{rate}; every row was read back from its file before it left SQL"
    return [shown, proved, f"store: {report['root']}", *findings]
