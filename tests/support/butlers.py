"""Butler repositories under test: real registries, real files."""

from __future__ import annotations

__all__ = [
    "RECORDS",
    "ButlerRepository",
    "butler_config",
    "content",
    "datastore_of",
    "inventory",
    "make_inputs",
    "manager_of",
    "open_butlers",
]

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from lsst.daf.butler import Butler, Config, DatasetRef, DatasetType, FileDataset, LimitedButler
from lsst.resources import ResourcePath

from arrowopaque.butler.host import opaque_manager
from tests.support.subjects import Kind, Placement, Site, override_options

RECORDS = "file_datastore_records"
SEED = "resource://arrowopaque/butler/config/registry.yaml"
DETECTORS = range(8)
_NO_ARTIFACTS = ("butler.yaml", "gen3.sqlite3", "opaque/")

Content = dict[str, Any]


def manager_of(butler: Butler) -> Any:
    """Return the opaque manager of a butler, ours or the default."""
    return opaque_manager(butler)


def datastore_of(butler: LimitedButler) -> Any:
    """Return the datastore of a butler, which the host keeps private."""
    private: Any = butler
    return private._datastore


def content(detector: int, run: str) -> Content:
    """What tests store: no two datasets are the same."""
    return {"detector": detector, "run": run}


def butler_config(kind: Kind, site: Site, namespace: str) -> Config:
    """Return what a new repository of this kind is seeded with."""
    config = Config(SEED) if kind.is_arrow else Config()
    if kind.dialect == "postgresql":
        assert site.postgres is not None, "this kind needs a server"
        config["registry", "db"] = site.postgres
        config["registry", "namespace"] = namespace
    return config


def make_inputs(butler: Butler, *runs: str) -> DatasetType:
    """Register an instrument, detectors, runs and the dataset type of tests."""
    butler.registry.insertDimensionData("instrument", {"name": "Cam", "class_name": "none.such"})
    butler.registry.insertDimensionData(
        "detector", *[{"instrument": "Cam", "id": i, "full_name": f"detector {i}"} for i in DETECTORS]
    )
    dataset_type = DatasetType(
        "thing", ["instrument", "detector"], "StructuredDataDict", universe=butler.dimensions
    )
    butler.registry.registerDatasetType(dataset_type)
    for run in runs:
        butler.collections.register(run)
    return dataset_type


