"""What differs in a table between two of its states.

Only what is not in both states is read: data files of one of them alone, and
the rows of common files that one's deletion vectors name and the other's do
not. It is compared in pieces whose keys no other piece has, so that memory
is bounded by what has changed in a few partitions.
"""

from __future__ import annotations

__all__ = ["Counts", "Difference"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from arrowopaque.format.manifest import DataFile, decode_leading
from arrowopaque.query import Relation, quote, run
from arrowopaque.store.base import Base
from arrowopaque.store.table import Snapshot

_ROWS = 1_000_000
"""Rows from which a piece is large enough to be compared by itself."""

_BATCH = 10_000

CHANGE = "change"
"""The first column of `Difference.rows`."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows that differ."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    """Rows whose key is in both states, and some other value is not."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.added + other.added, self.removed + other.removed, self.changed + other.changed)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class _Item:
    """A data file of one state, or of both with other rows deleted."""

    least: Any
    most: Any
    before: DataFile | None
    after: DataFile | None

    @property
    def rows(self) -> int:
        """Rows that are at most to be compared."""
        return sum(file.live for file in (self.before, self.after) if file is not None)


@dataclass(frozen=True)
class _Part(Snapshot):
    """Some files of a state, and some rows."""

    some: pa.Table = field(kw_only=True)

    @cached_property
    def delta(self) -> pa.Table:
        """The rows."""
        return self.some

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self.base.rows + int(self.some.num_rows)


class Difference:
    """What differs in a table between two states of its data files.

    Parameters
    ----------
    before, after
        The states.
    """

    def __init__(self, before: Base, after: Base) -> None:
        self._before = before
        self._after = after
        self._spec = after.spec

    @cached_property
    def _pieces(self) -> list[list[_Item]]:
        """What differs, in pieces whose leading keys are apart."""
        old = {file.path: file for file in self._before.files}
        new = {file.path: file for file in self._after.files}
        items = [
            self._item(old.get(path), new.get(path))
            for path in {**old, **new}
            if old.get(path) != new.get(path)
        ]
        items.sort(key=lambda item: item.least)
        pieces: list[list[_Item]] = []
        most: Any = None
        rows = 0
        for item in items:
            if not pieces or (item.least > most and rows >= _ROWS):
                pieces.append([])
                rows, most = 0, item.most
            pieces[-1].append(item)
            rows, most = rows + item.rows, max(most, item.most)
        return pieces

    def _item(self, before: DataFile | None, after: DataFile | None) -> _Item:
        file = after or before
        assert file is not None, "it is a file of one state at least"
        least, most = (decode_leading(self._spec, key[0]) for key in (file.min, file.max))
        return _Item(least, most, before, after)

    def __len__(self) -> int:
        """Return how many pieces there are to compare."""
        return len(self._pieces)

    def _parts(self, piece: Sequence[_Item]) -> tuple[_Part, _Part]:
        """Return what a piece has of each state."""
        only_before = {item.before.path for item in piece if item.before and not item.after}
        only_after = {item.after.path for item in piece if item.after and not item.before}
        gone: list[pa.Table] = []
        come: list[pa.Table] = []
        for item in piece:
            if item.before and item.after:
                lost, found = self._moved(item.before, item.after)
                gone += lost
                come += found
        return self._part(self._before, only_before, gone), self._part(self._after, only_after, come)

    def _moved(self, before: DataFile, after: DataFile) -> tuple[list[pa.Table], list[pa.Table]]:
        """Return the rows of a file that only one state has."""
        old, new = self._before.open(before), self._after.open(after)
        names = self._spec.names
        lost = np.setdiff1d(new.deleted(), old.deleted(), assume_unique=True)
        found = np.setdiff1d(old.deleted(), new.deleted(), assume_unique=True)
        return (
            [old.take(lost, names)] if len(lost) else [],
            [new.take(found, names)] if len(found) else [],
        )

    def _part(self, base: Base, paths: set[str], tables: list[pa.Table]) -> _Part:
        schema, manifest = self._spec.arrow_schema, base.manifest
        if manifest is not None:
            partitions = [
                partition.model_copy(
                    update={"files": tuple(file for file in partition.files if file.path in paths)}
                )
                for partition in manifest.partitions
            ]
            manifest = manifest.model_copy(update={"partitions": tuple(partitions)})
        rows = [pa.Table.from_arrays(table.columns, schema=schema) for table in tables]
        some = pa.concat_tables(rows) if rows else schema.empty_table()
        return _Part(Base(base.volume, base.spec, manifest), (), some=some)

    def counts(self, done: Callable[[float], None] = lambda _: None) -> Counts:
        """Return how many rows differ.

        Parameters
        ----------
        done
            Told of each piece that is done, with 1.
        """
        total = Counts()
        for piece in self._pieces:
            before, after = self._parts(piece)
            if before.size and after.size:
                total += self._compared(before, after)
            else:
                # No key is in one state twice.
                total += Counts(after.size, before.size)
            done(1)
        return total

    def _ask(self, before: _Part, after: _Part, query: str) -> Relation:
        return run({"before": before, "after": after}, query, shared=False)

    @property
    def _same_key(self) -> str:
        return " AND ".join(f"b.{quote(name)} = a.{quote(name)}" for name in self._spec.primary_key)

    @property
    def _other_values(self) -> str:
        others = [name for name in self._spec.names if name not in self._spec.primary_key]
        return " OR ".join(f"b.{quote(name)} IS DISTINCT FROM a.{quote(name)}" for name in others) or "false"

    def _compared(self, before: _Part, after: _Part) -> Counts:
        query = (
            "SELECT count(*), count(*) FILTER (WHERE " + self._other_values + ") "
            f"FROM before AS b JOIN after AS a ON {self._same_key}"
        )
        same, changed = self._ask(before, after, query).fetchall()[0]
        return Counts(after.size - same, before.size - same, changed)

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows that differ, those of a piece by key.

        A column in front, ``change``, says of each whether it is ``added``
        or ``removed``, or how a changed one was ``before`` and ``after``.
        """
        key = ", ".join(str(self._spec.positions[name] + 2) for name in self._spec.primary_key)
        both = f"{self._same_key} AND ({self._other_values})"
        query = (
            f"SELECT 'removed', b.* FROM before AS b ANTI JOIN after AS a ON {self._same_key} "
            f"UNION ALL SELECT 'added', a.* FROM after AS a ANTI JOIN before AS b ON {self._same_key} "
            f"UNION ALL SELECT 'before', b.* FROM before AS b SEMI JOIN after AS a ON {both} "
            f"UNION ALL SELECT 'after', a.* FROM after AS a SEMI JOIN before AS b ON {both} "
            f"ORDER BY {key}, 1 DESC"
        )
        for piece in self._pieces:
            for batch in self._ask(*self._parts(piece), query).to_arrow_reader(_BATCH):
                yield batch.rename_columns([CHANGE, *self._spec.names])
