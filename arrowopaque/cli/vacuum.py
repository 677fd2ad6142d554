"""``vacuum``: delete what nothing needs any more."""

from __future__ import annotations

__all__ = ["vacuum"]

import re
from collections.abc import Mapping
from typing import Any

import click

from arrowopaque.cli.command import Command, dry_run_option, pass_output, yes_option
from arrowopaque.cli.exits import Exit
from arrowopaque.cli.output import Output, bytes_text
from arrowopaque.cli.target import Target, open_target, target_argument
from arrowopaque.maintain.progress import Progress, ignored
from arrowopaque.maintain.vacuum import VacuumReport

FIELDS = {
    "place": "what was asked for",
    "dry_run": "whether nothing was deleted",
    "objects": "how many objects were deleted, or would be",
    "bytes": "their size",
    "stubs": "links of a root's chain that were emptied, or would be; their names stay",
    "busy[]": "tables that were left alone, in part or as a whole: others used them",
    "garbage[].path": "each object, relative to the root of the store",
    "garbage[].bytes": "its size",
    "garbage[].modified": "when it was written, by the store's clock",
    "garbage[].reason": "why nothing needs it",
}


_SHOWN = 50
"""Objects that people are shown."""

_DURATION = re.compile(r"(?P<count>[0-9]+(?:\.[0-9]+)?)(?P<unit>[smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return the seconds of ``3600``, ``90m``, ``12h`` or ``7d``."""
    if value is None:
        return None
    match = _DURATION.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no duration: give seconds, or as in 90m, 12h, 7d")
    return float(match["count"]) * _UNITS[match["unit"]]


@click.command(cls=Command, json_fields=FIELDS)
@target_argument
@click.option(
    "--retention",
    metavar="DURATION",
    callback=_seconds,
    help="Keep what was needed within this time, as in 12h or 7d; by default the store's own retention. "
    "Shorter than the longest read or transaction, it takes files from under them.",
)
@dry_run_option
@yes_option
@pass_output
@click.pass_context
def vacuum(
    ctx: click.Context, output: Output, place: str, retention: float | None, dry_run: bool, yes: bool
) -> None:
    """Delete the files that nothing needs any more.

    Shows what it would delete and asks. A table that others use all the time
    is left alone; then the command goes on with the others and ends with
    code 5.
    """
    # For a plan too: only a writer can ask for the store's time.
    with open_target(place, writeable=True) as target:
        plan = _vacuumed(target, retention, dry_run=True)
        if dry_run or not (plan["objects"] or plan["stubs"]):
            output.show({"place": place, **plan, "dry_run": dry_run}, *_told(plan, "would be deleted"))
            return
        if not output.as_json:
            output.show(plan, *_told(plan, "will be deleted"))
        output.confirm(f"Delete {_size(plan)} of {place}?", yes=yes)
        with output.progress("vacuum", plan["objects"]) as progress:
            done = _vacuumed(target, retention, progress=progress)
    output.show({"place": place, **done}, f"deleted {_size(done)}")
    if done["busy"]:
        output.say(f"left alone, because others used them: {', '.join(done['busy'])}")
        ctx.exit(Exit.CONFLICT)


def _vacuumed(
    target: Target, retention: float | None, *, dry_run: bool = False, progress: Progress = ignored
) -> dict[str, Any]:
    found: Any = target.store.vacuum(retention, dry_run=dry_run, progress=progress)
    reports: Mapping[str, VacuumReport] = found if isinstance(found, Mapping) else {"": found}
    return {
        "dry_run": dry_run,
        "objects": sum(report.objects for report in reports.values()),
        "bytes": sum(report.bytes for report in reports.values()),
        "stubs": sum(report.stubs for report in reports.values()),
        "busy": [name for name, report in reports.items() if report.busy],
        "garbage": [item for report in reports.values() for item in report.garbage],
    }


def _told(plan: Mapping[str, Any], verb: str) -> list[str]:
    if not (plan["objects"] or plan["stubs"]):
        return ["nothing to delete"]
    garbage = plan["garbage"]
    lines = [f"{item.path}  {bytes_text(item.bytes)}  {item.reason}" for item in garbage[:_SHOWN]]
    if len(garbage) > _SHOWN:
        lines.append(f"and {len(garbage) - _SHOWN:,} more, which --dry-run --json lists")
    return [*lines, f"{_size(plan)} {verb}"]


def _size(plan: Mapping[str, Any]) -> str:
    links = f", and the content of {plan['stubs']:,} links" if plan["stubs"] else ""
    return f"{plan['objects']:,} objects of {bytes_text(plan['bytes'])}{links}"
