"""The process of one contender.

As a program: given a pipe's file descriptor, loads the table and runs the
workloads that it is told. `runner` has the other end.
"""

from __future__ import annotations

import os
import resource
import sys
from importlib.metadata import version
from multiprocessing.connection import Connection

import pyarrow as pa

from benchmarks.case import Case, Loaded, Settings, WrongAnswerError
from benchmarks.contenders import Contender, Place, UnsupportedError, contender_class
from benchmarks.watch import Watch
from benchmarks.workloads import WORKLOADS


def _insert(contender: Contender, case: Case) -> Watch:
    """Insert every row, piece by piece; the making of the rows does not count."""
    watch = Watch(contender.place.counts)
    for rows in case.pieces(case.settings.piece):
        with watch(len(rows)):
            contender.insert_arrow(rows.table)
    return watch


def _load(contender: Contender, case: Case) -> Loaded:
    contender.create()
    before = _taken(contender)
    watch = _insert(contender, case)
    # What a piece took is not to be taken from those who come later.
    pa.default_memory_pool().release_unused()
    contender.settle()
    after = _taken(contender)
    return Loaded(watch, None if before is None or after is None else after - before)


def _taken(contender: Contender) -> int | None:
    try:
        return contender.bytes_on_disk()
    except UnsupportedError:
        return None


def _serve(pipe: Connection, name: str, place: Place, settings: Settings) -> None:
    """Serve one contender: load it, then run what is asked for."""
    os.environ.update(place.environment)
    contender = contender_class(name)(place)
    case = Case(settings, Watch(place.counts), share=contender.share)
    case.loaded = _load(contender, case)
    pipe.send((case.loaded.watch.seconds, {package: version(package) for package in contender.packages}))
    while (workload := pipe.recv()) is not None:
        case.watch.clear()
        try:
            value = WORKLOADS[workload].run(contender, case)
            pipe.send((value, case.watch.peak_bytes, case.watch.requests))
        except UnsupportedError:
            pipe.send(None)
        except Exception as err:
            pipe.send(WrongAnswerError(f"{name}, {workload}: {type(err).__name__}: {err}"))
            raise
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _main(descriptor: str) -> None:
    pipe = Connection(int(descriptor))
    _serve(pipe, *pipe.recv())


if __name__ == "__main__":
    _main(*sys.argv[1:])
