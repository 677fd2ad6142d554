"""Do several things at once, where each is long enough."""

from __future__ import annotations

__all__ = ["run_all"]

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