def inventory(folder: Path) -> set[str]:
    """Return the files below a folder, by relative path."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@dataclass
class ButlerRepository:
    """One repository in a folder, with the runs ``one`` and ``two``.

    ``butler`` is a writeable client of it; `open` gives others.
    """

    kind: Kind
    site: Site
    placement: Placement
    name: str
    root: Path = field(init=False)
    butler: Butler = field(init=False)
    clients: list[Butler] = field(default_factory=list)

    RUNS = ("one", "two")

    def __post_init__(self) -> None:
        self.root = self.site.folder / self.name

    def make(self, template: Path | None) -> None:
        """Make the repository; a template spares most of the time."""
        if template is not None:
            shutil.copytree(template, self.root)
        else:
            self.create()
        self.butler = self.open()

    def sibling(self) -> ButlerRepository:
        """Return a new repository of this kind that no client has opened."""
        other = ButlerRepository(self.kind, self.site, self.placement, f"{self.name}_sibling")
        other.clients = self.clients
        other.seed()
        return other

    def seed(self) -> None:
        """Make the repository, and open it for nobody."""
        with self._store_base():
            Butler.makeRepo(str(self.root), config=butler_config(self.kind, self.site, self.name))

    def create(self) -> None:
        """Make the repository from nothing."""
        self.seed()
        with Butler.from_config(str(self.root), writeable=True) as butler:
            make_inputs(butler, *self.RUNS)

    @contextmanager
    def _store_base(self) -> Iterator[None]:
        base = f"{self.site.s3}/{self.name}" if self.kind.store == "s3" else None
        if self.kind.store == "local" and self.kind.dialect == "postgresql":
            base = str(self.site.folder / "opaque")
        if base is None:
            yield
            return
        os.environ["ARROWOPAQUE_ROOT"] = base
        try:
            yield
        finally:
            del os.environ["ARROWOPAQUE_ROOT"]

    def open(self, *, writeable: bool = True, root: Path | None = None) -> Butler:
        """Return another client."""
        butler = Butler.from_config(str(root or self.root), writeable=writeable)
        self.clients.append(butler)
        return butler

    def close(self) -> None:
        """Close all clients."""
        while self.clients:
            self.clients.pop().close()

    @property
    def type(self) -> DatasetType:
        """The dataset type of tests."""
        return self.butler.get_dataset_type("thing")

    def settle(self, butler: Butler | None = None) -> None:
        """Put what was written so far where the placement wants it."""
        if self.placement is Placement.FLUSHED:
            manager_of(butler or self.butler).flush()

    def store(self, run: str = "one", detectors: Iterable[int] = DETECTORS) -> list[DatasetRef]:
        """Store datasets, in one call where bulk calls are wanted."""
        if self.placement is Placement.BULK:
            return self.ingest(self.unstored(run, detectors))
        refs = [
            self.butler.put(content(i, run), "thing", instrument="Cam", detector=i, run=run)
            for i in detectors
        ]
        self.settle()
        return refs

    def unstored(
        self, run: str = "one", detectors: Iterable[int] = DETECTORS, **kwargs: Any
    ) -> list[DatasetRef]:
        """Return references that nobody knows yet."""
        ids = self.butler.registry.expandDataId
        return [
            DatasetRef(self.type, ids(instrument="Cam", detector=i), run=run, **kwargs) for i in detectors
        ]

    def files(self, refs: Sequence[DatasetRef]) -> list[FileDataset]:
        """Write a file for each dataset, outside the repository."""
        folder = self.site.folder / "incoming"
        folder.mkdir(exist_ok=True)
        datasets = []
        for ref in refs:
            path = folder / f"{ref.id}.yaml"
            path.write_text(yaml.safe_dump(content(int(ref.dataId["detector"]), ref.run)))
            datasets.append(FileDataset(str(path), [ref]))
        return datasets

    def ingest(self, refs: Sequence[DatasetRef], transfer: str = "copy") -> list[DatasetRef]:
        """Ingest files of these datasets in one call."""
        self.butler.ingest(*self.files(refs), transfer=transfer)
        self.settle()
        return list(refs)

    def records(self, butler: Butler | None = None) -> dict[Any, str]:
        """Return the path in every record, by dataset."""
        table = manager_of(butler or self.butler)[RECORDS]
        return {row["dataset_id"]: row["path"] for row in table.fetch()}

    def artifacts(self) -> set[str]:
        """Return the files that the datastore has."""
        return {path for path in inventory(self.root) if not path.startswith(_NO_ARTIFACTS)}

    def assert_holds(self, refs: Iterable[DatasetRef], butler: Butler | None = None) -> None:
        """Assert that these datasets can be read, and that there are no
        others: no record, no file.
        """
        butler = butler or self.butler
        expected = {ref.id: ref for ref in refs}
        root = ResourcePath(str(self.root), forceDirectory=True)
        assert self.records(butler).keys() == expected.keys()
        assert {ref.id for ref in butler.query_all_datasets("*", find_first=False)} >= expected.keys()
        assert all(butler.stored_many(expected.values()).values())
        for ref in expected.values():
            assert butler.get(ref) == content(int(ref.dataId["detector"]), ref.run)
        uris = [butler.getURI(ref).replace(fragment="") for ref in expected.values()]
        assert {uri.relative_to(root) for uri in uris} == self.artifacts()


@contextmanager
def open_butlers(placement: Placement) -> Iterator[None]:
    """Let managers that are made inside take few rows for many, if the
    placement says so.
    """
    with override_options({"bulk_rows": 2} if placement is Placement.BULK else {}):
        yield
