"""Runs workloads: every contender in a process of its own, by turns."""

from __future__ import annotations

__all__ = ["Result", "Settings", "run_all"]

import multiprocessing
import os
import resource
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.contenders import Place, UnsupportedError, contender_class
from benchmarks.rows import make_rows
from benchmarks.watch import Watch
from benchmarks.workloads import WORKLOADS, Case, WrongAnswerError


@dataclass(frozen=True)
class Settings:
    """What a run is of."""

    rows: int
    repeats: int
    seed: int
    ids: str
    singles: int
    latency: float


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

    def median(self, workload: str) -> float | None:
        """Return a workload's median, `None` if it was not run."""
        values = self.measured.get(workload)
        return statistics.median(values) if values else None


def _work(pipe: Connection, name: str, place: Place, settings: Settings) -> None:
    """Serve one contender: load it, then run what is asked for."""
    os.environ.update(place.environment)
    watch = Watch(place.counts)
    rows = make_rows(settings.rows, seed=settings.seed, ids=settings.ids)
    case = Case(rows, settings.seed, settings.ids, settings.singles, watch)
    contender = contender_class(name)(place)
    contender.create()
    with watch():
        contender.insert_arrow(rows.table)
    pipe.send(watch.seconds)
    contender.settle()
    try:
        case.bytes = contender.bytes_on_disk()
    except UnsupportedError:
        case.bytes = None
    while (workload := pipe.recv()) is not None:
        watch.clear()
        try:
            value = WORKLOADS[workload].run(contender, case)
            pipe.send((value, watch.peak_bytes, watch.requests))
        except UnsupportedError:
            pipe.send(None)
        except Exception as err:
            pipe.send(WrongAnswerError(f"{name}, {workload}: {type(err).__name__}: {err}"))
            raise
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


class _Worker:
    def __init__(self, name: str, place: Place, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, name, place, settings), daemon=True)
        self._process.start()
        theirs.close()
        self.result = Result(load_seconds=self._answer())

    def _answer(self) -> Any:
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(self, workload: str) -> None:
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
        self._pipe.send(None)
        self.result.peak_bytes = self._answer()
        self._process.join()


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
            workers[name] = _Worker(name, place, settings)
        for repeat in range(settings.repeats):
            for workload in workloads:
                # Whoever is first pays for what the machine has forgotten.
                turn = [*names[repeat % len(names) :], *names[: repeat % len(names)]]
                for name in turn:
                    if workload not in workers[name].result.unsupported:
                        tell(f"{repeat + 1}/{settings.repeats} {workload}: {name}")
                        workers[name].run(workload)
        for worker in workers.values():
            worker.finish()
    return {name: worker.result for name, worker in workers.items()}
