"""A table as readers see it: delta rows ∪ (base − tombstones)."""

from __future__ import annotations

__all__ = ["DeltaState", "Exclusive", "MaintainedTable", "Snapshot"]

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from arrowopaque.format.manifest import Key
from arrowopaque.format.spec import TableSpec
from arrowopaque.format.where import In, Where, mask
from arrowopaque.store.apply import sort_rows
from arrowopaque.store.base import Base, live_only
from arrowopaque.store.volume import Volume


@dataclass(frozen=True, slots=True)
class DeltaState:
    """D, T and C of one table at one moment, in stored form."""

    rows: dict[Key, tuple[Any, ...]]
    """Delta rows by primary key."""
    tombstones: dict[Key, int]
    """Stamp of each tombstone."""
    manifest: str | None
    """Name of the current manifest."""


class Exclusive(Protocol):
    """The state of a table while nobody else can change it."""

    def read(self, keys: Sequence[Key]) -> DeltaState:
        """Return the delta rows with ``keys``, all tombstones and the
        manifest.
        """

    def clear(self, rows: Sequence[Key], tombstones: Sequence[Key]) -> None:
        """Delete delta rows and tombstones by key."""

    def swap(self, old: str | None, new: str) -> None:
        """Make ``new`` the current manifest if ``old`` is."""


class MaintainedTable(Protocol):
    """What maintenance asks of a table, whatever its binding."""

    name: str
    spec: TableSpec

    @property
    def volume(self) -> Volume:
        """The store that it lies in."""

    def read(self, limit: int) -> DeltaState:
        """Return at most ``limit`` delta rows, all tombstones and the
        manifest, at one moment and without a lock.
        """

    def exclusive(self) -> AbstractContextManager[Exclusive]:
        """Keep every other writer out for the length of a commit.

        Raises
        ------
        ConflictError
            The lock could not be had in time.
        """


def key_table(spec: TableSpec, keys: Sequence[Key]) -> pa.Table:
    """Return primary keys as an Arrow table."""
    schema = spec.key_schema
    if not keys:
        return schema.empty_table()
    columns = zip(*keys, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent state of a table; later changes do not show in it."""

    base: Base
    delta: pa.Table
    """Delta rows, at least those that the reader asks for."""
    gone: pa.Table | None = None
    """Tombstones, at least those that concern the reader."""

    def batches(self, where: Where, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the rows that satisfy ``where``.

        Rows asked for by primary key come in the order of the key.
        """
        spec = self.base.spec
        by_key = any(isinstance(term, In) and term.column in spec.primary_key[:1] for term in where)
        if not by_key:
            yield from (rows.select(list(names)) for rows in self._parts(where, names))
            return
        parts = [part for part in self._parts(where, [*dict.fromkeys([*names, *spec.primary_key])]) if part.num_rows]
        if len(parts) == 1 and not self.delta.num_rows:
            yield parts[0].select(list(names))
        elif parts:
            yield sort_rows(pa.concat_tables(parts), spec.primary_key).select(list(names))

    def _parts(self, where: Where, names: Sequence[str]) -> Iterator[pa.Table]:
        spec = self.base.spec
        if self.delta.num_rows:
            keep = mask(self.delta, where)
            delta = self.delta if keep is None else self.delta.filter(keep)
            if delta.num_rows:
                yield delta.select(list(names))
        if self.base.files:
            columns = list(dict.fromkeys([*names, *(spec.primary_key if self.gone is not None else ())]))
            for match in live_only(self.base.matches(where, columns), self.gone, spec.primary_key):
                yield match.rows.select(list(names))
