"""Status: what a store's tables consist of, and which maintenance is due.

Nothing of it reads a data file, and nothing of it locks.
"""

from __future__ import annotations

__all__ = ["Action", "Due", "Merges", "StoreStatus", "TableState", "TableStatus", "is_flush_due", "status_of"]

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from arrowopaque import clock
from arrowopaque.format import names
from arrowopaque.format.manifest import TableManifest
from arrowopaque.format.spec import TableSpec
from arrowopaque.maintain.tiers import plan
from arrowopaque.options import Options
from arrowopaque.store.volume import Volume


class Action(enum.StrEnum):
    """Maintenance that may be due; each is a command of its name."""

    FLUSH = "flush"
    COMPACT = "compact"
    VACUUM = "vacuum"


@dataclass(frozen=True, slots=True)
class Due:
    """One thing that should be done."""

    action: Action
    table: str
    reason: str


@dataclass(frozen=True, slots=True)
class Merges:
    """What a compaction would merge."""

    partitions: int = 0
    files: int = 0
    rows: int = 0
    """Rows that it would write."""


@dataclass(frozen=True, slots=True)
class TableState:
    """A table at one moment."""

    spec: TableSpec
    manifest: str | None
    """The current manifest."""
    delta: int | None = None
    """Rows of its delta; `None` if they cannot be seen from here."""
    tombstones: int | None = None


@dataclass(frozen=True, slots=True)
class TableStatus:
    """What one table consists of."""

    rows: int
    """Visible rows, as far as they can be seen from here."""
    live: int
    """Rows of data files that no deletion vector hides."""
    deleted: int
    """Rows of data files that one hides."""
    delta: int | None
    """Rows that are only in the database; `None` if it was not asked."""
    tombstones: int | None
    """Rows of data files whose deletion is only in the database."""
    bytes: int
    """Of data files, indexes and deletion vectors."""
    partitions: int
    files: int
    version: int | None
    """Of the manifest; `None` before there are data files."""
    committed: datetime | None
    """When that was, by the clock of whoever wrote it."""
    age: float | None
    """Seconds since then, by the clock of this host.

    The age of the delta is not known: its rows carry no time.
    """
    compaction: Merges
    """What `compact` would merge."""
    full_compaction: Merges
    """What it would with ``full``."""
    superseded: int
    """Manifests that nothing has needed for longer than the retention."""


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What a store consists of."""

    uri: str
    store: str
    """The store's id."""
    binding: str
    """What says which manifest is current: ``registry`` or ``root``."""
    tables: dict[str, TableStatus]
    due: tuple[Due, ...]


def status_of(
    volume: Volume, tables: Mapping[str, TableState], binding: str, *, is_past: bool = False
) -> StoreStatus:
    """Tell what a store consists of.

    Parameters
    ----------
    volume
        The store.
    tables
        Each table, at one moment.
    binding
        ``registry`` or ``root``.
    is_past
        Whether the moment is past, so that nothing is due.

    Raises
    ------
    CorruptStoreError
        A manifest is lost or damaged.
    """
    found = {name: _table(volume, name, state) for name, state in tables.items()}
    due = [
        item
        for name, status in ({} if is_past else found).items()
        for item in _due(name, tables[name], status, volume.options)
    ]
    return StoreStatus(volume.store.uri, volume.id, binding, found, tuple(due))


def _table(volume: Volume, name: str, state: TableState) -> TableStatus:
    manifest = None if state.manifest is None else volume.manifest(state.manifest)
    files = [] if manifest is None else [file for _, file in manifest.files()]
    live = sum(file.live for file in files)
    return TableStatus(
        rows=live - (state.tombstones or 0) + (state.delta or 0),
        live=live,
        deleted=sum(file.rows for file in files) - live,
        delta=state.delta,
        tombstones=state.tombstones,
        bytes=sum(file.all_bytes for file in files),
        partitions=0 if manifest is None else len(manifest.partitions),
        files=len(files),
        version=None if manifest is None else manifest.version,
        committed=None if manifest is None else manifest.created,
        age=None if manifest is None else (clock.now() - manifest.created).total_seconds(),
        compaction=_merges(manifest, volume.options, full=False),
        full_compaction=_merges(manifest, volume.options, full=True),
        superseded=_superseded(volume, name),
    )


def _merges(manifest: TableManifest | None, options: Options, *, full: bool) -> Merges:
    found = plan(manifest, options, full=full)
    return Merges(len(found), sum(len(merge.files) for merge in found), sum(merge.live for merge in found))


def _superseded(volume: Volume, name: str) -> int:
    """Return how many manifests a vacuum would delete, about.

    Nearly every commit that leaves garbage leaves a manifest among it, and to
    list these takes a request where a vacuum lists the whole store. Only a
    writer can ask for the store's time; a vacuum does before it deletes.
    """
    cutoff = clock.now() - timedelta(seconds=volume.options.retention)
    old = sum(info.modified < cutoff for info in volume.store.list(names.manifests_folder(name)))
    # The newest of them was current when the retention began.
    return max(0, old - 1)


def is_flush_due(recent: int, options: Options) -> bool:
    """Return whether so many rows and tombstones of a delta, of a table with
    a key, should be flushed: in one call they would have gone to a data file
    at once.
    """
    return recent >= options.bulk_rows


def _due(name: str, state: TableState, status: TableStatus, options: Options) -> Iterator[Due]:
    recent = (status.delta or 0) + (status.tombstones or 0)
    if is_flush_due(recent, options) and state.spec.primary_key:
        yield Due(Action.FLUSH, name, f"{recent:,} rows and tombstones are only in the database")
    merges = status.compaction
    if merges.files:
        yield Due(
            Action.COMPACT,
            name,
            f"{merges.files:,} files of {merges.partitions:,} partitions are worth merging",
        )
    if status.superseded:
        days = options.retention / 86_400
        yield Due(
            Action.VACUUM,
            name,
            f"{status.superseded:,} manifests were superseded more than {days:g} days ago",
        )
