"""The file datastores of a Butler, and what they keep private: the table of
their records, and the bridge that knows which datasets they have.
"""

from __future__ import annotations

__all__ = ["Leaf", "leaves"]

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lsst.daf.butler import Butler
from lsst.daf.butler.registry.interfaces import DatastoreRegistryBridge, OpaqueTableStorage


@dataclass(frozen=True)
class Leaf:
    """A datastore that is no chain."""

    datastore: Any
    name: str
    table: OpaqueTableStorage | None
    """Its records; `None` if it has none in the registry."""
    bridge: DatastoreRegistryBridge | None


def leaves(butler: Butler) -> tuple[list[Leaf], bool]:
    """Return a Butler's datastores, and whether they are of a chain."""
    top: Any = butler._datastore
    return list(_flattened(top)), hasattr(top, "datastores")


def _flattened(datastore: Any) -> Iterator[Leaf]:
    if hasattr(datastore, "datastores"):
        for child in datastore.datastores:
            yield from _flattened(child)
    else:
        table, bridge = (getattr(datastore, name, None) for name in ("_table", "_bridge"))
        yield Leaf(datastore, datastore.name, table, bridge)
