"""What is measured. Every workload checks its own answer."""

from __future__ import annotations

__all__ = ["WORKLOADS", "Case", "Workload", "WrongAnswerError"]

import itertools
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.rows import Rows, make_rows


class WrongAnswerError(Exception):
    """A contender did not do what it was asked."""


def _expect(got: Any, wanted: Any) -> None:
    if got != wanted:
        raise WrongAnswerError(f"got {got!r} instead of {wanted!r}")


@dataclass
class Case:
    """The table that all contenders hold, and what may be added to it."""

    rows: Rows
    seed: int
    ids: str
    singles: int
    """Operations of one measurement of something small."""
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._fresh = itertools.count(1_000_000_000, 10_000_000)
        self.classes = Counter(self.rows.table.column("storage_class").to_pylist())

    def fresh(self, count: int) -> Rows:
        """Return rows that no table has."""
        return make_rows(count, start=next(self._fresh), seed=self.seed, ids=self.ids)

    def some(self, count: int) -> Rows:
        """Return random rows that every table has."""
        return Rows(self.rows.table.take(sorted(self.random.sample(range(len(self.rows)), count))))


Measure = Callable[[Contender, Case], float]


@dataclass(frozen=True)
class Workload:
    """A measurement: seconds for one operation, or rows or bytes."""

    name: str
    unit: str
    run: Measure
    more_is_better: bool = False


class Watch:
    """Adds up the time spent inside."""

    seconds = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start


WORKLOADS: dict[str, Workload] = {}


def _workload(name: str, unit: str, *, more_is_better: bool = False) -> Callable[[Measure], Measure]:
    def add(run: Measure) -> Measure:
        WORKLOADS[name] = Workload(name, unit, run, more_is_better)
        return run

    return add


_tables = itertools.count()


@contextmanager
def _new_table(contender: Contender) -> Iterator[None]:
    contender.use(f"other_{next(_tables)}")
    try:
        yield
    finally:
        contender.use("file_datastore_records")


@_workload("insert many Python rows", "rows/s", more_is_better=True)
def _insert_python(contender: Contender, case: Case) -> float:
    rows, watch = case.fresh(min(len(case.rows), 50_000)).python(), Watch()
    with _new_table(contender), watch():
        contender.insert(rows)
    return len(rows) / watch.seconds


