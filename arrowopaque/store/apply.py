"""The one change to data files: rows in, positions out, a new manifest.

``stage`` writes new files and may run without any lock; ``compose`` puts
staged files and deletions onto whatever manifest is current by then.
"""

from __future__ import annotations

__all__ = [
    "FileWriter",
    "Stage",
    "StaleStageError",
    "compose",
    "cut",
    "next_manifest",
    "partitions_of",
    "placed",
    "stage",
    "write_file",
]

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyroaring import BitMap

from arrowopaque import clock
from arrowopaque.format import names
from arrowopaque.format.manifest import (
    DataFile,
    Deletes,
    IndexFile,
    Partition,
    TableManifest,
    decode_key,
    decode_leading,
    encode_key,
    encode_leading,
)
from arrowopaque.format.spec import Column, ColumnKind, TableSpec
from arrowopaque.store.base import Base
from arrowopaque.store.deletes import Positions, encode_deletes, read_deletes
from arrowopaque.store.encoding import Layout, encode
from arrowopaque.store.keys import comparable
from arrowopaque.store.matches import Hits
from arrowopaque.store.order import Sorted, sort_rows
from arrowopaque.store.parallel import run_all
from arrowopaque.store.parquet import index_schema, position_column
from arrowopaque.store.volume import Volume


class StaleStageError(Exception):
    """The partitions changed since the files were staged: stage again."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Files that are written and in no manifest yet."""

    partitions: tuple[Partition, ...] = ()
    """The staged files by partition; bounds count where there were none."""
    at: float = field(default_factory=clock.monotonic)
    """Not after the first was written, by this host's monotonic clock."""

    @property
    def files(self) -> list[DataFile]:
        """Every staged data file."""
        return [file for partition in self.partitions for file in partition.files]

    def objects(self) -> Iterable[str]:
        """Yield the path of every staged object."""
        for file in self.files:
            yield file.path
            yield from (index.path for index in file.indexes)


def _notes(columns: Iterable[Column]) -> dict[str, dict[str, str]]:
    notes = {}
    for column in columns:
        notes[column.name] = {"kind": column.kind.value}
        if column.kind is ColumnKind.TIME:
            notes[column.name].update(unit="ns", scale="TAI", epoch="1970-01-01T00:00:00 TAI")
    return notes


Facts = dict[str, Any]

_INDEX_SHARE = 4
"""Row groups of an index for one of its data file."""


def _at_once() -> None:
    """Let files be stored when they are made."""


