"""The protocol's counterexamples in the registry binding.

The numbers are those of "Counterexamples" in ``docs/DESIGN.md``. D is the
delta, T the tombstones, C the catalog row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from tests.opaque.suite_base import assert_holds, contents
from tests.protocol.crew import Crew, Pause, observed, writes
from tests.protocol.tables import committed, ids, in_delta, in_files, table_of
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject

# 1 and 5: tombstones first, D afterwards, in every writer.


def test_1_row_in_a_file_deleted_beside_a_replace_of_it(postgres: RegistrySubject, crew: Crew) -> None:
    table = table_of(postgres)
    in_files(postgres, table, row(1, "old"))
    other = postgres.second()
    theirs = table_of(other)
    seen: list[specs.Row] = []

    def delete() -> None:
        with postgres.transaction():
            table.delete(["id"], {"id": 1})
            seen.extend(contents(table))

    pause = Pause(writes, skip=1)
    deleting = crew.start(delete, pause)
    replacing = crew.start(lambda: theirs.replace(row(1, "new")))
    waited = crew.blocked(replacing, postgres.second())
    pause.let_go()
    deleting.result()
    replacing.result()
    assert seen == []
    assert waited
    assert_holds(table, [row(1, "new")])


@pytest.mark.parametrize("first", ["delete", "replace"])
def test_5_writers_of_tombstones_and_delta_do_not_deadlock(
    postgres: RegistrySubject, crew: Crew, first: str
) -> None:
    clients = {"delete": postgres, "replace": postgres.second()}
    tables = {name: table_of(client) for name, client in clients.items()}
    in_files(postgres, tables["delete"], row(2, "in a file"))
    in_delta(tables["delete"], row(1, "in the delta"))
    _never_in_bulk(postgres, crew)
    work: dict[str, Callable[[], None]] = {
        "delete": lambda: tables["delete"].delete(["id"], {"id": 1}, {"id": 2}),
        "replace": lambda: tables["replace"].replace(row(1, "new"), row(2, "new")),
    }
    second = next(name for name in work if name != first)
    pause = Pause(writes, skip=1)
    started = crew.start(work[first], pause)
    following = crew.start(work[second])
    assert crew.blocked(following, postgres.second())
    pause.let_go()
    started.result()
    following.result()
    expected = [row(1, "new"), row(2, "new")] if second == "replace" else []
    assert_holds(tables["delete"], expected)


def _never_in_bulk(client: RegistrySubject, crew: Crew) -> None:
    """Hold ROW EXCLUSIVE of table ``t`` in a transaction of one's own."""
    holder = client.second()
    table = table_of(holder)
    stack = ExitStack()
    stack.enter_context(holder.transaction())
    table.delete(["id"], {"id": -1})
    crew.at_the_end(stack.close)


# 2: a caught clash with a row in a file leaves no second row.

UNIQUE = {"id": 1, "name": "one", "label": "l", "x": 1, "y": 1}
CLASHES: dict[str, Callable[[OpaqueTableStorage], None]] = {
    "insert of the key": lambda table: table.insert({**UNIQUE, "name": "two", "label": "m", "x": 2}),
    "insert of a unique value": lambda table: table.insert({**UNIQUE, "id": 2, "label": "m", "x": 2}),
    "insert of a unique pair": lambda table: table.insert({**UNIQUE, "id": 2, "name": "two", "label": "m"}),
    "replace with a unique value": lambda table: table.replace({**UNIQUE, "id": 2, "label": "m", "x": 2}),
    "insert of two": lambda table: table.insert(
        {**UNIQUE, "id": 3, "name": "three", "label": "m", "x": 3},
        {**UNIQUE, "name": "x", "label": "y", "x": 4},
    ),
    "replace of two": lambda table: table.replace(
        {**UNIQUE, "id": 3, "name": "three", "label": "m", "x": 3}, {**UNIQUE, "id": 2, "label": "n", "x": 4}
    ),
    "ensure of NULL": lambda table: table.ensure({**UNIQUE, "id": 2, "name": None, "label": "m", "x": 2}),
    "replace by NULL": lambda table: table.replace({**UNIQUE, "name": None}),
    "insert of NULL": lambda table: table.insert({**UNIQUE, "id": 2, "name": None, "label": "m", "x": 2}),
}
OTHER = {"id": 9, "name": "nine", "label": "i", "x": 9, "y": 9}
LAST = {"id": 8, "name": "eight", "label": "h", "x": 8, "y": 8}


