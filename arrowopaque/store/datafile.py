"""One sorted Parquet file: find rows by value, take rows by position."""

from __future__ import annotations

__all__ = ["BLOCK_GROUPS", "NONE", "SortedFile"]

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format.keyfilter import can_filter, hash_of, hashes_of
from arrowopaque.format.manifest import DataFile, Deletes, IndexFile
from arrowopaque.format.spec import TableSpec
from arrowopaque.store.cache import OBJECT_BYTES, Cache, bytes_of
from arrowopaque.store.decoding import plain, unpacked
from arrowopaque.store.deletes import Positions, holds, read_deletes
from arrowopaque.store.gather import gathered
from arrowopaque.store.keys import Bounds, Keys, Sought, comparable, keys_of, listed, promising
from arrowopaque.store.parallel import CORES, Result, ahead
from arrowopaque.store.parquet import PIECE_GROUPS, ParquetObject, stored_schema
from arrowopaque.store.volume import Volume

BLOCK_GROUPS = 16
"""Row groups that a scan reads at once, where to fetch them takes long."""

_AHEAD = 4
"""Blocks that a scan holds at once, where to fetch one takes long."""

_DENSE = 8
"""Values sought for each row group from which most are taken to hold one."""

NONE: Positions = np.empty(0, np.int64)


