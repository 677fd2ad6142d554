"""Do several things at once, where each is long enough."""

from __future__ import annotations

__all__ = ["CORES", "LONG", "Result", "ahead", "run_all", "run_behind"]

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

CORES = os.cpu_count() or 1
"""Threads that are worth it where each is busy."""
LONG = 20_000
"""Rows from which encoding them takes longer than starting a thread."""


def ahead(
    action: Callable[[Item], Result], items: Iterable[Item], workers: int, *, further: int = 0
) -> Iterator[Result]:
    """Yield what an action returns of each item, in their order; it is at
    work on so many at once.

    Parameters
    ----------
    action
        What to do; if it fails, some of those that follow may be done.
    items
        With what.
    workers
        How many threads are worth it.
    further
        Results that may wait besides, so that nobody is idle behind one that
        takes long.
    """
    if workers < 2:
        yield from map(action, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(action, item))
            if len(waiting) == workers + further:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


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
    if rows < LONG or len(tasks) < 2:
        return [task() for task in tasks]
    with ThreadPoolExecutor(min(len(tasks), CORES)) as pool:
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
