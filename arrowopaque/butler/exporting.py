"""Export a repository to a store that opens without a Butler."""

from __future__ import annotations

__all__ = ["ExportReport", "export_repository"]

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lsst.daf.butler import Butler, DatasetRef, DatasetType
from lsst.daf.butler.datastores.fileDatastore import FileDatastore
from lsst.daf.butler.registry import CollectionType  # type: ignore[attr-defined]  # public, but not marked so
from lsst.utils.iteration import chunk_iterable

from arrowopaque.butler.choosing import Chosen, Selection, choose, search
from arrowopaque.butler.dataset_export import DatasetPages, rows_table
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.butler.dimension_export import RecordsTaken, take_everything
from arrowopaque.butler.elements import dimension_columns, element_spec, elements_of
from arrowopaque.butler.host_repository import file_datastores
from arrowopaque.errors import ConfigurationError
from arrowopaque.format.spec import TableSpec
from arrowopaque.root import StoreRoot
from arrowopaque.transfer.artifacts import remove_orphans
from arrowopaque.transfer.description import Description, describe, read_description
from arrowopaque.transfer.sync import Synced, TableSync
from arrowopaque.transfer.tables import (
    ARTIFACTS,
    CALIBRATIONS,
    CHAINS,
    COLLECTIONS,
    DATASET_TYPES,
    DATASETS,
    DATASTORES,
    SPECS,
    TAGS,
    check_opaque_names,
    datasets_spec,
    dimension_table,
    make_tables,
)

_AT_ONCE = 20_000


@dataclass
class ExportReport:
    """What an export did."""

    uri: str
    datasets: int = 0
    """Datasets that the export holds now."""
    bytes_copied: int = 0
    """Bytes of artifacts."""
    tables: dict[str, Synced] = field(default_factory=dict)
    """Rows written and removed, by table."""

    def add(self, table: str, done: Synced) -> None:
        """Count what was done to a table."""
        counted = self.tables.setdefault(table, Synced())
        counted += done


def export_repository(
    butler: Butler,
    dest: str,
    selection: Selection | None = None,
    *,
    with_files: bool = False,
    advance: Callable[[int], None] = lambda datasets: None,
) -> ExportReport:
    """Export a repository, or bring an earlier export up to date.

    Parameters
    ----------
    butler
        The repository, whatever its managers.
    dest
        Root of the export. What is there and unchanged is not written again;
        what is not selected any more is removed.
    selection
        What to export; everything by default.
    with_files
        Whether to copy artifacts.
    advance
        Is told of each number of datasets that are done.

    Returns
    -------
    report
        What was written and removed.

    Raises
    ------
    ConfigurationError
        The place is not free, or nothing has a name that was given.

    Notes
    -----
    Datasets are committed by the thousand. After an interruption the export
    says that it is not complete; the same call goes on where it was.
    """
    return _Export(butler, dest, choose(butler, selection or Selection()), with_files, advance).run()


