"""Merge sorted files, a range of keys at a time.

What is held in memory depends on the size of a range, not on that of the
files: of each, the row groups that reach into the range are decoded, and of
the last of them what lies beyond it is kept for the next.
"""

from __future__ import annotations

__all__ = ["merged"]

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrowopaque.format.spec import TableSpec
from arrowopaque.store.datafile import BLOCK_GROUPS, SortedFile
from arrowopaque.store.deletes import Positions
from arrowopaque.store.order import sort_rows

_WINDOWS = 4
"""Ranges in which as many rows are read as may wait for the next range."""


def merged(files: Sequence[SortedFile], spec: TableSpec, rows: int) -> Iterator[pa.Table]:
    """Yield the live rows of data files, sorted, range by range.

    Rows with the same value of the leading key column come in one range.

    Parameters
    ----------
    files
        Data files of one table. No live row of one has the key of another's.
    spec
        The table.
    rows
        How many rows to hold, about: a range has a quarter of them, or half
        at most if their leading values differ. As many as all of them may be
        decoded already and wait for the next range.
    """
    window = max(1, rows // _WINDOWS)
    cursors = [_Cursor(file, spec) for file in files]
    cuts = _cuts(files, window)
    for high in [*(cuts[i : i + 1] for i in range(len(cuts))), None]:
        parts = [part for cursor in cursors for part in cursor.below(high)]
        if parts:
            yield sort_rows(pa.concat_tables(parts), spec.primary_key)
        _drop_beyond(cursors, rows)


def _cuts(files: Sequence[SortedFile], window: int) -> npt.NDArray[Any]:
    """Return values of the leading column, ascending, between which files
    have about ``window`` rows.
    """
    total = sum(file.entry.rows for file in files)
    count = -(-total // window)
    if count < 2:
        return np.empty(0)
    # Each file is off by one step at most, so that all together are by one window.
    samples = [_samples(file, max(1, window // len(files))) for file in files]
    values = np.concatenate([found for found, _ in samples])
    rows = np.concatenate([stated for _, stated in samples])
    order = np.argsort(values, kind="stable")
    values, rows = values[order], rows[order]
    before = np.cumsum(rows) - rows
    at = np.searchsorted(before, [total * i // count for i in range(1, count)])
    cuts: npt.NDArray[Any] = np.unique(values[at[at < len(values)]])
    # NaN is below nothing.
    found: npt.NDArray[Any] = cuts[cuts == cuts]
    return found


def _samples(file: SortedFile, step: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return values of a file's leading column, ascending, and how many rows
    each is the first of: ``step`` at most.

    The footer has them where row groups are so small, else the column is
    read.
    """
    sizes: npt.NDArray[np.int64] = np.diff(file.object.offsets)
    bounds = file.bounds()
    if bounds is not None and sizes.max() <= step:
        return bounds.first, sizes
    values, counts = [], []
    for start in range(0, len(sizes), BLOCK_GROUPS):
        groups = range(start, min(start + BLOCK_GROUPS, len(sizes)))
        _, keys = file.rows_of(groups, [file.leading])
        at = np.arange(0, len(keys), step)
        # A copy, which does not keep the column.
        values.append(keys[at])
        counts.append(np.diff(np.append(at, len(keys))))
    return np.concatenate(values), np.concatenate(counts)


def _drop_beyond(cursors: Sequence[_Cursor], most: int) -> None:
    """Let go of rows that wait for the next range, if they are too many."""
    held = 0
    for cursor in cursors:
        held += cursor.held
        if held > most:
            held -= cursor.held
            cursor.drop()


class _Cursor:
    """One file, read once from its first row to its last."""

    def __init__(self, file: SortedFile, spec: TableSpec) -> None:
        self._file = file
        self._names = spec.names
        self._at = 0
        self._rest: tuple[pa.Table, npt.NDArray[Any]] | None = None
        self._last: npt.NDArray[Any] | None = None

    @property
    def held(self) -> int:
        """Rows that are decoded and wait for the next range."""
        return self._rest[0].num_rows if self._rest else 0

    def drop(self) -> None:
        """Let go of them; they will be decoded again."""
        self._rest = None

    def below(self, high: npt.NDArray[Any] | None) -> Iterator[pa.Table]:
        """Yield the live rows that follow, up to ``high``."""
        while self._at < self._file.entry.rows:
            rows, keys = self._rest or self._read(high)
            self._rest = None
            stop = len(keys) if high is None else int(np.searchsorted(keys, high, "left")[0])
            if stop:
                yield self._live(rows.slice(0, stop))
                self._last = keys[stop - 1 : stop].copy()
                self._at += stop
            if stop < len(keys):
                beyond = np.arange(stop, len(keys))
                # Copies, which do not keep what is below.
                self._rest = rows.take(pa.array(beyond)), keys[beyond]
                return

    def _read(self, high: npt.NDArray[Any] | None) -> tuple[pa.Table, npt.NDArray[Any]]:
        offsets = self._file.object.offsets
        group = bisect_right(offsets, self._at) - 1
        rows, keys = self._file.rows_of(self._until(group, high), self._names)
        skip = self._at - offsets[group]
        rows, keys = rows.slice(skip), keys[skip:]
        # Where no bounds are stated nobody has compared the groups with each other.
        if self._last is not None and (self._last > keys[:1]).any():
            raise self._file.corrupt(f"row group {group} does not follow the one before it")
        return rows, keys

    def _until(self, group: int, high: npt.NDArray[Any] | None) -> list[int]:
        """Return ``group`` and those after it, a block of them at most, that
        begin below ``high``; only ``group`` where that is not known.
        """
        bounds = self._file.bounds()
        if bounds is None:
            return [group]
        stop = self._file.object.groups
        if high is not None:
            stop = int(bounds.first.searchsorted(high, "left")[0])
        return list(range(group, min(max(stop, group + 1), group + BLOCK_GROUPS)))

    def _live(self, rows: pa.Table) -> pa.Table:
        deleted: Positions = self._file.deleted()
        start, stop = np.searchsorted(deleted, [self._at, self._at + rows.num_rows])
        if start == stop:
            return rows
        keep = np.ones(rows.num_rows, dtype=bool)
        keep[deleted[start:stop] - self._at] = False
        return rows.filter(pa.array(keep))
