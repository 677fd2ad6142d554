"""``restore``: give an adopted repository back to the SQL manager."""

from __future__ import annotations

__all__ = ["restore"]

from typing import TYPE_CHECKING, Any

import click
from rich.table import Column, Table

from arrowopaque import clock
from arrowopaque.cli.adopt import PLAN, rows_option
from arrowopaque.cli.command import Command, dry_run_option, pass_output, yes_option
from arrowopaque.cli.output import Output

if TYPE_CHECKING:
    from arrowopaque.butler.either import Either
    from arrowopaque.butler.restore import RestorePlan


FIELDS = {
    **PLAN,
    "plan.tables.TABLE": "rows to move back",
    "moved.TABLE": "rows that were moved back",
    "seconds": "how long that took",
    "rows_per_second": "how fast it was",
    "deleted_objects": "objects of the store that were deleted",
}


@click.command(cls=Command, json_fields=FIELDS)
@click.argument("place", metavar="REPO")
@rows_option
@click.option("--delete-store", is_flag=True, help="Delete the data files too, at the end.")
@dry_run_option
@yes_option
@pass_output
def restore(output: Output, place: str, rows: int, delete_store: bool, dry_run: bool, yes: bool) -> None:
    """Give a repository back to the SQL manager, as it was before ``adopt``.

    Rows move back into SQL, then the managers' names are put back and the
    tables of arrowopaque are dropped: clients that are still open fail from
    then on. Interrupted, run it again.
    """
    # Imported late: lsst takes seconds.
    from arrowopaque.butler import restore as steps
    from arrowopaque.butler.either import open_either

    with open_either(place, writeable=not dry_run) as repository:
        plan = steps.plan_restore(repository)
        if dry_run or plan.done:
            output.show({"plan": _data(plan)}, *_told(plan))
            return
        if not output.as_json:
            output.show(None, *_told(plan))
        doomed = " and delete its store" if delete_store else ""
        output.confirm(f"Restore {place}, drop the tables of arrowopaque{doomed}?", yes=yes)
        report = _restore(output, repository, plan, rows, delete_store=delete_store)
    output.show({"plan": _data(plan), **report}, *_reported(plan, report))


def _restore(
    output: Output, repository: Either, plan: RestorePlan, rows: int, *, delete_store: bool
) -> dict[str, Any]:
    from arrowopaque.butler import restore as steps

    steps.begin_returning(repository)
    began = clock.monotonic()
    with output.progress("moving rows back", sum(plan.tables.values())) as told:
        moved = steps.put_back(repository, rows, told)
    seconds = clock.monotonic() - began
    volume = steps.hand_over(repository)
    deleted = steps.delete_store(volume) if delete_store else 0
    rate = sum(moved.values()) / max(seconds, 1e-9)
    return {"moved": moved, "seconds": seconds, "rows_per_second": rate, "deleted_objects": deleted}


def _data(plan: RestorePlan) -> dict[str, Any]:
    return {
        "database": plan.database,
        "config": plan.config,
        "root": plan.root,
        "stage": plan.stage,
        "done": plan.done,
        "tables": plan.tables,
    }


def _told(plan: RestorePlan) -> list[Table | str]:
    if plan.done:
        return [f"{plan.database} is the SQL manager's already"]
    shown = Table(Column("table", no_wrap=True), "rows to move back", title="To restore")
    for name, rows in plan.tables.items():
        shown.add_row(name, f"{rows:,}")
    return [shown, f"database: {plan.database}", f"configuration: {plan.config}", f"store: {plan.root}"]


def _reported(plan: RestorePlan, report: dict[str, Any]) -> list[Table | str]:
    shown = Table(Column("table", no_wrap=True), "rows moved back", title="Restored")
    for name, moved in report["moved"].items():
        shown.add_row(name, f"{moved:,}")
    lines: list[Table | str] = [shown, f"{report['seconds']:,.1f} s, {report['rows_per_second']:,.0f} rows/s"]
    if report["deleted_objects"]:
        lines.append(f"deleted {report['deleted_objects']:,} objects of {plan.root}")
    else:
        lines.append(f"the data files are still there, and nobody needs them: {plan.root}")
    return lines
