"""Opaque tables, each with a twin that must always be equal to it.

In a registry the twin is an ordinary SQL table, written in the same
transaction. A bare root has no such thing: there it is a dictionary of rows
that the writer keeps, for keys that no other writer touches.
"""

from __future__ import annotations

__all__ = ["SPECS", "DictTwin", "Row", "SqlTwin", "Twin", "create_twins", "open_twins", "verdict"]

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pyarrow as pa
from lsst.daf.butler import ddl
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import IntegrityError

from tests.support import specs
from tests.support.subjects import RegistrySubject, Subject

Row = dict[str, Any]

SPECS: dict[str, Callable[[], ddl.TableSpec]] = {"plain": specs.standard, "unique": specs.uniques}
"""Tables and their definitions; `unique` has more constraints than its key."""


class Twin(Protocol):
    """What stands beside an opaque table, with the methods of one."""

    def insert(self, *rows: Row) -> None: ...
    def ensure(self, *rows: Row) -> None: ...
    def replace(self, *rows: Row) -> None: ...
    def delete(self, columns: list[str], *rows: Row) -> None: ...


class SqlTwin:
    """A SQL table of the same database and transaction."""

    def __init__(self, client: RegistrySubject, name: str) -> None:
        self._db = client.database
        self.table = client.database.ensureTableExists(f"twin_{name}", SPECS[name]())

    def insert(self, *rows: Row) -> None:
        self._db.insert(self.table, *rows)

    def ensure(self, *rows: Row) -> None:
        self._db.ensure(self.table, *rows)

    def replace(self, *rows: Row) -> None:
        self._db.replace(self.table, *rows)

    def delete(self, columns: list[str], *rows: Row) -> None:
        self._db.delete(self.table, columns, *rows)

    def fetch(self) -> list[Row]:
        with self._db.query(self.table.select()) as result:
            return [dict(found._mapping) for found in result]


class DictTwin:
    """Rows by key, as far as one writer knows them."""

    def __init__(self, name: str) -> None:
        self.rows: dict[int, Row] = {}
        self._unique = sorted(SPECS[name]().unique)

    def _clashes(self, row: Row, rows: Mapping[int, Row]) -> bool:
        return any(
            other["id"] != row["id"]
            and all(row[name] is not None and row[name] == other[name] for name in columns)
            for columns in self._unique
            for other in rows.values()
        )

    def _write(self, rows: tuple[Row, ...], verb: str) -> None:
        after = dict(self.rows)
        for row in rows:
            exists, clash = row["id"] in after, self._clashes(row, after)
            if verb == "ensure" and (exists or clash):
                continue
            if clash or (exists and verb == "insert"):
                raise IntegrityError(None, None, ValueError(row["id"]))
            after[row["id"]] = row
        self.rows = after

    def insert(self, *rows: Row) -> None:
        self._write(rows, "insert")

    def ensure(self, *rows: Row) -> None:
        self._write(rows, "ensure")

    def replace(self, *rows: Row) -> None:
        self._write(rows, "replace")

    def delete(self, columns: list[str], *rows: Row) -> None:
        gone = {row["id"] for row in rows}
        self.rows = {key: row for key, row in self.rows.items() if key not in gone}


def create_twins(client: Subject) -> None:
    """Make the tables of a new repository."""
    for name, spec in SPECS.items():
        client.manager.register(name, spec())
        if isinstance(client, RegistrySubject):
            SqlTwin(client, name)


def open_twins(client: Subject) -> dict[str, tuple[OpaqueTableStorage, Twin]]:
    """Return every opaque table with its twin."""
    twins: dict[str, tuple[OpaqueTableStorage, Twin]] = {}
    for name, spec in SPECS.items():
        twin: Twin = SqlTwin(client, name) if isinstance(client, RegistrySubject) else DictTwin(name)
        twins[name] = client.manager.register(name, spec()), twin
    return twins


def call(table: Any, verb: str, rows: list[Row], *, arrow: bool = False) -> None:
    """Call one of the four writing methods of a table or a twin."""
    if verb == "delete":
        table.delete(["id"], *({"id": row["id"]} for row in rows))
    elif arrow:
        getattr(table, f"{verb}_arrow")(pa.Table.from_pylist(rows))
    else:
        getattr(table, verb)(*rows)


def verdict(part: Callable[[], AbstractContextManager[None]], action: Callable[[], None]) -> bool:
    """Do something in a savepoint; return whether no constraint refused it."""
    try:
        with part():
            action()
    except IntegrityError:
        return False
    return True