def _outcome(client: RegistrySubject, clash: str, savepoint: bool) -> list[Any]:
    """Return what a caught clash leads to, step by step."""
    table = client.manager.register("t", specs.uniques())
    table.insert(UNIQUE)
    client.flush()
    outcome: list[Any] = []

    def note(action: Callable[[], Any]) -> None:
        try:
            outcome.append(action())
        except (SQLAlchemyError, ValueError) as error:
            outcome.append(type(error))

    def clashing() -> None:
        if savepoint:
            with client.transaction(savepoint=True):
                CLASHES[clash](table)
        else:
            CLASHES[clash](table)

    with client.transaction():
        table.insert(OTHER)
        note(clashing)
        note(lambda: contents(table))
        note(lambda: table.insert(LAST))
    outcome.append(contents(table))
    return outcome


@pytest.mark.parametrize("savepoint", [False, True])
@pytest.mark.parametrize("clash", CLASHES)
def test_2_caught_clash_on_postgres(
    postgres: RegistrySubject, plain_postgres: RegistrySubject, clash: str, savepoint: bool
) -> None:
    expected = _outcome(plain_postgres, clash, savepoint)
    assert expected[0] is IntegrityError
    # Without a savepoint PostgreSQL takes nothing more in such a transaction.
    assert (expected[-1] == [UNIQUE]) is not savepoint
    assert _outcome(postgres, clash, savepoint) == expected


@pytest.mark.parametrize("savepoint", [False, True])
@pytest.mark.parametrize("clash", CLASHES)
def test_2_caught_clash_on_sqlite(
    sqlite: RegistrySubject, plain_sqlite: RegistrySubject, clash: str, savepoint: bool
) -> None:
    expected = _outcome(plain_sqlite, clash, True)
    assert expected[0] is IntegrityError
    assert expected[-1] == sorted([UNIQUE, OTHER, LAST], key=lambda found: repr(sorted(found.items())))
    # SQLite undoes the statement alone; of several rows the SQL manager may
    # leave some without a savepoint, ours never does.
    assert _outcome(sqlite, clash, savepoint) == expected


# 3: what a replace has displaced in D comes back.


@pytest.mark.parametrize("bulk", [False, True])
def test_3_replaced_delta_row_survives_an_undone_call(subject: RegistrySubject, bulk: bool) -> None:
    table = table_of(subject)
    in_files(subject, table, row(1, "in a file"))
    in_delta(table, row(2, "old"), row(3, "old"))
    calls = [rows([2, 3], "new")] if bulk else [[row(2, "new")], [row(3, "new")]]
    actions: list[Callable[[], None]] = [
        *(partial(table.replace, *given) for given in calls),
        lambda: table.insert(row(1, "again")),
    ]
    with subject.transaction():
        in_delta(table, row(4, "kept"))
        with pytest.raises(IntegrityError):
            committed(subject, *actions, savepoint=True)()
    assert_holds(table, [row(1, "in a file"), row(2, "old"), row(3, "old"), row(4, "kept")])


@pytest.mark.parametrize("name", ["one", "eight"])
def test_3_replace_that_fails_in_its_second_row(sqlite: RegistrySubject, name: str) -> None:
    """On a row of a file, which is known before, or of D, which is not."""
    table = sqlite.manager.register("t", specs.uniques())
    in_files(sqlite, table, UNIQUE)
    in_delta(table, OTHER, LAST)
    with sqlite.transaction(), pytest.raises(IntegrityError):
        table.replace({**UNIQUE, "label": "new"}, {**LAST, "id": 7, "name": name})
    assert_holds(table, [UNIQUE, OTHER, LAST])


