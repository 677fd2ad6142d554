"""Datasets of an export, with their records and artifacts, into a repository."""

from __future__ import annotations

__all__ = ["DatasetImport", "Files"]

import enum
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from lsst.daf.butler import Butler, DataCoordinate, DatasetRef, DatasetType, DimensionGroup
from lsst.daf.butler.datastores.fileDatastore import FileDatastore
from lsst.daf.butler.registry.interfaces import FakeDatasetRef
from lsst.resources import ResourcePath
from lsst.utils.iteration import chunk_iterable

from arrowopaque.butler.host import opaque_manager
from arrowopaque.butler.host_repository import file_datastores, import_datasets
from arrowopaque.errors import ConfigurationError
from arrowopaque.format.names import artifact_object
from arrowopaque.root import StoreRoot
from arrowopaque.transfer.artifacts import artifact_of, is_elsewhere, read_artifact
from arrowopaque.transfer.tables import ARTIFACTS, DATASETS, DATASTORES

_AT_ONCE = 20_000


class Files(enum.Enum):
    """What becomes of artifacts."""

    COPY = "copy"
    """They are copied from the export into the repository."""
    DIRECT = "direct"
    """They are used where they were when they were exported."""
    NONE = "none"
    """There are no records of them: nothing can be read."""


class _Store:
    """One datastore of the repository, and what it was in the export."""

    def __init__(
        self, butler: Butler, table: str, datastore: FileDatastore, source: Mapping[str, Any]
    ) -> None:
        manager = opaque_manager(butler)
        found = None if manager is None else manager.get(table)
        assert found is not None, "its datastore has registered it"
        self.table = table
        self.records = found
        self.datastore = datastore
        self.source_name: str = source["name"]
        self._source_root = ResourcePath(source["root"], forceDirectory=True).geturl()

    def direct(self, path: str) -> str:
        """Return a record's path as a URI of where the artifact was."""
        if is_elsewhere(path):
            return path
        artifact, hash_, part = path.partition("#")
        return self._source_root + quote(artifact) + hash_ + part


class DatasetImport:
    """Adds datasets to a repository.

    Parameters
    ----------
    root
        The export.
    butler
        The repository.
    files
        What becomes of artifacts.

    Raises
    ------
    ConfigurationError
        A datastore of the export has none to go to.
    """

    def __init__(self, root: StoreRoot, butler: Butler, files: Files) -> None:
        self._root = root
        self._butler = butler
        self._mode = files
        self.types: dict[str, DatasetType] = {}
        self.records = self.files = self.bytes_copied = 0
        self._stores = [] if files is Files.NONE else list(self._pairs())

    def _pairs(self) -> Iterator[_Store]:
        there = file_datastores(self._butler)
        for source in self._root.table(DATASTORES).fetch():
            table = source["records_table"]
            if table in there:
                yield _Store(self._butler, table, there[table], source)
            elif next(self._root.table(table).fetch(), None) is not None:
                raise ConfigurationError(
                    f"no datastore of the repository has the records table {table!r}, which that of "
                    f"{source['name']!r} goes to; it has {sorted(there)}: make it with another configuration"
                )

    def run(self) -> Iterator[int]:
        """Add all datasets, and yield how many after each commit."""
        for rows in chunk_iterable(self._root.table(DATASETS).fetch(), _AT_ONCE):
            refs = [self._ref(row) for row in rows]
            ids = [ref.id for ref in refs]
            records = {store.table: self._records_of(store, ids) for store in self._stores}
            with self._butler.transaction():
                for group in _by_run(refs):
                    import_datasets(self._butler, group)
                for store in self._stores:
                    self._store(store, records[store.table])
            yield len(refs)

    def refs(self, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, DatasetRef]:
        """Return datasets of the export by id."""
        found = self._root.table(DATASETS).fetch(dataset_id=list(ids))
        return {row["dataset_id"]: self._ref(row) for row in found}

    def _ref(self, row: Mapping[str, Any]) -> DatasetRef:
        dataset_type = self.types[row["dataset_type"]]
        data_id = DataCoordinate.standardize(json.loads(row["data_id"]), dimensions=dataset_type.dimensions)
        return DatasetRef(dataset_type, data_id, run=row["run"], id=row["dataset_id"])

    def _records_of(self, store: _Store, ids: Sequence[uuid.UUID]) -> list[dict[str, Any]]:
        """Return the records of datasets as they are to be, with the
        artifacts in place.
        """
        rows = [dict(row) for row in self._root.table(store.table).fetch(dataset_id=ids)]
        for row in rows:
            if not is_elsewhere(row["path"]):
                # A path that climbs out would let the repository delete what is not its own.
                artifact_object(store.source_name, artifact_of(row["path"]))
        if self._mode is Files.COPY:
            self._copy(store, {artifact_of(row["path"]) for row in rows if not is_elsewhere(row["path"])})
            return rows
        return [{**row, "path": store.direct(row["path"])} for row in rows]

    def _copy(self, store: _Store, paths: Iterable[str]) -> None:
        """Copy artifacts into the datastore, unless they are there."""
        found = self._root.table(ARTIFACTS).fetch(path=list(paths), datastore=store.source_name)
        for row in found:
            target = store.datastore.locationFactory.fromPath(row["path"]).uri
            if target.exists() and self._is_taken(store, row["path"]):
                continue
            data = read_artifact(self._root, row)
            target.parent().mkdir()
            target.write(data, overwrite=True)
            self.files += 1
            self.bytes_copied += len(data)

    @staticmethod
    def _is_taken(store: _Store, path: str) -> bool:
        """Return whether the repository knows an artifact already, which is
        then not written over.
        """
        return next(iter(store.records.fetch(path=path)), None) is not None

    def _store(self, store: _Store, rows: Sequence[dict[str, Any]]) -> None:
        """Add the records that are not there."""
        ids = {row["dataset_id"] for row in rows}
        there = {row["dataset_id"] for row in store.records.fetch(dataset_id=list(ids))}
        new = [row for row in rows if row["dataset_id"] not in there]
        if new:
            fresh = {row["dataset_id"] for row in new}
            store.datastore.bridge.insert([FakeDatasetRef(id) for id in fresh])
            store.records.insert(*new)
        self.records += len(new)


def _by_run(refs: Iterable[DatasetRef]) -> Iterator[list[DatasetRef]]:
    """Group datasets as the registry takes them."""
    groups: dict[tuple[str, DimensionGroup], list[DatasetRef]] = {}
    for ref in refs:
        groups.setdefault((ref.run, ref.datasetType.dimensions), []).append(ref)
    yield from groups.values()
