"""The artifacts of an export: copies of a datastore's files, with digests."""

from __future__ import annotations

__all__ = ["artifact_of", "is_elsewhere", "read_artifact", "remove_orphans", "store_artifact"]

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format.document import digest
from arrowopaque.format.names import artifact_object
from arrowopaque.root import StoreRoot
from arrowopaque.transfer.sync import Synced
from arrowopaque.transfer.tables import ARTIFACTS, SPECS

_KEY = list(SPECS[ARTIFACTS].primary_key)


def artifact_of(path: str) -> str:
    """Return the artifact that a record's path names, perhaps a part of it."""
    return path.partition("#")[0]


def is_elsewhere(path: str) -> bool:
    """Return whether a record's path is a URI of its own, outside of the datastore."""
    return "://" in path


def store_artifact(root: StoreRoot, datastore: str, path: str, data: bytes) -> dict[str, Any]:
    """Write an artifact, and return the row that tells of it."""
    root.volume.store.put(artifact_object(datastore, path), data)
    return {"path": path, "datastore": datastore, "size": len(data), "digest": digest(data)}


def read_artifact(root: StoreRoot, row: Mapping[str, Any]) -> bytes:
    """Return the bytes of an artifact.

    Raises
    ------
    CorruptStoreError
        They are not those that were written.
    """
    name = artifact_object(row["datastore"], row["path"])
    data = root.volume.store.get(name, most=row["size"])
    if digest(data) != row["digest"]:
        raise CorruptStoreError(f"{root.uri}: {name!r} was altered: its digest is not that of {ARTIFACTS!r}")
    return data


def remove_orphans(root: StoreRoot, records: Mapping[str, str]) -> Synced:
    """Remove the artifacts that no record names any more.

    Parameters
    ----------
    root
        The export.
    records
        The records table of each datastore.
    """
    done = Synced()
    for datastore, table in records.items():
        orphans = _orphans(root, datastore, table)
        # The rows first: what a row names must be there.
        root.table(ARTIFACTS).delete(_KEY, *orphans)
        root.volume.store.delete(artifact_object(datastore, row["path"]) for row in orphans)
        done.removed += len(orphans)
    return done


def _orphans(root: StoreRoot, datastore: str, table: str) -> list[dict[str, Any]]:
    quoted = table.replace('"', '""')
    found: pa.Table = root.sql(
        f"SELECT path, datastore FROM {ARTIFACTS} WHERE path NOT IN "
        f"(SELECT split_part(path, '#', 1) FROM \"{quoted}\")"
    ).to_arrow_table()
    return [row for row in found.to_pylist() if row["datastore"] == datastore]
