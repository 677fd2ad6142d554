"""Parquet objects whose every byte is checked before it is believed.

The manifest holds the digest of an object's footer, and the footer holds a
digest of every column chunk, so a reader that fetches one row group of one
column can still prove what it got. See "Digests" in ``docs/FORMAT.md``.
"""

from __future__ import annotations

__all__ = [
    "PIECE_GROUPS",
    "ParquetObject",
    "index_schema",
    "position_column",
    "stored_schema",
]

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import pyarrow as pa

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format import limits
from arrowopaque.format.document import digest
from arrowopaque.format.keyfilter import KeyFilter
from arrowopaque.format.manifest import DataFile, IndexFile
from arrowopaque.format.spec import TableSpec
from arrowopaque.objects.base import ObjectStore
from arrowopaque.store.cache import Cache
from arrowopaque.store.decoding import Decoder, Getter, getter, unpacked
from arrowopaque.store.filters import FilterRun
from arrowopaque.store.footer import TRAILER, Footer
from arrowopaque.store.keys import Keys
from arrowopaque.store.parallel import run_all
from arrowopaque.store.sparse import Parts, cut

_GAP = 32 * 1024
"""Unwanted bytes that are cheaper to read along than to skip."""

_RUN, _RUNS_AFAR = 8, 4
"""Row groups whose filters are read and kept together, full ones have 16 KiB
each; and how many such runs are read at once where a request takes long.
"""

ARRAY_BYTES = 200
"""Bytes of memory for each decoded column of a row group, besides its content."""

PIECE_GROUPS = 8
"""Row groups that one thread decodes from one opened file."""


def position_column(columns: Sequence[str]) -> str:
    """Return the column of an index of ``columns`` that says where in the
    data file a row is: none of them has its name.
    """
    name = "position"
    while name in columns:
        name = f"_{name}"
    return name


def stored_schema(spec: TableSpec, entry: DataFile | IndexFile) -> pa.Schema:
    """Return the columns of a data file, or of an index file."""
    return spec.exact_schema if isinstance(entry, DataFile) else index_schema(spec, entry.columns)


def index_schema(spec: TableSpec, columns: Sequence[str]) -> pa.Schema:
    """Return the columns of an index."""
    fields = [spec.exact_schema.field(name) for name in columns]
    return pa.schema([*fields, pa.field(position_column(columns), pa.int64(), False)])


def _unpacked(arrays: Sequence[pa.Array]) -> pa.ChunkedArray:
    """Return the pieces of a column, without dictionaries."""
    return pa.chunked_array([unpacked(array) for array in arrays])


class RowGroup(NamedTuple):
    """What is decoded of a row group."""

    columns: Mapping[str, pa.Array]
    keys: Keys | None
    """The column that rows are sorted by, once it was checked."""
    getters: dict[str, Getter]
    """What returns single values, as far as they were asked for."""


