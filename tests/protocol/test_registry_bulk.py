"""Bulk calls inside the caller's transaction, and errors in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import IntegrityError

from arrowopaque.errors import StoreAccessError
from arrowopaque.objects.local import LocalStore
from arrowopaque.store.base import Base
from arrowopaque.store.volume import Volume
from tests.opaque.suite_base import assert_holds, undone
from tests.protocol.crew import Crew, ours
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject


def _prepare(client: RegistrySubject, name: str = "t") -> OpaqueTableStorage:
    """Rows 1 and 2 in a file, 2 deleted and inserted again, 3 in D."""
    table = client.manager.register(name, specs.standard())
    table.insert(row(1, val=10), row(2, "old"))
    table.delete(["id"], {"id": 2})
    table.insert(row(2, val=20))
    table.insert(row(3, val=30))
    return table


BULK: dict[str, tuple[Callable[[OpaqueTableStorage], None], list[specs.Row]]] = {
    "insert": (lambda table: table.insert(*rows([4, 5])), rows([1, 2, 3, 4, 5])),
    "ensure": (lambda table: table.ensure(*rows([2, 3, 4], "no")), [*rows([1, 2, 3]), *rows([4], "no")]),
    "replace": (lambda table: table.replace(*rows([1, 2, 3, 4], "new")), rows([1, 2, 3, 4], "new")),
    "delete": (lambda table: table.delete(["id"], {"id": 1}, {"id": 2}, {"id": 3}), []),
}


def _takes_another_bulk(
    client: RegistrySubject, table: OpaqueTableStorage, expected: list[specs.Row]
) -> None:
    """Check a table, then that a later bulk insert and flush do it no harm."""
    assert_holds(table, expected)
    before = client.delta_rows("t")
    table.insert(*rows([50, 51]))
    assert client.delta_rows("t") == before
    client.flush("t")
    assert_holds(client.second().manager.register("t", specs.standard()), [*expected, *rows([50, 51])])
    ours(client).verify()


@pytest.mark.parametrize("operation", BULK)
def test_rollback_after_bulk(subject: RegistrySubject, operation: str) -> None:
    table = _prepare(subject)
    action, expected = BULK[operation]
    with undone(subject):
        action(table)
        assert_holds(table, expected)
    _takes_another_bulk(subject, table, rows([1, 2, 3]))


@pytest.mark.parametrize("operation", BULK)
def test_savepoint_around_bulk(subject: RegistrySubject, operation: str) -> None:
    table = _prepare(subject)
    action, expected = BULK[operation]
    with subject.transaction():
        table.insert(row(10))
        with undone(subject, savepoint=True):
            action(table)
            assert_holds(table, [*expected, row(10)])
        assert_holds(table, [*rows([1, 2, 3]), row(10)])
        with subject.transaction(savepoint=True):
            action(table)
    _takes_another_bulk(subject, table, [*expected, row(10)])


@pytest.mark.parametrize("operation", BULK)
def test_bulk_after_an_undone_bulk_in_one_transaction(subject: RegistrySubject, operation: str) -> None:
    table = _prepare(subject)
    action, expected = BULK[operation]
    with subject.transaction():
        with undone(subject, savepoint=True):
            table.insert(*rows([7, 8]))
        action(table)
        table.insert(*rows([7, 8], "mine"))
        assert_holds(table, [*expected, *rows([7, 8], "mine")])
    _takes_another_bulk(subject, table, [*expected, *rows([7, 8], "mine")])


def test_lock_of_an_undone_bulk_is_given_back(postgres: RegistrySubject, crew: Crew) -> None:
    table = _prepare(postgres)
    other = postgres.second()
    theirs = other.manager.register("t", specs.standard())
    with other.transaction():
        with undone(other, savepoint=True):
            theirs.insert(*rows([4, 5]))
        writing = crew.start(lambda: table.insert(row(6)))
        assert not crew.blocked(writing, postgres.second())
        writing.result()
    assert_holds(table, [*rows([1, 2, 3]), row(6)])


@pytest.mark.parametrize("operation", BULK)
def test_bulk_beside_a_small_writer_goes_the_small_way(
    postgres: RegistrySubject, crew: Crew, operation: str
) -> None:
    table = _prepare(postgres)
    other = postgres.second()
    theirs = other.manager.register("t", specs.standard())
    action, expected = BULK[operation]
    manifest = "SELECT manifest FROM {}.arrowopaque_catalog".format(f'"{postgres.database.namespace}"')
    known = postgres.sql(manifest)
    with other.transaction():
        theirs.insert(row(10))
        writing = crew.start(lambda: action(table))
        assert not crew.blocked(writing, postgres.second())
        writing.result()
        assert postgres.sql(manifest) == known
        assert_holds(table, expected)
    _takes_another_bulk(postgres, table, [*expected, row(10)])


def test_readers_do_not_wait_for_a_bulk_write(postgres: RegistrySubject, crew: Crew) -> None:
    table = _prepare(postgres)
    other = postgres.second()
    theirs = other.manager.register("t", specs.standard())
    with other.transaction():
        theirs.insert(*rows([4, 5]))
        for work in (
            lambda: assert_holds(table, rows([1, 2, 3])),
            lambda: assert_holds(postgres.second().manager.register("t", specs.standard()), rows([1, 2, 3])),
        ):
            reading = crew.start(work)
            assert not crew.blocked(reading, postgres.second())
            reading.result()


@pytest.mark.parametrize("ending", ["commit", "rollback", "savepoint"])
def test_two_tables_in_one_transaction(subject: RegistrySubject, ending: str) -> None:
    first, second = _prepare(subject, "a"), _prepare(subject, "b")
    with ExitStack() as stack:
        if ending == "savepoint":
            stack.enter_context(subject.transaction())
        undo = ending != "commit"
        stack.enter_context(undone(subject, savepoint=undo) if undo else subject.transaction())
        first.insert(*rows([4, 5]))
        second.delete(["id"], {"id": 1}, {"id": 3})
        second.insert(row(6))
        first.replace(row(1, "new"))
        first.delete(["id"], {"id": 4}, {"id": 2})
        second.insert(*rows([4, 5]))
    in_first = [row(1, "new"), *rows([3, 5])] if ending == "commit" else rows([1, 2, 3])
    in_second = [*rows([2, 4, 5]), row(6)] if ending == "commit" else rows([1, 2, 3])
    subject.flush("a")
    for client in (subject, subject.second()):
        assert_holds(client.manager.register("a", specs.standard()), in_first)
        assert_holds(client.manager.register("b", specs.standard()), in_second)


@pytest.mark.parametrize("savepoint", [False, True])
def test_clash_of_a_bulk_call_leaves_nothing(subject: RegistrySubject, savepoint: bool) -> None:
    table = _prepare(subject)
    before = subject.delta_rows("t")
    for clashing in (rows([7, 1]), rows([7, 2]), rows([7, 3]), rows([7, 8, 7])):
        with pytest.raises(IntegrityError):
            _insert_both(subject, table, clashing, savepoint)
    assert subject.delta_rows("t") == before
    _takes_another_bulk(subject, table, rows([1, 2, 3]))


def _insert_both(
    client: RegistrySubject, table: OpaqueTableStorage, clashing: list[specs.Row], savepoint: bool
) -> None:
    with client.transaction(savepoint=savepoint):
        table.insert(*rows([8, 9]))
        table.insert(*clashing)


@contextmanager
def failing(owner: type, operation: str) -> Iterator[None]:
    """Let the storage below an operation be gone."""

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreAccessError("the storage is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, operation, fail)
        yield


@pytest.mark.parametrize("place", [(LocalStore, "put"), (Volume, "put_manifest")], ids=["first", "last"])
@pytest.mark.parametrize("operation", BULK)
def test_storage_fails_in_a_bulk_call(
    subject: RegistrySubject, operation: str, place: tuple[type, str]
) -> None:
    table = _prepare(subject)
    action, _ = BULK[operation]
    with subject.transaction():
        table.insert(row(10))
        with failing(*place), pytest.raises(StoreAccessError):
            action(table)
        assert_holds(table, [*rows([1, 2, 3]), row(10)])
        table.insert(row(11))
    _takes_another_bulk(subject, table, [*rows([1, 2, 3]), row(10), row(11)])


SMALL: dict[str, Callable[[OpaqueTableStorage], None]] = {
    "insert": lambda table: table.insert(row(1, "second")),
    "ensure": lambda table: table.ensure(row(1, "second")),
    "replace": lambda table: table.replace(row(1, "second")),
    "delete": lambda table: table.delete(["id"], {"id": 1}),
}


@pytest.mark.parametrize("operation", SMALL)
def test_storage_fails_while_a_key_is_looked_up(subject: RegistrySubject, operation: str) -> None:
    """A caller that catches it and commits must not have made a second row."""
    table = _prepare(subject)
    with subject.transaction():
        table.insert(row(9))
        with failing(Base, "open"), pytest.raises(StoreAccessError):
            SMALL[operation](table)
    # PostgreSQL took nothing more if the row was there already.
    kept = [] if operation == "insert" and subject.dialect == "postgresql" else [row(9)]
    _takes_another_bulk(subject, table, [*rows([1, 2, 3]), *kept])
