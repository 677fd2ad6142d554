"""What a repository answers, in a form that two repositories can be compared by."""

from __future__ import annotations

__all__ = ["answers", "load_registry", "members_of"]

import warnings
from typing import Any

import astropy.time
from lsst.daf.butler import Butler, Timespan
from lsst.daf.butler.registry import CollectionType  # type: ignore[attr-defined]  # public, but not marked so

from arrowopaque.butler.elements import elements_of

FILES = (
    "base",
    "datasets",
    "ci_hsc-subset",
    "ci_hsc-subset-skymap",
    "hsc-rc2-subset-v0",
    "lsstcam-subset",
    "spatial",
)
"""The host's test data; what comes later refers to what comes before."""

YEARS = [
    astropy.time.Time(f"{year}-01-01T00:00:00", format="isot", scale="tai") for year in (2020, 2021, 2022)
]


def load_registry(butler: Butler) -> None:
    """Load the host's test data, and put its datasets into collections of
    every type, chains of chains among them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for name in FILES:
            butler.import_(
                filename=f"resource://lsst.daf.butler/tests/registry_data/{name}.yaml", without_datastore=True
            )
    for name, kind in (
        ("tagged", CollectionType.TAGGED),
        ("empty", CollectionType.TAGGED),
        ("calibs", CollectionType.CALIBRATION),
        ("chain", CollectionType.CHAINED),
        ("outer", CollectionType.CHAINED),
    ):
        butler.collections.register(name, kind, doc=f"the {name}")
    biases = butler.query_datasets("bias", "imported_g", find_first=False)
    flats = butler.query_datasets("flat", "imported_r", find_first=False)
    butler.registry.associate("tagged", [*biases[1:], *flats[:2]])
    butler.registry.certify("calibs", biases, Timespan(YEARS[0], YEARS[1]))
    butler.registry.certify("calibs", biases[:1], Timespan(YEARS[2], None))
    butler.registry.certify("calibs", flats, Timespan(None, YEARS[2]))
    butler.collections.redefine_chain("chain", ["imported_r", "tagged", "imported_g"])
    butler.collections.redefine_chain("outer", ["tagged", "chain", "calibs"])


def members_of(butler: Butler) -> set[tuple[Any, ...]]:
    """Return which datasets are in which collection, and when."""
    return {
        (member.ref.id, member.collection, member.timespan and member.timespan.nsec)
        for dataset_type in butler.registry.queryDatasetTypes("*")
        for member in butler.registry.queryDatasetAssociations(dataset_type, collections="*")
    }


def _overlaps(butler: Butler) -> set[Any]:
    """Return which detectors of which visits lie on which patches."""
    with butler.query() as query:
        found = query.data_ids(["visit", "detector", "patch"]).where(
            instrument="Cam1", skymap="SkyMap1", detector=2
        )
        return {*found}


def answers(butler: Butler) -> dict[str, Any]:
    """Return all that a registry answers."""
    types = sorted(butler.registry.queryDatasetTypes("*"), key=lambda dataset_type: dataset_type.name)
    infos = butler.collections.query_info("*", include_doc=True, include_summary=True, include_chains=True)
    return {
        "universe": butler.dimensions.dimensionConfig.dump(format="json"),
        "types": types,
        "collections": {info.name: info for info in infos},
        "datasets": {
            ref.id: (ref.datasetType, ref.run, dict(ref.dataId.mapping))
            for ref in butler.query_all_datasets("*", find_first=False)
        },
        "members": members_of(butler),
        "dimensions": {
            element.name: {
                record.dataId: record.toDict()
                for record in butler.query_dimension_records(element.name, explain=False)
            }
            for element in elements_of(butler.dimensions)
        },
        "overlaps": _overlaps(butler),
        "found first": {
            (chain, dataset_type.name): {
                ref.dataId: ref.id
                for ref in butler.query_datasets(dataset_type, chain, find_first=True, explain=False)
            }
            for chain in ("chain",)
            for dataset_type in types
            if chain in {info.name for info in infos}
        },
    }
