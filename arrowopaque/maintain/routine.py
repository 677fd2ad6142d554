"""Routine maintenance: what is due, by any number of hosts at once."""

from __future__ import annotations

__all__ = ["Maintained", "Outcome", "Step", "maintain"]

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from arrowopaque.errors import ConflictError
from arrowopaque.maintain.compact import CompactReport
from arrowopaque.maintain.progress import Doing, Progress, unwatched
from arrowopaque.maintain.status import Action, Due, StoreStatus
from arrowopaque.maintain.vacuum import VacuumReport


class Maintained(Protocol):
    """What routine maintenance asks of a repository's manager or of a root.

    Of a manager it asks ``flush`` too, which is never due for a root.
    """

    def status(self) -> StoreStatus:
        """Tell what the store consists of."""

    def compact(self, *names: str, progress: Progress) -> Mapping[str, CompactReport]:
        """Merge data files."""

    def vacuum(self, *, progress: Progress) -> Mapping[str, VacuumReport] | VacuumReport:
        """Delete files that nothing needs."""


class Outcome(enum.StrEnum):
    """How a step has ended."""

    PLANNED = "planned"
    """It is due, and was not done: a dry run."""
    DONE = "done"
    BUSY = "busy"
    """Others use the table, or are doing the same: the next run looks again."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was due."""

    action: Action
    table: str | None
    """`None` for a vacuum, which is of the whole store."""
    reason: str
    outcome: Outcome
    report: Any = None
    """What the action returned for the table, or a vacuum for all."""
    problem: str = ""
    """Why it is busy."""


def maintain(store: Maintained, *, dry_run: bool = False, doing: Doing = unwatched) -> Iterator[Step]:
    """Do what is due, and yield each step when it has ended.

    Any number of hosts may do so at once. What one is doing is busy for the
    others, or leaves them nothing to do.

    Parameters
    ----------
    store
        The manager of a repository, or a root.
    dry_run
        Whether to do nothing, but yield what is due.
    doing
        Is told what is begun.
    """
    if dry_run:
        yield from _planned(store.status())
        return
    # A flush makes files, and so may make a compaction due; both supersede manifests.
    for action in (Action.FLUSH, Action.COMPACT):
        status = store.status()
        for due in status.due:
            if due.action is action:
                yield _done(store, due, _amount(status, due), doing)
    reason = _vacuum_reason(store.status())
    if reason:
        yield _vacuumed(store, reason, doing)


def _planned(status: StoreStatus) -> Iterator[Step]:
    for due in status.due:
        if due.action is not Action.VACUUM:
            yield Step(due.action, due.table, due.reason, Outcome.PLANNED)
    reason = _vacuum_reason(status)
    if reason:
        yield Step(Action.VACUUM, None, reason, Outcome.PLANNED)


def _vacuum_reason(status: StoreStatus) -> str:
    return "; ".join(f"{due.table}: {due.reason}" for due in status.due if due.action is Action.VACUUM)


def _amount(status: StoreStatus, due: Due) -> int:
    table = status.tables[due.table]
    if due.action is Action.FLUSH:
        return (table.delta or 0) + (table.tombstones or 0)
    return table.compaction.rows


def _done(store: Any, due: Due, amount: int, doing: Doing) -> Step:
    act = store.flush if due.action is Action.FLUSH else store.compact
    try:
        with doing(f"{due.action} {due.table}", amount) as progress:
            report = act(due.table, progress=progress)[due.table]
    except ConflictError as err:
        return Step(due.action, due.table, due.reason, Outcome.BUSY, problem=str(err))
    return Step(due.action, due.table, due.reason, Outcome.DONE, report)


def _vacuumed(store: Maintained, reason: str, doing: Doing) -> Step:
    try:
        with doing(str(Action.VACUUM), None) as progress:
            report = store.vacuum(progress=progress)
    except ConflictError as err:
        return Step(Action.VACUUM, None, reason, Outcome.BUSY, problem=str(err))
    busy = [name for name, each in report.items() if each.busy] if isinstance(report, Mapping) else []
    if busy:
        problem = f"in use: {', '.join(busy)}"
        return Step(Action.VACUUM, None, reason, Outcome.BUSY, report, problem)
    return Step(Action.VACUUM, None, reason, Outcome.DONE, report)
