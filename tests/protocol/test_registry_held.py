"""What a small insert knows of the catalog row for the rest of its transaction, and what it must not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import IntegrityError

from tests.opaque.suite_base import assert_holds, undone
from tests.protocol.crew import Crew, observed
from tests.protocol.tables import committed, ids, in_delta, in_files, table_of
from tests.support.specs import Row, row, rows
from tests.support.subjects import RegistrySubject


def _inserts(table: OpaqueTableStorage, *given: Row) -> Callable[[], None]:
    return lambda: table.insert(*given)


def test_statements_of_an_insert(subject: RegistrySubject, crew: Crew) -> None:
    """The second insert of a transaction is a plain one, and none reads tombstones."""
    table = table_of(subject)
    in_files(subject, table, row(1))
    statements: list[str] = []
    with subject.transaction():
        for number in (2, 3, 4):
            with observed(statements.append):
                table.insert(row(number))
    inserts = [statement for statement in statements if statement.startswith("INSERT")]
    reads = [statement for statement in statements if "SELECT manifest" in statement]
    assert len(inserts) == 3
    assert not any("tombstones" in statement for statement in statements)
    assert len(reads) == 1
    if subject.kind.dialect == "postgresql":
        assert statements == inserts
        assert reads == inserts[:1]
    else:
        assert statements == reads + inserts
    assert_holds(table, [row(number) for number in (1, 2, 3, 4)])


def test_clash_with_a_bulk_write_of_the_same_transaction(subject: RegistrySubject) -> None:
    table = table_of(subject)
    work = committed(
        subject, _inserts(table, row(1)), _inserts(table, *rows([2, 3])), _inserts(table, row(2, "again"))
    )
    with pytest.raises(IntegrityError):
        work()
    with subject.transaction():
        table.insert(row(1))
        with subject.transaction(savepoint=True):
            table.insert(*rows([2, 3]))
        with pytest.raises(IntegrityError), subject.transaction(savepoint=True):
            table.insert(row(3, "again"))
        table.insert(row(4))
    assert_holds(table, [row(1), *rows([2, 3]), row(4)])


def test_bulk_write_that_a_savepoint_takes_back(subject: RegistrySubject) -> None:
    table = table_of(subject)
    with subject.transaction():
        table.insert(row(1))
        with undone(subject, savepoint=True):
            table.insert(*rows([2, 3]))
            table.insert(row(4))
        table.insert(row(2))
        table.insert(row(3))
    assert_holds(table, [row(1), row(2), row(3)])


def test_clash_after_a_savepoint_let_the_lock_go(postgres: RegistrySubject) -> None:
    """A lock that was taken in a savepoint is gone with it, and others may flush."""
    table = table_of(postgres)
    in_delta(table, row(1, "old"))
    with postgres.transaction():
        with undone(postgres, savepoint=True):
            table.insert(row(2))
        postgres.second().flush("t")
        with pytest.raises(IntegrityError), postgres.transaction(savepoint=True):
            table.insert(row(1, "new"))
    assert_holds(table, [row(1, "old")])


def test_clash_in_the_next_transaction(subject: RegistrySubject) -> None:
    table = table_of(subject)
    in_delta(table, row(1, "old"))
    with subject.database.session():
        with subject.transaction():
            table.insert(row(2))
        subject.second().flush("t")
        with pytest.raises(IntegrityError):
            committed(subject, _inserts(table, row(3)), _inserts(table, row(1, "new")))()
    assert_holds(table, [row(1, "old"), row(2)])


def test_key_that_was_deleted_from_a_file(subject: RegistrySubject) -> None:
    """Tombstones are looked up after all where the key is in a data file."""
    table = table_of(subject)
    in_files(subject, table, *rows([1, 2]))
    table.delete(*ids(1))
    with subject.transaction():
        table.insert(row(3))
        table.insert(row(1, "new"))
    with pytest.raises(IntegrityError):
        committed(subject, _inserts(table, row(4)), _inserts(table, row(2, "again")))()
    assert_holds(table, [row(1, "new"), *rows([2]), row(3)])
