"""Verify the rows of one data file, its deletion vector and its indexes."""

from __future__ import annotations

__all__ = ["check_contents"]

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format.keyfilter import hashes_of
from arrowopaque.format.manifest import DataFile, Deletes, IndexFile, encode_key
from arrowopaque.maintain.findings import RESTORE, Check, Finding, caught
from arrowopaque.maintain.statistics import stored_statistics, value_of
from arrowopaque.store.base import Base
from arrowopaque.store.datafile import SortedFile
from arrowopaque.store.decoding import plain
from arrowopaque.store.keys import comparable, listed
from arrowopaque.store.matches import rows_of, same_values
from arrowopaque.store.order import arrow_order
from arrowopaque.store.parquet import ParquetObject, position_column

_PIECE = 8 * 2**20
"""Bytes that are read at once to compute a digest."""


class Place:
    """Makes findings about one object."""

    def __init__(self, base: Base, table: str, path: str) -> None:
        self.table = table
        self.uri = f"{base.volume.store.uri}/{path}"

    def finding(self, check: Check, problem: str) -> Finding:
        """Return a finding about the object."""
        return Finding(check, self.table, self.uri, problem)


def check_contents(base: Base, table: str, entry: DataFile) -> Iterator[Finding]:
    """Yield what is wrong with a data file; rows are read block by block."""
    place, file = Place(base, table, entry.path), base.open(entry)
    broken = list(_digest(base, place, entry))
    yield from broken
    if not broken:
        yield from caught(Check.DIGEST, table, place.uri, _rows(base, place, file, entry))
    if entry.deletes is not None:
        vector = Place(base, table, entry.deletes.path)
        yield from caught(Check.DELETES, table, vector.uri, _deletes(vector, file, entry.deletes))
    for index in entry.indexes:
        of_index = Place(base, table, index.path)
        damaged = list(_digest(base, of_index, index))
        yield from damaged
        if not damaged and not broken:
            yield from caught(Check.INDEX, table, of_index.uri, _index(base, of_index, file, index))


def _digest(base: Base, place: Place, entry: DataFile | IndexFile) -> Iterator[Finding]:
    def compare() -> Iterator[Finding]:
        found = hashlib.sha256()
        for start in range(0, entry.bytes, _PIECE):
            found.update(base.volume.store.get_range(entry.path, start, min(_PIECE, entry.bytes - start)))
        if found.hexdigest() != entry.digest:
            yield place.finding(Check.DIGEST, "it is altered")

    yield from caught(Check.DIGEST, place.table, place.uri, compare())


def _rows(base: Base, place: Place, file: SortedFile, entry: DataFile) -> Iterator[Finding]:
    spec, key = base.spec, base.spec.primary_key
    first = last = None
    said = _Said(file.object, place, key[0])
    for block in file.blocks(spec.names):
        yield from said.compare(block)
        keys = block.select(list(key))
        yield from _order(place, keys if last is None else pa.concat_tables([last, keys]), key)
        first, last = first or _key_at(keys, 0), keys.slice(keys.num_rows - 1)
        for column in spec.columns:
            if not column.nullable and block.column(column.name).null_count:
                yield place.finding(Check.NULLS, f"NULL in column {column.name!r}")
    ends = (
        [] if first is None or last is None else [encode_key(spec, first), encode_key(spec, _key_at(last, 0))]
    )
    if ends != [entry.min, entry.max]:
        yield place.finding(Check.BOUNDS, "its least and greatest keys are not the manifest's")


def _key_at(keys: pa.Table, row: int) -> tuple[Any, ...]:
    return next(rows_of(keys.slice(row, 1)))


def is_ordered(rows: pa.Table, columns: Sequence[str]) -> bool:
    """Return whether rows are in ascending order."""
    return bool(np.array_equal(arrow_order(rows.select(list(columns))), np.arange(rows.num_rows)))


def repeats(rows: pa.Table, columns: Sequence[str]) -> Any:
    """Return which of some sorted rows, all but the first, equal the row
    before them.
    """
    same = np.ones(max(rows.num_rows - 1, 0), dtype=bool)
    for name in columns:
        values = rows.column(name).combine_chunks()
        equal = pc.equal(values[1:], values[:-1])
        same &= pc.fill_null(equal, False).to_numpy(zero_copy_only=False).astype(bool)
    return same


def _order(place: Place, rows: pa.Table, columns: Sequence[str]) -> Iterator[Finding]:
    if not is_ordered(rows, columns):
        yield place.finding(Check.ORDER, f"its rows are not in the order of {tuple(columns)}")
    elif (same := repeats(rows, columns)).any():
        twice = _key_at(rows.select(list(columns)), int(np.flatnonzero(same)[0]))
        yield place.finding(Check.UNIQUE, f"two of its rows have {tuple(columns)} = {twice!r}")


