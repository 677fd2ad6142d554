"""Several clients of one repository, one after another and at once."""

from __future__ import annotations

__all__ = ["Clients"]

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from tests.opaque.suite_base import SuiteBase, assert_holds, needs, once, undone
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject, Subject, UndoError


def _twin(subject: Any, table: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Return a second client and its storage of the same table."""
    other = subject.second(**kwargs)
    return other, other.manager.register(table.name, specs.standard())


def _while_waiting(
    subject: RegistrySubject, work: Callable[[], None], release: Callable[[], object]
) -> Future[None]:
    """Start ``work``, ``release`` it once the server says that it waits."""
    observer = subject.second()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            while not future.done() and not _waiting(observer):
                pass
        finally:
            release()
    return future


def _waiting(observer: RegistrySubject) -> bool:
    found = observer.sql(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return bool(found[0][0])


class Clients(SuiteBase):
    """What one client does, the others see once it is committed."""

    @needs("clients")
    def test_commits_are_seen(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        other, theirs = _twin(subject, table)
        assert_holds(theirs, rows([1, 2]))
        table.insert(row(3), row(4))
        table.delete(["id"], {"id": 1})
        other.refresh()
        assert_holds(theirs, [*rows([2]), row(3), row(4)])
        theirs.replace(row(3, "z"))
        subject.refresh()
        assert_holds(table, [*rows([2]), row(3, "z"), row(4)])

    @needs("clients")
    def test_clash_with_rows_of_another_client(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        _, theirs = _twin(subject, table)
        theirs.insert(row(3), row(4))
        for given in ([row(3)], [row(5), row(4)], [row(1)]):
            with pytest.raises(IntegrityError):
                table.insert(*given)
        table.ensure(row(3, "z"), row(6))
        subject.refresh()
        assert_holds(table, [*rows([1, 2]), row(3), row(4), row(6)])

    @needs("clients")
    def test_uncommitted_rows_are_hidden_from_a_reader(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        reader = subject.read_only()
        seen = reader.manager.register(table.name, specs.standard())
        with subject.transaction():
            table.insert(row(3), row(4))
            table.insert(row(5))
            table.delete(["id"], {"id": 1})
            assert_holds(seen, rows([1, 2]))
        reader.refresh()
        assert_holds(seen, [*rows([2]), row(3), row(4), row(5)])
        with undone(subject):
            table.delete(["id"], {"id": 2}, {"id": 3})
            reader.refresh()
            assert_holds(seen, [*rows([2]), row(3), row(4), row(5)])
        reader.refresh()
        assert_holds(seen, [*rows([2]), row(3), row(4), row(5)])

    @needs("registry", "clients")
    def test_writer_beside_an_open_transaction(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        _, theirs = _twin(subject, table, patience=0.1)
        with subject.transaction():
            table.insert(row(3))
            if subject.dialect == "postgresql":
                assert_holds(theirs, rows([1, 2]))
                theirs.insert(row(4))
                theirs.delete(["id"], {"id": 1})
                assert_holds(table, [*rows([2]), row(3), row(4)])
            else:
                # Even reading takes SQLite's lock in the SQL manager's clients that may write.
                if subject.is_arrow:
                    with suppress(OperationalError):
                        assert_holds(theirs, rows([1, 2]))
                else:
                    with pytest.raises(OperationalError, match="locked"):
                        list(theirs.fetch())
                with pytest.raises(OperationalError, match="locked"):
                    theirs.insert(row(4))
        expected = [*rows([2]), row(4)] if subject.dialect == "postgresql" else rows([1, 2])
        assert_holds(theirs, [*expected, row(3)])

    @needs("concurrent")
    def test_bulk_writers_beside_an_open_transaction(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2, 3]))
        _, theirs = _twin(subject, table)
        with subject.transaction():
            table.insert(row(10))
            theirs.insert(row(20), row(21))
            theirs.delete(["id"], {"id": 1}, {"id": 2})
        assert_holds(table, [*rows([3]), row(10), row(20), row(21)])

    @needs("concurrent")
    def test_reads_in_a_transaction_see_later_commits(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        _, theirs = _twin(subject, table)
        with subject.transaction():
            assert_holds(table, rows([1, 2]))
            theirs.insert(*rows([3, 4]))
            assert_holds(table, rows([1, 2, 3, 4]))

    @needs("concurrent")
    @pytest.mark.parametrize("ending", ["commit", "rollback"])
    def test_same_key_inserted_by_two(self, subject: RegistrySubject, ending: str) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        _, theirs = _twin(subject, table)
        transaction = subject.transaction()
        transaction.__enter__()
        table.insert(row(1, "first"))
        undo = (UndoError, UndoError(), None) if ending == "rollback" else (None, None, None)
        future = _while_waiting(
            subject, lambda: theirs.insert(row(1, "second")), lambda: transaction.__exit__(*undo)
        )
        if ending == "commit":
            assert isinstance(future.exception(), IntegrityError)
            assert_holds(table, [*rows([8, 9]), row(1, "first")])
        else:
            assert future.exception() is None
            assert_holds(table, [*rows([8, 9]), row(1, "second")])

    @needs("concurrent")
    def test_same_key_ensured_by_two(self, subject: RegistrySubject) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        _, theirs = _twin(subject, table)
        transaction = subject.transaction()
        transaction.__enter__()
        table.ensure(row(1, "first"))
        future = _while_waiting(
            subject, lambda: theirs.ensure(row(1, "second")), lambda: transaction.__exit__(None, None, None)
        )
        assert future.exception() is None
        assert_holds(table, [*rows([8, 9]), row(1, "first")])

    @once
    @needs("clients")
    def test_clones_in_threads(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), name="shared")
        clones = [subject.clone() for _ in range(4)]

        def work(number: int) -> None:
            shared = clones[number].manager["shared"]
            for i in range(3):
                shared.insert(row(10 * number + i))
                shared.ensure(row(100 + i))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        subject.refresh()
        numbers = [10 * number + i for number in range(4) for i in range(3)]
        assert_holds(table, [row(i) for i in [*numbers, 100, 101, 102]])

    # With the SQL manager a clone finds the definition that another clone
    # shares with it, and uses the table before it is there.
    @once
    @needs("arrow", "clients")
    def test_clones_register_in_threads(self, subject: Subject) -> None:
        clones = [subject.clone() for _ in range(8)]
        together = threading.Barrier(len(clones))

        def work(number: int) -> None:
            together.wait()
            clones[number].manager.register("late", specs.standard()).insert(row(number))

        with ThreadPoolExecutor(len(clones)) as pool:
            list(pool.map(work, range(len(clones))))
        subject.refresh()
        assert_holds(subject.manager["late"], [row(i) for i in range(len(clones))])

    @once
    @needs("clients")
    def test_clients_in_threads(self, subject: Subject) -> None:
        clients = [subject.second() for _ in range(4)]

        def work(number: int) -> None:
            table = clients[number].manager.register("late", specs.standard())
            table.insert(row(number), row(number + 10))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        expected = [row(number + shift) for number in range(4) for shift in (0, 10)]
        assert_holds(subject.manager.register("late", specs.standard()), expected)

    @needs("root")
    def test_a_root_reads_one_snapshot(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        other, theirs = _twin(subject, table)
        table.insert(row(3))
        assert_holds(theirs, rows([1, 2]))
        other.refresh()
        assert_holds(theirs, [*rows([1, 2]), row(3)])
        table.insert(row(4))
        theirs.insert(row(5))
        assert_holds(theirs, [*rows([1, 2]), row(3), row(4), row(5)])
        with other.transaction():
            assert_holds(theirs, [*rows([1, 2]), row(3), row(4), row(5)])
        assert_holds(table, [*rows([1, 2]), row(3), row(4)])
        with subject.transaction():
            assert_holds(table, [*rows([1, 2]), row(3), row(4), row(5)])