class SortedFile:
    """A data file or an index file, sorted by its first ``leading`` column.

    Parameters
    ----------
    volume
        Where it lies.
    spec
        The table that it is of.
    entry
        What the manifest says of it.
    groups
        Keeps decoded row groups, if the volume's cache is not to.
    """

    def __init__(
        self, volume: Volume, spec: TableSpec, entry: DataFile | IndexFile, groups: Cache | None = None
    ) -> None:
        self.entry = entry
        schema = stored_schema(spec, entry)
        self.object = ParquetObject(volume.store, entry, schema, volume.cache, groups)
        self._of = volume, spec
        self._store = volume.store
        self.leading = entry.columns[0] if isinstance(entry, IndexFile) else spec.primary_key[0]
        self._kind = spec.by_name[self.leading].arrow_type
        self._has_filters = can_filter(self._kind)
        self._cache = volume.cache

    def once(self) -> SortedFile:
        """Return the same file for reading a part of it once: what is decoded
        goes with what is returned.
        """
        return SortedFile(*self._of, self.entry, Cache(sys.maxsize))

    def corrupt(self, reason: str) -> CorruptStoreError:
        """Return the error that says what is wrong with the file."""
        place = f"{self._store.uri}/{self.entry.path}"
        return CorruptStoreError(f"data file {place}: {reason}; restore it from a copy")

    def bounds(self) -> Bounds | None:
        """Return the ends of each row group's leading column, if they are
        stated.
        """
        found = self._cache.load((self.entry.path, "bounds"), self._load_bounds)
        return None if isinstance(found, str) else found

    def _load_bounds(self) -> tuple[Bounds | str, int]:
        known = self.object.bounds(self._kind)
        if known is None:
            return "unknown", 8
        arrays = comparable(known[0]), comparable(known[1])
        if (arrays[0] > arrays[1]).any() or (arrays[1][:-1] > arrays[0][1:]).any():
            raise self.corrupt(f"by its bounds it is not in the order of {self.leading!r}")
        bounds = Bounds(*arrays, known[0].to_pylist(), known[1].to_pylist())
        return bounds, sum(array.nbytes + 2 * OBJECT_BYTES * len(array) for array in known)

    def _keys(self, groups: Sequence[int], along: Sequence[str] = ()) -> Iterator[tuple[int, Keys]]:
        """Yield the sorted leading column of row groups, checked and cached;
        columns ``along`` are fetched by the same requests.
        """
        known = {group: self.object.keys(group) for group in groups}
        missing = [group for group, keys in known.items() if keys is None]
        arrays = self.object.columns(missing, [*dict.fromkeys([self.leading, *along])]) if missing else {}
        for group, keys in known.items():
            if keys is None:
                keys = self._checked(group, arrays[group, self.leading])
                self.object.keep_keys(group, keys)
            yield group, keys

    def _checked(self, group: int, array: pa.Array) -> Keys:
        """Return a row group's keys, of which what a search relies on is
        true.
        """
        if array.null_count:
            raise self.corrupt(f"row group {group} has NULL in column {self.leading!r}")
        keys, bounds = keys_of(unpacked(array)), self.bounds()
        if not keys.is_ordered():
            raise self.corrupt(f"row group {group} is not in the order of {self.leading!r}")
        if bounds is not None and (bounds.first[group] > keys.first or keys.last > bounds.last[group]):
            raise self.corrupt(
                f"the bounds of row group {group} are not those of its column {self.leading!r}"
            )
        return keys

    def groups_with(self, wanted: npt.NDArray[Any], among: Sequence[int] | None = None) -> list[int]:
        """Return the row groups between whose ends one of ``wanted`` lies, of
        all or of some.
        """
        groups = np.arange(self.object.groups) if among is None else np.asarray(among, np.int64)
        bounds = self.bounds()
        if bounds is None:
            return listed(groups)
        first = np.searchsorted(wanted, bounds.first[groups], "left")
        last = np.searchsorted(wanted, bounds.last[groups], "right")
        return listed(groups[first < last])

    def promising_groups(self, wanted: npt.NDArray[Any], *, is_rare: bool) -> list[int]:
        """Return the row groups that have to be asked for ``wanted``.

        Parameters
        ----------
        wanted
            The values, ascending and distinct.
        is_rare
            Whether most of them are taken not to be there, so that filters
            are asked first.
        """
        groups = self.groups_with(wanted)
        if is_rare and len(wanted) < _DENSE * len(groups):
            return self._groups_that_may_hold(groups, wanted)
        return groups

    def _unread(self, groups: Sequence[int]) -> list[int]:
        """Return the row groups whose keys are not at hand."""
        return [group for group in groups if self.object.keys(group) is None]

    def _may_hold(self, group: int, value: Any, *, fetch: bool) -> bool:
        """Return whether a row group may have a value, as far as its filter
        tells, which need not be at hand if we are to ``fetch`` it.
        """
        if not self._has_filters:
            return True
        found = self.object.filter(group, self.leading, fetch=fetch)
        return found is None or found.may_hold(hash_of(value, self._kind))

    def _groups_that_may_hold(self, groups: list[int], wanted: npt.NDArray[Any]) -> list[int]:
        """Return those row groups whose filters do not tell that they have
        none of the values.
        """
        bounds = self.bounds()
        if bounds is None or not self._has_filters:
            return groups
        filters = self.object.filters(self._unread(groups), self.leading)
        if not filters:
            return groups
        hashes = hashes_of(listed(wanted), self._kind)
        starts = np.searchsorted(wanted, bounds.first[groups], "left")
        stops = np.searchsorted(wanted, bounds.last[groups], "right")
        return [
            group
            for group, start, stop in zip(groups, starts, stops, strict=True)
            if group not in filters or filters[group].may_hold_each(hashes[start:stop]).any()
        ]

    def locate(
        self,
        wanted: npt.NDArray[Any],
        groups: Sequence[int],
        along: Sequence[str] = (),
        *,
        is_rare: bool = False,
    ) -> Positions:
        """Return where the leading column has one of ``wanted``.

        Parameters
        ----------
        wanted
            The values, ascending and distinct.
        groups
            The row groups to look into.
        along
            Columns that are fetched at once, where a value is likely in
            every row group.
        is_rare
            Whether most values are taken not to be there.
        """
        offsets = self.object.offsets
        found, sought = [], Sought(wanted)
        parts = dict(self._keys(groups, along if len(wanted) >= _DENSE * len(groups) else ()))
        # Row groups that say nothing of their bounds may be in any order.
        for group in promising(parts, sought) if is_rare and self.bounds() is not None else parts:
            places = parts[group].places(sought)
            if len(places):
                found.append(places + offsets[group])
        return np.concatenate(found) if found else NONE

    def find(self, value: Any, along: Sequence[str] = ()) -> list[tuple[int, int]]:
        """Return where the leading column is ``value`` and the row is not
        deleted, as (row group, place in it); the columns ``along`` are
        fetched at once.
        """
        bounds = self.bounds()
        groups = range(self.object.groups) if bounds is None else bounds.around(value)
        found = []
        for group in groups:
            # Most keys that are written are new, and of these nothing else has to be touched.
            if not self._may_hold(group, value, fetch=False):
                continue
            keys = self.object.keys(group)
            if keys is None:
                # A row that is there comes with its keys, so that a filter would be one request more.
                is_asked = not along or self._store.workers == 1
                if is_asked and not self._may_hold(group, value, fetch=True):
                    continue
                _, keys = next(self._keys([group], along))
            found += [(group, at) for at in range(*keys.place(value))]
        if not found or not len(deleted := self.deleted()):
            return found
        offsets = self.object.offsets
        return [(group, at) for group, at in found if not holds(deleted, offsets[group] + at)]

    def rows_with(
        self, value: Any, names: tuple[str, ...], along: Sequence[str] = ()
    ) -> list[tuple[Any, ...]]:
        """Return some columns of the rows whose leading column is ``value``
        and that are not deleted; see `find`.

        They are kept by themselves too: a row group, of which the cache may
        hold a small share, takes a thousand times their memory.
        """
        deletes = self.entry.deletes if isinstance(self.entry, DataFile) else None
        key = (self.entry.path, "rows", deletes and deletes.path, value, names)
        found: list[tuple[Any, ...]] | None = self._cache.get(key)
        if found is None:
            found = [self.row(group, at, names) for group, at in self.find(value, along)]
            if found:
                self._cache.put(key, found, bytes_of(found))
        return found

    def row(self, group: int, at: int, names: Sequence[str]) -> tuple[Any, ...]:
        """Return some columns of one row."""
        return tuple([get(at) for get in self.object.getters(group, names)])

    def row_at(self, position: int, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the row at a position unless it is deleted."""
        if not holds(self.deleted(), position):
            group = bisect_right(self.object.offsets, position) - 1
            yield self.row(group, position - self.object.offsets[group], names)

    def locate_range(self, low: Any, high: Any | None) -> Positions:
        """Return where the leading column is in ``[low, high)``."""
        ends = (
            comparable(pa.array([low], self._kind)),
            None if high is None else comparable(pa.array([high], self._kind)),
        )
        bounds = self.bounds()
        groups = range(self.object.groups)
        if bounds is not None:
            inside = bounds.last >= ends[0]
            if ends[1] is not None:
                inside &= bounds.first < ends[1]
            groups = [int(group) for group in np.flatnonzero(inside)]  # type: ignore[assignment]  # a range until here
        offsets = self.object.offsets
        found = []
        for group, keys in self._keys(list(groups)):
            start = keys.start_of(low)
            stop = offsets[group + 1] - offsets[group] if high is None else keys.start_of(high)
            found.append(np.arange(start, stop, dtype=np.int64) + offsets[group])
        return np.concatenate(found) if found else NONE

    def groups_of(self, positions: Positions) -> npt.NDArray[np.int64]:
        """Return the row group of each position."""
        return np.searchsorted(self.object.offsets, positions, "right") - 1

    def take(self, positions: Positions, names: Sequence[str]) -> pa.Table:
        """Return the rows at ``positions``, which must be ascending as far as
        row groups go.
        """
        offsets, groups = np.asarray(self.object.offsets), self.groups_of(positions)
        wanted, counts = np.unique(groups, return_counts=True)
        numbers: list[int] = wanted.tolist()
        arrays = self.object.columns(numbers, names)
        places = np.split(positions - offsets[groups], np.cumsum(counts)[:-1])
        pieces = [[arrays[number, name] for number in numbers] for name in names]
        found = gathered(
            pieces, places, lambda: [self.object.getters(group, names, arrays) for group in numbers]
        )
        return pa.table(found, names=list(names))

    def blocks(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the rows of the whole file in order."""
        yield from self.each_block(lambda _, rows: rows, names)

    def each_block(
        self,
        action: Callable[[int, pa.Table], Result],
        names: Sequence[str],
        *,
        keep: bool = False,
        dropping: bool = False,
    ) -> Iterator[Result]:
        """Yield what an action returns of each block of the file, in order.

        Parameters
        ----------
        action
            What to do with the position of a block's first row and its rows;
            it is at work on several at once.
        names
            The columns to read.
        keep
            Whether the cache may keep them, as far as it has room.
        dropping
            Whether it may drop for them what was not used for longest.
        """
        groups, size = self.object.groups, BLOCK_GROUPS if self._store.workers > 1 else PIECE_GROUPS

        def read(start: int) -> Result:
            block = range(start, min(start + size, groups))
            is_kept = keep and (dropping or self._cache.has_room)
            return action(self.object.offsets[start], self.object.read(block, names, keep=is_kept))

        starts = range(0, groups, size)
        yield from ahead(read, starts, min(max(self._store.workers, CORES), _AHEAD, len(starts)))

    def rows_of(self, groups: Sequence[int], names: Sequence[str]) -> tuple[pa.Table, npt.NDArray[Any]]:
        """Return row groups that follow each other, past the cache, and their
        leading column, checked.

        Requires: the leading column is among ``names``.
        """
        rows, offsets = self.object.read(groups, names), self.object.offsets
        column, base = plain(rows.column(self.leading)), offsets[groups[0]]
        for group in groups:
            self._checked(group, column.slice(offsets[group] - base, offsets[group + 1] - offsets[group]))
        return rows, comparable(column)

    def deleted(self) -> Positions:
        """Return the positions that the deletion vector names."""
        entry = self.entry.deletes if isinstance(self.entry, DataFile) else None
        if entry is None:
            return NONE
        return self._cache.load((entry.path, "deleted"), lambda: self._load_deletes(entry))

    def _load_deletes(self, entry: Deletes) -> tuple[Positions, int]:
        positions = read_deletes(self._store, self.entry, entry)
        return positions, positions.nbytes

    def alive(self, positions: Positions) -> Positions:
        """Return the positions that are not deleted."""
        deleted = self.deleted()
        if not len(deleted) or not len(positions):
            return positions
        return positions[~np.isin(positions, deleted, assume_unique=True)]
