"""A table as readers see it: its delta and its data files, less tombstones."""

from __future__ import annotations

__all__ = [
    "CompactedTable",
    "Current",
    "DeltaState",
    "Exclusive",
    "MaintainedTable",
    "Snapshot",
    "is_intact",
    "key_table",
    "unless_superseded",
]

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa

from arrowopaque import clock
from arrowopaque.errors import ObjectMissingError
from arrowopaque.format.manifest import Key, TableManifest
from arrowopaque.format.spec import TableSpec
from arrowopaque.format.values import columnar
from arrowopaque.format.where import In, Where, mask
from arrowopaque.store.access import point
from arrowopaque.store.apply import Stage, StaleStageError
from arrowopaque.store.base import Base
from arrowopaque.store.matches import live_only
from arrowopaque.store.order import sort_rows
from arrowopaque.store.parallel import ahead
from arrowopaque.store.volume import Volume


@dataclass(frozen=True, slots=True)
class Current:
    """A catalog row."""

    manifest: str | None
    fence: int


@dataclass(frozen=True, slots=True)
class DeltaState:
    """D, T and C of one table at one moment, in stored form."""

    rows: dict[Key, tuple[Any, ...]]
    """Delta rows by primary key."""
    tombstones: dict[Key, int]
    """Stamp of each tombstone."""
    manifest: str | None
    """Name of the current manifest."""
    fence: int = 0
    """Number of vacuums that have listed the table."""


class Exclusive(Protocol):
    """The state of a table while nobody else can change it."""

    def read(self, limit: int) -> DeltaState:
        """Return at most ``limit`` delta rows, all tombstones and the
        catalog row.
        """

    def current(self) -> Current:
        """Return the catalog row."""

    def clear(self, rows: Sequence[Key], tombstones: Sequence[Key]) -> None:
        """Delete delta rows and tombstones by key."""

    def swap(self, old: str | None, new: str) -> None:
        """Make ``new`` the current manifest if ``old`` is."""


class CompactedTable(Protocol):
    """What a compaction asks of a table, whatever its binding."""

    name: str
    spec: TableSpec

    @property
    def volume(self) -> Volume:
        """The store that it lies in."""

    def current(self) -> Current:
        """Return the catalog row."""

    def base(self, manifest: str | None) -> Base:
        """Return the data files at a manifest."""

    def transform(self, change: Callable[[Base, str], TableManifest], staged: Stage, fence: int) -> None:
        """Commit a change of data files that changes no row.

        Parameters
        ----------
        change
            Makes the next manifest from the current state and the commit's
            id, and raises if it cannot.
        staged
            The files that ``change`` adds.
        fence
            The fence before they were written.

        Raises
        ------
        StaleStageError
            A vacuum has taken them.
        """


class MaintainedTable(CompactedTable, Protocol):
    """What maintenance asks of a table with a delta."""

    def read(self, limit: int) -> DeltaState:
        """Return at most ``limit`` delta rows, all tombstones and the
        catalog row, at one moment and without a lock.
        """

    def exclusive(self) -> AbstractContextManager[Exclusive]:
        """Keep every other writer out for the length of a commit.

        Raises
        ------
        ConflictError
            The lock could not be had in time.
        """

    def raise_fence(self) -> None:
        """Let every commit find out that a vacuum has listed the store."""


def is_intact(volume: Volume, staged: Stage, passed: bool) -> bool:
    """Return whether staged files are still there for a commit.

    They are looked at when a vacuum has raised its fence since (``passed``),
    or when they have been waiting for half of the retention.

    Requires: every other writer, vacuum too, is kept out.
    """
    if not passed and clock.monotonic() - staged.at < volume.options.retention / 2:
        return True
    sizes = ahead(volume.store.size, list(staged.objects()), volume.store.workers)
    return all(size is not None for size in sizes)


@contextmanager
def unless_superseded(table: CompactedTable, manifest: str | None) -> Iterator[None]:
    """Let maintenance that has read a manifest without a lock start over if
    a vacuum took the files that others have superseded since.

    Raises
    ------
    StaleStageError
        A file is gone, and the manifest is no longer current.
    """
    try:
        yield
    except ObjectMissingError as err:
        if table.current().manifest == manifest:
            raise
        raise StaleStageError from err


def key_table(spec: TableSpec, keys: Collection[Key]) -> pa.Table:
    """Return primary keys as an Arrow table."""
    return columnar(spec.key_schema, keys)


@dataclass(frozen=True)
class Snapshot:
    """One consistent state of a table; later changes do not show in it."""

    base: Base
    rows: Sequence[tuple[Any, ...]]
    """Delta rows in stored form, at least those that the reader asks for."""
    buried: Collection[Key] = ()
    """Tombstones, at least those that concern the reader."""

    @cached_property
    def delta(self) -> pa.Table:
        """The delta rows."""
        return columnar(self.base.spec.arrow_schema, self.rows)

    @cached_property
    def gone(self) -> pa.Table | None:
        """The tombstones, if there are any."""
        return key_table(self.base.spec, self.buried) if self.buried else None

    def few(self, where: Where) -> list[tuple[Any, ...]] | None:
        """Return the rows that satisfy ``where`` in stored form, if it asks
        for so few that Arrow's tables would cost more than the rows.

        They come in the order of the primary key.
        """
        asked = point(self.base.spec, where)
        if asked is None:
            return None
        columns, values = asked
        key, lead = self.base.spec.key_positions, self.base.spec.positions[columns[0]]
        rows = [row for row in self.rows if row[lead] in values]
        for value in values:
            found = self.base.rows_with(columns, value, self.base.spec.names)
            if self.buried:
                rows += [row for row in found if tuple([row[i] for i in key]) not in self.buried]
            else:
                rows += found
        if len(rows) > 1:
            rows.sort(key=lambda row: [row[i] for i in key])
        return rows

    def batches(self, where: Where, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the rows that satisfy ``where``.

        Rows asked for by primary key come in the order of the key.
        """
        spec = self.base.spec
        by_key = any(isinstance(term, In) and term.column in spec.primary_key[:1] for term in where)
        schema = pa.schema([spec.arrow_schema.field(name) for name in names])
        if not by_key:
            yield from (_shaped(rows, schema) for rows in self._parts(where, names))
            return
        parts = [
            part
            for part in self._parts(where, [*dict.fromkeys([*names, *spec.primary_key])])
            if part.num_rows
        ]
        if len(parts) == 1 and not self.delta.num_rows:
            yield _shaped(parts[0], schema)
        elif parts:
            wide = pa.schema([spec.arrow_schema.field(name) for name in parts[0].column_names])
            rows = pa.concat_tables([_shaped(part, wide) for part in parts])
            yield _shaped(sort_rows(rows, spec.primary_key), schema)

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


def _shaped(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the columns of ``schema`` with its own nullability."""
    return pa.Table.from_arrays([rows.column(name) for name in schema.names], schema=schema)
