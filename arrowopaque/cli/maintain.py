"""``maintain``: do what is due."""

from __future__ import annotations

__all__ = ["maintain"]

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from arrowopaque.cli.command import Command, dry_run_option, pass_output
from arrowopaque.cli.output import Output, bytes_text
from arrowopaque.cli.target import RootTarget, open_target, target_argument
from arrowopaque.maintain.compact import CompactReport
from arrowopaque.maintain.flush import FlushReport
from arrowopaque.maintain.routine import Outcome, Step
from arrowopaque.maintain.routine import maintain as maintained
from arrowopaque.maintain.vacuum import VacuumReport

FIELDS = {
    "place": "what was asked for",
    "dry_run": "whether nothing was done",
    "steps[].action": "what was due: flush, compact or vacuum",
    "steps[].table": "the table; null for a vacuum, which is of the whole store",
    "steps[].reason": "why it was due",
    "steps[].outcome": "done; planned, in a dry run; or busy: others use the table or do the same",
    "steps[].result": "what was done; null unless it was",
    "steps[].result.rows": "of a flush: rows that were moved to data files",
    "steps[].result.tombstones": "of a flush: deletions that were",
    "steps[].result.commits": "of a flush: manifests that this took",
    "steps[].result.partitions": "of a compaction: partitions that were rewritten",
    "steps[].result.files_before": "of a compaction: files that were merged",
    "steps[].result.files_after": "of a compaction: files that have taken their place",
    "steps[].result.objects": "of a vacuum: objects that were deleted",
    "steps[].result.bytes": "of a vacuum: their size",
    "steps[].problem": "why it was busy",
}


@click.command(cls=Command, json_fields=FIELDS)
@target_argument
@dry_run_option
@pass_output
def maintain(output: Output, place: str, dry_run: bool) -> None:
    """Do the maintenance that is due, as `status` tells it.

    Flushes, compacts, then vacuums with the store's own retention; does not
    ask. May run on several hosts at once, as from cron: what others are doing
    or use is told as busy and left to the next run, and is no failure.
    """
    steps = []
    with open_target(place, writeable=not dry_run) as target:
        if isinstance(target, RootTarget) and not dry_run:
            target.root.check_writeable()
        for step in maintained(target.store, dry_run=dry_run, doing=output.progress):
            steps.append(step)
            if not output.as_json:
                output.show(step, _words(step))
    if output.as_json:
        output.show({"place": place, "dry_run": dry_run, "steps": [_data(step) for step in steps]})
    elif not steps:
        output.show(steps, "no maintenance is due")


def _data(step: Step) -> dict[str, Any]:
    return {
        "action": step.action,
        "table": step.table,
        "reason": step.reason,
        "outcome": step.outcome,
        "result": _result(step.report) if step.outcome is Outcome.DONE else None,
        "problem": step.problem,
    }


def _words(step: Step) -> str:
    name = f"{step.action} {step.table}" if step.table else str(step.action)
    if step.outcome is Outcome.DONE:
        return f"{name}: {_said(step.report)}"
    why = step.reason if step.outcome is Outcome.PLANNED else step.problem
    return f"{name}: {'due' if step.outcome is Outcome.PLANNED else 'busy'} ({why})"


def _result(report: Any) -> dict[str, Any]:
    """Return what was done as numbers."""
    if isinstance(report, FlushReport | CompactReport):
        return asdict(report)
    reports: list[VacuumReport] = list(report.values()) if isinstance(report, Mapping) else [report]
    return {"objects": sum(each.objects for each in reports), "bytes": sum(each.bytes for each in reports)}


def _said(report: Any) -> str:
    """Return what was done in words."""
    if isinstance(report, FlushReport):
        return f"{report.rows:,} rows and {report.tombstones:,} deletions moved to data files"
    if isinstance(report, CompactReport):
        return f"{report.files_before:,} files merged into {report.files_after:,}"
    done = _result(report)
    return f"{done['objects']:,} objects of {bytes_text(done['bytes'])} deleted"
