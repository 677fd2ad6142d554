"""Flush in two phases: what happens between them, and what interrupts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import IntegrityError

from arrowopaque.butler.ddl import tombstone_table
from arrowopaque.errors import ConflictError
from tests.opaque.suite_base import assert_holds
from tests.protocol.crew import Crew, Pause, before, ours, staged
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject

WRITES: dict[str, tuple[Callable[[OpaqueTableStorage], None], list[specs.Row]]] = {
    "insert": (lambda table: table.insert(row(9)), [*rows([1, 2, 3]), row(9)]),
    "ensure": (lambda table: table.ensure(row(1, "no")), rows([1, 2, 3])),
    "replace": (lambda table: table.replace(row(1, "new")), [row(1, "new"), *rows([2, 3])]),
    "delete": (lambda table: table.delete(["id"], {"id": 3}), rows([1, 2])),
    "bulk insert": (lambda table: table.insert(*rows([9, 10])), rows([1, 2, 3, 9, 10])),
    "bulk replace": (
        lambda table: table.replace(*rows([1, 3], "new")),
        [*rows([1, 3], "new"), *rows([2])],
    ),
    "bulk delete": (lambda table: table.delete(["id"], {"id": 1}, {"id": 3}), rows([2])),
}
"""Each meets row 1 in a file, row 2 deleted and inserted again, row 3 in D."""


def _prepare(client: RegistrySubject) -> OpaqueTableStorage:
    table = client.manager.register("t", specs.standard())
    table.insert(row(1, val=10), row(2, "old"))
    table.delete(["id"], {"id": 2})
    table.insert(row(2, val=20))
    table.insert(row(3, val=30))
    return table


@pytest.mark.parametrize("write", WRITES)
def test_writers_do_not_wait_for_the_first_phase(subject: RegistrySubject, crew: Crew, write: str) -> None:
    table = _prepare(subject)
    action, expected = WRITES[write]
    other = subject.second()
    pause = Pause(staged)
    flushing = crew.start(lambda: other.flush("t"), pause)
    action(table)
    assert not flushing.done()
    assert_holds(table, expected)
    pause.let_go()
    flushing.result()
    assert_holds(table, expected)
    subject.flush("t")
    assert subject.delta_rows("t") == 0
    assert_holds(subject.second().manager.register("t", specs.standard()), expected)
    ours(subject).verify()


BETWEEN: dict[str, tuple[list[Callable[[RegistrySubject, OpaqueTableStorage], Any]], list[specs.Row]]] = {
    "changed": ([lambda _, table: table.replace(row(3, "new"))], [row(3, "new")]),
    "changed and back": (
        [lambda _, table: table.replace(row(3, "new")), lambda _, table: table.replace(row(3, val=30))],
        [row(3, val=30)],
    ),
    "deleted": ([lambda _, table: table.delete(["id"], {"id": 3})], []),
    "deleted and inserted again": (
        [lambda _, table: table.delete(["id"], {"id": 3}), lambda _, table: table.insert(row(3, "new"))],
        [row(3, "new")],
    ),
    "deleted and inserted alike": (
        [lambda _, table: table.delete(["id"], {"id": 3}), lambda _, table: table.insert(row(3, val=30))],
        [row(3, val=30)],
    ),
    "flushed and deleted": (
        [lambda client, _: client.flush("t"), lambda _, table: table.delete(["id"], {"id": 3})],
        [],
    ),
    "flushed, deleted and inserted alike": (
        [
            lambda client, _: client.flush("t"),
            lambda _, table: table.delete(["id"], {"id": 3}),
            lambda _, table: table.insert(row(3, val=30)),
        ],
        [row(3, val=30)],
    ),
    "flushed, deleted in bulk and inserted alike": (
        [
            lambda client, _: client.flush("t"),
            lambda _, table: table.delete(["id"], {"id": 3}, {"id": -1}),
            lambda _, table: table.insert(row(3, val=30)),
        ],
        [row(3, val=30)],
    ),
    "replaced in bulk": (
        [lambda _, table: table.replace(row(3, "new"), row(4, "new"))],
        [row(3, "new"), row(4, "new")],
    ),
}


@pytest.mark.parametrize("change", BETWEEN)
def test_rows_that_change_between_the_phases(subject: RegistrySubject, crew: Crew, change: str) -> None:
    table = _prepare(subject)
    actions, of_row_3 = BETWEEN[change]
    other = subject.second()
    pause = Pause(staged)
    flushing = crew.start(lambda: other.flush("t"), pause)
    for action in actions:
        action(subject, table)
    pause.let_go()
    flushing.result()
    expected = [*rows([1, 2]), *of_row_3]
    assert_holds(table, expected)
    subject.flush("t")
    assert subject.delta_rows("t") == 0
    assert_holds(table, expected)
    _each_key_once(subject, table, expected)


def _each_key_once(client: RegistrySubject, table: OpaqueTableStorage, expected: list[specs.Row]) -> None:
    """Check that what is seen is what is there, for writers too."""
    for one in expected:
        with pytest.raises(IntegrityError):
            table.insert(one)
    ours(client).verify()
    table.delete(["id"], *({"id": one["id"]} for one in expected))
    assert_holds(table, [])


@pytest.mark.parametrize("again", [False, True])
def test_tombstone_with_a_new_stamp(subject: RegistrySubject, crew: Crew, again: bool) -> None:
    """One that another flush has folded and a later delete has put again."""
    table = _prepare(subject)
    other = subject.second()
    pause = Pause(staged)
    flushing = crew.start(lambda: other.flush("t"), pause)
    # Row 2 had a tombstone; it moves into a file and gets another.
    subject.flush("t")
    table.delete(["id"], {"id": 2})
    if again:
        table.insert(row(2, val=20))
    pause.let_go()
    flushing.result()
    # It was not there when the flush began: the next one folds it.
    assert subject.delta_rows(tombstone_table("t")) == 1
    expected = rows([1, 2, 3]) if again else rows([1, 3])
    assert_holds(table, expected)
    subject.flush("t")
    assert subject.delta_rows("t") == 0
    assert_holds(table, expected)
    _each_key_once(subject, table, expected)


def test_rows_pushed_beyond_the_limit_stay_for_the_next_flush(subject: RegistrySubject, crew: Crew) -> None:
    """The second phase looks at no more rows than the first."""
    subject.repository.option_values["flush_rows"] = 2
    other = subject.second()
    table = subject.manager.register("t", specs.standard())
    for one in rows([5, 6, 7]):
        table.insert(one)
    pause = Pause(staged)
    flushing = crew.start(lambda: other.flush("t"), pause)
    table.insert(row(1))
    table.replace(row(7, "new"))
    pause.let_go()
    flushing.result()
    expected = [row(1), *rows([5, 6]), row(7, "new")]
    assert subject.delta_rows("t") == 0
    assert_holds(table, expected)
    assert_holds(subject.second().manager.register("t", specs.standard()), expected)
    ours(subject.second()).verify()


def _data_files(client: RegistrySubject) -> set[Path]:
    return set(Path(str(client.repository.base)).rglob("partition=*/*"))


def test_staged_files_that_are_gone_are_written_again(subject: RegistrySubject, crew: Crew) -> None:
    """After half the retention a flush looks, whether or not a vacuum has left its mark."""
    subject.repository.option_values["retention"] = 0.001
    other = subject.second()
    table = _prepare(subject)
    known = _data_files(subject)
    pause = Pause(staged)
    flushing = crew.start(lambda: other.flush("t"), pause)
    new = _data_files(subject) - known
    assert new
    for file in new:
        file.unlink()
    pause.let_go()
    flushing.result()
    assert subject.delta_rows("t") == 0
    assert_holds(subject.second().manager.register("t", specs.standard()), rows([1, 2, 3]))
    assert_holds(table, rows([1, 2, 3]))


def test_server_ends_the_connection_before_the_swap(postgres: RegistrySubject, crew: Crew) -> None:
    table = _prepare(postgres)
    other = postgres.second()
    pause = Pause(before("UPDATE", "catalog"))
    flushing = crew.start(lambda: other.flush("t"), pause)
    killed = postgres.sql(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation "
        f"JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = '{postgres.database.namespace}' "
        "AND c.relname = 't' AND l.mode = 'ExclusiveLock'"
    )
    assert killed == [(True,)]
    pause.let_go()
    assert isinstance(flushing.exception(), sqlalchemy.exc.DBAPIError)
    assert postgres.delta_rows("t") == 2
    assert_holds(table, rows([1, 2, 3]))
    postgres.flush("t")
    assert postgres.delta_rows("t") == 0
    assert_holds(table, rows([1, 2, 3]))


class LostReplyError(Exception):
    """Stands for what a driver raises when the server's answer is lost."""


