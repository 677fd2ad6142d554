"""Pages of datasets, with their records and artifacts, into an export."""

from __future__ import annotations

__all__ = ["DatasetPages"]

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from lsst.daf.butler import Butler, DatasetRef
from lsst.daf.butler.datastores.fileDatastore import FileDatastore

from arrowopaque.butler.host import opaque_manager
from arrowopaque.errors import ConfigurationError
from arrowopaque.format.columns import python_list
from arrowopaque.format.spec import TableSpec
from arrowopaque.format.uuids import uuids_of
from arrowopaque.format.values import Values
from arrowopaque.root import StoreRoot
from arrowopaque.store.calls import Call
from arrowopaque.store.records import Records
from arrowopaque.transfer.artifacts import artifact_of, is_elsewhere, store_artifact
from arrowopaque.transfer.sync import Synced, TableSync
from arrowopaque.transfer.tables import ARTIFACTS, DATASETS, SPECS

_DELETED_AT_ONCE = 20_000


class DatasetPages:
    """Writes datasets to an export, page by page, each in one commit.

    Parameters
    ----------
    butler
        The repository.
    root
        The export, with its tables.
    datastores
        The datastores by table of records.
    with_files
        Whether to copy artifacts.
    """

    def __init__(
        self, butler: Butler, root: StoreRoot, datastores: Mapping[str, FileDatastore], *, with_files: bool
    ) -> None:
        manager = opaque_manager(butler)
        if manager is None:
            raise ConfigurationError(f"{butler} has no registry of its own: it is behind a server")
        self._manager = manager
        self._root = root
        self._with_files = with_files
        self.datastores = datastores
        self._spec = root.spec(DATASETS)
        self.done: dict[str, Synced] = {name: Synced() for name in (DATASETS, ARTIFACTS, *self.datastores)}
        self.bytes_copied = 0

    def of_type(self, dataset_type: str) -> TableSync:
        """Return what the datasets of one type go through."""
        return TableSync(self._root, DATASETS, {"dataset_type": dataset_type}, self.done[DATASETS])

    def add(self, sync: TableSync, refs: Sequence[DatasetRef]) -> None:
        """Write one page, of one dataset type."""
        ids = [ref.id for ref in refs]
        with self._root.transaction():
            sync.add(self._rows(refs))
            for table, datastore in self.datastores.items():
                rows = self._records(table, datastore, ids)
                if self._with_files:
                    self._copy(table, datastore, rows)
                self._settle(table, rows, ids)

    def _rows(self, refs: Sequence[DatasetRef]) -> pa.Table:
        columns: dict[str, Any] = {
            "dataset_id": [ref.id.bytes for ref in refs],
            "dataset_type": [ref.datasetType.name for ref in refs],
            "run": [ref.run for ref in refs],
            "data_id": [json.dumps(dict(ref.dataId.required), sort_keys=True) for ref in refs],
        }
        # All are of one type, so that they have the same dimensions.
        there = {name for ref in refs[:1] for name in ref.dataId.dimensions.names}
        for column in self._spec.columns[len(columns) :]:
            name = column.name
            if name in there:
                columns[name] = [ref.dataId[name] for ref in refs]
            else:
                columns[name] = pa.nulls(len(refs), column.arrow_type)
        return pa.table(columns, schema=self._spec.arrow_schema)

    def _records(self, table: str, datastore: FileDatastore, ids: Sequence[uuid.UUID]) -> pa.Table:
        """Return the records of the datasets that are not in the trash."""
        spec = self._root.spec(table)
        stored = self._manager.get(table)
        located = list(datastore.bridge.check(ids))
        if stored is None or not located:
            return spec.arrow_schema.empty_table()
        if isinstance(stored, Records):
            return Values(spec).arrow(stored.fetch_arrow(dataset_id=located))
        rows = [dict(row) for batch in stored.fetch_batches(dataset_id=located) for row in batch]
        return rows_table(spec, rows)

    def _settle(self, table: str, rows: pa.Table, ids: Sequence[uuid.UUID]) -> None:
        sync = TableSync(self._root, table, {"dataset_id": list(ids)}, self.done[table])
        sync.add(rows)
        sync.sweep()

    def _copy(self, table: str, datastore: FileDatastore, rows: pa.Table) -> None:
        """Copy the artifacts that the export does not have."""
        sizes = {
            artifact_of(path): size
            for path, size in zip(
                rows.column("path").to_pylist(), rows.column("file_size").to_pylist(), strict=True
            )
            if not is_elsewhere(path)
        }
        there = {
            row["path"]: row["size"]
            for row in self._root.table(ARTIFACTS).fetch(path=list(sizes), datastore=datastore.name)
        }
        copied = []
        for path, size in sizes.items():
            if path not in there or size not in (-1, there[path]):
                data = datastore.locationFactory.fromPath(path).uri.read()
                copied.append(store_artifact(self._root, datastore.name, path, data))
                self.bytes_copied += len(data)
        if copied:
            spec = SPECS[ARTIFACTS]
            sync = TableSync(self._root, ARTIFACTS, done=self.done[ARTIFACTS])
            sync.add(pa.Table.from_pylist(copied, schema=spec.arrow_schema))

    def finish_type(self, sync: TableSync) -> None:
        """Remove the datasets of one type that were not added, with their
        records.
        """
        with self._root.transaction():
            gone = uuids_of(python_list(sync.sweep().column("dataset_id")))
            for ids in _pages(gone):
                for table in self.datastores:
                    self._settle(table, self._root.spec(table).arrow_schema.empty_table(), ids)

    def drop_types(self, kept: Sequence[str]) -> None:
        """Remove the datasets of all other types."""
        there = self._root.sql(f"SELECT DISTINCT dataset_type FROM {DATASETS}").fetchall()
        for (name,) in there:
            if name not in kept:
                self.finish_type(self.of_type(name))


def _pages(ids: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    for start in range(0, len(ids), _DELETED_AT_ONCE):
        yield ids[start : start + _DELETED_AT_ONCE]


def rows_table(spec: TableSpec, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return rows of Python values as an Arrow table."""
    columns = Values(spec).stored_columns(rows, spec.names) if rows else [[] for _ in spec.names]
    return Call(spec.names, columns, len(rows)).table(spec.arrow_schema)
