"""What a report is made from: tables, where they lie, and who answers SQL."""

from __future__ import annotations

__all__ = ["Source", "has_datasets", "of_root"]

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from arrowopaque.format.manifest import MetaTable
from arrowopaque.format.spec import TableSpec
from arrowopaque.maintain.findings import Level, VerifyReport
from arrowopaque.report.contents import Ask
from arrowopaque.root import StoreRoot
from arrowopaque.store.volume import Volume
from arrowopaque.transfer.tables import DATASETS

_COLUMNS = {"dataset_id", "dataset_type", "run"}


@dataclass(frozen=True)
class Source:
    """A repository, or the root of a store or of an export."""

    place: str
    """What people call it."""
    kind: str
    """``repository``, ``root``, or ``published``: the data files of a
    repository alone, which know nothing of the delta.
    """
    volume: Volume
    tables: Mapping[str, tuple[str | None, TableSpec]]
    """Name of the manifest and spec of each opaque table."""
    ask: Ask
    """Answers SELECTs over the tables, and over ``datasets`` if that is there."""
    verify: Callable[[], VerifyReport]
    """Looks at the store quickly."""
    has_datasets: bool = False
    """Whether there is a relation ``datasets``: dataset_id, dataset_type, run."""
    head: MetaTable | None = None
    """The newest link of the chain, if that is the truth."""
    at: str | None = None
    """What people call the version, if it is an earlier one."""


def has_datasets(columns: Iterable[str]) -> bool:
    """Return whether a relation with these columns can serve as ``datasets``."""
    return set(columns) >= _COLUMNS


def of_root(root: StoreRoot, place: str, at: str | None = None) -> Source:
    """Return the root of a store as what a report is made from.

    Parameters
    ----------
    root
        The root, at the version to tell of.
    place
        What people call it.
    at
        What they call the version, if it is an earlier one.
    """
    tables = {name: (entry.manifest, entry.spec) for name, entry in root.entries().items()}
    return Source(
        place,
        kind="root" if root.is_owned else "published",
        volume=root.volume,
        tables=tables,
        ask=root.sql,
        verify=lambda: root.verify(Level.QUICK, raising=False),
        has_datasets=DATASETS in tables and has_datasets(tables[DATASETS][1].names),
        head=root.head if root.is_owned else None,
        at=at,
    )
