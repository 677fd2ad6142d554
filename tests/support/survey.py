"""The repository that docs/ANALYTICS.md asks about: the same bytes each time."""

from __future__ import annotations

__all__ = ["make_survey"]

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import astropy.time
from lsst.daf.butler import (  # type: ignore[attr-defined]  # CollectionType is not re-exported by the book
    Butler,
    ButlerConfig,
    CollectionType,
    Config,
    DatasetRef,
    DatasetType,
    FileDataset,
    Timespan,
)
from lsst.daf.butler.time_utils import TimeConverter

from tests.support.butlers import SEED, datastore_of, manager_of

_EXPOSURES = {101: 20261001, 102: 20261002}
_TYPES = (
    ("raw", ["exposure", "detector"], "StructuredDataDict", False),
    ("flat", ["detector"], "StructuredDataDict", True),
    ("catalog", ["exposure", "detector"], "StructuredDataDict", False),
    ("count", ["exposure"], "int", False),
    ("dark", ["detector"], "StructuredDataDict", True),
)
_INGESTED = {
    "raw/2026-10": "2026-10-02T08:00:00",
    "calib/flat": "2026-10-03T09:30:00",
    "prod/a": "2026-10-05T23:59:59",
    "u/ada": "2026-10-06T00:00:00",
    "u/new": "2026-10-07T00:00:00",
}


def make_survey(root: Path) -> Butler:
    """Make the repository in a folder and return a client."""
    Butler.makeRepo(str(root), config=Config(SEED))
    with Butler.from_config(str(root), writeable=True) as butler:
        _describe(butler)
        _ingest_raws(butler, root)
        manager_of(butler).flush()
    config = ButlerConfig(str(root))
    config["datastore", "checksum"] = True
    with Butler.from_config(config, writeable=True) as butler:
        _process(butler)
    _set_dates(root)
    return Butler.from_config(str(root))


def _describe(butler: Butler) -> None:
    insert = butler.registry.insertDimensionData
    insert("instrument", {"name": "Cam", "class_name": "none.such"})
    insert("detector", *[{"instrument": "Cam", "id": i, "full_name": f"S{i}"} for i in range(3)])
    insert("physical_filter", {"instrument": "Cam", "name": "Cam-r", "band": "r"})
    for exposure, day in _EXPOSURES.items():
        own: dict[str, Any] = {"instrument": "Cam", "id": exposure, "obs_id": f"E{exposure}"}
        insert("day_obs", {"instrument": "Cam", "id": day})
        insert("group", {"instrument": "Cam", "name": f"G{exposure}"})
        insert("exposure", {**own, "day_obs": day, "group": f"G{exposure}", "physical_filter": "Cam-r"})
    for name, dimensions, storage_class, is_calibration in _TYPES:
        dataset_type = DatasetType(
            name,
            ["instrument", *dimensions],
            storage_class,
            universe=butler.dimensions,
            isCalibration=is_calibration,
        )
        butler.registry.registerDatasetType(dataset_type)
    for run in _INGESTED:
        butler.collections.register(run)


def _ingest_raws(butler: Butler, root: Path) -> None:
    """Ingest one file for all detectors of an exposure, as cameras write them."""
    dataset_type = butler.get_dataset_type("raw")
    for exposure in _EXPOSURES:
        path = root.with_name(f"{root.name}_{exposure}.yaml")
        path.write_text(f"{exposure}: {'x' * 200}\n")
        ids = [
            butler.registry.expandDataId(instrument="Cam", exposure=exposure, detector=i) for i in range(3)
        ]
        refs = [DatasetRef(dataset_type, id, run="raw/2026-10") for id in ids]
        butler.ingest(FileDataset(str(path), refs), transfer="move")


def _process(butler: Butler) -> None:
    flats = [
        butler.put({"level": [detector] * 20}, "flat", instrument="Cam", detector=detector, run="calib/flat")
        for detector in range(3)
    ]
    for run, detectors in (("prod/a", range(3)), ("u/ada", range(1))):
        for exposure in _EXPOSURES:
            at = {"instrument": "Cam", "exposure": exposure}
            for detector in detectors:
                rows = {"sources": list(range(10 * exposure, 10 * exposure + 5 + 20 * detector))}
                butler.put(rows, "catalog", {**at, "detector": detector}, run=run)
            butler.put(5, "count", at, run=run)
    butler.collections.register("calib", CollectionType.CALIBRATION, doc="Master calibrations.")
    begin, end = (astropy.time.Time(f"2026-{month}-01", scale="tai") for month in ("09", "11"))
    butler.registry.certify("calib", flats, Timespan(begin, end))
    butler.collections.register("best", CollectionType.TAGGED)
    catalogs = butler.query_datasets("catalog", "prod/a", where="detector = 2", instrument="Cam")
    butler.registry.associate("best", catalogs)
    butler.collections.register("prod", CollectionType.CHAINED)
    butler.collections.redefine_chain("prod", ["prod/a", "raw/2026-10", "calib"])
    # A removal that ends before the files are deleted.
    datastore_of(butler).trash(butler.query_datasets("catalog", "u/ada"))


def _set_dates(root: Path) -> None:
    with closing(sqlite3.connect(root / "gen3.sqlite3")) as database, database:
        for run, moment in _INGESTED.items():
            date = TimeConverter().astropy_to_nsec(astropy.time.Time(moment, scale="utc"))
            database.execute(
                "UPDATE dataset SET ingest_date = ? "
                "WHERE run_id = (SELECT collection_id FROM collection WHERE name = ?)",
                (date, run),
            )
