"""Publish: the copy of the meta-table that needs no registry to be read."""

from __future__ import annotations

__all__ = ["described", "publish_empty", "publish_entries"]

from collections.abc import Mapping

from arrowopaque import clock
from arrowopaque.errors import CorruptStoreError
from arrowopaque.format.manifest import MetaTable, TableEntry
from arrowopaque.format.spec import TableSpec
from arrowopaque.store.catalog import FileChain, writer
from arrowopaque.store.volume import Volume, publish


def _with_files(tables: Mapping[str, TableEntry]) -> dict[str, str]:
    return {name: entry.manifest for name, entry in tables.items() if entry.manifest is not None}


def described(
    volume: Volume, entries: Mapping[str, tuple[str | None, TableSpec]], last: MetaTable | None = None
) -> MetaTable:
    """Return the meta-table of a registry's tables, which follows ``last``."""
    return MetaTable(
        store=volume.id,
        version=last.version + 1 if last else 1,
        parent=last.version if last else None,
        commit=clock.new_id(),
        created=clock.now(),
        writer=writer(),
        tables=_tables(entries),
    )


def _tables(entries: Mapping[str, tuple[str | None, TableSpec]]) -> dict[str, TableEntry]:
    return {name: TableEntry(spec=spec, manifest=manifest) for name, (manifest, spec) in entries.items()}


def publish_entries(volume: Volume, entries: Mapping[str, tuple[str | None, TableSpec]]) -> None:
    """Publish a registry's tables, unless their files are published already.

    Parameters
    ----------
    volume
        The store.
    entries
        Manifest and spec of each table, all of one moment.
    """
    try:
        last = FileChain(volume).published()
    except CorruptStoreError:
        # Damaged, it is made anew: it is a copy, never the truth.
        last = None
    if last is None or _with_files(_tables(entries)) != _with_files(last.tables):
        publish(volume, described(volume, entries, last))


def publish_empty(volume: Volume) -> None:
    """Publish a new store, so that it can be opened by its root alone."""
    publish(volume, described(volume, {}))
