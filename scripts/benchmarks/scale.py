"""What is asked of a table as a whole, however large it is."""

from __future__ import annotations

__all__ = ["AFTERWARDS", "LOADED"]

from benchmarks.case import Case, Loaded, Workloads, expect, must_hold
from benchmarks.contenders import Contender, UnsupportedError

LOADED = Workloads()
"""Of the table as it was loaded, before anything else was done to it."""
AFTERWARDS = Workloads()


def _loaded(case: Case) -> Loaded:
    assert case.loaded is not None, "workloads run on a loaded table"
    return case.loaded


@LOADED.add("load", "rows/s", more_is_better=True, is_once=True)
def _load(contender: Contender, case: Case) -> float:
    """Of the empty table, piece by piece."""
    must_hold(contender, case.some(100))
    case.watch.take(_loaded(case).watch)
    return 1 / case.watch.each


@LOADED.add("bytes a row", "bytes", is_once=True)
def _bytes(_: Contender, case: Case) -> float:
    """Of the table as it was loaded."""
    taken = _loaded(case).bytes
    if taken is None:
        raise UnsupportedError
    return taken / case.rows


@LOADED.add("compact the loaded table", "s", is_once=True)
def _compact(contender: Contender, case: Case) -> float:
    with case.watch():
        contender.compact()
    must_hold(contender, case.some(100))
    expect(contender.group(), case.classes)
    return case.watch.each


@AFTERWARDS.add("verify", "s")
def _verify(contender: Contender, case: Case) -> float:
    """By reading every byte of the store."""
    with case.watch():
        rows = contender.verify()
    expect(rows, case.rows)
    return case.watch.each
