"""Real processes for tests, forked from a server that has imported what they
need: to start one takes milliseconds, not the seconds of those imports.
"""

from __future__ import annotations

__all__ = ["CONTEXT"]

import multiprocessing
import os
from multiprocessing.context import ForkServerContext
from pathlib import Path

_PRELOADED = ["tests.load.torture", "arrowopaque.butler.manager", "arrowopaque.butler.bridge"]


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
