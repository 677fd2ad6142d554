"""Runs workloads: every contender in a process of its own, by turns."""

from __future__ import annotations

__all__ = ["SHORT", "Result", "run_all"]

import multiprocessing
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.case import Settings
from benchmarks.contenders import Place, interpreter, search_path
from benchmarks.workloads import WORKLOADS

SHORT = 2.0
"""Seconds that a contender takes for a workload which is short."""


@dataclass
class Result:
    """One contender's figures."""

    load_seconds: float = 0.0
    peak_bytes: int = 0
    measured: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes that a workload needed at most beyond those in use before it."""
    requests: dict[str, dict[str, float]] = field(default_factory=dict)
    """Requests and bytes of one operation of a workload, where they are counted."""
    unsupported: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    """Of packages that the contender has for itself."""

    def median(self, workload: str) -> float | None:
        """Return a workload's median, `None` if it was not run."""
        values = self.measured.get(workload)
        return statistics.median(values) if values else None


class _Worker:
    """One contender in a process of its own, which is gone after the ``with``."""

    def __init__(self, name: str, place: Place, settings: Settings) -> None:
        self.result = Result()
        self._name = name
        self._pipe, theirs = multiprocessing.Pipe()
        # Not a process of multiprocessing: that would give its own packages to another interpreter.
        self._process = subprocess.Popen(
            [interpreter(name), "-m", "benchmarks.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": search_path(name)},
        )
        theirs.close()
        self._pipe.send((name, place, settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def load(self) -> None:
        """Wait until the table is loaded."""
        self.result.load_seconds, self.result.versions = self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError(
                f"the process of {self._name} ended with code {self._process.wait()}"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(self, workload: str) -> None:
        """Run a workload once."""
        self._pipe.send(workload)
        answer = self._answer()
        if answer is None:
            self.result.unsupported.add(workload)
        else:
            value, memory, requests = answer
            self.result.measured.setdefault(workload, []).append(value)
            self.result.memory[workload] = max(memory, self.result.memory.get(workload, 0))
            if requests:
                self.result.requests[workload] = requests

    def finish(self) -> None:
        """Let the process end by itself."""
        self._pipe.send(None)
        self.result.peak_bytes = self._answer()
        self._process.wait()


def run_all(
    folder: Path,
    names: Sequence[str],
    workloads: Sequence[str],
    settings: Settings,
    services: Callable[[ExitStack, str, Path], Place],
    tell: Callable[[str], None],
) -> dict[str, Result]:
    """Run every workload on every contender, by turns.

    Parameters
    ----------
    folder
        Where stores go.
    names
        The contenders.
    workloads
        What to run, in this order, each time.
    settings
        Sizes.
    services
        Starts what a contender needs, and says where it is.
    tell
        Is told what goes on.
    """
    with ExitStack() as stack:
        workers = {}
        for name in names:
            tell(f"load {name}")
            place = services(stack, name, folder / name)
            workers[name] = stack.enter_context(_Worker(name, place, settings))
            workers[name].load()
        for repeat in range(settings.repeats):
            for workload in [name for name in workloads if not (repeat and WORKLOADS[name].is_once)]:
                _measure(workers, workload, repeat, settings.turns, tell)
        for worker in workers.values():
            worker.finish()
    return {name: worker.result for name, worker in workers.items()}


def _measure(
    workers: dict[str, _Worker], workload: str, repeat: int, turns: int, tell: Callable[[str], None]
) -> None:
    """Run a workload on every contender, a short one more than once."""
    names, started = [*workers], time.monotonic()
    for turn in range(1 if WORKLOADS[workload].is_once else turns):
        if turn and time.monotonic() - started > turn * SHORT * len(names):
            return
        # Whoever is first pays for what the machine has forgotten.
        first = (repeat + turn) % len(names)
        for name in [*names[first:], *names[:first]]:
            if workload not in workers[name].result.unsupported:
                tell(f"{repeat + 1}: {workload}: {name}")
                workers[name].run(workload)
