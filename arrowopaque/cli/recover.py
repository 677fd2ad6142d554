"""``recover``: go back to what is sound."""

from __future__ import annotations

__all__ = ["recover"]

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from arrowopaque.cli.command import Command, dry_run_option, pass_output, yes_option
from arrowopaque.cli.output import Output
from arrowopaque.cli.target import is_root, open_target, target_argument
from arrowopaque.maintain.recover import Dropped, Recovery
from arrowopaque.root import StoreRoot

FIELDS = {
    "place": "what was asked for",
    "dry_run": "whether nothing was changed",
    "needed": "whether there is, or was, anything to recover",
    "recoveries[].table": "the table; null for a root, whose tables have one chain",
    "recoveries[].kept": "the manifest that is sound and gone back to",
    "recoveries[].dropped[].version": "of each commit that is given up, newest first",
    "recoveries[].dropped[].commit": "its id; null if it is not known",
    "recoveries[].dropped[].created": "when it was made; null if it is not known",
    "recoveries[].dropped[].rows.TABLE": "rows in data files after it; null if it is not known",
    "recoveries[].dropped[].problem": "what is wrong with it",
    "recoveries[].mended[]": "links of a root's chain that are written again, or emptied",
    "recoveries[].buried": "rows that come back and that newer ones in the database replace",
}

Recoveries = Mapping[str | None, Recovery]


@click.command(cls=Command, json_fields=FIELDS)
@target_argument
@dry_run_option
@yes_option
@pass_output
def recover(output: Output, place: str, dry_run: bool, yes: bool) -> None:
    """Go back to the newest sound manifest where a newer one is lost or damaged.

    Shows which commits are given up and asks. Rows that these had moved to
    data files are lost, rows that they had deleted come back: a copy of what
    `verify` names is better. Nobody should write meanwhile.
    """
    with _recovering(place, writeable=not dry_run) as recovering:
        plan = recovering(True)
        needed = any(recovery.needed for recovery in plan.values())
        if dry_run or not needed:
            output.show(_data(place, plan, needed, dry_run=dry_run), *_told(plan, "would be"))
            return
        if not output.as_json:
            output.show(plan, *_told(plan, "will be"))
        count = sum(len(recovery.dropped) for recovery in plan.values())
        output.confirm(f"Recover {place}, and give up {count} commits?", yes=yes)
        done = recovering(False)
    output.show(_data(place, done, needed, dry_run=False), *_told(done, "were"))


@contextmanager
def _recovering(place: str, *, writeable: bool) -> Iterator[Callable[[bool], Recoveries]]:
    """Give what recovers a place, or tells what that would do."""
    if is_root(place):
        # It is not opened: what it lacks is what there is to recover.
        yield lambda dry_run: {None: StoreRoot.recover(place, dry_run=dry_run)}
        return
    with open_target(place, writeable=writeable) as target:
        yield lambda dry_run: target.store.recover(dry_run=dry_run)


def _data(place: str, recoveries: Recoveries, needed: bool, *, dry_run: bool) -> dict[str, Any]:
    found = [
        {
            "table": table,
            "kept": recovery.kept,
            "dropped": recovery.dropped,
            "mended": recovery.mended,
            "buried": recovery.buried,
        }
        for table, recovery in recoveries.items()
    ]
    return {"place": place, "dry_run": dry_run, "needed": needed, "recoveries": found}


def _told(recoveries: Recoveries, verb: str) -> Iterator[str]:
    if not recoveries:
        yield "nothing to recover: no table has data files"
    for table, recovery in recoveries.items():
        name = table or "root"
        if not recovery.needed:
            yield f"{name}: sound at {recovery.kept}"
            continue
        yield f"{name}: the newest sound manifest is {recovery.kept}"
        yield from (f"  {_dropped(dropped)} {verb} given up" for dropped in recovery.dropped)
        yield from (f"  {link} {verb} written again" for link in recovery.mended)
        if recovery.buried:
            yield f"  {recovery.buried:,} rows that come back are replaced by newer ones in the database"


def _dropped(dropped: Dropped) -> str:
    when = f" of {dropped.created:%Y-%m-%d %H:%M:%S}" if dropped.created else ""
    rows = ", ".join(
        f"{'an unknown number of' if count is None else format(count, ',')} rows in {table!r}"
        for table, count in dropped.rows.items()
    )
    return f"version {dropped.version}{when} ({rows or 'no table is known'}; {dropped.problem})"