class _Export:
    def __init__(
        self,
        butler: Butler,
        dest: str,
        chosen: Chosen,
        with_files: bool,
        advance: Callable[[int], None],
    ) -> None:
        self._butler = butler
        self._chosen = chosen
        self._advance = advance
        self._root = StoreRoot(dest)
        self._description = Description(
            universe=_universe(butler),
            namespace=butler.dimensions.namespace,
            version=butler.dimensions.version,
            selection=chosen.selection.to_json(),
            with_files=with_files,
            is_complete=False,
        )
        earlier = read_description(self._root)
        self._check(earlier)
        datastores = file_datastores(butler)
        make_tables(self._root, _tables(butler, datastores))
        self._pages = DatasetPages(butler, self._root, datastores, with_files=with_files)
        self._roots = {datastore.name: str(datastore.root) for datastore in datastores.values()}
        self._check_source()
        self._report = ExportReport(self._root.uri)
        everything = chosen.selection.is_everything
        self._taken = None if everything else RecordsTaken(butler, self._root)
        self._runs: set[str] = set()

    def _check(self, earlier: Description | None) -> None:
        if earlier is not None and earlier.dimensions != self._description.dimensions:
            raise ConfigurationError(
                f"{self._root.uri} is an export with the dimensions {earlier.dimensions}, this repository "
                f"has {self._description.dimensions}: export to another place"
            )

    def _check_source(self) -> None:
        """Refuse the export of another repository, whose rows would go."""
        others = {row["root"] for row in self._root.table(DATASTORES).fetch()}
        if others and not others & {*self._roots.values()}:
            raise ConfigurationError(
                f"{self._root.uri} is an export of another repository, whose artifacts are at "
                f"{', '.join(sorted(others))}: export to another place"
            )

    def run(self) -> ExportReport:
        describe(self._root, self._description)
        self._settle(DATASTORES, self._datastores())
        for dataset_type in self._chosen.types:
            self._take_type(dataset_type)
        self._pages.drop_types([dataset_type.name for dataset_type in self._chosen.types])
        self._take_memberships()
        for table, done in self._dimension_records():
            self._report.add(table, done)
        self._settle(DATASET_TYPES, map(_type_row, self._chosen.types))
        self._settle(COLLECTIONS, self._collections())
        self._settle(CHAINS, self._links())
        self._finish()
        return self._report

    def _settle(self, table: str, rows: Iterable[dict[str, Any]], **scope: Any) -> None:
        """Make the rows of a table exactly these."""
        sync = TableSync(self._root, table, scope)
        with self._root.transaction():
            for some in chunk_iterable(rows, _AT_ONCE):
                sync.add(rows_table(self._root.spec(table), list(some)))
            sync.sweep()
        self._report.add(table, sync.done)

    def _datastores(self) -> Iterator[dict[str, Any]]:
        for table, datastore in self._pages.datastores.items():
            yield {"name": datastore.name, "records_table": table, "root": self._roots[datastore.name]}

    def _take_type(self, dataset_type: DatasetType) -> None:
        sync = self._pages.of_type(dataset_type.name)
        for refs in self._found(dataset_type):
            self._runs.update(ref.run for ref in refs)
            if self._taken is not None:
                self._taken.note(refs)
            self._pages.add(sync, refs)
            self._advance(len(refs))
        self._pages.finish_type(sync)

    def _found(self, dataset_type: DatasetType) -> Iterator[list[DatasetRef]]:
        """Yield the chosen datasets of a type, each once in a page."""
        collections = self._chosen.holding(dataset_type)
        if not collections:
            return
        with self._butler.query() as query:
            found = search(query, dataset_type, collections, self._chosen.selection.where)
            if self._taken is not None:
                found = found.with_dimension_records()
            for refs in chunk_iterable(found, _AT_ONCE):
                # A dataset is found in each collection that it is in.
                yield list({ref.id: ref for ref in refs}.values())

    def _take_memberships(self) -> None:
        """Export the members of tagged and calibration collections."""
        for table, kind in ((TAGS, CollectionType.TAGGED), (CALIBRATIONS, CollectionType.CALIBRATION)):
            kept = set()
            for dataset_type in self._chosen.types:
                for collection in self._chosen.holding(dataset_type, kind):
                    kept.add((dataset_type.name, collection))
                    rows = self._members(dataset_type, collection, kind)
                    self._settle(table, rows, dataset_type=dataset_type.name, collection=collection)
            there = self._root.sql(f"SELECT DISTINCT dataset_type, collection FROM {table}").fetchall()
            for dataset_type_name, collection in {*there} - kept:
                self._settle(table, (), dataset_type=dataset_type_name, collection=collection)

    def _members(
        self, dataset_type: DatasetType, collection: str, kind: CollectionType
    ) -> Iterator[dict[str, Any]]:
        members = self._butler.registry.queryDatasetAssociations(
            dataset_type, collections=collection, collectionTypes={kind}
        )
        exported = self._root.table(DATASETS)
        for some in chunk_iterable(members, _AT_ONCE):
            ids = [member.ref.id for member in some]
            there = {row["dataset_id"] for row in exported.fetch(dataset_id=ids)}
            for member in some:
                if member.ref.id in there:
                    yield _member_row(member)

    def _dimension_records(self) -> Iterable[tuple[str, Synced]]:
        if self._taken is None:
            return take_everything(self._butler, self._root)
        return self._taken.finish()

    def _collections(self) -> Iterator[dict[str, Any]]:
        infos = {info.name: info for info in self._chosen.collections}
        for run in self._runs - infos.keys():
            # Of datasets that a tag or a calibration has led to.
            infos[run] = self._butler.collections.get_info(run)
        for info in infos.values():
            yield {"name": info.name, "type": info.type.name, "doc": info.doc or ""}

    def _links(self) -> Iterator[dict[str, Any]]:
        for info in self._chosen.collections:
            for rank, child in enumerate(info.children):
                yield {"parent": info.name, "rank": rank, "child": child}

    def _finish(self) -> None:
        for table, done in self._pages.done.items():
            self._report.add(table, done)
        tables = {datastore.name: table for table, datastore in self._pages.datastores.items()}
        self._report.add(ARTIFACTS, remove_orphans(self._root, tables))
        self._report.datasets = self._root.sql(f"SELECT count(*) FROM {DATASETS}").fetchall()[0][0]
        self._report.bytes_copied = self._pages.bytes_copied
        self._root.compact()
        describe(self._root, replace(self._description, is_complete=True))


def _tables(butler: Butler, datastores: Mapping[str, FileDatastore]) -> dict[str, TableSpec]:
    """Return every table of an export."""
    check_opaque_names(datastores)
    return {
        **SPECS,
        DATASETS: datasets_spec(dimension_columns(butler.dimensions)),
        **{
            table: from_lsst(table, datastore.get_opaque_table_definitions()[table].table_spec)
            for table, datastore in datastores.items()
        },
        **{
            dimension_table(element.name): element_spec(element) for element in elements_of(butler.dimensions)
        },
    }


def _universe(butler: Butler) -> dict[str, Any]:
    dumped = butler.dimensions.dimensionConfig.dump(format="json")
    assert dumped is not None, "there is no file to dump to"
    universe: dict[str, Any] = json.loads(dumped)
    return universe


def _type_row(dataset_type: DatasetType) -> dict[str, Any]:
    return {
        "name": dataset_type.name,
        "dimensions": json.dumps(list(dataset_type.dimensions.required)),
        "storage_class": dataset_type.storageClass_name,
        "is_calibration": dataset_type.isCalibration(),
    }


def _member_row(member: Any) -> dict[str, Any]:
    row = {
        "dataset_id": member.ref.id,
        "collection": member.collection,
        "dataset_type": member.ref.datasetType.name,
    }
    if member.timespan is not None:
        row["timespan_begin"], row["timespan_end"] = member.timespan.nsec
    return row
