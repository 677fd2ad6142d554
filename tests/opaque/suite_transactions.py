"""Transactions, savepoints and rollbacks of the subject."""

from __future__ import annotations

__all__ = ["Transactions"]

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, InternalError, StatementError

from tests.opaque.suite_base import SuiteBase, assert_holds, needs, raises, undone
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject, Subject

_WRITES: dict[str, Callable[[Any], None]] = {
    "insert": lambda table: table.insert(row(3)),
    "insert-many": lambda table: table.insert(row(3), row(4)),
    "ensure": lambda table: table.ensure(row(1, "z"), row(3)),
    "replace": lambda table: table.replace(row(1, "z"), row(3)),
    "replace-one": lambda table: table.replace(row(1, "z")),
    "delete": lambda table: table.delete(["id"], {"id": 1}),
    "delete-many": lambda table: table.delete(["id"], {"id": 1}, {"id": 2}),
    "delete-by-value": lambda table: table.delete(["val"], {"val": 10}),
    "delete-all": lambda table: table.delete([]),
}


def _try(table: Any, *given: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        table.insert(*given)


class Transactions(SuiteBase):
    """Every write belongs to the transaction it is made in."""

    @pytest.mark.parametrize("write", _WRITES)
    def test_rollback(self, subject: Subject, write: str) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        with undone(subject):
            _WRITES[write](table)
            changed = [dict(found) for found in table.fetch()]
        assert_holds(table, rows([1, 2]))
        assert changed != rows([1, 2])

    @pytest.mark.parametrize("write", _WRITES)
    def test_commit(self, subject: Subject, write: str) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        twin = subject.table(specs.standard(), *rows([1, 2]))
        with subject.transaction():
            _WRITES[write](table)
        _WRITES[write](twin)
        assert_holds(table, list(twin.fetch()))
        subject.settle()
        assert_holds(table, list(twin.fetch()))

    def test_own_writes_are_read(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        with subject.transaction():
            table.insert(row(3, "c"))
            table.ensure(row(4, "d"), row(1, "ignored"))
            table.replace(row(1, "A", 11))
            table.delete(["id"], {"id": 2})
            assert_holds(table, [row(1, "A", 11), row(3, "c"), row(4, "d")])
            assert [found["id"] for found in table.fetch(id=[1, 2, 3])] == [1, 3]
            assert list(table.fetch(val=11)) == [row(1, "A", 11)]
        assert_holds(table, [row(1, "A", 11), row(3, "c"), row(4, "d")])

    def test_same_key_inserted_deleted_and_inserted(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        with subject.transaction():
            table.insert(row(3, "a"))
            table.delete(["id"], {"id": 3}, {"id": 1})
            table.insert(row(3, "b"), row(1, "b"))
        assert_holds(table, [row(1, "b"), row(2, "a", 20), row(3, "b")])

    def test_savepoint_rolled_back(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        with subject.transaction():
            table.insert(row(1))
            with undone(subject, savepoint=True):
                table.insert(row(2))
                table.delete(["id"], {"id": 8}, {"id": 1})
                table.replace(row(9, "z"), row(1, "z"))
            assert_holds(table, [*rows([8, 9]), row(1)])
            table.insert(row(3))
        assert_holds(table, [*rows([8, 9]), row(1), row(3)])

    def test_savepoint_kept_and_outer_rolled_back(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        with undone(subject):
            table.insert(row(1))
            with subject.transaction(savepoint=True):
                table.insert(row(2), row(3))
                table.delete(["id"], {"id": 8}, {"id": 9})
        assert_holds(table, rows([8, 9]))

    def test_savepoints_in_savepoints(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        with subject.transaction():
            with subject.transaction(savepoint=True):
                table.insert(row(1))
                with undone(subject, savepoint=True):
                    table.insert(row(2))
                    table.delete(["id"], {"id": 8})
                table.insert(row(3))
            with undone(subject, savepoint=True):
                with subject.transaction(savepoint=True):
                    table.delete(["id"], {"id": 9}, {"id": 1})
        assert_holds(table, [*rows([8, 9]), row(1), row(3)])

    def test_plain_transaction_in_a_savepoint_is_a_savepoint(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        with subject.transaction(), subject.transaction(savepoint=True):
            table.insert(row(1))
            with undone(subject):
                table.insert(row(2), row(3))
        assert_holds(table, [*rows([8, 9]), row(1)])

    def test_plain_transaction_in_a_transaction_is_no_savepoint(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        with subject.transaction():
            table.insert(row(1))
            with undone(subject):
                table.insert(row(2))
            table.insert(row(3))
        assert_holds(table, [*rows([8, 9]), row(1), row(2), row(3)])

    def test_savepoint_at_the_outermost_level(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        with subject.transaction(savepoint=True):
            table.insert(row(1))
        with undone(subject, savepoint=True):
            table.insert(row(2))
        assert_holds(table, [*rows([8, 9]), row(1)])

    def test_clash_out_of_a_transaction(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        with pytest.raises(IntegrityError), subject.transaction():
            self._clash(table)
        assert_holds(table, rows([8, 9]))

    def test_clash_out_of_a_savepoint(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        with subject.transaction():
            table.insert(row(1))
            with pytest.raises(IntegrityError), subject.transaction(savepoint=True):
                self._clash(table)
            table.insert(row(7))
        assert_holds(table, [*rows([8, 9]), row(1), row(7)])

    @staticmethod
    def _clash(table: Any) -> None:
        table.insert(row(2), row(3))
        table.insert(row(4))
        table.insert(row(8))

    @pytest.mark.parametrize("clash", [[row(8)], [row(3), row(8)], [row(1)]], ids=["earlier", "many", "own"])
    def test_clash_caught_in_a_savepoint(self, subject: Subject, clash: list[dict[str, Any]]) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        with subject.transaction(), subject.transaction(savepoint=True):
            table.insert(row(1))
            _try(table, *clash)
            table.insert(row(2))
        assert_holds(table, [*rows([8, 9]), row(1), row(2)])

    @pytest.mark.parametrize("clash", [row(8), row(1), row(5, None)], ids=["earlier", "own", "null"])
    def test_clash_caught_in_a_plain_transaction(self, subject: Subject, clash: dict[str, Any]) -> None:
        table = subject.table(specs.standard(), *rows([8, 9]))
        with subject.transaction():
            table.insert(row(1))
            _try(table, clash)
            if subject.dialect == "postgresql":
                for use in (lambda: table.insert(row(2)), lambda: list(table.fetch())):
                    with pytest.raises(InternalError):
                        use()
            else:
                table.insert(row(2))
        # PostgreSQL turns the commit of an aborted transaction into a rollback.
        kept = [] if subject.dialect == "postgresql" else [row(1), row(2)]
        assert_holds(table, [*rows([8, 9]), *kept])

    def test_replace_clash_caught_in_a_plain_transaction(self, subject: Subject) -> None:
        one = {"id": 1, "name": "a", "label": None, "x": 1, "y": 1}
        two = {"id": 2, "name": "b", "label": None, "x": 2, "y": 2}
        table = subject.table(specs.uniques(), one, two)
        with subject.transaction():
            with pytest.raises(IntegrityError):
                table.replace(two | {"name": "a"})
            if subject.dialect != "postgresql":
                assert_holds(table, [one, two])
                table.replace(two | {"name": "c"})
        kept = two if subject.dialect == "postgresql" else two | {"name": "c"}
        assert_holds(table, [one, kept])

    def test_refused_value_does_not_poison(self, subject: Subject) -> None:
        table = subject.table(specs.records(), specs.record(1), specs.record(2))
        with subject.transaction():
            with raises(subject, sqlite=StatementError):
                table.insert(specs.record(3) | {"dataset_id": "zz"})
            with raises(subject, sqlite=StatementError):
                table.delete(["dataset_id"], {"dataset_id": "zz"})
            with pytest.raises(KeyError):
                list(table.fetch(zz=1))
            table.insert(specs.record(3))
        assert_holds(table, map(specs.record, (1, 2, 3)))

    def test_several_tables_in_one_transaction(self, subject: Subject) -> None:
        one = subject.table(specs.standard(), *rows([1, 2]))
        two = subject.table(specs.records(), *map(specs.record, range(3)))
        with undone(subject):
            one.insert(row(3), row(4))
            two.delete(["file_size"], {"file_size": 1})
        assert_holds(one, rows([1, 2]))
        assert_holds(two, map(specs.record, range(3)))
        with subject.transaction():
            two.insert(specs.record(7), specs.record(8))
            one.delete(["id"], {"id": 1}, {"id": 2})
            two.delete(["file_size"], {"file_size": 1})
        assert_holds(one, [])
        assert_holds(two, map(specs.record, (0, 2, 7, 8)))

    def test_transaction_with_nothing_in_it(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        with subject.transaction():
            pass
        with subject.transaction():
            table.insert()
            table.delete(["id"])
            assert_holds(table, rows([1, 2]))
        assert_holds(table, rows([1, 2]))

    def test_large_and_small_calls_in_one_transaction(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows(range(20)))
        with undone(subject):
            self._mix(table)
        assert_holds(table, rows(range(20)))
        with subject.transaction():
            self._mix(table)
        assert_holds(table, [*rows(range(10, 18)), *rows(range(19, 25)), row(30, "new"), row(40)])

    @staticmethod
    def _mix(table: Any) -> None:
        table.insert(*rows(range(20, 25)))
        table.delete(["id"], {"id": 18})
        table.insert(row(30))
        table.delete(["id"], *({"id": i} for i in range(10)))
        table.replace(row(30, "new"))
        table.insert(row(40))

    @needs("registry")
    def test_no_transaction_is_left_open(self, subject: RegistrySubject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        table.insert(row(3))
        assert not subject.database.isInTransaction()
        next(table.fetch())
        _try(table, row(1))
        table.delete(["id"], {"id": 2}, {"id": 3})
        subject.flush()
        assert not subject.database.isInTransaction()
        assert_holds(table, rows([1]))
