"""A long random history, and how much was written for it in all."""

from __future__ import annotations

__all__ = ["HISTORY", "Written", "run_history"]

import random
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.case import Case, Figures, Workloads, expect, must_hold, must_lack, new_table
from benchmarks.contenders import Contender

HISTORY = Workloads()

_MOST = 1_000_000
"""Rows of the table beyond which a history is not of more rows."""
_CHANGES = ("insert", "insert", "insert", "delete", "replace")
_FLUSH_EVERY, _COMPACT_EVERY = 5, 20
"""Operations after which an operator does so."""

Numbers = npt.NDArray[np.int64]


@dataclass
class Written:
    """What has been written to a store since this was made."""

    contender: Contender
    bytes: int = 0
    """Of all files, also of those that nothing names any more."""
    rows: int = 0
    """Of all data files."""
    given: int = 0
    """Rows that callers have inserted, or put in the place of others."""
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._seen = self.contender.files()

    def look(self) -> None:
        """Add the files that have come since the last look, or are others.

        Nothing removes files but a vacuum, and no history has one.
        """
        found = self.contender.files()
        for name, stamp in found.items():
            if stamp != self._seen.get(name):
                self.bytes += stamp[0]
                self.rows += self.contender.rows_of(name)
        self._seen = found

    @property
    def rewritten(self) -> float:
        """Rows that were written again, for each that was given."""
        return (self.rows - self.given) / self.given


class _History:
    """Random changes of one table, which remember what it must hold."""

    def __init__(self, contender: Contender, case: Case) -> None:
        self._contender, self._case = contender, case
        # Its own, so that all contenders have the same history.
        self._random = random.Random(case.settings.seed)
        self._next = case.recipe(0)["start"]
        self._unit = max(1, min(case.rows, _MOST) // 1_000)
        self._live: Numbers = np.empty(0, np.int64)
        self.gone: Numbers = self._live
        self.written = Written(contender)

    def change(self) -> None:
        """Insert, delete or replace from a thousandth to a tenth of the rows
        that the loaded table has, small numbers being as likely as large ones.
        """
        count = int(self._unit * 100 ** self._random.random())
        match self._random.choice(_CHANGES):
            case "delete" if len(self._live):
                self._delete(self._some(count // 2))
            case "replace" if len(self._live):
                rows = self._case.at(self._some(count // 2)).changed()
                self._contender.replace(rows.python())
                self.written.given += len(rows)
            case _:
                self._insert(count)

    def _some(self, count: int) -> Numbers:
        wanted = min(max(1, count), len(self._live))
        return self._live[sorted(self._random.sample(range(len(self._live)), wanted))]

    def _insert(self, count: int) -> None:
        numbers = np.arange(self._next, self._next + count)
        self._contender.insert_arrow(self._case.at(numbers).table)
        self._next += count
        self._live = np.concatenate([self._live, numbers])
        self.written.given += count

    def _delete(self, numbers: Numbers) -> None:
        self._contender.delete(self._case.at(numbers).ids)
        self._live = np.setdiff1d(self._live, numbers, assume_unique=True)
        self.gone = numbers

    def check(self) -> None:
        """Check what the table holds."""
        must_hold(self._contender, self._case.at(self._live[:: max(1, len(self._live) // 100)]))
        must_lack(self._contender, self._case.at(self.gone))
        expect(sum(self._contender.group().values()), len(self._live))


def run_history(contender: Contender, case: Case) -> Figures:
    """Have a history in the contender's table."""
    history = _History(contender, case)
    written = history.written
    for done in range(1, case.settings.operations + 1):
        with case.watch():
            history.change()
            if done % _FLUSH_EVERY == 0 or done == case.settings.operations:
                contender.settle()
            if done % _COMPACT_EVERY == 0:
                contender.compact()
        written.look()
    history.check()
    files, left = contender.kept()
    return Figures(written.bytes / left, written.rewritten, files)


def _figures(contender: Contender, case: Case) -> Figures:
    """Return a contender's figures; the history is had once."""
    if case.history is None:
        with new_table(contender):
            case.history = run_history(contender, case)
    return case.history


@HISTORY.add("write amplification", "bytes/byte", is_once=True)
def _amplification(contender: Contender, case: Case) -> float:
    """Of a history of bulk inserts, scattered deletes and replaces, flushes
    and compactions: bytes written for each byte that is left.
    """
    return _figures(contender, case).amplification


@HISTORY.add("rows rewritten in the history", "for each row given", is_once=True)
def _rewritten(contender: Contender, case: Case) -> float:
    return _figures(contender, case).rewritten


@HISTORY.add("files after the history", "files", is_once=True)
def _files(contender: Contender, case: Case) -> float:
    return _figures(contender, case).files
