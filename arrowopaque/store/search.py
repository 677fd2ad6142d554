"""Many rows of data files, by one of the columns that are kept sorted."""

from __future__ import annotations

__all__ = ["Search", "bytes_of_all", "lying_index"]

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format.manifest import DataFile, IndexFile
from arrowopaque.format.spec import TableSpec
from arrowopaque.store.datafile import NONE, SortedFile
from arrowopaque.store.decoding import plain
from arrowopaque.store.deletes import Positions
from arrowopaque.store.matches import Match, same_values
from arrowopaque.store.parallel import CORES, ahead
from arrowopaque.store.parquet import ARRAY_BYTES, PIECE_GROUPS, position_column
from arrowopaque.store.volume import Volume

_MANY = 256
"""Values from which on files are searched at the same time."""

_FURTHER = 8
"""Files whose rows may wait for those of a larger one."""


def lying_index(volume: Volume, index: IndexFile, entry: DataFile) -> CorruptStoreError:
    """Return the error of an index that names other rows."""
    return CorruptStoreError(
        f"index {volume.store.uri}/{index.path} names other rows of {entry.path} than those "
        "with its values; restore both from a copy"
    )


def bytes_of_all(file: SortedFile, groups: int, names: Sequence[str], rows: int) -> int:
    """Return about how many bytes some columns take, if as large a share of
    all ``rows`` is decoded as so many row groups are of one file.
    """
    if groups < 2:
        # One is never too much; and where there is no other, its headers may be most of it.
        return 0
    bounds, footer = file.bounds(), file.object.footer
    size = ARRAY_BYTES + sum(footer.chunk(0, name).expanded + ARRAY_BYTES for name in names)
    if bounds is not None and isinstance(bounds.least[0], str | bytes):
        # Sorted, they are stored by what they do not share with the one before.
        size += footer.rows(0) * sum(map(len, bounds.least)) // len(bounds.least)
    return groups * size * rows // file.entry.rows


def _shares(
    file: SortedFile, wanted: npt.NDArray[Any], groups: Sequence[int], step: int
) -> Iterator[tuple[npt.NDArray[Any], Sequence[int]]]:
    """Yield ``wanted``, which is in ``groups`` or nowhere, in pieces, of which
    each lies in ``step`` of them, and those.
    """
    bounds = file.bounds()
    if bounds is None:
        yield wanted, groups
        return
    cuts = wanted.searchsorted(bounds.first[groups[step::step]], "left")
    for values in np.split(wanted, cuts):
        # The one before may end with what a piece begins with.
        yield values, file.groups_with(values, groups)


