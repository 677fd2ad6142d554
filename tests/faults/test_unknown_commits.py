"""A COMMIT that fails, or whose reply is lost: the error is the database's own, and the next call knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import IntegrityError

from tests.faults.sweep import ours
from tests.opaque.suite_base import assert_holds
from tests.support import specs
from tests.support.faults import Fault, Faults, Mode
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject, Site, open_repository

_OPTIONS = {"bulk_rows": 3, "flush_at_open": 0}


def _transaction(client: RegistrySubject, table: OpaqueTableStorage) -> None:
    with client.transaction():
        table.delete(["id"], {"id": 1})
        table.insert(*rows([11, 12, 13]))
        table.insert(row(10))


BEFORE = rows([1, 2, 3])
OPERATIONS: dict[str, tuple[Callable[[RegistrySubject, OpaqueTableStorage], None], list[specs.Row]]] = {
    "insert": (lambda _, table: table.insert(row(10)), [*BEFORE, row(10)]),
    "bulk insert": (lambda _, table: table.insert(*rows([11, 12, 13])), rows([1, 2, 3, 11, 12, 13])),
    "transaction": (_transaction, [*rows([2, 3, 11, 12, 13]), row(10)]),
}


def _commit_fails(
    kind: str, site: Site, faults: Faults, name: str, mode: Mode
) -> tuple[type[BaseException], type[BaseException], bool]:
    """Return the error's class, the driver's, and whether the connection is known to be lost."""
    action, after = OPERATIONS[name]
    with open_repository(kind, site, option_values=dict(_OPTIONS)) as client:
        table = client.manager.register("t", specs.standard())
        table.insert(*BEFORE)
        client.flush()
        faults.watch(client.database._engine)
        fault = Fault(1, mode, "sql COMMIT")
        with faults.striking(fault), pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
            action(client, table)
        # What the client sees is what others see, and it can go on from there.
        expected = after if mode is Mode.LOST else BEFORE
        assert_holds(table, expected)
        assert_holds(client.second().manager.register("t", specs.standard()), expected)
        if mode is Mode.LOST:
            with pytest.raises(IntegrityError):
                action(client, table)
        else:
            action(client, table)
        client.flush()
        assert_holds(table, after)
        if client.is_arrow:
            ours(client).verify()
    error: Any = caught.value
    return type(error), type(error.orig), error.connection_invalidated


@pytest.mark.parametrize("mode", [Mode.ERROR, Mode.LOST])
@pytest.mark.parametrize("name", OPERATIONS)
def test_sqlite(tmp_path: Path, faults: Faults, name: str, mode: Mode) -> None:
    plain, arrow = (
        _commit_fails(kind, Site(tmp_path), faults, name, mode)
        for kind in ("sql-sqlite", "arrow-sqlite-local")
    )
    assert plain == arrow


@pytest.mark.parametrize("mode", [Mode.ERROR, Mode.LOST])
@pytest.mark.parametrize("name", OPERATIONS)
def test_postgres(tmp_path: Path, postgres_url: str, faults: Faults, name: str, mode: Mode) -> None:
    site = Site(tmp_path, postgres=postgres_url)
    plain, arrow = (
        _commit_fails(kind, site, faults, name, mode) for kind in ("sql-postgres", "arrow-postgres-local")
    )
    assert plain == arrow
