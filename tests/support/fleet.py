"""Real processes for tests, forked from a server that has imported what they
need: to start one takes milliseconds, not the seconds of those imports.
"""

from __future__ import annotations

__all__ = ["CONTEXT", "launch"]

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

_PRELOADED = [
    "tests.load.torture",
    "arrowopaque.butler.manager",
    "arrowopaque.butler.bridge",
    "arrowopaque.objects.s3",
]


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    # The server imports before it is told the path of its maker.
    root = str(Path(__file__).resolve().parents[2])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if root not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, paths)])
    return context


CONTEXT = _context()
"""Makes processes, barriers and queues."""


def launch(target: Callable[..., None], *args: Any) -> ForkServerProcess:
    """Start a process that has the environment of this moment; the server's
    is that of its own start.
    """
    process = CONTEXT.Process(target=_within, args=(dict(os.environ), target, args), daemon=True)
    process.start()
    return process


def _within(environment: dict[str, str], target: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    target(*args)
