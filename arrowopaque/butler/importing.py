"""Make a repository of an export."""

from __future__ import annotations

__all__ = ["ImportReport", "import_repository"]

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lsst.daf.butler import Butler, Config, DatasetRef, DatasetType, DimensionConfig
from lsst.daf.butler.registry import CollectionType  # type: ignore[attr-defined]  # public, but not marked so
from lsst.utils.iteration import chunk_iterable

from arrowopaque.butler.dataset_import import DatasetImport, Files
from arrowopaque.butler.elements import elements_of, record_of
from arrowopaque.butler.host import opaque_manager
from arrowopaque.butler.host_repository import timespan_of
from arrowopaque.butler.manager import ArrowOpaqueTableStorageManager
from arrowopaque.butler.opening import open_butler
from arrowopaque.errors import ConfigurationError
from arrowopaque.maintain.findings import Level
from arrowopaque.root import StoreRoot
from arrowopaque.transfer.description import Description, read_description
from arrowopaque.transfer.tables import (
    CALIBRATIONS,
    CHAINS,
    COLLECTIONS,
    DATASET_TYPES,
    TAGS,
    dimension_table,
)

SEED = "resource://arrowopaque/butler/config/registry.yaml"
_AT_ONCE = 20_000
_INSERTED_AT_ONCE = 5_000


@dataclass
class ImportReport:
    """What an import did."""

    repository: str
    created: bool = False
    """Whether the repository was made."""
    dataset_types: int = 0
    collections: int = 0
    dimension_records: int = 0
    datasets: int = 0
    """Datasets of the export; those that were there before are among them."""
    records: int = 0
    """Datastore records."""
    files: int = 0
    """Artifacts that were copied."""
    bytes_copied: int = 0


def import_repository(
    source: str,
    place: str,
    *,
    config: str | None = None,
    files: Files | None = None,
    advance: Callable[[int], None] = lambda datasets: None,
) -> ImportReport:
    """Make a repository of an export, or add the export to a repository.

    Parameters
    ----------
    source
        Root of the export; every byte of its tables is checked first.
    place
        The repository: a folder or URI where there is none yet, or one with
        the same dimensions.
    config
        Configuration of a new repository; by default ours.
    files
        What becomes of artifacts; by default they are copied if the export
        has them, else used where they are.
    advance
        Is told of each number of datasets that are done.

    Returns
    -------
    report
        What was made.

    Raises
    ------
    ConfigurationError
        The source is no export, or does not fit the repository.
    CorruptStoreError
        The export is damaged; the message names what.

    Notes
    -----
    Datasets are committed by the thousand. After an interruption the same
    call goes on where it was.
    """
    root = StoreRoot(source, writeable=False)
    description = _complete(root)
    root.verify(Level.FULL)
    if files is Files.COPY and not description.with_files:
        raise ConfigurationError(f"{root.uri} has no artifacts: export it with files, or use them in place")
    report = ImportReport(place)
    with _repository(place, description, config, report) as butler:
        chosen = files or (Files.COPY if description.with_files else Files.DIRECT)
        _Import(root, butler, chosen, report, advance).run()
    return report


def _complete(root: StoreRoot) -> Description:
    description = read_description(root)
    if description is None:
        raise ConfigurationError(f"{root.uri} is no export: it is an empty store")
    if not description.is_complete:
        raise ConfigurationError(
            f"{root.uri}: the export was interrupted, or is going on: run the same export again"
        )
    return description


@contextmanager
def _repository(
    place: str, description: Description, config: str | None, report: ImportReport
) -> Iterator[Butler]:
    """Give the repository, made if there is none."""
    if not _is_repository(place):
        universe = DimensionConfig(Config.fromString(json.dumps(description.universe), format="json"))
        Butler.makeRepo(place, config=Config(config or SEED), dimensionConfig=universe)
        report.created = True
    elif config is not None:
        raise ConfigurationError(f"{place!r} is a repository already: a configuration is for new ones")
    with open_butler(place, writeable=True) as butler:
        theirs = f"{butler.dimensions.namespace} {butler.dimensions.version}"
        if theirs != description.dimensions:
            raise ConfigurationError(
                f"the export has the dimensions {description.dimensions}, {place!r} has {theirs}"
            )
        yield butler