# 4: D, T and C are read at one moment.


CHANGES: dict[str, Callable[[RegistrySubject, OpaqueTableStorage], Any]] = {
    "replace": lambda client, table: table.replace(row(1, "in a file", 7)),
    "delete": lambda client, table: committed(
        client, lambda: table.delete(["id"], {"id": 2}), lambda: table.delete(["id"], {"id": 3})
    )(),
    "flush": lambda client, table: client.flush(table.name),
    "bulk delete": lambda client, table: table.delete(*ids(1, 3)),
    "bulk replace": lambda client, table: table.replace(*rows([2, 3], "in a file")),
}


PLACES: dict[str, dict[str, Any]] = {"all": {}, "key": {"id": [1, 2, 3]}, "value": {"name": "in a file"}}


def _at(number: int, action: Callable[[], None]) -> Callable[[str], None]:
    """Return what does ``action`` before one of the statements it is told of."""
    count = itertools.count()
    return lambda _: action() if next(count) == number else None


@pytest.mark.parametrize("change", CHANGES)
def test_4_reader_beside_a_commit(postgres: RegistrySubject, crew: Crew, change: str) -> None:
    """The commit comes before the reader's first, second … statement."""
    other = postgres.second()
    for (place, where), number in itertools.product(PLACES.items(), range(4)):
        table, theirs = (table_of(client, f"{place}{number}") for client in (postgres, other))
        table.insert(row(1, "in a file"), row(2, "in a file"))
        in_delta(table, row(3, "in a file"))
        before_it = contents(table, **where)
        with observed(_at(number, partial(CHANGES[change], other, theirs))):
            found = contents(table, **where)
        assert found in (before_it, contents(table, **where))


# 6: no lock is ever upgraded by waiting.


@pytest.mark.parametrize("operation", ["insert", "delete"])
def test_6_small_then_bulk_in_two_transactions(postgres: RegistrySubject, crew: Crew, operation: str) -> None:
    clients = [postgres, postgres.second()]
    tables = [table_of(client) for client in clients]
    in_files(postgres, tables[0], *rows(range(1, 9)))
    transactions = [client.transaction() for client in clients]
    bulk: list[Callable[[], None]] = [
        lambda: tables[0].insert(*rows([20, 21])) if operation == "insert" else tables[0].delete(*ids(1, 2)),
        lambda: tables[1].insert(*rows([30, 31])) if operation == "insert" else tables[1].delete(*ids(3, 4)),
    ]
    with transactions[0], transactions[1]:
        in_delta(tables[0], row(10, val=100))
        in_delta(tables[1], row(11, val=110))
        futures = [crew.start(work) for work in bulk]
        waited = [crew.blocked(future, postgres.second()) for future in futures]
        for future in futures:
            future.result()
    assert waited == [False, False]
    expected = [*range(1, 9), 10, 11, 20, 21, 30, 31] if operation == "insert" else [*range(5, 9), 10, 11]
    assert_holds(tables[0], rows(expected))


# 7: each table has a catalog row of its own.


def test_7_bulk_into_one_table_and_flush_of_another(postgres: RegistrySubject, crew: Crew) -> None:
    a, b = table_of(postgres, "a"), table_of(postgres, "b")
    in_delta(b, row(1))
    other = postgres.second()
    their_a, their_b = table_of(other, "a"), table_of(other, "b")
    with other.transaction():
        their_a.insert(*rows([1, 2]))
        flushing = crew.start(lambda: postgres.flush("b"))
        assert not crew.blocked(flushing, postgres.second())
        flushing.result()
        their_b.insert(row(2))
    assert postgres.delta_rows("b") == 1
    assert_holds(a, rows([1, 2]))
    assert_holds(b, [row(1), row(2)])
