"""Prove that files which were staged apart have no row in common.

Ranges of keys that do not overlap are proof enough. Of files whose ranges
overlap, as those of random keys do, the key columns are read, a window of
keys at a time.
"""

from __future__ import annotations

__all__ = ["Duplicate", "find_duplicate"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.format.manifest import DataFile, decode_key
from arrowopaque.store.base import Base
from arrowopaque.store.keys import comparable
from arrowopaque.store.matches import rows_of
from arrowopaque.store.order import sort_rows

_OWNER = "arrowopaque_owner"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Rows that share values which must be unique."""

    columns: tuple[str, ...]
    values: tuple[Any, ...]
    paths: tuple[str, ...]
    """The staged files that hold one; with a single one, the table has the
    other.
    """


def find_duplicate(staged: Base, others: Base, *, among: bool = True) -> Duplicate | None:
    """Return rows that clash, if there are any.

    Parameters
    ----------
    staged
        The staged files. Within one of them nothing clashes.
    others
        The files that the table has already.
    among
        Whether to compare the staged files with each other too.

    Notes
    -----
    Holds the keys of about two partitions at once; for the other unique
    constraints, their columns of all staged rows.
    """
    key = staged.spec.primary_key
    for files in _overlapping(staged, others, among):
        for rows in _windows(staged, files, key):
            found = _clash(rows, key, staged, others)
            if found is not None:
                return found
    for columns in staged.spec.unique:
        rows = _columns_of(staged, staged.files, columns)
        found = _clash(rows, columns, staged, others)
        if found is not None:
            return found
    return None


def _overlapping(staged: Base, others: Base, among: bool) -> Iterator[list[DataFile]]:
    """Yield groups of staged files that are not disjoint from each other, or
    from a file of the table, by their ranges of keys.
    """
    spec, entries = staged.spec, [(file, True) for file in staged.files]
    entries += [(file, False) for file in others.files]
    ranges = [(decode_key(spec, file.min), decode_key(spec, file.max), file, ours) for file, ours in entries]
    ranges.sort(key=lambda entry: entry[0])
    group: list[DataFile] = []
    strangers, end = 0, None
    for least, most, file, ours in ranges:
        if end is not None and least > end:
            if strangers or (among and len(group) > 1):
                yield group
            group, strangers, end = [], 0, None
        group += [file] if ours else []
        strangers += not ours
        end = most if end is None else max(end, most)
    if strangers or (among and len(group) > 1):
        yield group


def _windows(staged: Base, files: list[DataFile], key: tuple[str, ...]) -> Iterator[pa.Table]:
    """Yield the keys of files with their owners, range by range of the
    leading column.
    """
    if not files:
        return
    bounds = _bounds(staged, files, 2 * staged.volume.options.partition_rows)
    owners = {file.path: owner for owner, file in enumerate(staged.files)}
    for low, high in zip(bounds, [*bounds[1:], None], strict=True):
        parts = []
        for entry in files:
            file = staged.open(entry)
            at = file.locate_range(low, high)
            if len(at):
                parts.append(_owned(file.take(at, key), owners[entry.path]))
        if parts:
            yield pa.concat_tables(parts)


def _bounds(staged: Base, files: list[DataFile], window: int) -> list[Any]:
    """Return the lower ends of ranges of the leading column that hold about
    ``window`` rows each.
    """
    least = min(decode_key(staged.spec, file.min)[0] for file in files)
    count = -(-sum(file.rows for file in files) // window)
    if count == 1:
        return [least]
    leading = staged.spec.primary_key[0]
    starts: list[Any] = []
    for entry in files:
        at = np.arange(0, entry.rows, max(1, staged.volume.options.row_group_rows))
        starts += staged.open(entry).take(at, [leading]).column(leading).to_pylist()
    starts.sort()
    chosen = {starts[len(starts) * i // count] for i in range(1, count)} - {least}
    return [least, *sorted(chosen)]


def _owned(rows: pa.Table, owner: int) -> pa.Table:
    return rows.append_column(_OWNER, pa.array(np.full(rows.num_rows, owner, np.int64)))


def _columns_of(staged: Base, files: Sequence[DataFile], columns: tuple[str, ...]) -> pa.Table:
    """Return columns of whole files, with owners, without rows that have a
    NULL among them.
    """
    parts = [
        _owned(pa.concat_tables(staged.open(entry).blocks(columns)), owner)
        for owner, entry in enumerate(files)
    ]
    schema = pa.schema([staged.spec.arrow_schema.field(name) for name in columns])
    rows = pa.concat_tables(parts) if parts else _owned(schema.empty_table(), 0)
    for name in columns:
        rows = rows.filter(pc.is_valid(rows.column(name)))
    return rows


def _clash(rows: pa.Table, columns: tuple[str, ...], staged: Base, others: Base) -> Duplicate | None:
    """Return two owned rows with the same values, or one that the table has."""
    rows = sort_rows(rows, [*columns, _OWNER])
    same = np.ones(max(rows.num_rows - 1, 0), dtype=bool)
    for name in columns:
        values = comparable(rows.column(name).combine_chunks())
        same &= values[1:] == values[:-1]
    if same.any():
        at = int(np.flatnonzero(same)[0])
        *found, owner = next(rows_of(rows.slice(at, 1)))
        other = rows.column(_OWNER)[at + 1].as_py()
        return Duplicate(columns, tuple(found), (staged.files[owner].path, staged.files[other].path))
    for match in others.matching(columns, rows, columns):
        wanted = next(rows_of(match.rows.slice(0, 1)))
        owner = next(row[-1] for row in rows_of(rows) if row[:-1] == wanted)
        return Duplicate(columns, wanted, (staged.files[owner].path,))
    return None
