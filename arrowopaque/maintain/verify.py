"""Verify: prove a store sound by reading all of it."""

from __future__ import annotations

__all__ = ["TableReport", "VerifyReport", "verify_table"]

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format.manifest import DataFile, IndexFile, check_manifest, decode_key
from arrowopaque.store.apply import sort_rows
from arrowopaque.store.base import POSITION, Base, rows_of
from arrowopaque.store.datafile import SortedFile
from arrowopaque.store.table import Snapshot


@dataclass(frozen=True, slots=True)
class TableReport:
    """What was found of one table."""

    rows: int
    """Visible rows, of data files and delta."""
    delta: int
    tombstones: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification looked at; it found nothing unsound."""

    tables: dict[str, TableReport] = field(default_factory=dict)


def verify_table(name: str, snapshot: Snapshot) -> TableReport:
    """Check a table's data files and its delta against each other.

    Raises
    ------
    CorruptStoreError
        The first thing that is wrong, by name.
    """
    base, spec = snapshot.base, snapshot.base.spec
    if base.manifest is not None:
        check_manifest(base.manifest, spec)
        for entry in base.files:
            _check_file(base, base.open(entry), entry)
    visible = [batch for batch in snapshot.batches([], spec.names)]
    rows = pa.concat_tables(visible) if visible else spec.arrow_schema.empty_table()
    for columns in (spec.primary_key, *spec.unique):
        if columns:
            _check_unique(name, rows, columns)
    return TableReport(
        rows=rows.num_rows,
        delta=snapshot.delta.num_rows,
        tombstones=0 if snapshot.gone is None else snapshot.gone.num_rows,
        files=len(base.files),
        bytes=sum(file.bytes + sum(i.bytes for i in file.indexes) for file in base.files),
    )


def _wrong(base: Base, path: str, reason: str) -> CorruptStoreError:
    return CorruptStoreError(f"{base.volume.store.uri}/{path}: {reason}; restore it from a copy")


def _check_file(base: Base, file: SortedFile, entry: DataFile) -> None:
    spec = base.spec
    file.object.check_whole()
    deleted = file.deleted()
    if entry.deletes is not None and not len(deleted):
        raise _wrong(base, entry.deletes.path, "an empty deletion vector")
    blocks = [block for _, block in file.blocks(spec.names)]
    rows = pa.concat_tables(blocks)
    _check_order(base, entry.path, rows, spec.primary_key)
    keys = rows.select(list(spec.primary_key))
    ends = next(rows_of(keys.slice(0, 1))), next(rows_of(keys.slice(keys.num_rows - 1)))
    if ends != (decode_key(spec, entry.min), decode_key(spec, entry.max)):
        raise _wrong(base, entry.path, "its least and greatest keys are not the manifest's")
    for column in spec.columns:
        if not column.nullable and rows.column(column.name).null_count:
            raise _wrong(base, entry.path, f"NULL in column {column.name!r}")
    for index in entry.indexes:
        _check_index(base, index, rows)


def _check_order(base: Base, path: str, rows: pa.Table, columns: Sequence[str]) -> None:
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in columns])
    if not np.array_equal(order.to_numpy(), np.arange(rows.num_rows)):
        raise _wrong(base, path, f"its rows are not in the order of {tuple(columns)}")


def _check_index(base: Base, index: IndexFile, rows: pa.Table) -> None:
    file = base.open_index(index)
    file.object.check_whole()
    valid = rows.num_rows - rows.column(index.columns[0]).null_count
    if index.rows != valid:
        raise _wrong(base, index.path, f"{index.rows} rows, its data file has {valid} to index")
    if not index.rows:
        return
    blocks = [block for _, block in file.blocks([*index.columns, POSITION])]
    found = pa.concat_tables(blocks)
    _check_order(base, index.path, found, [*index.columns, POSITION])
    real = rows.select(list(index.columns)).take(found.column(POSITION))
    if not found.select(list(index.columns)).equals(real):
        raise _wrong(base, index.path, "its values are not those of its data file")


def _check_unique(name: str, rows: pa.Table, columns: tuple[str, ...]) -> None:
    """Check that no two visible rows share the values of ``columns``."""
    keep = None
    for column in columns:
        valid = pc.is_valid(rows.column(column))
        keep = valid if keep is None else pc.and_(keep, valid)
    found = sort_rows(rows.select(list(columns)).filter(keep), columns)
    same = np.ones(max(found.num_rows - 1, 0), dtype=bool)
    for column in columns:
        values = found.column(column).combine_chunks()
        same &= pc.equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False).astype(bool)
    if same.any():
        row = next(rows_of(found.slice(int(np.flatnonzero(same)[0]), 1)))
        raise CorruptStoreError(f"table {name!r}: two visible rows have {columns} = {row!r}")
