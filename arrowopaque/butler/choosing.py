"""What of a repository is to be exported."""

from __future__ import annotations

__all__ = ["Chosen", "Selection", "choose", "count_datasets", "search"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lsst.daf.butler import Butler, CollectionInfo, DatasetType
from lsst.daf.butler.queries import DatasetRefQueryResults, Query
from lsst.daf.butler.registry import CollectionType  # type: ignore[attr-defined]  # public, but not marked so

from arrowopaque.errors import ConfigurationError


@dataclass(frozen=True)
class Selection:
    """What to export; everything by default."""

    collections: tuple[str, ...] = ()
    """Collections or patterns; their children, too, if they are chains."""
    dataset_types: tuple[str, ...] = ()
    """Dataset types or patterns."""
    where: str = ""
    """An expression on dimensions that datasets satisfy."""

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return not (self.collections or self.dataset_types or self.where)

    def to_json(self) -> dict[str, Any]:
        """Return what an export says of it."""
        return {
            "collections": list(self.collections),
            "dataset_types": list(self.dataset_types),
            "where": self.where,
        }


@dataclass(frozen=True)
class Chosen:
    """What a selection comes to in a repository."""

    selection: Selection
    types: tuple[DatasetType, ...]
    collections: tuple[CollectionInfo, ...]

    @cached_property
    def searched(self) -> list[CollectionInfo]:
        """The collections that datasets are looked for in: of a whole
        repository its runs, which have them all.
        """
        if self.selection.is_everything:
            return [info for info in self.collections if info.type is CollectionType.RUN]
        return [info for info in self.collections if info.type is not CollectionType.CHAINED]

    def holding(self, dataset_type: DatasetType, *types: CollectionType) -> list[str]:
        """Return the collections that may have datasets of a type."""
        among = self.collections if types else self.searched
        return [
            info.name
            for info in among
            if dataset_type.name in (info.dataset_types or ()) and (not types or info.type in types)
        ]


def choose(butler: Butler, selection: Selection) -> Chosen:
    """Find what is selected.

    Raises
    ------
    ConfigurationError
        Nothing has a name that was given.
    """
    collections = _collections(butler, selection.collections)
    types = _types(butler, selection.dataset_types)
    if selection.collections:
        there = {name for info in collections for name in info.dataset_types or ()}
        types = [dataset_type for dataset_type in types if dataset_type.name in there]
    return Chosen(selection, tuple(types), tuple(collections))


def _collections(butler: Butler, patterns: tuple[str, ...]) -> list[CollectionInfo]:
    found: dict[str, CollectionInfo] = {}
    for pattern in patterns or ("*",):
        infos = butler.collections.query_info(
            pattern, include_chains=True, flatten_chains=True, include_doc=True, include_summary=True
        )
        if patterns and not infos:
            raise ConfigurationError(f"no collection matches {pattern!r}")
        found.update({info.name: info for info in infos})
    return sorted(found.values())


def _types(butler: Butler, patterns: tuple[str, ...]) -> list[DatasetType]:
    found: dict[str, DatasetType] = {}
    for pattern in patterns or ("*",):
        types = list(butler.registry.queryDatasetTypes(pattern))
        if patterns and not types:
            raise ConfigurationError(f"no dataset type matches {pattern!r}")
        found.update({dataset_type.name: dataset_type for dataset_type in types})
    return sorted(found.values(), key=lambda dataset_type: dataset_type.name)


def search(
    query: Query, dataset_type: DatasetType, collections: Sequence[str], where: str
) -> DatasetRefQueryResults:
    """Return all datasets of a type in some collections, once for each that
    they are in.
    """
    found = query.datasets(dataset_type, collections, find_first=False)
    return found.where(where) if where else found


def count_datasets(butler: Butler, chosen: Chosen) -> dict[str, int]:
    """Return how many datasets of each type are chosen, at most."""
    counts = {}
    for dataset_type in chosen.types:
        collections = chosen.holding(dataset_type)
        with butler.query() as query:
            found = search(query, dataset_type, collections, chosen.selection.where) if collections else None
            counts[dataset_type.name] = 0 if found is None else found.count()
    return counts