@pytest.fixture
def lose_next_commit(
    subject: RegistrySubject, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[bool], None]]:
    """Call it to lose the answer to the next COMMIT, or its request."""
    dialect = subject.database._engine.dialect
    commit = dialect.do_commit
    armed: list[bool] = []

    def do_commit(connection: Any) -> None:
        if not armed:
            commit(connection)
            return
        if armed.pop():
            commit(connection)
        raise LostReplyError

    monkeypatch.setattr(dialect, "do_commit", do_commit)
    yield armed.append
    assert not armed


@pytest.mark.parametrize("landed", [False, True])
def test_lost_reply_to_the_commit_of_a_flush(
    subject: RegistrySubject, lose_next_commit: Callable[[bool], None], landed: bool
) -> None:
    table = _prepare(subject)
    lose_next_commit(landed)
    with pytest.raises(LostReplyError):
        subject.flush("t")
    assert subject.delta_rows("t") == (0 if landed else 2)
    assert_holds(table, rows([1, 2, 3]))
    subject.flush("t")
    assert subject.delta_rows("t") == 0
    assert_holds(subject.second().manager.register("t", specs.standard()), rows([1, 2, 3]))


@pytest.mark.parametrize("landed", [False, True])
def test_lost_reply_to_the_commit_of_a_bulk_insert(
    subject: RegistrySubject, lose_next_commit: Callable[[bool], None], landed: bool
) -> None:
    table = _prepare(subject)
    lose_next_commit(landed)
    with pytest.raises(LostReplyError):
        table.insert(*rows([4, 5]))
    expected = rows([1, 2, 3, 4, 5] if landed else [1, 2, 3])
    assert_holds(table, expected)
    table.ensure(*rows([4, 5]))
    assert_holds(table, rows([1, 2, 3, 4, 5]))
    assert_holds(subject.second().manager.register("t", specs.standard()), rows([1, 2, 3, 4, 5]))


def test_flush_that_would_wait_gives_up(subject: RegistrySubject) -> None:
    table = _prepare(subject)
    subject.repository.option_values["lock_timeout"] = 0.05
    # A SQLite client waits for a minute if it is let.
    other = subject.second(patience=60.0)
    other.manager.register("t", specs.standard())
    with subject.transaction():
        table.insert(row(4, val=40))
        with pytest.raises(ConflictError, match="'t'"):
            other.flush("t")
    assert_holds(table, rows([1, 2, 3, 4]))
    other.flush("t")
    assert subject.delta_rows("t") == 0
    if subject.dialect == "sqlite":
        with other.database.session(), other.database.query(sqlalchemy.text("PRAGMA busy_timeout")) as found:
            assert found.scalar_one() == 60_000