def _is_repository(place: str) -> bool:
    return place.endswith(".yaml") or place in Butler.get_known_repos() or Butler.has_repo_config(place)


class _Import:
    def __init__(
        self,
        root: StoreRoot,
        butler: Butler,
        files: Files,
        report: ImportReport,
        advance: Callable[[int], None],
    ) -> None:
        self._root = root
        self._butler = butler
        self._report = report
        self._advance = advance
        self._datasets = DatasetImport(root, butler, files)

    def run(self) -> None:
        self._register_types()
        self._register_collections()
        self._insert_dimension_records()
        for done in self._datasets.run():
            self._report.datasets += done
            self._advance(done)
        self._report.records = self._datasets.records
        self._report.files = self._datasets.files
        self._report.bytes_copied = self._datasets.bytes_copied
        self._associate()
        self._certify()
        self._link()
        manager = opaque_manager(self._butler)
        if isinstance(manager, ArrowOpaqueTableStorageManager):
            manager.flush()

    def _register_types(self) -> None:
        for row in self._root.table(DATASET_TYPES).fetch():
            dataset_type = DatasetType(
                row["name"],
                json.loads(row["dimensions"]),
                row["storage_class"],
                universe=self._butler.dimensions,
                isCalibration=row["is_calibration"],
            )
            self._butler.registry.registerDatasetType(dataset_type)
            self._datasets.types[dataset_type.name] = dataset_type
            self._report.dataset_types += 1

    def _register_collections(self) -> None:
        for row in self._root.table(COLLECTIONS).fetch():
            kind = CollectionType.from_name(row["type"])
            self._butler.collections.register(row["name"], kind, doc=row["doc"] or None)
            self._report.collections += 1

    def _insert_dimension_records(self) -> None:
        for element in elements_of(self._butler.dimensions):
            name = dimension_table(element.name)
            rows = self._root.table(name).fetch() if name in self._root.names() else iter(())
            for some in chunk_iterable(rows, _INSERTED_AT_ONCE):
                records = [record_of(element, row) for row in some]
                self._butler.registry.insertDimensionData(element, *records, skip_existing=True)
                self._report.dimension_records += len(records)

    def _associate(self) -> None:
        rows = self._root.table(TAGS).fetch()
        for some in chunk_iterable(rows, _AT_ONCE):
            refs = self._datasets.refs([row["dataset_id"] for row in some])
            members: dict[str, list[DatasetRef]] = {}
            for row in some:
                members.setdefault(row["collection"], []).append(refs[row["dataset_id"]])
            for collection, found in members.items():
                self._butler.registry.associate(collection, found)

    def _certify(self) -> None:
        """Add validity ranges; those that are there cannot be added again."""
        pairs = self._root.sql(f"SELECT DISTINCT dataset_type, collection FROM {CALIBRATIONS}").fetchall()
        for name, collection in sorted(pairs):
            there = {
                (member.ref.id, *member.timespan.nsec)
                for member in self._butler.registry.queryDatasetAssociations(
                    name, collections=collection, collectionTypes={CollectionType.CALIBRATION}
                )
                if member.timespan is not None
            }
            rows = self._root.table(CALIBRATIONS).fetch(collection=collection, dataset_type=name)
            for some in chunk_iterable(rows, _AT_ONCE):
                refs = self._datasets.refs([row["dataset_id"] for row in some])
                members: dict[tuple[int, int], list[DatasetRef]] = {}
                for row in some:
                    span = (row["timespan_begin"], row["timespan_end"])
                    if (row["dataset_id"], *span) not in there:
                        members.setdefault(span, []).append(refs[row["dataset_id"]])
                for span, found in members.items():
                    self._butler.registry.certify(collection, found, timespan_of(*span))

    def _link(self) -> None:
        chains: dict[str, list[tuple[int, str]]] = {}
        for row in self._root.table(CHAINS).fetch():
            chains.setdefault(row["parent"], []).append((row["rank"], row["child"]))
        for parent, children in chains.items():
            self._butler.collections.redefine_chain(parent, [child for _, child in sorted(children)])
