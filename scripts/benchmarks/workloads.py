"""What is measured. Every workload checks its own answer."""

from __future__ import annotations

__all__ = ["WORKLOADS", "Case", "Workload", "WrongAnswerError"]

import itertools
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contenders import Contender, UnsupportedError
from benchmarks.fresh import Fresh
from benchmarks.rows import Rows, make_rows
from benchmarks.watch import Watch


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
    watch: Watch = field(default_factory=Watch)
    """Measures the part of a workload that counts; cleared before each."""
    bytes: int | None = None
    """What the table took on disk when it was loaded."""
    is_located: bool = False
    """Whether the datastore is known to have the datasets."""
    started: float = 0.0
    """Seconds in which a new process has imported everything; 0 if they were told."""
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._fresh = itertools.count(1_000_000_000, 10_000_000)
        self.classes = Counter(self.rows.table.column("storage_class").to_pylist())

    def fresh(self, count: int) -> Rows:
        """Return rows that no table has."""
        return make_rows(**self.recipe(count))

    def recipe(self, count: int) -> dict[str, Any]:
        """Return what `make_rows` makes rows of that no table has."""
        return {"count": count, "start": next(self._fresh), "seed": self.seed, "ids": self.ids}

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


def _must_hold(contender: Contender, rows: Rows) -> None:
    """Check that rows are there, by some of them."""
    ids = rows.ids[:: max(1, len(rows) // 100)]
    _expect(len(contender.fetch(ids)), len(ids))


def _must_lack(contender: Contender, rows: Rows) -> None:
    """Check that rows are not there, by some of them."""
    _expect(len(contender.fetch(rows.ids[:: max(1, len(rows) // 100)])), 0)


@_workload("insert many Python rows", "rows/s", more_is_better=True)
def _insert_python(contender: Contender, case: Case) -> float:
    rows = case.fresh(min(len(case.rows), 50_000))
    made = rows.python()
    with _new_table(contender):
        with case.watch(len(rows)):
            contender.insert(made)
        _must_hold(contender, rows)
    return 1 / case.watch.each


@_workload("insert many Arrow rows", "rows/s", more_is_better=True)
def _insert_arrow(contender: Contender, case: Case) -> float:
    # Into the loaded table, which checks them against what it has.
    rows = case.fresh(len(case.rows) // 10)
    with case.watch(len(rows)):
        contender.insert_arrow(rows.table)
    _must_hold(contender, rows)
    contender.delete(rows.ids)
    contender.settle()
    return 1 / case.watch.each


def _insert_singly(contender: Contender, case: Case, inside: bool) -> float:
    rows = case.fresh(case.singles)
    made = rows.python()
    if inside:
        with contender.transaction():
            contender.fetch(rows.ids[:1])
            with case.watch(len(made)):
                for row in made:
                    contender.insert([row])
    else:
        with case.watch(len(made)):
            for row in made:
                contender.insert([row])
    _expect(len(contender.fetch(rows.ids)), len(made))
    contender.delete(rows.ids)
    return case.watch.each


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


@_workload("insert one row in a transaction, cold, new process", "s")
def _insert_cold(contender: Contender, case: Case) -> float:
    recipe = case.recipe(min(case.singles, 20))
    with Fresh(contender) as client:
        client.ask("open")
        _measured(case, client, recipe["count"], "insert", **recipe)
    rows = make_rows(**recipe)
    _must_hold(contender, rows)
    contender.delete(rows.ids)
    return case.watch.each


def _measured(case: Case, client: Fresh, found: int, action: str, **arguments: Any) -> None:
    """Have a new process do something to so many rows."""
    with case.watch.counting():
        told = client.ask(action, **arguments)
    _expect(told["count"], found)
    case.watch.add(told["seconds"], found, told["peak_bytes"])


def _fetch_singly(contender: Contender, ids: list[uuid.UUID], found: int, watch: Watch) -> float:
    for id in ids:
        with watch():
            rows = contender.fetch([id])
        _expect(len(rows), found)
    return watch.each


@_workload("fetch one row, warm, in a session", "s")
def _fetch_session(contender: Contender, case: Case) -> float:
    ids = case.some(case.singles).ids
    with contender.session():
        _fetch_singly(contender, ids, 1, Watch())
        return _fetch_singly(contender, ids, 1, case.watch)


@_workload("fetch one row, warm", "s")
def _fetch_warm(contender: Contender, case: Case) -> float:
    ids = case.some(case.singles).ids
    _fetch_singly(contender, ids, 1, Watch())
    return _fetch_singly(contender, ids, 1, case.watch)


@_workload("fetch one row that is not there", "s")
def _fetch_miss(contender: Contender, case: Case) -> float:
    with contender.session():
        return _fetch_singly(contender, case.fresh(case.singles).ids, 0, case.watch)


@_workload("fetch one row, cold, new process", "s")
def _fetch_fresh(contender: Contender, case: Case) -> float:
    ids = case.some(min(case.singles, 20)).ids
    with Fresh(contender) as client:
        client.ask("open")
        client.fetch(case.fresh(1).ids)
        _measured(case, client, len(ids), "fetch", ids=[id.hex for id in ids])
    return case.watch.each


@_workload("reopen and fetch one row", "s")
def _open(contender: Contender, case: Case) -> float:
    ids = case.some(1).ids
    with case.watch():
        contender.reopen()
        rows = contender.fetch(ids)
    _expect(len(rows), 1)
    return case.watch.each


@_workload("open and fetch one row, new process", "s")
def _open_first(contender: Contender, case: Case) -> float:
    ids = case.some(1).ids
    with Fresh(contender) as client:
        _measured(case, client, 0, "open")
        _measured(case, client, 1, "fetch", ids=[ids[0].hex])
    case.started = client.started
    return case.watch.seconds


@_workload("import, new process", "s")
def _import(contender: Contender, case: Case) -> float:
    """Of the process that opened the table, if that was measured before."""
    if not case.started:
        with Fresh(contender) as client:
            case.started = client.started
    seconds, case.started = case.started, 0.0
    return seconds


@_workload("clone", "s")
def _clone(contender: Contender, case: Case) -> float:
    with case.watch(case.singles):
        for _ in range(case.singles):
            made = contender.clone()
    id = case.some(1).ids[0]
    _expect(len(list(made.get("file_datastore_records").fetch(dataset_id=id))), 1)
    return case.watch.each


def _fetch_many(count: int) -> None:
    @_workload(f"fetch {count} ids", "s")
    def run(contender: Contender, case: Case) -> float:
        ids = case.some(min(count, len(case.rows))).ids
        case.random.shuffle(ids)
        with case.watch():
            rows = contender.fetch(ids)
        _expect(len(rows), len(ids))
        return case.watch.each


@_workload("look at every row", "s")
def _scan_rows(contender: Contender, case: Case) -> float:
    with case.watch():
        count = contender.scan_rows()
    _expect(count, len(case.rows))
    return case.watch.each


@_workload("whole table as Arrow", "s")
def _scan_arrow(contender: Contender, case: Case) -> float:
    with case.watch():
        count = contender.scan_arrow()
    _expect(count, len(case.rows))
    return case.watch.each


@_workload("GROUP BY storage_class", "s")
def _group(contender: Contender, case: Case) -> float:
    with case.watch():
        found = contender.group()
    _expect(found, dict(case.classes))
    return case.watch.each


@_workload("path equality", "s")
def _path(contender: Contender, case: Case) -> float:
    with contender.session():
        for path in case.some(case.singles).paths:
            with case.watch():
                rows = contender.fetch_path(path)
            _expect(len(rows), 1)
    return case.watch.each


@_workload("path prefix", "s")
def _prefix(contender: Contender, case: Case) -> float:
    for path in case.some(max(1, case.singles // 20)).paths:
        prefix = path[: path.rindex("_w_")]
        with case.watch():
            rows = contender.fetch_path(prefix + "%")
        _expect(len(rows), 1)
    return case.watch.each


@_workload("fetch 50000 paths", "s")
def _paths(contender: Contender, case: Case) -> float:
    paths = case.some(min(50_000, len(case.rows))).paths
    with case.watch():
        rows = contender.fetch_paths(paths)
    _expect(len(rows), len(paths))
    return case.watch.each


def _locate(contender: Contender, case: Case) -> None:
    """Make the datastore know the datasets, as it does where there is a trash."""
    if not case.is_located:
        contender.locate(case.rows.ids)
        contender.settle()
        case.is_located = True


@_workload("export_table of 50000 datasets", "s")
def _export(contender: Contender, case: Case) -> float:
    try:
        _locate(contender, case)
    except UnsupportedError:
        pass  # who has no locations exports what is asked for
    wanted = case.some(min(50_000, len(case.rows)))
    with case.watch():
        table = contender.export_table(wanted.ids)
    _expect(table.num_rows, len(wanted))
    _expect(sum(table.column("file_size").to_pylist()), sum(wanted.table.column("file_size").to_pylist()))
    return case.watch.each


@_workload("empty the trash of 50000 datasets", "s")
def _empty_trash(contender: Contender, case: Case) -> float:
    """A few live datasets have an artifact in common with one in the trash."""
    _locate(contender, case)
    rows = case.some(min(50_000, len(case.rows) // 2))
    shared = rows.paths[:3]
    sharing = case.fresh(len(shared)).python()
    for row, path in zip(sharing, shared, strict=True):
        row["path"] = path
    live = [row["dataset_id"] for row in sharing]
    contender.insert(sharing)
    contender.locate(live)
    contender.trash(rows.ids)
    with case.watch():
        count, keep = contender.empty_trash()
    _expect((count, keep), (len(rows), set(shared)))
    _must_lack(contender, rows)
    _expect(contender.empty_trash(), (0, set()))
    contender.trash(live)
    contender.empty_trash()
    contender.insert_arrow(rows.table)
    contender.locate(rows.ids)
    contender.settle()
    return case.watch.each


def _delete(count: int) -> None:
    @_workload(f"delete {count}", "s")
    def run(contender: Contender, case: Case) -> float:
        rows = case.some(min(count, len(case.rows)))
        with case.watch():
            contender.delete(rows.ids)
        _must_lack(contender, rows)
        contender.insert_arrow(rows.table)
        contender.settle()
        return case.watch.each


def _replace(count: int) -> None:
    @_workload(f"replace {count}", "s")
    def run(contender: Contender, case: Case) -> float:
        rows = case.some(min(count, len(case.rows)))
        given = rows.changed().python()
        with case.watch():
            contender.replace(given)
        (row,) = contender.fetch(rows.ids[:1])
        _expect(row["file_size"], given[0]["file_size"])
        contender.replace(rows.python())
        contender.settle()
        return case.watch.each


@_workload("flush 50000 rows", "s")
def _flush(contender: Contender, case: Case) -> float:
    contender.flush()
    rows = case.fresh(min(50_000, len(case.rows)))
    with contender.transaction():
        for start in range(0, len(rows), 1_000):
            contender.insert(rows.slice(start, 1_000).python())
    with case.watch():
        contender.flush()
    _must_hold(contender, rows)
    contender.delete(rows.ids)
    contender.flush()
    return case.watch.each


@_workload("compact five files more", "s")
def _compact(contender: Contender, case: Case) -> float:
    contender.compact()
    added = [case.fresh(max(1, len(case.rows) // 50)) for _ in range(5)]
    for rows in added:
        contender.insert_arrow(rows.table)
        contender.settle()
    with case.watch():
        contender.compact()
    for rows in added:
        _must_hold(contender, rows)
        contender.delete(rows.ids)
    _must_hold(contender, case.rows)
    contender.settle()
    return case.watch.each


@_workload("bytes a row", "bytes")
def _bytes(contender: Contender, case: Case) -> float:
    """Of the table as it was loaded."""
    if case.bytes is None:
        raise UnsupportedError
    return case.bytes / len(case.rows)


for _count in (1_000, 50_000, 300_000):
    _fetch_many(_count)
for _count in (1, 1_000, 50_000):
    _delete(_count)
    _replace(_count)
