"""The protocol's counterexamples of flush, vacuum and bulk in the registry binding.

The numbers are those of "Counterexamples" in ``docs/DESIGN.md``. D is the
delta, T the tombstones, C the catalog row.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import IntegrityError

from tests.opaque.suite_base import assert_holds, undone
from tests.protocol.crew import Crew, Pause, before, ours, staged, vacuum
from tests.protocol.tables import committed, ids, in_delta, in_files, table_of
from tests.support.specs import Row, row, rows
from tests.support.subjects import RegistrySubject, Site, open_repository

# 8: vacuum takes nothing that can still be committed.


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_8_bulk_left_open_while_vacuum_runs(postgres: RegistrySubject, ending: str) -> None:
    table = table_of(postgres)
    other = postgres.second()
    theirs = table_of(other)
    table.insert(*rows([1, 2]))
    impatient = _impatient(postgres)
    with other.transaction() if ending == "commit" else undone(other):
        theirs.insert(*rows([3, 4]))
        theirs.delete(*ids(1, 2))
        assert vacuum(impatient)["t"].busy
    vacuum(postgres)
    fresh = postgres.second()
    assert_holds(table_of(fresh), rows([3, 4] if ending == "commit" else [1, 2]))
    ours(fresh).verify()


def _impatient(client: RegistrySubject) -> RegistrySubject:
    with client.options(bulk_rows=2, lock_timeout=0, flush_at_open=0):
        client.repository.option_values.update(lock_timeout=0)
        return client.second()


def test_8_flush_stalled_while_vacuum_runs(subject: RegistrySubject, crew: Crew) -> None:
    table = table_of(subject)
    in_files(subject, table, *rows([1, 2]))
    table.delete(["id"], {"id": 1})
    in_delta(table, *rows([3, 4]))
    other = subject.second()
    pause = Pause(staged)
    flushing = crew.start(lambda: other.flush("t"), pause)
    freed = vacuum(subject)["t"]
    assert freed.objects > 0
    pause.let_go()
    flushing.result()
    fresh = subject.second()
    assert fresh.delta_rows("t") == 0
    assert_holds(table_of(fresh), rows([2, 3, 4]))
    ours(fresh).verify()


# 9: two flushes stage the same rows.


def test_9_two_flushes_of_the_same_rows(subject: RegistrySubject, crew: Crew) -> None:
    table = table_of(subject)
    in_files(subject, table, *rows([1, 2]))
    table.delete(["id"], {"id": 1})
    in_delta(table, *rows([3, 4]))
    other = subject.second()
    pause = Pause(staged)
    flushing = crew.start(lambda: other.flush("t"), pause)
    subject.flush("t")
    in_delta(table, row(5, val=50))
    pause.let_go()
    flushing.result()
    assert_holds(table, rows([2, 3, 4, 5]))
    subject.flush("t")
    assert subject.delta_rows("t") == 0
    assert_holds(table_of(subject.second()), rows([2, 3, 4, 5]))
    with pytest.raises(IntegrityError):
        table.insert(row(3))


# 10: a bulk delete takes rows of D with it.


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_10_bulk_delete_of_rows_in_delta_and_files(
    subject: RegistrySubject, inside: bool, flushed: bool
) -> None:
    table = table_of(subject)
    in_files(subject, table, *rows(range(1, 7)))
    in_delta(table, *rows([7, 8]))
    table.replace(row(2, "in both"))
    table.delete(["id"], {"id": 3})
    doomed = ids(1, 2, 3, 7, 8)
    committed(subject, lambda: table.delete(*doomed))() if inside else table.delete(*doomed)
    assert_holds(table, rows([4, 5, 6]))
    if flushed:
        subject.flush("t")
    assert_holds(table_of(subject.second()), rows([4, 5, 6]))
    # No tombstone may be left to hide these.
    table.insert(row(2, "again"), row(3, "again"))
    in_delta(table, row(1, "again"), row(7, "again"))
    again = [row(i, "again") for i in (1, 2, 3, 7)]
    assert_holds(table, [*rows([4, 5, 6]), *again])
    subject.flush("t")
    assert_holds(table_of(subject.second()), [*rows([4, 5, 6]), *again])


# 13: C is read in a statement that begins after the lock was had.

MEETINGS: dict[str, tuple[Callable[[OpaqueTableStorage], None], type[Exception] | None, list[Row]]] = {
    "insert": (lambda table: table.insert(row(1, "new")), IntegrityError, [row(1, "old")]),
    "ensure": (lambda table: table.ensure(row(1, "new")), None, [row(1, "old")]),
    "replace": (lambda table: table.replace(row(1, "new")), None, [row(1, "new")]),
    "delete": (lambda table: table.delete(["id"], {"id": 1}), None, []),
}


@pytest.mark.parametrize("operation", MEETINGS)
@pytest.mark.parametrize("by", ["flush", "bulk"])
def test_13_writer_that_waited_sees_the_new_manifest(
    postgres: RegistrySubject, crew: Crew, operation: str, by: str
) -> None:
    table = table_of(postgres)
    other = postgres.second()
    theirs = table_of(other)
    if by == "flush":
        in_delta(table, row(1, "old"))
        work: Callable[[], Any] = lambda: other.flush("t")  # noqa: E731  # one of two values
    else:
        work = committed(other, lambda: theirs.insert(row(1, "old"), row(2, "old")))
    pause = Pause(before("UPDATE", "catalog"))
    moving = crew.start(work, pause)
    action, error, expected = MEETINGS[operation]
    writing = crew.start(lambda: action(table))
    assert crew.blocked(writing, postgres.second())
    pause.let_go()
    moving.result()
    assert type(writing.exception()) is (error or type(None))
    if by == "bulk":
        expected = [*expected, row(2, "old")]
    assert_holds(table, expected)
    postgres.flush("t")
    assert_holds(table, expected)


# 14: registries that share a base folder share no root.


def test_14_vacuum_beside_another_registry(
    postgres_urls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, postgres=next(iter(postgres_urls.values())))
    shared = tmp_path / "shared"
    tables = []
    with ExitStack() as stack:
        clients = []
        for _ in range(2):
            monkeypatch.setattr("tests.support.subjects.Repository.base", str(shared))
            client = stack.enter_context(
                open_repository("arrow-postgres-local", site, option_values={"bulk_rows": 2})
            )
            clients.append(client)
            tables.append(table_of(client))
        assert len(os.listdir(shared)) == 2
        for number, table in enumerate(tables):
            table.insert(*rows([10 * number + 1, 10 * number + 2]))
        for client in clients:
            vacuum(client)
        for number, client in enumerate(clients):
            fresh = client.second()
            assert_holds(table_of(fresh), rows([10 * number + 1, 10 * number + 2]))
            ours(fresh).verify()
