"""What SQL statements on a registry return, as Arrow."""

from __future__ import annotations

__all__ = ["ArrowReader"]

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from lsst.daf.butler.registry.interfaces import Database

from arrowopaque import clock
from arrowopaque.butler import host

_BATCH = 50_000
"""Rows that are Python objects at a time."""


class ArrowReader:
    """Reads through one cursor.

    Requires: the cursor is in a transaction.

    Parameters
    ----------
    db
        The database.
    cursor
        A cursor on it.
    """

    def __init__(self, db: Database, cursor: host.Cursor) -> None:
        self._db = db
        self._cursor = cursor
        self._dialect = host.dialect_name(db)

    def name(self, table: str) -> str:
        """Return a table's name as it stands in statements."""
        return ".".join(self.quoted(part) for part in (self._db.namespace, table) if part)

    def quoted(self, name: str) -> str:
        """Return the name of a column as it stands in statements."""
        return host.quote(self._db, name)

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        return self._cursor.execute(f"SELECT * FROM {self.name(table)} LIMIT 0").columns

    def one(self, statement: str) -> Any:
        """Return the first value of the first row, `None` without rows."""
        rows = self._cursor.execute(statement).rows()
        return rows[0][0] if rows else None

    def read(self, statement: str, schema: pa.Schema) -> pa.Table:
        """Return the rows of a SELECT.

        Parameters
        ----------
        statement
            It returns the columns of ``schema``, in that order.
        schema
            Numbers, strings, and UUIDs that are not NULL.
        """
        batches = []
        for rows in self._batches(self._with_hex(statement, schema)):
            arrays = [
                _array(values, field.type)
                for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            batches.append(pa.record_batch(arrays, schema=schema))
        return pa.Table.from_batches(batches, schema=schema)

    def _with_hex(self, statement: str, schema: pa.Schema) -> str:
        """Return a statement whose UUIDs are hexadecimal, as SQLite has them."""
        if self._dialect == "sqlite":
            return statement
        columns = [
            f"encode(uuid_send(c{i}), 'hex')" if field.type == pa.uuid() else f"c{i}"
            for i, field in enumerate(schema)
        ]
        names = ", ".join(f"c{i}" for i in range(len(schema)))
        return f"SELECT {', '.join(columns)} FROM ({statement}) AS s ({names})"

    def _batches(self, statement: str) -> Iterator[list[tuple[Any, ...]]]:
        if self._dialect == "sqlite":
            self._cursor.execute(statement)
            while rows := self._cursor.rows(_BATCH):
                yield rows
            return
        # Without a cursor of the server's the driver would hold all rows at once. Its name is new each
        # time, since psycopg 3 prepares statements that it has seen before, with their columns.
        name = f"arrowopaque_{clock.new_id()}"
        self._cursor.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {statement}")
        while rows := self._cursor.execute(f"FETCH {_BATCH} FROM {name}").rows():
            yield rows
        self._cursor.execute(f"CLOSE {name}")


def _array(values: Sequence[Any], type: pa.DataType) -> pa.Array:
    if type != pa.uuid():
        return pa.array(values, type)
    # Of a batch at once: one by one takes as long as all the rest.
    packed = pa.py_buffer(bytes.fromhex("".join(values)))
    stored = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(values), [None, packed])
    return pa.ExtensionArray.from_storage(pa.uuid(), stored)