@_workload("insert many Arrow rows", "rows/s", more_is_better=True)
def _insert_arrow(contender: Contender, case: Case) -> float:
    # Into the loaded table, which checks them against what it has.
    rows, watch = case.fresh(len(case.rows) // 10), Watch()
    with watch():
        contender.insert_arrow(rows.table)
    contender.delete(rows.ids)
    contender.settle()
    return len(rows) / watch.seconds


def _insert_singly(contender: Contender, case: Case, inside: bool) -> float:
    rows, watch = case.fresh(case.singles), Watch()
    made = rows.python()
    if inside:
        with contender.transaction():
            contender.fetch(rows.ids[:1])
            with watch():
                for row in made:
                    contender.insert([row])
    else:
        with watch():
            for row in made:
                contender.insert([row])
    _expect(len(contender.fetch(rows.ids)), len(made))
    contender.delete(rows.ids)
    return watch.seconds / len(made)


@_workload("insert one row, autocommit", "s")
def _insert_auto(contender: Contender, case: Case) -> float:
    return _insert_singly(contender, case, inside=False)


@_workload("insert one row in a transaction", "s")
def _insert_inside(contender: Contender, case: Case) -> float:
    return _insert_singly(contender, case, inside=True)


@_workload("insert one row in a transaction, empty table", "s")
def _insert_inside_empty(contender: Contender, case: Case) -> float:
    with _new_table(contender):
        return _insert_singly(contender, case, inside=True)


def _fetch_singly(contender: Contender, ids: list[uuid.UUID], found: int) -> float:
    watch = Watch()
    for id in ids:
        with watch():
            rows = contender.fetch([id])
        _expect(len(rows), found)
    return watch.seconds / len(ids)


@_workload("fetch one row, warm, in a session", "s")
def _fetch_session(contender: Contender, case: Case) -> float:
    ids = case.some(case.singles).ids
    with contender.session():
        _fetch_singly(contender, ids, 1)
        return _fetch_singly(contender, ids, 1)


@_workload("fetch one row, warm", "s")
def _fetch_warm(contender: Contender, case: Case) -> float:
    ids = case.some(case.singles).ids
    _fetch_singly(contender, ids, 1)
    return _fetch_singly(contender, ids, 1)


@_workload("fetch one row that is not there", "s")
def _fetch_miss(contender: Contender, case: Case) -> float:
    with contender.session():
        return _fetch_singly(contender, case.fresh(case.singles).ids, 0)


@_workload("fetch one row, cold", "s")
def _fetch_cold(contender: Contender, case: Case) -> float:
    contender.reopen()
    contender.fetch(case.fresh(1).ids)
    return _fetch_singly(contender, case.some(min(case.singles, 20)).ids, 1)


@_workload("open and fetch one row", "s")
def _open(contender: Contender, case: Case) -> float:
    ids, watch = case.some(1).ids, Watch()
    with watch():
        contender.reopen()
        rows = contender.fetch(ids)
    _expect(len(rows), 1)
    return watch.seconds


@_workload("clone", "s")
def _clone(contender: Contender, case: Case) -> float:
    watch = Watch()
    with watch():
        for _ in range(case.singles):
            contender.clone()
    return watch.seconds / case.singles


def _fetch_many(count: int) -> None:
    @_workload(f"fetch {count} ids", "s")
    def run(contender: Contender, case: Case) -> float:
        wanted, watch = case.some(min(count, len(case.rows))), Watch()
        ids = wanted.ids
        case.random.shuffle(ids)
        with watch():
            rows = contender.fetch(ids)
        _expect(len(rows), len(ids))
        return watch.seconds


@_workload("look at every row", "s")
def _scan_rows(contender: Contender, case: Case) -> float:
    watch = Watch()
    with watch():
        count = contender.scan_rows()
    _expect(count, len(case.rows))
    return watch.seconds


@_workload("whole table as Arrow", "s")
def _scan_arrow(contender: Contender, case: Case) -> float:
    watch = Watch()
    with watch():
        count = contender.scan_arrow()
    _expect(count, len(case.rows))
    return watch.seconds


@_workload("GROUP BY storage_class", "s")
def _group(contender: Contender, case: Case) -> float:
    watch = Watch()
    with watch():
        found = contender.group()
    _expect(found, dict(case.classes))
    return watch.seconds


@_workload("path equality", "s")
def _path(contender: Contender, case: Case) -> float:
    watch = Watch()
    with contender.session():
        for path in case.some(case.singles).paths:
            with watch():
                rows = contender.fetch_path(path)
            _expect(len(rows), 1)
    return watch.seconds / case.singles


@_workload("path prefix", "s")
def _prefix(contender: Contender, case: Case) -> float:
    watch, tries = Watch(), max(1, case.singles // 20)
    for path in case.some(tries).paths:
        prefix = path[: path.rindex("_w_")]
        with watch():
            rows = contender.fetch_path(prefix + "%")
        _expect(len(rows), 1)
    return watch.seconds / tries


@_workload("fetch 50000 paths", "s")
def _paths(contender: Contender, case: Case) -> float:
    paths, watch = case.some(min(50_000, len(case.rows))).paths, Watch()
    with watch():
        rows = contender.fetch_paths(paths)
    _expect(len(rows), len(paths))
    return watch.seconds


def _delete(count: int) -> None:
    @_workload(f"delete {count}", "s")
    def run(contender: Contender, case: Case) -> float:
        rows, watch = case.some(min(count, len(case.rows))), Watch()
        with watch():
            contender.delete(rows.ids)
        contender.insert_arrow(rows.table)
        contender.settle()
        return watch.seconds


def _replace(count: int) -> None:
    @_workload(f"replace {count}", "s")
    def run(contender: Contender, case: Case) -> float:
        rows, watch = case.some(min(count, len(case.rows))), Watch()
        given = rows.changed().python()
        with watch():
            contender.replace(given)
        (row,) = contender.fetch(rows.ids[:1])
        _expect(row["file_size"], given[0]["file_size"])
        contender.replace(rows.python())
        contender.settle()
        return watch.seconds


@_workload("flush 50000 rows", "s")
def _flush(contender: Contender, case: Case) -> float:
    rows, watch = case.fresh(min(50_000, len(case.rows))), Watch()
    with contender.transaction():
        for start in range(0, len(rows), 1_000):
            contender.insert(rows.slice(start, 1_000).python())
    try:
        with watch():
            contender.flush()
    finally:
        # Whoever has no flush holds them all the same.
        contender.delete(rows.ids)
    contender.flush()
    return watch.seconds


@_workload("compact", "s")
def _compact(contender: Contender, case: Case) -> float:
    watch = Watch()
    with watch():
        contender.compact()
    return watch.seconds


@_workload("bytes a row", "bytes")
def _bytes(contender: Contender, case: Case) -> float:
    return contender.bytes_on_disk() / len(case.rows)


for _count in (1_000, 50_000, 300_000):
    _fetch_many(_count)
for _count in (1, 1_000, 50_000):
    _delete(_count)
    _replace(_count)
