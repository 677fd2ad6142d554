"""What clients do with a table every day."""

from __future__ import annotations

__all__ = ["EVERYDAY"]

import statistics
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.butlers import find_dataset
from benchmarks.case import LOCATED, PIECE, Case, Workloads, expect, must_hold, must_lack, new_table
from benchmarks.contenders import Contender, UnsupportedError
from benchmarks.fresh import Fresh
from benchmarks.rows import Rows, make_rows
from benchmarks.watch import Watch

EVERYDAY = Workloads()

_QUERIES = 3
"""How often a question is asked, after once that is not measured: by then all have what they keep."""


_STARTS = 5
"""Of a process in one measurement: one alone differs by more than what is looked for."""

_TRANSACTIONS = 5
"""In one measurement: one alone is over before a processor has decided how fast it is."""


@EVERYDAY.add("insert many Python rows", "rows/s", more_is_better=True)
def _insert_python(contender: Contender, case: Case) -> float:
    rows = case.fresh(min(case.rows, 50_000))
    made = rows.python()
    # Into the loaded table, which checks them against what it has.
    with case.watch(len(rows)):
        contender.insert(made)
    must_hold(contender, rows)
    contender.delete(rows.ids)
    contender.tidy()
    return 1 / case.watch.each


@EVERYDAY.add("insert many Arrow rows", "rows/s", more_is_better=True)
def _insert_arrow(contender: Contender, case: Case) -> float:
    rows = case.fresh(min(case.rows // 10, PIECE))
    with case.watch(len(rows)):
        contender.insert_arrow(rows.table)
    must_hold(contender, rows)
    contender.delete(rows.ids)
    contender.tidy()
    return 1 / case.watch.each


def _insert_singly(contender: Contender, case: Case, rows: Rows) -> None:
    made = rows.python()
    with case.watch(len(made)):
        for row in made:
            contender.insert([row])


def _insert_inside(contender: Contender, case: Case) -> float:
    for _ in range(_TRANSACTIONS):
        rows = case.fresh(case.singles)
        with contender.transaction():
            contender.fetch(rows.ids[:1])
            _insert_singly(contender, case, rows)
        must_hold(contender, rows)
        contender.delete(rows.ids)
    return case.watch.each


@EVERYDAY.add("insert one row, autocommit", "s")
def _insert_auto(contender: Contender, case: Case) -> float:
    rows = case.fresh(case.singles)
    _insert_singly(contender, case, rows)
    must_hold(contender, rows)
    contender.delete(rows.ids)
    return case.watch.each


@EVERYDAY.add("insert one row in a transaction", "s")
def _insert_loaded(contender: Contender, case: Case) -> float:
    return _insert_inside(contender, case)


@EVERYDAY.add("insert one row in a transaction, empty table", "s")
def _insert_empty(contender: Contender, case: Case) -> float:
    with new_table(contender):
        return _insert_inside(contender, case)


@EVERYDAY.add("insert one row in a transaction, cold, new process", "s")
def _insert_cold(contender: Contender, case: Case) -> float:
    recipe = case.recipe(min(case.singles, 20))
    with Fresh(contender) as client:
        client.ask("open")
        _measured(case, client, recipe["count"], "insert", **recipe)
    rows = make_rows(**recipe)
    must_hold(contender, rows)
    contender.delete(rows.ids)
    return case.watch.each


def _measured(case: Case, client: Fresh, found: int, action: str, **arguments: Any) -> None:
    """Have a new process do something to so many rows."""
    with case.watch.counting():
        told = client.ask(action, **arguments)
    expect(told["count"], found)
    case.watch.add(told["seconds"], found, told["peak_bytes"])


def _singly(ask: Callable[[Any], list[Any]], things: Sequence[Any], found: int, watch: Watch) -> float:
    """Ask for each thing by itself; to start and stop between them would
    empty the processor's caches.
    """
    with watch(len(things)):
        counts = [len(ask(thing)) for thing in things]
    expect(counts, [found] * len(things))
    return watch.each


def _fetch_singly(contender: Contender, ids: list[uuid.UUID], found: int, watch: Watch) -> float:
    return _singly(lambda id: contender.fetch([id]), ids, found, watch)


@EVERYDAY.add("fetch one row, warm, in a session", "s")
def _fetch_session(contender: Contender, case: Case) -> float:
    ids = case.some(case.singles).ids
    with contender.session():
        _fetch_singly(contender, ids, 1, Watch())
        return _fetch_singly(contender, ids, 1, case.watch)


@EVERYDAY.add("fetch one row, warm", "s")
def _fetch_warm(contender: Contender, case: Case) -> float:
    ids = case.some(case.singles).ids
    _fetch_singly(contender, ids, 1, Watch())
    return _fetch_singly(contender, ids, 1, case.watch)


@EVERYDAY.add("fetch one row that is not there", "s")
def _fetch_miss(contender: Contender, case: Case) -> float:
    with contender.session():
        return _fetch_singly(contender, case.fresh(case.singles).ids, 0, case.watch)


@EVERYDAY.add("fetch one row, cold, new process", "s")
def _fetch_fresh(contender: Contender, case: Case) -> float:
    ids = case.some(min(case.singles, 20)).ids
    with Fresh(contender) as client:
        client.ask("open")
        client.fetch(case.fresh(1).ids)
        _measured(case, client, len(ids), "fetch", ids=[id.hex for id in ids])
    return case.watch.each


@EVERYDAY.add("reopen and fetch one row", "s")
def _open(contender: Contender, case: Case) -> float:
    ids = case.some(1).ids
    with case.watch():
        contender.reopen()
        rows = contender.fetch(ids)
    expect(len(rows), 1)
    return case.watch.each


@EVERYDAY.add("open and fetch one row, new process", "s")
def _open_first(contender: Contender, case: Case) -> float:
    ids = case.some(1).ids
    with Fresh(contender) as client:
        _measured(case, client, 0, "open")
        _measured(case, client, 1, "fetch", ids=[ids[0].hex])
    case.started = client.started
    return case.watch.seconds


@EVERYDAY.add("import, new process", "s")
def _import(contender: Contender, case: Case) -> float:
    """Of the process that opened the table, if that was measured before."""
    if not case.started:
        with Fresh(contender) as client:
            case.started = client.started
    seconds, case.started = case.started, 0.0
    return seconds


@EVERYDAY.add("start a Butler and find a dataset, new process", "s")
def _start_butler(contender: Contender, case: Case) -> float:
    """From the start of Python to its end: the median of a few."""
    folder = contender.make_butler()
    seconds: list[float] = []
    for _ in range(min(case.singles, _STARTS)):
        with case.watch():
            found = find_dataset(folder)
        expect(found.rpartition("/")[2].startswith("number_Cam"), True)
        seconds.append(case.watch.seconds - sum(seconds))
    return statistics.median(seconds)


@EVERYDAY.add("clone", "s")
def _clone(contender: Contender, case: Case) -> float:
    with case.watch(case.singles):
        for _ in range(case.singles):
            made = contender.clone()
    id = case.some(1).ids[0]
    expect(len(list(made.get("file_datastore_records").fetch(dataset_id=id))), 1)
    return case.watch.each


def _fetch_many(count: int) -> None:
    @EVERYDAY.add(f"fetch {count} ids", "s")
    def run(contender: Contender, case: Case) -> float:
        ids = case.some(count).ids
        case.random.shuffle(ids)
        with case.watch():
            rows = contender.fetch(ids)
        expect(len(rows), len(ids))
        return case.watch.each


@EVERYDAY.add("look at every row", "s")
def _scan_rows(contender: Contender, case: Case) -> float:
    with case.watch():
        count = contender.scan_rows()
    expect(count, case.rows)
    return case.watch.each


@EVERYDAY.add("every row as a dict", "s")
def _scan_dicts(contender: Contender, case: Case) -> float:
    with case.watch():
        count = contender.scan_dicts()
    expect(count, case.rows * len(case.some(1).table.column_names))
    return case.watch.each


@EVERYDAY.add("whole table as Arrow", "s")
def _scan_arrow(contender: Contender, case: Case) -> float:
    with case.watch():
        count = contender.scan_arrow()
    expect(count, case.rows)
    return case.watch.each


@EVERYDAY.add("GROUP BY storage_class, asked for the first time", "s")
def _group_first(contender: Contender, case: Case) -> float:
    with case.watch():
        found = contender.group()
    expect(found, case.classes)
    return case.watch.each


@EVERYDAY.add("GROUP BY storage_class", "s")
def _group(contender: Contender, case: Case) -> float:
    contender.group()
    with case.watch(_QUERIES):
        found = [contender.group() for _ in range(_QUERIES)]
    expect(found, [case.classes] * _QUERIES)
    return case.watch.each


@EVERYDAY.add("path equality", "s")
def _path(contender: Contender, case: Case) -> float:
    paths = case.some(case.singles).paths
    with contender.session():
        _singly(contender.fetch_path, paths, 1, Watch())
        return _singly(contender.fetch_path, paths, 1, case.watch)


@EVERYDAY.add("path equality, asked for the first time", "s")
def _path_first(contender: Contender, case: Case) -> float:
    with contender.session():
        return _singly(contender.fetch_path, case.some(case.singles).paths, 1, case.watch)


@EVERYDAY.add("path prefix", "s")
def _prefix(contender: Contender, case: Case) -> float:
    some = case.some(max(1, case.singles // 20)).paths
    prefixes = [path[: path.rindex("_w_")] + "%" for path in some]
    _singly(contender.fetch_path, prefixes, 1, Watch())
    return _singly(contender.fetch_path, prefixes, 1, case.watch)


@EVERYDAY.add("fetch 50000 paths", "s")
def _paths(contender: Contender, case: Case) -> float:
    paths = case.some(50_000).paths
    with case.watch():
        rows = contender.fetch_paths(paths)
    expect(len(rows), len(paths))
    return case.watch.each


def _locate(contender: Contender, case: Case) -> None:
    """Make the datastore know the datasets, as it does where there is a trash."""
    if not case.is_located:
        for rows in case.pieces(1_000_000, LOCATED):
            contender.locate(rows.ids)
        contender.settle()
        case.is_located = True


@EVERYDAY.add("export_table of 50000 datasets", "s")
def _export(contender: Contender, case: Case) -> float:
    try:
        _locate(contender, case)
    except UnsupportedError:
        pass  # who has no locations exports what is asked for
    wanted = case.some_located(50_000)
    with case.watch():
        table = contender.export_table(wanted.ids)
    expect(table.num_rows, len(wanted))
    expect(sum(table.column("file_size").to_pylist()), sum(wanted.table.column("file_size").to_pylist()))
    return case.watch.each


@EVERYDAY.add("empty the trash of 50000 datasets", "s")
def _empty_trash(contender: Contender, case: Case) -> float:
    """A few live datasets have an artifact in common with one in the trash."""
    _locate(contender, case)
    rows = case.some_located(min(50_000, case.rows // 2))
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
    expect((count, keep), (len(rows), set(shared)))
    must_lack(contender, rows)
    expect(contender.empty_trash(), (0, set()))
    contender.trash(live)
    contender.empty_trash()
    contender.insert_arrow(rows.table)
    contender.locate(rows.ids)
    contender.tidy()
    return case.watch.each


def _delete(count: int) -> None:
    @EVERYDAY.add(f"delete {count}", "s")
    def run(contender: Contender, case: Case) -> float:
        rows = case.some(count)
        with case.watch():
            contender.delete(rows.ids)
        must_lack(contender, rows)
        contender.insert_arrow(rows.table)
        contender.tidy()
        return case.watch.each


def _replace(count: int) -> None:
    @EVERYDAY.add(f"replace {count}", "s")
    def run(contender: Contender, case: Case) -> float:
        rows = case.some(count)
        given = rows.changed().python()
        with case.watch():
            contender.replace(given)
        (row,) = contender.fetch(rows.ids[:1])
        expect(row["file_size"], given[0]["file_size"])
        contender.replace(rows.python())
        contender.tidy()
        return case.watch.each


@EVERYDAY.add("flush 50000 rows", "s")
def _flush(contender: Contender, case: Case) -> float:
    contender.flush()
    rows = case.fresh(min(50_000, case.rows))
    with contender.transaction():
        for start in range(0, len(rows), 1_000):
            contender.insert(rows.slice(start, 1_000).python())
    with case.watch():
        contender.flush()
    must_hold(contender, rows)
    contender.delete(rows.ids)
    contender.tidy()
    return case.watch.each


@EVERYDAY.add("compact five files more", "s")
def _compact(contender: Contender, case: Case) -> float:
    contender.compact()
    added = [case.fresh(min(max(1, case.rows // 50), PIECE // 5)) for _ in range(5)]
    for rows in added:
        contender.insert_arrow(rows.table)
        contender.settle()
    with case.watch():
        contender.compact()
    for rows in added:
        must_hold(contender, rows)
        contender.delete(rows.ids)
    must_hold(contender, case.some(100))
    contender.tidy()
    return case.watch.each


for _count in (1_000, 50_000, 300_000):
    _fetch_many(_count)
for _count in (1, 1_000, 50_000):
    _delete(_count)
    _replace(_count)