class ParquetObject:
    """A stored Parquet object, read in checked pieces.

    Parameters
    ----------
    store
        Where it lies.
    entry
        What the manifest says of it.
    schema
        The columns that it must have.
    cache
        Keeps footers and decoded columns.
    passing
        Keeps decoded columns instead, where it is given.
    """

    def __init__(
        self,
        store: ObjectStore,
        entry: DataFile | IndexFile,
        schema: pa.Schema,
        cache: Cache,
        passing: Cache | None = None,
    ) -> None:
        self.entry = entry
        self._schema = schema
        self._store = store
        self._cache = cache
        self._passing = passing

    def _corrupt(self, reason: str) -> CorruptStoreError:
        return CorruptStoreError(
            f"data file {self._store.uri}/{self.entry.path}: {reason}; restore it from a copy"
        )

    @property
    def footer(self) -> Footer:
        """The footer, fetched and checked on first use."""
        return self._cache.load((self.entry.path, "footer"), self._load_footer)

    def _load_footer(self) -> tuple[Footer, int]:
        size = self._footer_size()
        return self._parsed(self._store.get_range(self.entry.path, self.entry.bytes - size, size))

    def _footer_size(self) -> int:
        size = self.entry.footer
        if not TRAILER < size <= self.entry.bytes:
            raise self._corrupt(f"a footer of {size} bytes does not fit in {self.entry.bytes}")
        if size > limits.FOOTER_BYTES:
            raise self._corrupt(f"its footer has {size} bytes, more than {limits.FOOTER_BYTES}")
        return size

    def _parsed(self, tail: bytes) -> tuple[Footer, int]:
        if digest(tail) != self.entry.footer_digest:
            raise self._corrupt("its footer is altered")
        try:
            footer = Footer(tail, self.entry.bytes, self._schema)
        except (pa.ArrowException, KeyError, ValueError, OSError) as err:
            raise self._corrupt(f"its footer cannot be read ({err})") from err
        if footer.offsets[-1] != self.entry.rows:
            raise self._corrupt(f"it has {footer.offsets[-1]} rows, the manifest says {self.entry.rows}")
        # A parsed footer takes about as much again as its bytes, several times over.
        return footer, 4 * len(tail)

    @property
    def groups(self) -> int:
        """Number of row groups."""
        return len(self.footer.chunks)

    @property
    def offsets(self) -> list[int]:
        """Position of each row group's first row, and the row count."""
        return self.footer.offsets

    def bounds(self, kind: pa.DataType) -> tuple[pa.Array, pa.Array] | None:
        """Return each row group's least and greatest value of the column, of
        type ``kind``, that rows are sorted by first, if they are stated.
        """
        try:
            return self.footer.bounds(kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError, RecursionError) as err:
            raise self._corrupt(f"its bounds are none ({err})") from err

    def raw_footer(self) -> bytes:
        """Return the footer's bytes, checked, without their trailer."""
        size = self._footer_size()
        tail = self._store.get_range(self.entry.path, self.entry.bytes - size, size)
        self._parsed(tail)
        return tail[:-TRAILER]

    def _group(self, group: int) -> RowGroup:
        key = (self.entry.path, group)
        found: RowGroup | None = self._passing.get(key) if self._passing else None
        return found or self._cache.get(key) or RowGroup({}, None, {})

    def group(self, group: int, names: Sequence[str]) -> list[pa.Array]:
        """Return decoded columns of one row group, cached."""
        columns = self._group(group).columns
        try:
            return [columns[name] for name in names]
        except KeyError:
            found = self.columns([group], names)
            return [found[group, name] for name in names]

    def getters(
        self,
        group: int,
        names: Sequence[str],
        decoded: Mapping[tuple[int, str], pa.Array] | None = None,
    ) -> list[Getter]:
        """Return what returns the values of columns of one row group.

        Parameters
        ----------
        group, names
            Which columns.
        decoded
            What `columns` has returned, at least of these; by default they
            are looked for again.
        """
        known = self._group(group).getters
        try:
            return [known[name] for name in names]
        except KeyError:
            arrays = self.group(group, names) if decoded is None else [decoded[group, name] for name in names]
            made = dict(zip(names, map(getter, arrays), strict=True))
            self._group(group).getters.update(made)
            return list(made.values())

    def columns(self, groups: Sequence[int], names: Sequence[str]) -> dict[tuple[int, str], pa.Array]:
        """Return decoded columns of row groups, cached.

        What is stored with a dictionary has it still.
        """
        known = {group: self._group(group).columns for group in groups}
        missing = [group for group, columns in known.items() if not columns.keys() >= {*names}]
        if missing:
            lacking = [name for name in names if any(name not in known[group] for group in missing)]
            for group, columns in self._decode(missing, lacking).items():
                # Columns that are there are kept, and so are the keys that are made of them.
                known[group] = {**columns, **known[group]}
                self.keep(group, self._group(group)._replace(columns=known[group]))
        return {(group, name): columns[name] for group, columns in known.items() for name in names}

    def keys(self, group: int) -> Keys | None:
        """Return what `keep_keys` was given, if it is still there."""
        return self._group(group).keys

    def keep_keys(self, group: int, keys: Keys) -> None:
        """Keep the column that rows are sorted by, checked."""
        self.keep(group, self._group(group)._replace(keys=keys))

    def keep(self, group: int, found: RowGroup) -> None:
        """Keep what is decoded of a row group."""
        size = sum(array.nbytes + ARRAY_BYTES for array in found.columns.values())
        size += found.keys.nbytes if found.keys else 0
        # Keys alone, read in vain, are not to push out the filters that spare the next ones.
        (self._passing or self._cache).put((self.entry.path, group), found, size + ARRAY_BYTES, is_large=True)

    def _decode(self, groups: list[int], names: list[str]) -> dict[int, dict[str, pa.Array]]:
        decoded = self._decoded(groups, names)
        return {
            group: dict(zip(names, arrays, strict=True))
            for group, arrays in zip(groups, decoded, strict=True)
        }

    def read(self, groups: Sequence[int], names: Sequence[str], *, keep: bool = False) -> pa.Table:
        """Return row groups as one table: from the cache if all are there.

        Parameters
        ----------
        groups, names
            What to read.
        keep
            Whether the cache is to keep what it does not have.
        """
        if keep:
            self.columns(groups, names)
        known = [self._group(group).columns for group in groups]
        if all(columns.keys() >= {*names} for columns in known):
            return pa.table(
                [_unpacked([columns[name] for columns in known]) for name in names], names=list(names)
            )
        columns = zip(*self._decoded(groups, names), strict=True)
        return pa.table([_unpacked(arrays) for arrays in columns], names=list(names))

    def _rows(self, groups: Sequence[int]) -> int:
        return sum(map(self.footer.rows, groups))

    def _decoded(self, groups: Sequence[int], names: Sequence[str]) -> list[list[pa.Array]]:
        """Return the columns of each row group; fetched together, decoded at
        the same time.
        """
        footer = self.footer
        decoder = Decoder(footer, self._schema, self.entry.bytes, self._corrupt)
        parts = self._ranges(sorted(footer.chunk(group, name)[:2] for group in groups for name in names))
        pieces = [groups[at : at + PIECE_GROUPS] for at in range(0, len(groups), PIECE_GROUPS)]
        tasks = [partial(decoder.columns, parts, piece, names) for piece in pieces]
        return list(itertools.chain.from_iterable(run_all(tasks, self._rows(groups))))

    def _ranges(self, wanted: list[tuple[int, int]]) -> Parts:
        """Return the bytes of (start, length) ranges, in their order; those
        that are near each other by one request.
        """
        runs: list[tuple[int, int]] = []
        for start, length in wanted:
            if runs and start - sum(runs[-1]) <= _GAP:
                runs[-1] = (runs[-1][0], start + length - runs[-1][0])
            else:
                runs.append((start, length))
        return list(
            zip([start for start, _ in runs], self._store.get_ranges(self.entry.path, runs), strict=True)
        )

    def filter(self, group: int, column: str, *, fetch: bool) -> KeyFilter | None:
        """Return the filter of one row group; see `filters`.

        Those around it come by the same request: keys that are new are asked
        about one after another, and most of them are random.

        Parameters
        ----------
        group, column
            As in `filters`.
        fetch
            Whether to fetch it if it is not at hand.
        """
        run, place = divmod(group, _RUN)
        known: FilterRun | None = self._cache.get((self.entry.path, "filters", run))
        if known is None:
            if not fetch or not self.footer.has_filters:
                return None
            count = 1 if self._store.workers == 1 else _RUNS_AFAR
            start = run - run % count
            end = min(start + count, -(-self.groups // _RUN))
            known = self._load_filters(range(start, end), column)[run]
        return self._checked_filter(known, place)

    def filters(self, groups: Sequence[int], column: str) -> dict[int, KeyFilter]:
        """Return the filters of row groups, cached; nothing if the file has
        none.

        Parameters
        ----------
        groups
            Which row groups, ascending.
        column
            The column that rows are sorted by first.
        """
        if not self.footer.has_filters:
            return {}
        runs = sorted({group // _RUN for group in groups})
        known = {run: self._cache.get((self.entry.path, "filters", run)) for run in runs}
        found: dict[int, FilterRun] = {run: filters for run, filters in known.items() if filters is not None}
        missing = [run for run in runs if run not in found]
        if missing:
            found |= self._load_filters(missing, column)
        return {group: self._checked_filter(found[group // _RUN], group % _RUN) for group in groups}

    def _load_filters(self, runs: Sequence[int], column: str) -> dict[int, FilterRun]:
        found: dict[int, FilterRun] = {}
        try:
            stated = {
                run: [
                    self.footer.filter(group, column)
                    for group in range(run * _RUN, min((run + 1) * _RUN, self.groups))
                ]
                for run in runs
            }
            places = [place for filters in stated.values() for place, _ in filters]
            parts = self._ranges(sorted(place[:2] for place in places))
            for run, filters in stated.items():
                pieces = [cut(parts, place.start, place.length) for place, _ in filters]
                found[run] = FilterRun(pieces, [wanted for _, wanted in filters])
        except (ValueError, IndexError) as err:
            raise self._corrupt(f"its key filters cannot be read ({err})") from err
        for run, kept in found.items():
            self._cache.put((self.entry.path, "filters", run), kept, kept.nbytes)
        return found

    def _checked_filter(self, run: FilterRun, place: int) -> KeyFilter:
        try:
            return run.filter(place)
        except (ValueError, IndexError) as err:
            raise self._corrupt(f"its key filters cannot be read ({err})") from err

    def whole(self) -> bytes:
        """Return the object, compared with the manifest's size and digest.

        Raises
        ------
        CorruptStoreError
            They differ.
        """
        data = self._store.get(self.entry.path, self.entry.bytes)
        self.check(data)
        return data

    def check(self, data: bytes) -> None:
        """Compare what was read elsewhere; see `whole`."""
        if len(data) != self.entry.bytes:
            raise self._corrupt(f"it has {len(data)} bytes, the manifest says {self.entry.bytes}")
        if digest(data) != self.entry.digest:
            raise self._corrupt("it is altered")
        size = self._footer_size()
        self._cache.load((self.entry.path, "footer"), lambda: self._parsed(data[-size:]))
