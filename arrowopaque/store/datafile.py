"""One sorted Parquet file: find rows by value, take rows by position."""

from __future__ import annotations

__all__ = ["Positions", "SortedFile", "comparable", "distinct", "same_values"]

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyroaring import BitMap

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format import bitmap
from arrowopaque.format.document import digest
from arrowopaque.format.manifest import DataFile, Deletes, IndexFile
from arrowopaque.format.spec import TableSpec
from arrowopaque.objects.base import ObjectStore
from arrowopaque.store.parquet import ParquetObject, plain, stored_schema
from arrowopaque.store.volume import Volume

Positions = npt.NDArray[np.int64]
"""Ascending row positions of one file."""

_BLOCK_GROUPS = 16
"""Row groups that a scan reads at once."""

_DENSE = 8
"""Values sought for each row group from which most are taken to hold one."""

NONE: Positions = np.empty(0, np.int64)


def comparable(array: pa.Array) -> npt.NDArray[Any]:
    """Return a column without NULLs as a NumPy array that sorts as Arrow
    does.
    """
    kind = array.type
    if pa.types.is_fixed_size_binary(kind):
        width = kind.byte_width
        raw = np.frombuffer(array.buffers()[1], dtype=f"S{width}", count=array.offset + len(array))
        return raw[array.offset :]
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        values: npt.NDArray[Any] = np.empty(len(array), dtype=object)
        values[:] = array.to_pylist()
        return values
    if pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    result: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return result


def same_values(one: pa.Array, other: pa.Array) -> bool:
    """Return whether two columns hold the same; NaN is the same as NaN."""
    if pa.types.is_floating(one.type):
        one, other = one.view(pa.int64()), other.view(pa.int64())
    return bool(one.equals(other))


def distinct(array: pa.Array) -> npt.NDArray[Any]:
    """Return a column's values without NULLs, ascending and each once."""
    return np.unique(comparable(array.drop_null()))


class _Bounds(NamedTuple):
    """Ends of each row group's leading column: for many values at once, and
    for one.
    """

    first: npt.NDArray[Any]
    last: npt.NDArray[Any]
    least: list[Any]
    greatest: list[Any]


_OBJECT_BYTES = 64
"""Bytes of memory for each value that is an object of Python's, besides its
content.
"""


