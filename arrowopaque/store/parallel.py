"""Do several things at once, where each is long enough."""

from __future__ import annotations

__all__ = ["run_all", "run_behind"]

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

_ROWS = 20_000
"""Rows from which encoding them takes longer than starting a thread."""


def run_all(tasks: Sequence[Callable[[], Result]], rows: int) -> list[Result]:
    """Return what each task returns, in their order.

    They release the interpreter's lock while they encode, digest and store.

    Parameters
    ----------
    tasks
        What to do; if one fails, the others may still be done.
    rows
        How many rows all of them are about.
    """
    if rows < _ROWS or len(tasks) < 2:
        return [task() for task in tasks]
    with ThreadPoolExecutor(min(len(tasks), os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda task: task(), tasks))


def run_behind(tasks: Iterable[Callable[[], Result]]) -> list[Result]:
    """Return what each task returns; each is done while the next is being
    made, and no more than one at a time.
    """
    results: list[Result] = []
    running: Future[Result] | None = None
    with ThreadPoolExecutor(1) as pool:
        for task in tasks:
            if running is not None:
                results.append(running.result())
            running = pool.submit(task)
        if running is not None:
            results.append(running.result())
    return results
