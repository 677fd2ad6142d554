"""Deletion vectors: which rows of a data file are gone."""

from __future__ import annotations

__all__ = ["Positions", "encode_deletes", "holds", "read_deletes"]

from typing import Any

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format import bitmap
from arrowopaque.format.document import digest
from arrowopaque.format.manifest import DataFile, Deletes, IndexFile
from arrowopaque.objects.base import ObjectStore

Positions = npt.NDArray[np.int64]
"""Ascending row positions of one file."""


def read_deletes(store: ObjectStore, file: DataFile | IndexFile, entry: Deletes) -> Positions:
    """Return what a deletion vector of a file says.

    Raises
    ------
    CorruptStoreError
        It is not what the manifest says, or does not fit the file.
    """
    place = f"deletion vector {store.uri}/{entry.path}"
    data = store.get(entry.path, entry.bytes)
    if len(data) != entry.bytes or digest(data) != entry.digest:
        raise CorruptStoreError(f"{place} is altered; restore it from a copy")
    try:
        found = bitmap.positions(data, file.rows)
    except ValueError as err:
        raise CorruptStoreError(f"{place} does not fit {file.path}: {err}; restore it from a copy") from err
    if len(found) != entry.count:
        raise CorruptStoreError(
            f"{place} has {len(found)} positions, the manifest says {entry.count}; restore it from a copy"
        )
    return found


def encode_deletes(positions: BitMap) -> tuple[bytes, dict[str, Any]]:
    """Return a deletion vector as stored, and what a manifest says of it."""
    positions.run_optimize()
    data = positions.serialize()
    return data, {"bytes": len(data), "digest": digest(data), "count": len(positions)}


def holds(positions: Positions, position: int) -> bool:
    """Return whether a position is among some."""
    at = int(positions.searchsorted(position))
    return at < len(positions) and int(positions[at]) == position
