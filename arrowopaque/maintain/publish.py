"""Publish: the copy of the meta-table that needs no registry to be read."""

from __future__ import annotations

__all__ = ["publish_empty", "publish_entries"]

import socket
from collections.abc import Mapping

from arrowopaque import clock
from arrowopaque.errors import CorruptStoreError
from arrowopaque.format.manifest import MetaTable, TableEntry
from arrowopaque.format.spec import TableSpec
from arrowopaque.store.catalog import FileChain
from arrowopaque.store.volume import Volume, publish


def _with_files(tables: Mapping[str, TableEntry]) -> dict[str, str]:
    return {name: entry.manifest for name, entry in tables.items() if entry.manifest is not None}


def publish_entries(volume: Volume, entries: Mapping[str, tuple[str | None, TableSpec]]) -> None:
    """Publish a registry's tables, unless their files are published already.

    Parameters
    ----------
    volume
        The store.
    entries
        Manifest and spec of each table, all of one moment.
    """
    tables = {name: TableEntry(spec=spec, manifest=manifest) for name, (manifest, spec) in entries.items()}
    try:
        last = FileChain(volume).published()
    except CorruptStoreError:
        # Damaged, it is made anew: it is a copy, never the truth.
        last = None
    if last is None or _with_files(tables) != _with_files(last.tables):
        _publish(volume, tables, last)


def publish_empty(volume: Volume) -> None:
    """Publish a new store, so that it can be opened by its root alone."""
    _publish(volume, {}, None)


def _publish(volume: Volume, tables: dict[str, TableEntry], last: MetaTable | None) -> None:
    meta = MetaTable(
        store=volume.id,
        version=last.version + 1 if last else 1,
        parent=last.version if last else None,
        commit=clock.new_id(),
        created=clock.now(),
        writer=socket.gethostname(),
        tables=tables,
    )
    publish(volume, meta)
