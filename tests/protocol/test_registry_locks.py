"""Locks, fences and comparisons of the registry binding, each with the very race that needs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage

from arrowopaque import clock
from arrowopaque.errors import ConflictError, ObjectMissingError
from arrowopaque.maintain import compact as compact_module
from arrowopaque.maintain import flush as flush_module
from arrowopaque.store.apply import write_file
from arrowopaque.store.cache import Cache
from tests.opaque.suite_base import assert_holds, undone
from tests.protocol.crew import Crew, Pause, age, before, locking, ours, refused, staged, vacuum
from tests.protocol.tables import assert_sound, ids, in_delta, in_files, table_of
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject

# Small writes.


def test_tombstones_are_put_in_the_order_of_their_keys(postgres: RegistrySubject, crew: Crew) -> None:
    """Two writers that meet at key 2 do not hold keys 1 and 3 against each other."""
    table = table_of(postgres)
    in_files(postgres, table, *rows([1, 2, 3]))
    holder, first, second = (postgres.second() for _ in range(3))
    held, replaced, deleted = (table_of(client) for client in (holder, first, second))
    observer = postgres.second()
    with undone(holder):
        held.delete(["id"], {"id": 2})
        replacing = crew.start(lambda: replaced.replace(*rows([1, 2, 3], "new")))
        assert crew.blocked(replacing, observer)
        deleting = crew.start(lambda: deleted.delete(*ids(1, 2, 3)))
        assert crew.blocked(deleting, observer, others=1)
    replacing.result()
    deleting.result()
    assert_holds(table, [])


# Several tables.


def test_bulk_writes_of_two_tables_in_opposite_order(postgres: RegistrySubject, crew: Crew) -> None:
    """Decision 9: the server aborts one of them, nothing is lost, and it can be done again."""
    names = ("a", "b")
    for name in names:
        table_of(postgres, name)
    clients = [postgres.second() for _ in names]
    both = threading.Barrier(2, timeout=60)

    def write(number: int, *, alone: bool = False) -> None:
        client, order = clients[number], names if number == 0 else names[::-1]
        with client.transaction():
            table_of(client, order[0]).insert(*rows([10 * number, 10 * number + 1]))
            if not alone:
                both.wait()
            table_of(client, order[1]).insert(*rows([10 * number, 10 * number + 1]))

    for client in clients:
        for name in names:
            table_of(client, name)
    errors = [crew.start(partial(write, number)) for number in range(2)]
    (loser,) = [number for number, future in enumerate(errors) if future.exception() is not None]
    assert isinstance(errors[loser].exception(), sqlalchemy.exc.OperationalError)
    assert "deadlock detected" in str(errors[loser].exception())
    for name in names:
        assert_holds(table_of(postgres, name), rows([10 * (1 - loser), 10 * (1 - loser) + 1]))
    write(loser, alone=True)
    for name in names:
        assert_holds(table_of(postgres.second(), name), rows([0, 1, 10, 11]))


def test_bulk_writes_of_two_tables_in_one_order(postgres: RegistrySubject, crew: Crew) -> None:
    tables = [table_of(postgres, name) for name in ("a", "b")]
    other = postgres.second()
    theirs = [table_of(other, name) for name in ("a", "b")]

    def write() -> None:
        with other.transaction():
            for table in theirs:
                table.insert(*rows([3, 4]))

    with postgres.transaction():
        tables[0].insert(*rows([1, 2]))
        writing = crew.start(write)
        assert crew.blocked(writing, postgres.second())
        tables[1].insert(*rows([1, 2]))
    writing.result()
    for name in ("a", "b"):
        assert_holds(table_of(postgres.second(), name), rows([1, 2, 3, 4]))


# The swap.


def _catalog_row(client: RegistrySubject, manifest: str | None = None) -> str:
    """Return the manifest of table ``t``, and set it around all locks."""
    catalog = f'"{client.database.namespace}".arrowopaque_catalog'
    (known,) = client.sql(f"SELECT manifest FROM {catalog} WHERE table_name = 't'")
    if manifest is not None:
        with client.database._engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"UPDATE {catalog} SET manifest = '{manifest}'"))
    return str(known[0])


def test_swap_beside_one_without_the_lock(postgres: RegistrySubject, crew: Crew) -> None:
    """Whoever changes the catalog row by hand is not overwritten."""
    table = table_of(postgres)
    in_files(postgres, table, *rows([1, 2]))
    older = _catalog_row(postgres)
    in_files(postgres, table, row(3))
    in_delta(table, row(4))
    other = postgres.second()
    pause = Pause(before("UPDATE", "catalog"))
    flushing = crew.start(lambda: other.flush("t"), pause)
    _catalog_row(postgres, older)
    pause.let_go()
    assert isinstance(flushing.exception(), ConflictError)
    assert_holds(table, [*rows([1, 2]), row(4)])
    postgres.flush("t")
    assert_sound(postgres, [*rows([1, 2]), row(4)])


# Flush.


@pytest.fixture
def narrow(subject: RegistrySubject) -> RegistrySubject:
    """A client whose partitions split beyond four rows."""
    subject.repository.option_values["partition_rows"] = 4
    return subject.second()


def test_flush_beside_a_split(narrow: RegistrySubject, crew: Crew) -> None:
    """What was staged for one partition lies across two by then."""
    table = table_of(narrow)
    in_files(narrow, table, *rows(range(0, 12, 2)))
    in_files(narrow, table, *rows(range(12, 24, 2)))
    in_delta(table, row(1), row(21))
    other = narrow.second()
    pause = Pause(staged)
    flushing = crew.start(lambda: other.flush("t"), pause)
    ours(narrow).compact("t")
    pause.let_go()
    flushing.result()
    assert narrow.delta_rows("t") == 0
    assert_sound(narrow, [*rows(range(0, 24, 2)), row(1), row(21)])


# Compact.


def _two_files(client: RegistrySubject) -> OpaqueTableStorage:
    """Rows 1 to 4 in two files, which a compaction would merge."""
    table = table_of(client)
    in_files(client, table, *rows([1, 2]))
    in_files(client, table, *rows([3, 4]))
    return table


def test_compaction_does_not_make_a_bulk_write_fail(postgres: RegistrySubject, crew: Crew) -> None:
    table = _two_files(postgres)
    other = postgres.second()
    at_swap = Pause(before("UPDATE", "catalog"))
    writing = crew.start(lambda: table.insert(*rows([5, 6])), at_swap)
    in_use = Pause(refused)
    compacting = crew.start(lambda: ours(other).compact("t"), in_use)
    at_swap.let_go()
    writing.result()
    in_use.let_go()
    compacting.result()
    assert_sound(postgres, rows(range(1, 7)))


DELETES: dict[str, tuple[Callable[[RegistrySubject, OpaqueTableStorage], Any], list[Any]]] = {
    "bulk delete": (lambda _, table: table.delete(*ids(1, 2)), rows([3, 4])),
    "bulk replace": (
        lambda _, table: table.replace(*rows([1, 3], "new")),
        [*rows([1, 3], "new"), *rows([2, 4])],
    ),
    "small delete": (lambda _, table: table.delete(["id"], {"id": 1}), rows([2, 3, 4])),
    "small delete, flushed": (
        lambda client, table: (table.delete(["id"], {"id": 1}), ours(client).flush("t")),
        rows([2, 3, 4]),
    ),
}


@pytest.mark.parametrize("delete", DELETES)
def test_delete_beside_a_compaction(subject: RegistrySubject, crew: Crew, delete: str) -> None:
    """Positions of deleted rows are of one file; the compaction has replaced it."""
    table = _two_files(subject)
    action, expected = DELETES[delete]
    other = subject.second()
    pause = Pause(locking)
    compacting = crew.start(lambda: ours(other).compact("t"), pause)
    action(subject, table)
    pause.let_go()
    compacting.result()
    assert_holds(table, expected)
    subject.flush("t")
    assert_sound(subject, expected)
    for one in expected:
        table.delete(["id"], {"id": one["id"]})
    assert_sound(subject, [])


def test_fold_beside_a_compaction(subject: RegistrySubject, crew: Crew) -> None:
    """A flush finds the rows of its tombstones where they are by then."""
    table = _two_files(subject)
    table.delete(["id"], {"id": 1})
    in_delta(table, row(9))
    other = subject.second()
    pause = Pause(staged)
    flushing = crew.start(lambda: other.flush("t"), pause)
    ours(subject).compact("t")
    pause.let_go()
    flushing.result()
    assert subject.delta_rows("t") == 0
    assert_sound(subject, [*rows([2, 3, 4]), row(9)])


def test_compaction_beside_new_files(subject: RegistrySubject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has written is not written again because the partition has grown."""
    table = _two_files(subject)
    other = table_of(subject.second())
    rewrite = compact_module._rewrite
    calls: list[int] = []

    def overtaken(*arguments: Any) -> Any:
        pieces = rewrite(*arguments)
        other.insert(*rows([2 + 3 * len(calls) + 10, 0 - len(calls)]))
        calls.append(len(pieces))
        return pieces

    monkeypatch.setattr(compact_module, "_rewrite", overtaken)
    ours(subject).compact("t")
    assert calls == [1]
    assert_holds(table, rows([0, 1, 2, 3, 4, 12]))
    assert_sound(subject, rows([0, 1, 2, 3, 4, 12]))


