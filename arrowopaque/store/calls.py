"""The calls of a table as data: what to write, what to delete."""

from __future__ import annotations

__all__ = ["Call", "Mode", "Selection"]

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from arrowopaque.format.where import In
from arrowopaque.store.base import Base, Match, rows_of

Row = tuple[Any, ...]


class Mode(enum.Enum):
    """What to do with a row whose key exists."""

    INSERT = "insert"
    ENSURE = "ensure"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Call:
    """The rows of one insert, ensure or replace, in stored form."""

    names: tuple[str, ...]
    rows: list[Row]

    def keys(self, columns: Sequence[str]) -> list[Row]:
        """Return some columns of every row; absent ones are NULL."""
        at = [self.names.index(name) if name in self.names else None for name in columns]
        return [tuple(None if i is None else row[i] for i in at) for row in self.rows]

    def has(self, columns: Sequence[str]) -> bool:
        """Return whether the rows give all of ``columns``."""
        return all(name in self.names for name in columns)

    def pick(self, rows: list[Row]) -> Call:
        """Return a call of other rows of the same columns."""
        return Call(self.names, rows)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a delete names: rows that satisfy ``where`` and, if there are
    ``tuples``, whose ``columns`` are one of them.
    """

    where: tuple[In, ...] = ()
    columns: tuple[str, ...] = ()
    tuples: frozenset[Row] | None = None

    def matches(self, base: Base, names: Sequence[str]) -> list[Match]:
        """Return the rows of data files, tombstoned ones included."""
        columns = list(dict.fromkeys([*names, *self.columns]))
        found = base.matches(self.where, columns)
        if self.tuples is None:
            return list(found)
        kept = []
        for match in found:
            keep = [row in self.tuples for row in rows_of(match.rows.select(list(self.columns)))]
            if any(keep):
                chosen = pa.array(keep)
                positions = match.positions[chosen.to_numpy(zero_copy_only=False)]
                kept.append(Match(match.path, positions, match.rows.filter(chosen)))
        return kept
