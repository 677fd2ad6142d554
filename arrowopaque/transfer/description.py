"""What an export says of itself."""

from __future__ import annotations

__all__ = ["FORMAT", "Description", "describe", "read_description"]

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa

from arrowopaque.errors import ConfigurationError, CorruptStoreError, FormatVersionError
from arrowopaque.root import StoreRoot
from arrowopaque.transfer.sync import Synced, TableSync
from arrowopaque.transfer.tables import EXPORT, SPECS

FORMAT = 1
"""Version of the tables of exports, apart from that of the store below."""


@dataclass(frozen=True)
class Description:
    """What an export says of itself, each field a row of JSON."""

    universe: dict[str, Any]
    """The configuration of the dimensions."""
    namespace: str
    """Name of the dimension universe."""
    version: int
    """Version of the dimension universe."""
    selection: dict[str, Any]
    """What was asked for."""
    with_files: bool
    """Whether artifacts were copied."""
    is_complete: bool
    """Whether the export that wrote this has finished."""
    format: int = FORMAT

    @property
    def dimensions(self) -> str:
        """The universe's name and version."""
        return f"{self.namespace} {self.version}"


def describe(root: StoreRoot, description: Description) -> Synced:
    """Write a description."""
    values = asdict(description)
    rows = pa.table(
        {"name": [*values], "value": [json.dumps(value, sort_keys=True) for value in values.values()]},
        schema=SPECS[EXPORT].arrow_schema,
    )
    sync = TableSync(root, EXPORT)
    with root.transaction():
        sync.add(rows)
        sync.sweep()
    return sync.done


def read_description(root: StoreRoot) -> Description | None:
    """Return a description, `None` if the store is still empty.

    Raises
    ------
    ConfigurationError
        The store is no export.
    FormatVersionError
        A later release wrote it.
    CorruptStoreError
        The description is not one of ours.
    """
    if EXPORT not in root.names():
        if root.names():
            raise ConfigurationError(
                f"{root.uri} is no export: it is a store with the tables {root.names()}; give another place"
            )
        return None
    try:
        found = {row["name"]: json.loads(row["value"]) for row in root.table(EXPORT).fetch()}
        if not found:
            return None
        if found["format"] > FORMAT:
            raise FormatVersionError(
                f"{root.uri} is an export of format {found['format']}; this release reads up to {FORMAT}"
            )
        return Description(**{field.name: found[field.name] for field in fields(Description)})
    except (KeyError, TypeError, ValueError) as err:
        raise CorruptStoreError(f"{root.uri}: the description of the export is malformed: {err!r}") from err
