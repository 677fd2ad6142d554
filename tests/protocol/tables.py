"""A table of every client, and where its rows lie."""

from __future__ import annotations

__all__ = ["assert_sound", "committed", "ids", "in_delta", "in_files", "table_of"]

from collections.abc import Callable
from typing import Any

from lsst.daf.butler.registry.interfaces import OpaqueTableStorage

from tests.opaque.suite_base import assert_holds
from tests.protocol.crew import ours
from tests.support import specs
from tests.support.subjects import RegistrySubject, Subject


def table_of(client: Subject, name: str = "t") -> OpaqueTableStorage:
    return client.manager.register(name, specs.standard())


def in_delta(table: OpaqueTableStorage, *given: specs.Row) -> None:
    """Insert rows, each by itself, so that none is bulk."""
    for one in given:
        table.insert(one)


def in_files(client: RegistrySubject, table: OpaqueTableStorage, *given: specs.Row) -> None:
    in_delta(table, *given)
    client.flush(table.name)


def committed(
    client: RegistrySubject, *actions: Callable[[], None], savepoint: bool = False
) -> Callable[[], None]:
    """Return the actions as one transaction of a client."""

    def work() -> None:
        with client.transaction(savepoint=savepoint):
            for action in actions:
                action()

    return work


def ids(*ids: int) -> tuple[Any, ...]:
    return (["id"], *({"id": i} for i in ids))


def assert_sound(client: Subject, expected: list[specs.Row]) -> None:
    """Check a repository with the eyes of a new client."""
    fresh = client.second()
    assert_holds(table_of(fresh), expected)
    ours(fresh).verify()
