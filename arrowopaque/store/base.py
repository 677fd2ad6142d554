"""All data files of a table at one manifest: look up and scan."""

from __future__ import annotations

__all__ = ["Base", "load_base"]

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrowopaque.format.manifest import (
    DataFile,
    IndexFile,
    Key,
    TableManifest,
    check_manifest,
    decode_leading,
)
from arrowopaque.format.spec import ColumnKind, TableSpec
from arrowopaque.format.values import columnar
from arrowopaque.format.where import Many, Prefix, Term, Where, mask, prefix_end
from arrowopaque.store.access import FEW, choose_path
from arrowopaque.store.cache import SCANNED, bytes_of
from arrowopaque.store.datafile import SortedFile
from arrowopaque.store.decoding import plain
from arrowopaque.store.deletes import Positions
from arrowopaque.store.keys import comparable
from arrowopaque.store.matches import Match, rows_of, same_rows
from arrowopaque.store.order import distinct
from arrowopaque.store.parquet import position_column
from arrowopaque.store.search import Search, bytes_of_all, lying_index
from arrowopaque.store.volume import Volume


class Base:
    """The immutable part of a table.

    Parameters
    ----------
    volume
        Where its files lie.
    spec
        The table.
    manifest
        Which files; `None` for a table that never had any.
    """

    def __init__(self, volume: Volume, spec: TableSpec, manifest: TableManifest | None) -> None:
        self.volume = volume
        self.spec = spec
        self.manifest = manifest
        self.files = [file for _, file in manifest.files()] if manifest else []
        self._ends = [
            (decode_leading(spec, file.min[0]), decode_leading(spec, file.max[0])) for file in self.files
        ]
        self._opened: dict[str, SortedFile] = {}
        # Not the manifest's name, which what is not committed has in common.
        self._identity = object()

    @cached_property
    def _least(self) -> npt.NDArray[Any]:
        return self._leading([least for least, _ in self._ends])

    @cached_property
    def _most(self) -> npt.NDArray[Any]:
        return self._leading([most for _, most in self._ends])

    def _leading(self, values: list[Any]) -> npt.NDArray[Any]:
        if not self.spec.primary_key:
            return np.empty(0)
        return comparable(pa.array(values, self.spec.key_schema.field(0).type))

    @property
    def rows(self) -> int:
        """Rows that are not deleted."""
        return self.manifest.rows if self.manifest else 0

    def open(self, entry: DataFile | IndexFile) -> SortedFile:
        """Return a data file or an index file for reading."""
        file = self._opened.get(entry.path)
        if file is None:
            file = self._opened[entry.path] = SortedFile(self.volume, self.spec, entry)
        return file

    def around(self, keys: pa.Table) -> list[DataFile]:
        """Return the files between whose least and greatest key one of
        ``keys`` may lie, by the leading column.
        """
        return self._files_between(None, None, comparable(distinct(plain(keys.column(0)))))

    def matches(self, where: Where, names: Sequence[str]) -> Iterator[Match]:
        """Yield the live rows that satisfy ``where``, file by file."""
        path = choose_path(self.spec, where)
        if path is None:
            yield from self._scan(where, names)
        else:
            rest = [term for term in where if term is not path[0]]
            yield from self._look_up(path[0], path[1], rest, names)

    def _look_up(
        self, term: Term, columns: tuple[str, ...], rest: Where, names: Sequence[str]
    ) -> Iterator[Match]:
        low, high, wanted = self._bounds_of(term)
        if wanted is not None and not len(wanted):
            return

        def satisfying(file: SortedFile, positions: Positions) -> Positions:
            found = mask(file.take(positions, needed), rest)
            assert found is not None, "there are terms"
            kept: Positions = positions[found.to_numpy(zero_copy_only=False).astype(bool)]
            return kept

        needed = [*dict.fromkeys(term.column for term in rest)]
        choose = satisfying if rest else None
        search = Search(
            self.volume, self.spec, self.open, columns, wanted, names, (low, high), needed, choose
        )
        by_key = columns == self.spec.primary_key
        yield from search.matches(self._files_between(low, high, wanted) if by_key else self.files)

    def rows_with(
        self, columns: tuple[str, ...], value: Any, names: Sequence[str]
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the live rows, as tuples of ``names``, whose first column of
        ``columns`` is ``value``.

        Parameters
        ----------
        columns
            The primary key, or a set of columns that is kept sorted.
        value
            In stored form, not NULL.
        names
            The columns to return.
        """
        if columns == self.spec.primary_key:
            entries = list(self._files_with(value))
            # A fetch finds its row where it can only be, a unique check seldom finds one.
            along = names if len(entries) == 1 and len(names) > len(columns) else ()
            for file in map(self.open, entries):
                yield from file.rows_with(value, tuple(names), along)
            return
        if not self.files:
            return
        # Every file is asked, and most have not got it: what they say together is kept.
        yield from self.volume.cache.load(
            (self._identity, columns, value, tuple(names)),
            lambda: self._rows_by_indexes(columns, value, names),
        )

    def _rows_by_indexes(
        self, columns: tuple[str, ...], value: Any, names: Sequence[str]
    ) -> tuple[list[tuple[Any, ...]], int]:
        """Return what `rows_with` yields, and how many bytes it takes."""
        found = [row for entry in self.files for row in self._rows_by_index(entry, columns, value, names)]
        return found, bytes_of([(value, *names), *found])

    def _rows_by_index(
        self, entry: DataFile, columns: tuple[str, ...], value: Any, names: Sequence[str]
    ) -> Iterator[tuple[Any, ...]]:
        index = next(index for index in entry.indexes if index.columns == columns)
        if not index.rows:
            return
        wanted = [*names]
        if columns[0] not in wanted:
            wanted.append(columns[0])
        place = wanted.index(columns[0])
        for (position,) in self.open(index).rows_with(value, (position_column(columns),)):
            if not 0 <= position < entry.rows:
                raise lying_index(self.volume, index, entry)
            for row in self.open(entry).row_at(position, wanted):
                if row[place] != value:
                    raise lying_index(self.volume, index, entry)
                yield row[: len(names)]

    def existing(self, keys: Sequence[Key]) -> set[Key]:
        """Return those of some primary keys that live rows have."""
        key = self.spec.primary_key
        if not self.files or not keys:
            return set()
        if len(keys) > FEW or self.spec.columns[self.spec.key_positions[0]].kind is ColumnKind.FLOAT:
            found = self.matching(key, columnar(self.spec.key_schema, keys), key, is_rare=True)
            return {row for match in found for row in rows_of(match.rows)}
        rows: set[Key] = set()
        for value in {given[0] for given in keys} - {None}:
            for file in map(self.open, self._files_with(value)):
                for group, at in file.find(value):
                    rows.add(file.row(group, at, key))
        return rows.intersection(keys)

    def _files_with(self, value: Any) -> list[DataFile]:
        if len(self.files) <= FEW:
            ends = zip(self.files, self._ends, strict=True)
            return [file for file, (low, high) in ends if low <= value <= high]
        inside = (self._least <= value) & (self._most >= value)
        return [self.files[i] for i in np.flatnonzero(inside)]

    def _bounds_of(self, term: Term) -> tuple[Any, Any, npt.NDArray[Any] | None]:
        if isinstance(term, Prefix):
            return term.prefix, prefix_end(term.prefix), None
        if isinstance(term.values, Many):
            return None, None, comparable(term.values.array)
        kind = self.spec.arrow_schema.field(term.column).type
        # In SQL, NaN is equal to nothing.
        values = [value for value in term.values if value == value]
        return None, None, comparable(distinct(pa.array(values, kind)))

    def _files_between(self, low: Any, high: Any, wanted: npt.NDArray[Any] | None) -> list[DataFile]:
        if wanted is not None:
            first = np.searchsorted(wanted, self._least, "left")
            last = np.searchsorted(wanted, self._most, "right")
            inside = first < last
        else:
            inside = self._most >= self._leading([low])
            if high is not None:
                inside &= self._least < self._leading([high])
        return [self.files[i] for i in np.flatnonzero(inside)]

    def _scan(self, where: Where, names: Sequence[str]) -> Iterator[Match]:
        columns = list(dict.fromkeys([*names, *(term.column for term in where)]))
        # A file needs at least one column to be read for its row count.
        wanted = columns or list(self.spec.primary_key[:1])
        rows = sum(entry.rows for entry in self.files)
        for entry in self.files:
            file = self.open(entry)
            action = partial(_satisfying, entry.path, file.deleted(), where, names)
            size = bytes_of_all(file, file.object.groups, wanted, rows)
            # More would not be there any more when it is asked for again.
            dropping = size <= self.volume.options.cache_bytes * SCANNED
            for match in file.each_block(action, wanted, keep=True, dropping=dropping):
                if len(match.positions):
                    yield match

    def matching(
        self, columns: tuple[str, ...], wanted: pa.Table, names: Sequence[str], *, is_rare: bool = False
    ) -> Iterator[Match]:
        """Yield the live rows whose ``columns`` equal a row of ``wanted``.

        Parameters
        ----------
        columns
            The primary key, or a set of columns that is kept sorted.
        wanted
            Rows with at least ``columns``; one with a NULL equals none.
        names
            The columns to return.
        is_rare
            Whether most are taken not to be there.
        """
        if not self.files:
            return
        values = comparable(distinct(plain(wanted.column(columns[0]))))
        if not len(values):
            return
        sorted_by = next(
            (c for c in (self.spec.primary_key, *self.spec.lookups) if c[: len(columns)] == columns), None
        )
        assert sorted_by is not None, f"{columns} are not kept sorted"

        def equal(file: SortedFile, positions: Positions) -> Positions:
            return positions[same_rows(file.take(positions, columns), wanted.select(list(columns)))]

        needed, choose = (columns, equal) if len(columns) > 1 else ((), None)
        search = Search(
            self.volume, self.spec, self.open, sorted_by, values, names,
            needed=needed, choose=choose, is_rare=is_rare,
        )  # fmt: skip
        by_key = sorted_by == self.spec.primary_key
        yield from search.matches(self._files_between(None, None, values) if by_key else self.files)


def _satisfying(
    path: str, deleted: Positions, where: Where, names: Sequence[str], start: int, block: pa.Table
) -> Match:
    """Return the live rows of a block, from position ``start`` on, that
    satisfy ``where``.
    """
    keep = np.ones(block.num_rows, dtype=bool)
    first, last = np.searchsorted(deleted, [start, start + block.num_rows])
    keep[deleted[first:last] - start] = False
    found = mask(block, where)
    if found is not None:
        keep &= found.to_numpy(zero_copy_only=False).astype(bool)
    kept = block if keep.all() else block.filter(pa.array(keep))
    return Match(path, np.flatnonzero(keep) + start, kept.select(list(names)))


def load_base(volume: Volume, spec: TableSpec, name: str | None) -> Base:
    """Return the base at the manifest called ``name``.

    Raises
    ------
    CorruptStoreError
        The manifest is damaged or breaks an invariant.
    """
    if name is None:
        return Base(volume, spec, None)

    def make() -> tuple[Base, int]:
        manifest = volume.manifest(name)
        check_manifest(manifest, spec)
        base = Base(volume, spec, manifest)
        if manifest.parent is not None:
            # Those of many small commits would fill the cache.
            volume.cache.drop((manifest.parent, "base", volume))
            volume.forget_manifest(manifest.parent)
        return base, 500 * (1 + len(base.files))

    return volume.cache.load((name, "base", volume), make)