@dataclass(frozen=True)
class Search:
    """What is looked for in files of one table.

    What it decodes is kept in the cache if the cache can hold it. What it
    cannot hold is read a few row groups at a time and let go of: it would
    only drop what others have there, and memory that is used again is
    cheaper than memory that is new.
    """

    volume: Volume
    spec: TableSpec
    open: Callable[[DataFile | IndexFile], SortedFile]
    columns: tuple[str, ...]
    """The primary key, or a set of columns that is kept sorted."""
    values: npt.NDArray[Any] | None
    """Of the first column, ascending and distinct; `None` if all between two are wanted."""
    names: Sequence[str]
    """The columns to return."""
    ends: tuple[Any, Any] = (None, None)
    """The least value that is wanted then, and the least that is beyond them, if there is one."""
    needed: Sequence[str] = ()
    """The columns that ``choose`` reads."""
    choose: Callable[[SortedFile, Positions], Positions] | None = None
    """Returns those of some positions in a file that satisfy what else is asked for."""
    is_rare: bool = False
    """Whether most values are taken not to be there."""

    def matches(self, files: Sequence[DataFile]) -> Iterator[Match]:
        """Yield the live rows of some data files, file by file."""
        rows = sum(file.rows for file in files)
        search = self._by_key if self.columns == self.spec.primary_key else self._by_index
        found = ahead(
            lambda entry: list(search(entry, rows)), files, min(self._workers, len(files)), further=_FURTHER
        )
        yield from itertools.chain.from_iterable(found)

    @property
    def _workers(self) -> int:
        """Files that are searched at the same time."""
        has_many = self.values is not None and len(self.values) >= _MANY
        return max(self.volume.store.workers, CORES if has_many else 1)

    @property
    def _step(self) -> int:
        """Row groups that are decoded at once, past the cache: on all cores
        where files are searched one after another.
        """
        return PIECE_GROUPS * (CORES if self._workers == 1 else 1)

    def _by_key(self, entry: DataFile, rows: int) -> Iterator[Match]:
        names = [*dict.fromkeys([*self.names, *self.needed])]
        for file, positions in self._located(self.open(entry), names, rows):
            yield from self._chosen(file, file.alive(positions))

    def _located(
        self, file: SortedFile, names: Sequence[str], rows: int
    ) -> Iterator[tuple[SortedFile, Positions]]:
        """Yield where a file has what is wanted, piece by piece, and what to
        take it from.
        """
        if self.values is None:
            yield file, file.locate_range(*self.ends)
            return
        along = () if self.is_rare else names
        groups = file.promising_groups(self.values, is_rare=self.is_rare)
        if not self._exceeds_cache(file, len(groups), names, rows):
            yield file, file.locate(self.values, groups, along, is_rare=self.is_rare)
            return
        for values, near in _shares(file, self.values, groups, self._step):
            once = file.once()
            yield once, once.locate(values, near, along, is_rare=self.is_rare)

    def _exceeds_cache(self, file: SortedFile, groups: int, names: Sequence[str], rows: int) -> bool:
        return bytes_of_all(file, groups, names, rows) > self.volume.options.cache_bytes

    def _chosen(self, file: SortedFile, positions: Positions) -> Iterator[Match]:
        if len(positions) and self.choose is not None:
            positions = self.choose(file, positions)
        if len(positions):
            yield Match(file.entry.path, positions, file.take(positions, self.names))

    def _by_index(self, entry: DataFile, rows: int) -> Iterator[Match]:
        index = next(index for index in entry.indexes if index.columns == self.columns)
        if not index.rows:
            return
        positions, values = self._stated(index, rows)
        if not len(positions):
            return
        if (positions[1:] == positions[:-1]).any() or positions[0] < 0 or positions[-1] >= entry.rows:
            raise lying_index(self.volume, index, entry)
        column = self.columns[0]
        names = [*dict.fromkeys([column, *([] if self.is_rare else [*self.names, *self.needed])])]
        for file, span in self._spans(self.open(entry), positions, names, rows):
            at = positions[span]
            # All that will be taken of them, at once.
            file.object.columns(np.unique(file.groups_of(at)).tolist(), names)
            if not same_values(plain(file.take(at, [column]).column(0)), values[span]):
                raise lying_index(self.volume, index, entry)
            yield from self._chosen(file, file.alive(at))

    def _spans(
        self, file: SortedFile, positions: Positions, names: Sequence[str], rows: int
    ) -> Iterator[tuple[SortedFile, slice]]:
        """Yield which of some positions to take together, and what from."""
        starts = np.flatnonzero(np.diff(file.groups_of(positions), prepend=-1))
        if not self._exceeds_cache(file, len(starts), names, rows):
            yield file, slice(len(positions))
            return
        for start, stop in itertools.pairwise([*starts[:: self._step].tolist(), len(positions)]):
            yield file.once(), slice(start, stop)

    def _stated(self, index: IndexFile, rows: int) -> tuple[Positions, pa.Array]:
        """Return where an index says that a data file has what is wanted, in
        order, and the value that it has there.
        """
        names = [self.columns[0], position_column(self.columns)]
        found = [file.take(at, names) for file, at in self._located(self.open(index), names, rows) if len(at)]
        if not found:
            return NONE, pa.array([])
        pairs = pa.concat_tables(found)
        stated = pairs.column(1).to_numpy().astype(np.int64)
        order = np.argsort(stated)
        return stated[order], plain(pairs.column(0).take(pa.array(order)))
