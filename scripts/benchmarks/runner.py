"""Runs workloads: every contender in a process of its own, by turns."""

from __future__ import annotations

__all__ = ["CONTENDERS", "Result", "Settings", "run_all"]

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender, Place, UnsupportedError
from benchmarks.managers import ArrowManager, ArrowRoot, SqlManager
from benchmarks.others import DeltaTableFormat, DuckDb, IcebergTableFormat, Sqlite
from benchmarks.rows import make_rows
from benchmarks.workloads import WORKLOADS, Case, WrongAnswerError

CONTENDERS: dict[str, type[Contender]] = {
    "sql-sqlite": SqlManager,
    "ours-sqlite": ArrowManager,
    "sql-postgres": SqlManager,
    "ours-postgres": ArrowManager,
    "ours-root": ArrowRoot,
    "ours-sqlite-s3": ArrowManager,
    "delta-rs": DeltaTableFormat,
    "pyiceberg": IcebergTableFormat,
    "duckdb": DuckDb,
    "sqlite": Sqlite,
}


@dataclass(frozen=True)
class Settings:
    """What a run is of."""

    rows: int
    repeats: int
    seed: int
    ids: str
    singles: int


@dataclass
class Result:
    """One contender's figures."""

    load_seconds: float = 0.0
    peak_bytes: int = 0
    measured: dict[str, list[float]] = field(default_factory=dict)
    unsupported: set[str] = field(default_factory=set)

    def median(self, workload: str) -> float | None:
        """Return a workload's median, `None` if it was not run."""
        values = self.measured.get(workload)
        return statistics.median(values) if values else None


def _work(pipe: Connection, name: str, place: Place, settings: Settings) -> None:
    """Serve one contender: load it, then run what is asked for."""
    case = Case(make_rows(settings.rows, seed=settings.seed, ids=settings.ids), settings.seed, settings.ids,
                settings.singles)  # fmt: skip
    contender = CONTENDERS[name](place)
    contender.create()
    start = time.perf_counter()
    contender.insert_arrow(case.rows.table)
    pipe.send(time.perf_counter() - start)
    contender.settle()
    while (workload := pipe.recv()) is not None:
        try:
            pipe.send(WORKLOADS[workload].run(contender, case))
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
            self.result.measured.setdefault(workload, []).append(answer)

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