def test_split_beside_new_files(subject: RegistrySubject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that came meanwhile may have rows for either part: the split starts over."""
    _two_files(subject)
    subject.repository.option_values["partition_rows"] = 1
    other, narrow = table_of(subject.second()), subject.second()
    rewrite = compact_module._rewrite
    calls: list[int] = []

    def overtaken(*arguments: Any) -> Any:
        pieces = rewrite(*arguments)
        if not calls:
            other.insert(*rows([0, 12]))
        calls.append(len(pieces))
        return pieces

    monkeypatch.setattr(compact_module, "_rewrite", overtaken)
    ours(narrow).compact("t")
    assert calls == [4, 6]
    assert_sound(subject, rows([0, 1, 2, 3, 4, 12]))


def test_delete_beside_a_merge_of_other_files(
    subject: RegistrySubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has been deleted from a file that stays is no matter to those that are merged."""
    subject.repository.option_values["row_group_rows"] = 1
    table = table_of(subject)
    in_files(subject, table, *rows(range(10, 16)))
    _two_files(subject)
    client = subject.second()
    rewrite = compact_module._rewrite
    calls: list[int] = []

    def overtaken(*arguments: Any) -> Any:
        pieces = rewrite(*arguments)
        table.delete(*ids(10 + 2 * len(calls), 11 + 2 * len(calls)))
        calls.append(len(pieces))
        return pieces

    monkeypatch.setattr(compact_module, "_rewrite", overtaken)
    assert ours(client).compact("t")["t"].files_before == 2
    assert calls == [1]
    assert_sound(subject, rows([1, 2, 3, 4, 12, 13, 14, 15]))
    monkeypatch.undo()
    assert ours(subject.second()).compact("t", full=True)["t"].files_before == 2
    assert_sound(subject, rows([1, 2, 3, 4, 12, 13, 14, 15]))


def test_compaction_stalled_while_vacuum_runs(subject: RegistrySubject, crew: Crew) -> None:
    _two_files(subject)
    other = subject.second()
    pause = Pause(locking)
    compacting = crew.start(lambda: ours(other).compact("t"), pause)
    assert vacuum(subject)["t"].objects > 0
    pause.let_go()
    compacting.result()
    assert_sound(subject, rows(range(1, 5)))


def test_slow_compaction_looks_for_its_files(
    subject: RegistrySubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the retention counts from before the first file was written."""
    table = _two_files(subject)
    late = 0.0

    def slow(*arguments: Any) -> Any:
        nonlocal late
        file, volume = write_file(*arguments), arguments[0]
        if not late:
            late = volume.options.retention
            volume.store.delete([file.path])
        return file

    class Time:
        sleep = time.sleep

        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + late

    monkeypatch.setattr(clock, "time", Time)
    monkeypatch.setattr(compact_module, "write_file", slow)
    ours(subject).compact("t")
    assert late
    assert_sound(subject, rows(range(1, 5)))
    assert_holds(table, rows(range(1, 5)))


# Vacuum.


def test_flush_begins_between_the_fence_and_the_deletion(subject: RegistrySubject, crew: Crew) -> None:
    """It has read the raised fence, so that only the earlier listing spares its files."""
    table = table_of(subject)
    in_files(subject, table, *rows([1, 2]))
    in_files(subject, table, row(1 + 2))
    ours(subject).compact("t")
    in_delta(table, row(4))
    other, third = subject.second(), subject.second()
    at_deletion, at_lock = Pause(locking, skip=1), Pause(staged)
    cleaning = crew.start(lambda: vacuum(other), at_deletion)
    flushing = crew.start(lambda: third.flush("t"), at_lock)
    age(subject)
    at_deletion.let_go()
    assert cleaning.result()["t"].objects > 0
    at_lock.let_go()
    flushing.result()
    assert_sound(subject, [*rows([1, 2]), row(3), row(4)])


def test_vacuum_beside_the_swap_of_a_flush(postgres: RegistrySubject, crew: Crew) -> None:
    """The flush has looked for its files; they are named a moment later."""
    table = table_of(postgres)
    in_files(postgres, table, *rows([1, 2]))
    in_delta(table, row(3))
    other, third = postgres.second(), postgres.second()
    first_phase, swap = Pause(staged), Pause(before("UPDATE", "catalog"))
    flushing = crew.start(lambda: other.flush("t"), first_phase, swap)
    at_deletion, in_use = Pause(locking, skip=1), Pause(refused)
    cleaning = crew.start(lambda: vacuum(third), at_deletion, in_use)
    first_phase.let_go()
    swap.wait()
    at_deletion.let_go()
    in_use.wait()
    assert not cleaning.done()
    swap.let_go()
    flushing.result()
    in_use.let_go()
    cleaning.result()
    assert_sound(postgres, [*rows([1, 2]), row(3)])


def test_vacuum_leaves_a_table_in_use_alone(postgres: RegistrySubject) -> None:
    """It says so, and goes on with the others."""
    for name in ("a", "b"):
        table = table_of(postgres, name)
        table.insert(*rows([1, 2]))
        table.insert(*rows([3, 4]))
    ours(postgres).compact()
    postgres.repository.option_values["lock_timeout"] = 0
    impatient, other = postgres.second(), postgres.second()
    theirs = table_of(other, "a")
    with other.transaction():
        theirs.insert(row(9))
        reports = vacuum(impatient)
    assert reports["a"].busy
    assert not reports["a"].objects
    assert not reports["b"].busy
    assert reports["b"].objects > 0
    assert vacuum(postgres)["a"].objects > 0


OVERTAKEN: dict[str, tuple[str, Callable[[RegistrySubject], Any]]] = {
    "compact": ("_rewrite", lambda client: ours(client).compact("t")),
    "flush": ("_stage", lambda client: client.flush("t")),
}


@pytest.mark.parametrize("verb", OVERTAKEN)
def test_maintenance_whose_files_vacuum_took_starts_over(
    subject: RegistrySubject, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """What it was about to read was superseded, and older than the retention."""
    monkeypatch.setattr(Cache, "get", lambda *_: None)
    table = _two_files(subject)
    in_delta(table, row(9))
    step, maintain = OVERTAKEN[verb]
    module = {"compact": compact_module, "flush": flush_module}[verb]
    reading = getattr(module, step)
    freed: list[int] = []

    def late(*arguments: Any) -> Any:
        if not freed:
            monkeypatch.setattr(module, step, reading)
            table.delete(*ids(1, 2))
            subject.flush("t")
            freed.append(vacuum(subject)["t"].objects)
        return reading(*arguments)

    monkeypatch.setattr(module, step, late)
    maintain(subject.second())
    assert freed[0] > 0
    assert_sound(subject, [*rows([3, 4]), row(9)])


@pytest.mark.parametrize("verb", OVERTAKEN)
def test_a_lost_file_ends_maintenance(
    subject: RegistrySubject, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Nobody has superseded it: there is nothing to start over with."""
    table = _two_files(subject)
    in_delta(table, row(9))
    step, maintain = OVERTAKEN[verb]
    module = {"compact": compact_module, "flush": flush_module}[verb]
    reading, calls = getattr(module, step), []

    def lost(*arguments: Any) -> Any:
        calls.append(step)
        raise ObjectMissingError("lost")

    monkeypatch.setattr(module, step, lost)
    with pytest.raises(ObjectMissingError, match="lost"):
        maintain(subject)
    assert calls == [step]
    monkeypatch.setattr(module, step, reading)
    assert_sound(subject, [*rows(range(1, 5)), row(9)])
