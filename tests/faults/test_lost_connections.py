"""Connections to PostgreSQL are cut, and its server goes down: all is as with the SQL manager."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage

from tests.faults.sweep import TABLES, ours
from tests.opaque.suite_base import assert_holds, contents
from tests.support import specs
from tests.support.postgres import DRIVERS, PostgresServer
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject, Site, open_repository

KINDS = ("sql-postgres", "arrow-postgres-local")
_OPTIONS = {"bulk_rows": 3, "flush_at_open": 0}


@dataclass
class Client:
    """A manager on a database of its own, whose connections can be cut."""

    subject: RegistrySubject
    cut: Callable[[], None]

    def table(self, name: str) -> OpaqueTableStorage:
        """Return a new table with three rows, in a file if there are files."""
        table = self.subject.manager.register(name, specs.standard())
        table.insert(*rows([1, 2, 3]))
        self.subject.flush(name)
        return table


def _client(stack: ExitStack, server: PostgresServer, driver: str, kind: str, folder: Path) -> Client:
    database = server.new_database()
    engine = sqlalchemy.create_engine(database.url(driver), poolclass=sqlalchemy.NullPool)

    def cut() -> None:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        kill = f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE {others}"
        with engine.connect() as connection:
            assert set(connection.scalars(sqlalchemy.text(kill))) == {True}

    site = Site(folder, postgres=database.url(driver))
    subject = stack.enter_context(open_repository(kind, site, option_values=dict(_OPTIONS)))
    return Client(subject, cut)


@pytest.fixture(scope="module", params=DRIVERS)
def clients(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Client]]:
    """One client of the SQL manager and one of ours."""
    folder = tmp_path_factory.mktemp("lost")
    with ExitStack() as stack:
        yield [_client(stack, postgres_server, request.param, kind, folder) for kind in KINDS]


Script = Callable[[RegistrySubject, OpaqueTableStorage, Callable[[], None]], Any]


def _before_commit(client: RegistrySubject, table: OpaqueTableStorage, cut: Callable[[], None]) -> None:
    with client.transaction():
        table.insert(row(10))
        cut()


def _before(action: Callable[[OpaqueTableStorage], object]) -> Script:
    def script(client: RegistrySubject, table: OpaqueTableStorage, cut: Callable[[], None]) -> None:
        with client.transaction():
            table.insert(row(10))
            cut()
            action(table)

    return script


def _in_savepoint(client: RegistrySubject, table: OpaqueTableStorage, cut: Callable[[], None]) -> None:
    with client.transaction():
        table.insert(row(10))
        with client.transaction(savepoint=True):
            table.insert(row(11))
            cut()
            table.delete(["id"], {"id": 1})


def _caught(client: RegistrySubject, table: OpaqueTableStorage, cut: Callable[[], None]) -> None:
    with client.transaction():
        table.insert(row(10))
        cut()
        with suppress(sqlalchemy.exc.SQLAlchemyError):
            table.insert(row(11))


def _caught_and_on(client: RegistrySubject, table: OpaqueTableStorage, cut: Callable[[], None]) -> None:
    with client.transaction():
        cut()
        with suppress(sqlalchemy.exc.SQLAlchemyError):
            table.insert(row(11))
        table.insert(row(12))


def _idle(client: RegistrySubject, table: OpaqueTableStorage, cut: Callable[[], None]) -> None:
    cut()
    table.insert(row(10))


def _idle_read(client: RegistrySubject, table: OpaqueTableStorage, cut: Callable[[], None]) -> Any:
    cut()
    return contents(table)


def _session(client: RegistrySubject, table: OpaqueTableStorage, cut: Callable[[], None]) -> Any:
    with client.database.session():
        contents(table)
        cut()
        return contents(table)


SCRIPTS: dict[str, Script] = {
    "commit": _before_commit,
    "insert": _before(lambda table: table.insert(row(11))),
    "ensure": _before(lambda table: table.ensure(row(11), row(1))),
    "replace": _before(lambda table: table.replace(row(1, "new"))),
    "delete": _before(lambda table: table.delete(["id"], {"id": 1})),
    "bulk insert": _before(lambda table: table.insert(*rows([11, 12, 13]))),
    "bulk delete": _before(lambda table: table.delete(["id"], {"id": 1}, {"id": 2}, {"id": 3})),
    "fetch": _before(lambda table: contents(table, id=1)),
    "savepoint": _in_savepoint,
    "caught": _caught,
    "caught, then an insert": _caught_and_on,
    "idle": _idle,
    "idle, fetch": _idle_read,
    "session": _session,
}


def _outcome(action: Callable[[], Any]) -> Any:
    """Return what an action gives, or the class of SQLAlchemy's error."""
    try:
        return action()
    except sqlalchemy.exc.SQLAlchemyError as error:
        return type(error), getattr(error, "connection_invalidated", False)