def _kept_bytes(array: pa.Array, *, as_objects: bool) -> int:
    """Return the memory that a column takes once it is unpacked."""
    return int(array.nbytes) + (_OBJECT_BYTES * len(array) if as_objects else 0)


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
    """

    def __init__(self, volume: Volume, spec: TableSpec, entry: DataFile | IndexFile) -> None:
        self.entry = entry
        self.object = ParquetObject(volume.store, entry, stored_schema(spec, entry), volume.cache)
        self._store = volume.store
        self._leading = entry.columns[0] if isinstance(entry, IndexFile) else spec.primary_key[0]
        self._kind = spec.by_name[self._leading].arrow_type
        self._cache = volume.cache

    def corrupt(self, reason: str) -> CorruptStoreError:
        """Return the error that says what is wrong with the file."""
        place = f"{self._store.uri}/{self.entry.path}"
        return CorruptStoreError(f"data file {place}: {reason}; restore it from a copy")

    def _bounds(self) -> _Bounds | None:
        def make() -> tuple[_Bounds | str, int]:
            known = self.object.bounds(self._kind)
            if known is None:
                return "unknown", 8
            arrays = comparable(known[0]), comparable(known[1])
            if (arrays[0] > arrays[1]).any() or (arrays[1][:-1] > arrays[0][1:]).any():
                raise self.corrupt(f"by its bounds it is not in the order of {self._leading!r}")
            bounds = _Bounds(*arrays, known[0].to_pylist(), known[1].to_pylist())
            return bounds, sum(_kept_bytes(array, as_objects=True) for array in known)

        found = self._cache.load((self.entry.path, "bounds"), make)
        return None if isinstance(found, str) else found

    def starts(self) -> list[Any]:
        """Return the first value of each row group's leading column, as far
        as known without reading them.
        """
        known = self.object.bounds(self._kind)
        return [] if known is None else known[0].to_pylist()

    def _check_order(self, group: int, keys: npt.NDArray[Any]) -> None:
        """Check what a search in a row group relies on."""
        bounds = self._bounds()
        if (keys[:-1] > keys[1:]).any():
            raise self.corrupt(f"row group {group} is not in the order of {self._leading!r}")
        if bounds is not None and (bounds.first[group] > keys[0] or keys[-1] > bounds.last[group]):
            raise self.corrupt(
                f"the bounds of row group {group} are not those of its column {self._leading!r}"
            )

    def _keys(
        self, groups: Sequence[int], along: Sequence[str] = ()
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield the sorted leading column of row groups, checked and cached;
        columns ``along`` are fetched by the same requests.
        """
        path, get = self.entry.path, self._cache.get
        known = [get((path, "keys", group)) for group in groups]
        missing = [group for group, keys in zip(groups, known, strict=True) if keys is None]
        wanted = list(dict.fromkeys([self._leading, *along]))
        arrays = self.object.columns(missing, wanted) if missing else {}
        for group, keys in zip(groups, known, strict=True):
            yield group, self._sorted(group, arrays[group, self._leading]) if keys is None else keys

    def _keys_of(self, group: int, along: Sequence[str]) -> npt.NDArray[Any]:
        keys: npt.NDArray[Any] | None = self._cache.get((self.entry.path, "keys", group))
        return next(self._keys([group], along))[1] if keys is None else keys

    def _checked(self, group: int, array: pa.Array) -> npt.NDArray[Any]:
        if array.null_count:
            raise self.corrupt(f"row group {group} has NULL in column {self._leading!r}")
        keys = comparable(array)
        self._check_order(group, keys)
        return keys

    def _sorted(self, group: int, array: pa.Array) -> npt.NDArray[Any]:
        keys = self._checked(group, array)
        self._cache.put(
            (self.entry.path, "keys", group), keys, _kept_bytes(array, as_objects=keys.dtype == object)
        )
        return keys

    def _groups_with(self, wanted: npt.NDArray[Any]) -> list[int]:
        bounds = self._bounds()
        if bounds is None:
            return list(range(self.object.groups))
        first = np.searchsorted(wanted, bounds.first, "left")
        last = np.searchsorted(wanted, bounds.last, "right")
        return [int(group) for group in np.flatnonzero(first < last)]

    def locate(self, wanted: npt.NDArray[Any], along: Sequence[str] = ()) -> Positions:
        """Return where the leading column has one of ``wanted``, which must
        be ascending and distinct.

        Where that is likely in every row group, the columns ``along`` are
        fetched at once.
        """
        offsets = self.object.offsets
        found = []
        groups = self._groups_with(wanted)
        for group, keys in self._keys(groups, along if len(wanted) >= _DENSE * len(groups) else ()):
            start, stop = wanted.searchsorted(keys[0], "left"), wanted.searchsorted(keys[-1], "right")
            near = wanted[start:stop]
            left = np.searchsorted(keys, near, "left")
            count = np.searchsorted(keys, near, "right") - left
            hit = np.flatnonzero(count)
            if len(hit):
                found.append(_expand(left[hit], count[hit]) + offsets[group])
        return np.concatenate(found) if found else NONE

    def find(self, value: Any, along: Sequence[str] = ()) -> list[tuple[int, int]]:
        """Return where the leading column is ``value`` and the row is not
        deleted, as (row group, place in it); the columns ``along`` are
        fetched at once.
        """
        bounds = self._bounds()
        if bounds is None:
            groups = range(self.object.groups)
        else:
            groups = range(bisect_left(bounds.greatest, value), bisect_right(bounds.least, value))
        found = []
        for group in groups:
            keys = self._keys_of(group, along)
            start, stop = keys.searchsorted(value, "left"), keys.searchsorted(value, "right")
            if start < stop:
                found += [(group, at) for at in range(int(start), int(stop))]
        deleted = self.deleted()
        if not found or not len(deleted):
            return found
        offsets = self.object.offsets
        return [(group, at) for group, at in found if not _holds(deleted, offsets[group] + at)]

    def row(self, group: int, at: int, names: Sequence[str]) -> tuple[Any, ...]:
        """Return some columns of one row."""
        return tuple([array[at].as_py() for array in self.object.group(group, names)])

    def row_at(self, position: int, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the row at a position unless it is deleted."""
        if not _holds(self.deleted(), position):
            group = bisect_right(self.object.offsets, position) - 1
            yield self.row(group, position - self.object.offsets[group], names)

    def locate_range(self, low: Any, high: Any | None) -> Positions:
        """Return where the leading column is in ``[low, high)``."""
        ends = (
            comparable(pa.array([low], self._kind)),
            None if high is None else comparable(pa.array([high], self._kind)),
        )
        bounds = self._bounds()
        groups = range(self.object.groups)
        if bounds is not None:
            inside = bounds.last >= ends[0]
            if ends[1] is not None:
                inside &= bounds.first < ends[1]
            groups = [int(group) for group in np.flatnonzero(inside)]  # type: ignore[assignment]  # a range until here
        offsets = self.object.offsets
        found = []
        for group, keys in self._keys(list(groups)):
            start = np.searchsorted(keys, ends[0], "left")[0]
            stop = len(keys) if ends[1] is None else np.searchsorted(keys, ends[1], "left")[0]
            found.append(np.arange(start, stop, dtype=np.int64) + offsets[group])
        return np.concatenate(found) if found else NONE

    def take(self, positions: Positions, names: Sequence[str]) -> pa.Table:
        """Return the rows at ``positions``, which must be ascending as far as
        row groups go.
        """
        offsets = np.asarray(self.object.offsets)
        groups = np.searchsorted(offsets, positions, "right") - 1
        wanted, starts = np.unique(groups, return_index=True)
        arrays = self.object.columns([int(group) for group in wanted], names)
        stops = [*starts[1:], len(positions)]
        columns = []
        for name in names:
            pieces = [
                arrays[int(group), name].take(pa.array(positions[start:stop] - offsets[group]))
                for group, start, stop in zip(wanted, starts, stops, strict=True)
            ]
            columns.append(pa.concat_arrays(pieces) if len(pieces) > 1 else pieces[0])
        return pa.table(columns, names=list(names))

    def blocks(self, names: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """Yield the whole file in order, as (position of first row, rows)."""
        groups = self.object.groups
        for start in range(0, groups, _BLOCK_GROUPS):
            block = range(start, min(start + _BLOCK_GROUPS, groups))
            yield self.object.offsets[start], self.object.read(block, names)

    def until(self, group: int, high: npt.NDArray[Any] | None) -> list[int]:
        """Return ``group`` and those after it, a block of them at most, that
        begin below ``high``; only ``group`` where that is not known.
        """
        bounds = self._bounds()
        if bounds is None:
            return [group]
        stop = self.object.groups if high is None else int(bounds.first.searchsorted(high, "left")[0])
        return list(range(group, min(max(stop, group + 1), group + _BLOCK_GROUPS)))

    def rows_of(self, groups: Sequence[int], names: Sequence[str]) -> tuple[pa.Table, npt.NDArray[Any]]:
        """Return row groups that follow each other, past the cache, and their
        leading column, checked.

        Requires: the leading column is among ``names``.
        """
        rows, offsets = self.object.read(groups, names), self.object.offsets
        column, base = plain(rows.column(self._leading)), offsets[groups[0]]
        keys = [
            self._checked(group, column.slice(offsets[group] - base, offsets[group + 1] - offsets[group]))
            for group in groups
        ]
        return rows, keys[0] if len(keys) == 1 else np.concatenate(keys)

    def samples(self, step: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Return values of the leading column, ascending, and how many rows
        each is the first of: ``step`` at most.

        The footer has them where row groups are so small, else the column is
        read.
        """
        sizes: npt.NDArray[np.int64] = np.diff(self.object.offsets)
        bounds = self._bounds()
        if bounds is not None and sizes.max() <= step:
            return bounds.first, sizes
        values, counts = [], []
        for start in range(0, len(sizes), _BLOCK_GROUPS):
            groups = range(start, min(start + _BLOCK_GROUPS, len(sizes)))
            _, keys = self.rows_of(groups, [self._leading])
            at = np.arange(0, len(keys), step)
            # A copy, which does not keep the column.
            values.append(keys[at])
            counts.append(np.diff(np.append(at, len(keys))))
        return np.concatenate(values), np.concatenate(counts)

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


def _holds(positions: Positions, position: int) -> bool:
    at = int(positions.searchsorted(position))
    return at < len(positions) and int(positions[at]) == position


def _expand(starts: npt.NDArray[Any], counts: npt.NDArray[Any]) -> Positions:
    """Return the concatenated ranges ``[start, start + count)``."""
    total = int(counts.sum())
    shifts = np.repeat(starts - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
    result: Positions = np.arange(total, dtype=np.int64) + shifts
    return result


def read_deletes(store: ObjectStore, file: DataFile | IndexFile, entry: Deletes) -> Positions:
    """Return what a deletion vector of a file says.

    Raises
    ------
    CorruptStoreError
        It is not what the manifest says, or does not fit the file.
    """
    place = f"deletion vector {store.uri}/{entry.path}"
    data = store.get(entry.path, entry.bytes)
    if len(data) != entry.bytes or digest(data) != entry.digest:
        raise CorruptStoreError(f"{place} is altered; restore it from a copy")
    try:
        found = bitmap.positions(data, file.rows)
    except ValueError as err:
        raise CorruptStoreError(f"{place} does not fit {file.path}: {err}; restore it from a copy") from err
    if len(found) != entry.count:
        raise CorruptStoreError(
            f"{place} has {len(found)} positions, the manifest says {entry.count}; restore it from a copy"
        )
    return found


def encode_deletes(positions: BitMap) -> tuple[bytes, dict[str, Any]]:
    """Return a deletion vector as stored, and what a manifest says of it."""
    positions.run_optimize()
    data = positions.serialize()
    return data, {"bytes": len(data), "digest": digest(data), "count": len(positions)}
