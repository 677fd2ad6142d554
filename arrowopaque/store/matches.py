"""Rows that were found in data files."""

from __future__ import annotations

__all__ = ["Hits", "Match", "hits_of", "live_only", "rows_of", "same_rows", "same_values"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.format.columns import python_list
from arrowopaque.store.deletes import Positions

Hits = dict[str, Positions]
"""Positions by data file path."""


@dataclass(frozen=True, slots=True)
class Match:
    """Rows of one data file: where they are and what they hold."""

    path: str
    positions: Positions
    rows: pa.Table


def same_values(one: pa.Array, other: pa.Array) -> bool:
    """Return whether two columns hold the same; NaN is the same as NaN."""
    if pa.types.is_floating(one.type):
        one, other = one.view(pa.int64()), other.view(pa.int64())
    return bool(one.equals(other))


def same_rows(found: pa.Table, wanted: pa.Table) -> npt.NDArray[np.bool_]:
    """Return which rows of ``found`` are among ``wanted``; NULL equals
    nothing.
    """
    narrow = wanted.filter(pc.is_in(wanted.column(0), value_set=found.column(0).combine_chunks()))
    keys = {row for row in rows_of(narrow) if None not in row}
    return np.fromiter((row in keys for row in rows_of(found)), dtype=bool, count=found.num_rows)


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield a table's rows as tuples of stored values."""
    return zip(*map(python_list, table.columns), strict=True)


def live_only(matches: Iterator[Match], gone: pa.Table | None, key: Sequence[str]) -> Iterator[Match]:
    """Drop the rows whose primary key is among the rows of ``gone``.

    Requires: every match holds the columns of ``key``.
    """
    if gone is None or not gone.num_rows:
        yield from matches
        return
    leading = gone.column(0).combine_chunks()
    for match in matches:
        keys = match.rows.select(list(key))
        suspect = pc.is_in(keys.column(0), value_set=leading).to_numpy(zero_copy_only=False).astype(bool)
        if len(key) > 1 and suspect.any():
            suspect[suspect] = same_rows(keys.filter(pa.array(suspect)), gone)
        if suspect.any():
            match = Match(match.path, match.positions[~suspect], match.rows.filter(pa.array(~suspect)))
        if match.rows.num_rows:
            yield match


def hits_of(matches: Iterator[Match]) -> Hits:
    """Return the positions of matches by file."""
    found: dict[str, list[Positions]] = {}
    for match in matches:
        found.setdefault(match.path, []).append(match.positions)
    return {path: np.sort(np.concatenate(pieces)) for path, pieces in found.items()}