@pytest.mark.parametrize("script", SCRIPTS)
def test_connection_is_cut(clients: list[Client], script: str) -> None:
    outcomes = []
    for client in clients:
        table = client.table(script)
        outcome = _outcome(lambda: SCRIPTS[script](client.subject, table, client.cut))  # noqa: B023  # called at once
        found = contents(table)
        # The same client goes on.
        table.insert(row(50))
        table.insert(*rows([51, 52, 53]))
        client.subject.flush(script)
        assert_holds(table, [*found, row(50), *rows([51, 52, 53])])
        outcomes.append((outcome, found))
    assert outcomes[0] == outcomes[1]
    ours(clients[1].subject).verify()


def _through_a_crash(client: RegistrySubject, table: OpaqueTableStorage, server: PostgresServer) -> list[Any]:
    """Let the server go down while a transaction is open, and call while it is down."""

    def transaction() -> None:
        with client.transaction():
            table.insert(row(10))
            table.insert(*rows([11, 12, 13]))
            server.stop()

    calls = (
        transaction,
        lambda: contents(table),
        lambda: table.insert(row(10)),
        lambda: table.insert(*rows([11, 12, 13])),
        lambda: table.delete(["id"], {"id": 1}),
    )
    outcomes = [_outcome(call) for call in calls]
    server.resume()
    return [*outcomes, contents(table)]


def test_server_goes_down_and_comes_back(tmp_path: Path) -> None:
    outcomes = []
    with PostgresServer() as server, ExitStack() as stack:
        for kind in KINDS:
            client = _client(stack, server, DRIVERS[0], kind, tmp_path).subject
            table = client.manager.register("t", specs.standard())
            table.insert(*rows([1, 2, 3]))
            client.flush()
            outcomes.append(_through_a_crash(client, table, server))
            # The same client goes on; and connections that are idle over a restart are not missed.
            table.insert(*rows([11, 12, 13]))
            server.stop()
            server.resume()
            table.insert(row(10))
            client.flush()
            assert_holds(table, [*rows([1, 2, 3, 11, 12, 13]), row(10)])
        ours(client).verify()
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][-1] == rows([1, 2, 3])


class _Trio:
    """Clients of one repository: two in a transaction, on a table each, and one that is idle."""

    def __init__(self, subject: RegistrySubject) -> None:
        for name in TABLES:
            subject.manager.register(name, specs.standard()).insert(*rows([1, 2, 3]))
        subject.flush()
        self.clients = (subject, subject.clone(), subject.second())
        self.committing, self.writing, self.idle = self.clients
        for name in TABLES:
            self.idle.manager.register(name, specs.standard())

    @contextmanager
    def in_transactions(self) -> Iterator[None]:
        """Have two transactions open inside, and a connection in the idle client's pool; then call all."""
        t, u = (client.manager[name] for name, client in zip(TABLES, self.clients, strict=False))
        transactions = self.committing.transaction(), self.writing.transaction()
        for transaction, table in zip(transactions, (t, u), strict=True):
            transaction.__enter__()
            table.insert(*rows([11, 12, 13]))
            table.insert(row(10))
            table.delete(["id"], {"id": 1})
        assert contents(self.idle.manager["t"]) == rows([1, 2, 3])
        assert self.idle.database._engine.pool.checkedin()  # type: ignore[attr-defined]  # that of a queue
        yield
        self.outcomes = [
            _outcome(lambda: transactions[0].__exit__(None, None, None)),
            _outcome(lambda: _exit(transactions[1], lambda: u.insert(row(14)))),
            _outcome(lambda: self.idle.manager["t"].insert(row(20))),
            _outcome(lambda: contents(self.idle.manager["u"])),
        ]

    def go_on(self) -> dict[str, list[specs.Row]]:
        """Let each client insert, and return what all of them find."""
        for number, client in enumerate(self.clients):
            for name in TABLES:
                client.manager[name].insert(row(30 + number))
                client.manager[name].insert(*rows([40 + 3 * number + more for more in range(3)]))
        self.committing.flush()
        found = [{name: contents(client.manager[name]) for name in TABLES} for client in self.clients]
        assert found[0] == found[1] == found[2]
        return found[0]


def _exit(transaction: AbstractContextManager[None], last: Callable[[], None]) -> None:
    """Leave a transaction by what a last call in it raises."""
    with ExitStack() as stack:
        stack.push(transaction)
        last()


def test_server_is_restarted_under_its_clients(tmp_path: Path) -> None:
    with PostgresServer() as server, ExitStack() as clients, ExitStack() as transactions:
        trios = {
            (driver, kind): _Trio(_client(clients, server, driver, kind, tmp_path).subject)
            for driver in DRIVERS
            for kind in KINDS
        }
        for trio in trios.values():
            transactions.enter_context(trio.in_transactions())
        server.stop("fast")
        server.resume()
        transactions.close()
        for driver in DRIVERS:
            plain, arrow = (trios[driver, kind] for kind in KINDS)
            assert arrow.outcomes == plain.outcomes
            assert arrow.go_on() == plain.go_on()
            ours(arrow.idle).verify()
        # Both transactions were undone, and told so.
        lost = (sqlalchemy.exc.OperationalError, True)
        assert [trio.outcomes[:2] for trio in trios.values()] == [[lost, lost]] * len(trios)