@dataclass(frozen=True, slots=True)
class FileWriter:
    """Makes sorted rows the data files of a table."""

    volume: Volume
    spec: TableSpec
    table: str
    ready: Callable[[], object] = _at_once
    """Called before anything is stored."""

    def _store_sorted(self, rows: pa.Table, path: str, lookup: tuple[str, ...] = ()) -> Facts:
        """Store rows as a data file, or as an index file of the columns
        ``lookup``; return what a manifest says of it.
        """
        spec = self.spec
        schema = index_schema(spec, lookup) if lookup else spec.exact_schema
        leading = (lookup or spec.primary_key)[0]
        notes = _notes(spec.by_name[name] for name in schema.names if name in spec.by_name)
        group = self.volume.options.row_group_rows
        if lookup:
            # One looks for some values at a time, and nobody but us reads it. Where values are unique, most
            # that are looked for are not there.
            layout = Layout(
                max(1, group // _INDEX_SHARE), has_filters=lookup in spec.unique, has_statistics=False
            )
        else:
            layout = Layout(group, has_filters=True)
        encoded = encode(rows, schema, leading, notes, layout)
        self.ready()
        self.volume.store.put(path, encoded.data)
        return {"path": path, **encoded.facts}

    def _store_index(self, ordered: Sorted, columns: tuple[str, ...], path: str) -> Facts:
        """Store where each value of ``columns`` is among rows."""
        position = position_column(columns)
        table = ordered.numbered(columns, position)
        if table.column(0).null_count:
            table = table.filter(table.column(0).is_valid())
        return self._store_sorted(sort_rows(table, (*columns, position)), path, columns)

    def file(self, partition: int, ordered: Sorted) -> DataFile:
        """Store rows as one data file with its indexes."""
        spec, rows, id = self.spec, ordered.rows, clock.new_id()
        path = names.data_file(self.table, partition, id)
        tasks = [partial(self._store_sorted, rows, path)]
        for number, columns in enumerate(spec.lookups):
            place = names.index_file(self.table, partition, id, number)
            tasks.append(partial(self._store_index, ordered, columns, place))
        data, *indexes = run_all(tasks, rows.num_rows)
        return DataFile(
            min=encode_key(spec, _key_at(spec, rows, 0)),
            max=encode_key(spec, _key_at(spec, rows, rows.num_rows - 1)),
            indexes=tuple(
                IndexFile(columns=columns, **facts)
                for columns, facts in zip(spec.lookups, indexes, strict=True)
            ),
            **data,
        )

    def _pieces(self, ordered: Sorted) -> Iterator[Sorted]:
        """Yield rows as many at a time as one data file may have."""
        cuts = cut(_leading(self.spec, ordered.rows), self.volume.options.partition_rows)
        for start, stop in itertools.pairwise(cuts):
            yield ordered.slice(start, stop - start)

    def files(self, partition: int, ordered: Sorted) -> tuple[DataFile, ...]:
        """Store rows as data files of one partition."""
        return tuple(self.file(partition, piece) for piece in self._pieces(ordered))

    def partitions(self, ordered: Sorted) -> Iterator[Partition]:
        """Store rows as the first partitions of a table."""
        for number, piece in enumerate(self._pieces(ordered)):
            lower = encode_leading(_leading(self.spec, piece.rows)[0].as_py()) if number else None
            yield Partition(number=number, lower=lower, files=(self.file(number, piece),))


def write_file(volume: Volume, spec: TableSpec, table: str, partition: int, rows: pa.Table) -> DataFile:
    """Store sorted rows as one data file with its indexes."""
    return FileWriter(volume, spec, table).file(partition, Sorted(rows))


def _key_at(spec: TableSpec, rows: pa.Table, row: int) -> tuple[Any, ...]:
    return tuple(rows.column(name)[row].as_py() for name in spec.primary_key)


def cut(leading: pa.Array, limit: int) -> list[int]:
    """Return where to cut sorted rows into pieces of at most about ``limit``
    rows, never between equal leading values or before NaN.
    """
    count = len(leading)
    pieces = -(-count // limit)
    values = comparable(leading)
    cuts = [0]
    for piece in range(1, pieces):
        at = int(np.searchsorted(values, values[piece * count // pieces], "left"))
        # No bound is NaN: nothing would be below it.
        if at > cuts[-1] and values[at] == values[at]:
            cuts.append(at)
    return [*cuts, count]


def _leading(spec: TableSpec, rows: pa.Table) -> pa.Array:
    column = rows.column(spec.primary_key[0])
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _inner_bounds(spec: TableSpec, manifest: TableManifest) -> Any:
    """Return where the partitions after the first begin."""
    bounds = [decode_leading(spec, partition.lower) for partition in manifest.partitions[1:]]
    return comparable(pa.array(bounds, spec.key_schema.field(0).type))


def partitions_of(base: Base, leading: pa.Array) -> int:
    """Return how many partitions rows with these leading keys belong to."""
    if base.manifest is None or len(base.manifest.partitions) < 2:
        return 1
    bounds = _inner_bounds(base.spec, base.manifest)
    return len(np.unique(bounds.searchsorted(comparable(leading), "right")))


def stage(
    volume: Volume,
    spec: TableSpec,
    table: str,
    manifest: TableManifest | None,
    rows: pa.Table | Sorted,
    ready: Callable[[], object] = _at_once,
) -> Stage:
    """Write rows as new data files.

    Parameters
    ----------
    volume
        Where.
    spec, table
        The table and its name.
    manifest
        The manifest whose partitions to follow.
    rows
        Rows in any order, or sorted by their key; no primary key twice.
    ready
        Called before anything is stored, in any thread and more than once:
        what it raises is raised.
    """
    began = clock.monotonic()
    ordered = rows if isinstance(rows, Sorted) else Sorted.of(rows, spec.primary_key)
    count = ordered.rows.num_rows
    if not count:
        return Stage()
    writer = FileWriter(volume, spec, table, ready)
    if manifest is None or not manifest.partitions:
        return Stage(tuple(writer.partitions(ordered)), began)
    leading = comparable(_leading(spec, ordered.rows))
    inner = np.searchsorted(leading, _inner_bounds(spec, manifest), "left")
    starts = [0, *(int(i) for i in inner)]
    staged = []
    for partition, start, stop in zip(manifest.partitions, starts, [*starts[1:], count], strict=True):
        if stop > start:
            files = writer.files(partition.number, ordered.slice(start, stop - start))
            staged.append(Partition(number=partition.number, lower=partition.lower, files=files))
    return Stage(tuple(staged), began)


def _with_deletes(
    volume: Volume, table: str, partition: int, file: DataFile, hits: Positions
) -> DataFile | None:
    """Return a file with more positions deleted; `None` if none is left."""
    deleted = BitMap(hits.astype(np.uint32))
    if file.deletes:
        deleted |= BitMap(read_deletes(volume.store, file, file.deletes).astype(np.uint32))
    if len(deleted) >= file.rows:
        return None
    data, facts = encode_deletes(deleted)
    path = names.deletion_vector(table, partition, clock.new_id())
    volume.store.put(path, data)
    return file.model_copy(update={"deletes": Deletes(path=path, **facts)})


def placed(spec: TableSpec, manifest: TableManifest, staged: Stage) -> dict[int, tuple[DataFile, ...]]:
    """Return the staged files by partition of ``manifest``."""
    uppers = [decode_leading(spec, partition.lower) for partition in manifest.partitions[1:]] + [None]
    limits = {
        partition.number: (decode_leading(spec, partition.lower), upper)
        for partition, upper in zip(manifest.partitions, uppers, strict=True)
    }
    placed = {}
    for partition in staged.partitions:
        if partition.number not in limits:
            raise StaleStageError
        lower, upper = limits[partition.number]
        for file in partition.files:
            least, most = decode_key(spec, file.min)[0], decode_key(spec, file.max)[0]
            if (lower is not None and least < lower) or (upper is not None and most >= upper):
                raise StaleStageError
        placed[partition.number] = partition.files
    return placed


def compose(base: Base, table: str, staged: Stage, hits: Hits, commit: str) -> TableManifest:
    """Return the manifest with staged files added and positions deleted.

    Parameters
    ----------
    base
        The current state.
    table
        The table's name.
    staged
        Files to add.
    hits
        Positions to delete, in files of ``base`` and staged ones.
    commit
        The commit's id.

    Raises
    ------
    StaleStageError
        The staged files do not fit the current partitions.
    """
    old = base.manifest
    if old is None or not old.partitions:
        layout, added = [p.model_copy(update={"files": ()}) for p in staged.partitions], staged.partitions
        extra = {partition.number: partition.files for partition in added}
    else:
        layout, extra = list(old.partitions), placed(base.spec, old, staged)
    partitions = []
    for partition in layout:
        files: list[DataFile] = []
        for file in (*partition.files, *extra.get(partition.number, ())):
            kept: DataFile | None = file
            if file.path in hits and len(hits[file.path]):
                kept = _with_deletes(base.volume, table, partition.number, file, hits[file.path])
            if kept is not None:
                files.append(kept)
        partitions.append(partition.model_copy(update={"files": tuple(files)}))
    return next_manifest(base, table, partitions, commit)


def next_manifest(base: Base, table: str, partitions: list[Partition], commit: str) -> TableManifest:
    """Return a manifest that follows ``base``'s."""
    old = base.manifest
    return TableManifest(
        table=table,
        version=old.version + 1 if old else 1,
        commit=commit,
        parent=old.name if old else None,
        created=clock.now(),
        partitions=tuple(partitions),
        next_partition=max([old.next_partition if old else 0, *(p.number + 1 for p in partitions)]),
    )