def _groups_of(file: ParquetObject, first: int, rows: int) -> range:
    """Return the row groups that a block of rows, from ``first`` on, is of."""
    stop = int(np.searchsorted(file.offsets, file.offsets[first] + rows))
    return range(first, stop)


class _Said:
    """What a footer says of the values of each row group."""

    def __init__(self, file: ParquetObject, place: Place, leading: str) -> None:
        self._file = file
        self._place = place
        self._leading = leading
        try:
            self._statistics = stored_statistics(file.raw_footer())
        except ValueError as err:
            raise CorruptStoreError(f"data file {place.uri}: {err}; {RESTORE}") from err
        self._next = 0

    def compare(self, block: pa.Table) -> Iterator[Finding]:
        """Compare what readers skip row groups by with the rows of the next
        row groups.
        """
        offsets, first = self._file.offsets, self._next
        groups = _groups_of(self._file, first, block.num_rows)
        self._next = groups.stop
        for group in groups:
            rows = block.slice(offsets[group] - offsets[first], self._file.footer.rows(group))
            for name in rows.column_names:
                ends = _ends(rows.column(name))
                if not self._holds(group, name, rows.schema.field(name).type, ends):
                    yield self._place.finding(
                        Check.STATISTICS,
                        f"the statistics of column {name!r}, row group {group}, are not its own",
                    )
            bounds = self._file.bounds(rows.schema.field(self._leading).type)
            if bounds and _ends(rows.column(self._leading)) != tuple(side[group].as_py() for side in bounds):
                yield self._place.finding(
                    Check.STATISTICS, f"the bounds of row group {group} are not those of its rows"
                )
            yield from self._filtered(group, plain(rows.column(self._leading)))

    def _filtered(self, group: int, keys: pa.Array) -> Iterator[Finding]:
        for found in self._file.filters([group], self._leading).values():
            if not found.may_hold_each(hashes_of(listed(comparable(keys)), keys.type)).all():
                yield self._place.finding(
                    Check.STATISTICS, f"the key filter of row group {group} leaves out a key of its rows"
                )

    def _holds(self, group: int, name: str, kind: pa.DataType, ends: tuple[Any, Any] | None) -> bool:
        said = self._statistics[group][self._file.footer.positions[name]]
        try:
            least, most = ([value_of(data, kind) for data in side] for side in said)
        except ValueError:
            return False
        if ends is None:
            return not (least or most)
        low, high = (end.encode() if isinstance(end, str) else end for end in ends)
        return all(value <= low for value in least) and all(high <= value for value in most)


def _ends(column: pa.ChunkedArray) -> tuple[Any, Any] | None:
    """Return a column's least and greatest value, NULL and NaN apart."""
    values = column.combine_chunks().drop_null()
    if pa.types.is_floating(values.type):
        values = values.filter(pc.invert(pc.is_nan(values)))
    if not len(values):
        return None
    if pa.types.is_fixed_size_binary(values.type):
        order = np.argsort(comparable(values))
        return values[int(order[0])].as_py(), values[int(order[-1])].as_py()
    ends = pc.min_max(values)
    return ends["min"].as_py(), ends["max"].as_py()


def _deletes(place: Place, file: SortedFile, entry: Deletes) -> Iterator[Finding]:
    if not len(file.deleted()):
        yield place.finding(Check.DELETES, "an empty deletion vector")


def _index(base: Base, place: Place, data: SortedFile, entry: IndexFile) -> Iterator[Finding]:
    """Compare an index with the columns that it is made of, which are held as
    a whole.
    """
    columns = list(entry.columns)
    rows = pa.concat_tables(data.blocks(columns))
    valid = rows.num_rows - rows.column(columns[0]).null_count
    if entry.rows != valid:
        yield place.finding(Check.INDEX, f"{entry.rows} rows, its data file has {valid} to index")
        return
    if not entry.rows:
        return
    index, found = base.open(entry), []
    said = _Said(index.object, place, columns[0])
    for block in index.blocks([*columns, position_column(columns)]):
        yield from said.compare(block)
        found.append(block)
    yield from _index_rows(place, pa.concat_tables(found), rows, columns)


def _index_rows(place: Place, found: pa.Table, rows: pa.Table, columns: list[str]) -> Iterator[Finding]:
    positions = found.column(-1).to_numpy()
    if positions.min() < 0 or positions.max() >= rows.num_rows:
        yield place.finding(Check.INDEX, f"it names positions beyond the {rows.num_rows} of its data file")
        return
    yield from _order(place, found, found.column_names)
    stated = rows.take(pa.array(positions))
    if not all(same_values(plain(found.column(name)), plain(stated.column(name))) for name in columns):
        yield place.finding(Check.INDEX, "its values are not those of its data file")
