"""Verify that no two visible rows share a key, in bounded memory."""

from __future__ import annotations

__all__ = ["check_delta", "check_tombstones", "check_unique"]

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.format.manifest import DataFile, IndexFile
from arrowopaque.maintain.contents import repeats
from arrowopaque.maintain.findings import REWRITE, Check, Finding
from arrowopaque.maintain.progress import Progress
from arrowopaque.store.base import Base
from arrowopaque.store.datafile import SortedFile
from arrowopaque.store.matches import live_only, rows_of
from arrowopaque.store.order import sort_rows
from arrowopaque.store.parquet import position_column
from arrowopaque.store.table import Snapshot

_WINDOW = 128
"""Row groups that are compared at once, about."""
_CHUNK = 50_000
"""Delta rows or tombstones that are looked up at once."""
_FILE, _PLACE = "\0file", "\0place"
"""Columns beside a table's own, with names that no database lets it have."""


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A file that has some columns in order."""

    number: int
    """Of the data file, among the base's."""
    data: DataFile
    file: SortedFile
    starts: list[Any]
    """The first value of each row group, as far as known."""


def _sources(base: Base, columns: tuple[str, ...]) -> list[_Sorted]:
    """Return the files that hold ``columns`` sorted: the data files
    themselves, or indexes.
    """
    by_key = base.spec.primary_key[: len(columns)] == columns
    sources = []
    for number, data in enumerate(base.files):
        if by_key:
            file = base.open(data)
        else:
            index = next(index for index in data.indexes if index.columns[: len(columns)] == columns)
            if not index.rows:
                continue
            file = base.open(index)
        bounds = file.bounds()
        sources.append(_Sorted(number, data, file, bounds.least if bounds else []))
    return sources


def _windows(sources: list[_Sorted]) -> Iterator[tuple[Any, Any]]:
    """Yield ranges of the leading column that divide the files' rows; both
    ends are `None` for all rows.
    """
    if any(len(source.starts) != source.file.object.groups for source in sources):
        yield None, None
        return
    starts = sorted(set(itertools.chain.from_iterable(source.starts for source in sources)))
    # Groups that begin with the same value go into one window.
    cuts = starts[::_WINDOW]
    yield from itertools.pairwise([*cuts, None])


def _positions(source: _Sorted, low: Any, high: Any) -> npt.NDArray[np.int64]:
    if low is None:
        return np.arange(source.file.entry.rows, dtype=np.int64)
    return source.file.locate_range(low, high)


def _part(base: Base, source: _Sorted, columns: tuple[str, ...], window: tuple[Any, Any]) -> pa.Table | None:
    """Return the live rows of one file in a window, and where they are."""
    at = _positions(source, *window)
    if not len(at):
        return None
    entry = source.file.entry
    stated = [position_column(entry.columns)] if isinstance(entry, IndexFile) else []
    rows = source.file.take(at, [*columns, *stated])
    positions = rows.column(-1).to_numpy() if stated else at
    alive = ~np.isin(positions, base.open(source.data).deleted())
    for name in columns:
        alive &= pc.is_valid(rows.column(name)).to_numpy(zero_copy_only=False)
    table = rows.select(list(columns))
    table = table.append_column(_FILE, pa.array(np.full(len(positions), source.number)))
    return table.append_column(_PLACE, pa.array(positions)).filter(pa.array(alive))


def _twins(rows: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """Return the rows that equal another, sorted."""
    if rows.num_rows < 2:
        return rows.slice(0, 0)
    rows = sort_rows(rows, columns)
    same = repeats(rows, columns)
    return rows.filter(pa.array(np.append(same, False) | np.insert(same, 0, False)))


def _not_gone(snapshot: Snapshot, base: Base, rows: pa.Table) -> pa.Table:
    """Return the rows that no tombstone hides."""
    if snapshot.gone is None:
        return rows
    key, kept = base.spec.primary_key, []
    gone = set(rows_of(snapshot.gone))
    for number, position in zip(*(rows.column(name).to_pylist() for name in (_FILE, _PLACE)), strict=True):
        keys = base.open(base.files[number]).take(np.array([position]), key)
        kept.append(next(rows_of(keys)) not in gone)
    return rows.filter(pa.array(kept, pa.bool_()))


def check_unique(
    name: str, snapshot: Snapshot, base: Base, columns: tuple[str, ...], progress: Progress
) -> Iterator[Finding]:
    """Yield the first values of ``columns`` that two rows of data files
    share, window by window; tell of rows that were compared.
    """
    sources = _sources(base, columns)
    for window in _windows(sources):
        parts = [_part(base, source, columns, window) for source in sources]
        found = [part for part in parts if part is not None and part.num_rows]
        if not found:
            continue
        together = pa.concat_tables(found)
        progress(together.num_rows)
        twins = _twins(together, columns)
        twins = _twins(_not_gone(snapshot, base, twins), columns)
        if twins.num_rows:
            yield _shared(name, base, columns, next(rows_of(twins.select(list(columns)))))
            return


def _shared(name: str, base: Base, columns: tuple[str, ...], values: tuple[Any, ...]) -> Finding:
    problem = f"two visible rows have {columns} = {values!r}"
    return Finding(Check.UNIQUE, name, f"table {name!r} of {base.volume.store.uri}", problem, REWRITE)


def check_delta(name: str, snapshot: Snapshot, base: Base, columns: tuple[str, ...]) -> Iterator[Finding]:
    """Yield the first values of ``columns`` that a delta row shares with
    another, or with a visible row of a data file.
    """
    delta = sort_rows(snapshot.delta, columns)
    twins = _twins(delta, columns)
    if twins.num_rows:
        yield _shared(name, base, columns, next(rows_of(twins.select(list(columns)))))
    key = base.spec.primary_key
    for start in range(0, delta.num_rows if base.files else 0, _CHUNK):
        wanted = delta.slice(start, _CHUNK).combine_chunks()
        names = list(dict.fromkeys([*columns, *key]))
        for match in live_only(base.matching(columns, wanted, names), snapshot.gone, key):
            yield _shared(name, base, columns, next(rows_of(match.rows.select(list(columns)))))
            return


def check_tombstones(name: str, snapshot: Snapshot, base: Base) -> Iterator[Finding]:
    """Yield the first tombstone that names no live row of a data file."""
    key = base.spec.primary_key
    gone = key_rows(snapshot)
    for start in range(0, gone.num_rows, _CHUNK):
        wanted = gone.slice(start, _CHUNK).combine_chunks()
        found = {row for match in base.matching(key, wanted, key) for row in rows_of(match.rows)}
        for row in rows_of(wanted):
            if row not in found:
                yield Finding(
                    Check.TOMBSTONES,
                    name,
                    f"table {name!r} of {base.volume.store.uri}",
                    f"the tombstone of {key} = {row!r} hides no row of a data file",
                    "flush the table, which folds tombstones",
                )
                return


def key_rows(snapshot: Snapshot) -> pa.Table:
    """Return the keys of the tombstones."""
    return snapshot.base.spec.key_schema.empty_table() if snapshot.gone is None else snapshot.gone
