"""Make a table hold what it is given, writing only what is new or changed."""

from __future__ import annotations

__all__ = ["Synced", "TableSync"]

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.format.columns import python_list
from arrowopaque.format.spec import ColumnKind
from arrowopaque.format.uuids import uuids_of
from arrowopaque.root import StoreRoot
from arrowopaque.store.records import Records

_DELETED_AT_ONCE = 50_000
_HERE, _THERE = "position here", "position there"


@dataclass
class Synced:
    """Rows that were written to a table, and removed from it."""

    written: int = 0
    removed: int = 0

    def __iadd__(self, other: Synced) -> Synced:
        self.written += other.written
        self.removed += other.removed
        return self


@dataclass
class TableSync:
    """The rows of a table that satisfy some constraints, about to be others.

    Memory is bounded by what one call is given, and by the keys that were
    given so far.

    Parameters
    ----------
    root
        The store.
    name
        The table.
    scope
        What all rows have in common, by column: a value, or a list of which
        they have one. Other rows of the table are left alone.
    """

    root: StoreRoot
    name: str
    scope: dict[str, Any] = field(default_factory=dict)
    done: Synced = field(default_factory=Synced)

    def __post_init__(self) -> None:
        self._records: Records = self.root.table(self.name)
        self._key = list(self.root.spec(self.name).primary_key)
        self._schema = self.root.spec(self.name).arrow_schema
        self._seen: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        """Take rows, each with a key of its own; write those that differ."""
        if not rows.num_rows:
            return
        self._seen.append(rows.select(self._key))
        changed = self._changed(rows)
        if changed.num_rows:
            self._records.replace_arrow(changed)
            self.done.written += changed.num_rows

    def _changed(self, rows: pa.Table) -> pa.Table:
        """Return the rows that the table does not have, or not like this."""
        around = {name: self._values(rows.column(name), name) for name in self._key}
        stored = self._plain(self._records.fetch_arrow(**around))
        if not stored.num_rows:
            return rows
        mine = _numbered(rows.select(self._key), _HERE)
        theirs = _numbered(stored.select(self._key), _THERE)
        pairs = mine.join(theirs, keys=self._key, join_type="inner")
        ours, others = rows.take(pairs[_HERE]), stored.take(pairs[_THERE])
        same = pa.chunked_array([pa.repeat(pa.scalar(True), pairs.num_rows)])
        for name in rows.column_names:
            same = pc.and_(same, _same(ours.column(name), others.column(name)))
        unchanged = pc.is_in(mine[_HERE], value_set=pairs[_HERE].filter(same).combine_chunks())
        return rows.filter(pc.invert(unchanged))

    def _values(self, column: pa.ChunkedArray, name: str) -> list[Any]:
        found = python_list(column.unique())
        if self.root.spec(self.name).by_name[name].kind is ColumnKind.UUID:
            # Those are looked up together.
            return uuids_of(found)
        return found

    def _plain(self, rows: pa.Table) -> pa.Table:
        """Return rows of the store with UUIDs as bytes, which can be compared."""
        columns = [
            pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
            if isinstance(column.type, pa.BaseExtensionType)
            else column
            for column in rows.columns
        ]
        schema = pa.schema([self._schema.field(name) for name in rows.column_names])
        return pa.Table.from_arrays(columns, schema=schema)

    def sweep(self) -> pa.Table:
        """Remove the rows that nobody has added, and return their keys."""
        stored = self._plain(self._records.fetch_arrow(self._key, **self.scope))
        gone = stored
        if self._seen:
            gone = stored.join(pa.concat_tables(self._seen), keys=self._key, join_type="left anti")
        for batch in gone.to_batches(max_chunksize=_DELETED_AT_ONCE):
            self._records.delete(self._key, *batch.to_pylist())
        self.done.removed += gone.num_rows
        return gone


def _numbered(rows: pa.Table, name: str) -> pa.Table:
    return rows.append_column(name, pa.array(range(rows.num_rows), pa.int64()))


def _same(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return where two columns have the same value, or both have none."""
    both_null = pc.and_(pc.is_null(one), pc.is_null(other))
    return pc.or_(pc.fill_null(pc.equal(one, other), False), both_null)
