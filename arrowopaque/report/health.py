"""How the data files of a table are: partitions, deleted rows, growth."""

from __future__ import annotations

__all__ = ["Files", "Growth", "Part", "Worn", "files_of", "growth"]

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format.manifest import MetaTable, Partition, TableManifest
from arrowopaque.maintain.tiers import plan
from arrowopaque.options import Options
from arrowopaque.store.catalog import FileChain
from arrowopaque.store.volume import Volume

MOST = 200
_LISTED = 20
WORN = 0.1
"""Share of deleted rows from which a file is told of."""


@dataclass(frozen=True, slots=True)
class Part:
    """One partition, or some that follow each other."""

    first: int
    """Place of the first in the order of keys, from 0."""
    partitions: int
    rows: int
    """Rows that are not deleted."""
    deleted: int
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Worn:
    """A data file that has many deleted rows."""

    path: str
    rows: int
    """Rows that are not deleted."""
    deleted: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Files:
    """The data files of a table."""

    version: int
    created: datetime
    rows: int
    """Rows that are not deleted."""
    deleted: int
    bytes: int
    """Of data files, indexes and deletion vectors."""
    files: int
    partitions: int
    parts: tuple[Part, ...]
    """All of them, at most 200."""
    worn_files: int
    """Files of which a tenth or more is deleted."""
    worn: tuple[Worn, ...]
    """The worst of them."""
    due_partitions: int
    """Partitions that `compact` would change."""
    due_files: int
    """Files that it would merge."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The data files of a table at an earlier version."""

    version: int
    """Of the table's manifest, or of the store for a root without a registry."""
    created: datetime
    rows: int
    bytes: int
    files: int


def files_of(manifest: TableManifest, options: Options) -> Files:
    """Return how a table's data files are."""
    files = [file for _, file in manifest.files()]
    worn = [file for file in files if file.rows - file.live >= WORN * file.rows]
    worn.sort(key=lambda file: (file.live / file.rows, file.path))
    due = plan(manifest, options)
    return Files(
        version=manifest.version,
        created=manifest.created,
        rows=manifest.rows,
        deleted=sum(file.rows for file in files) - manifest.rows,
        bytes=sum(file.all_bytes for file in files),
        files=len(files),
        partitions=len(manifest.partitions),
        parts=tuple(_parts(manifest.partitions)),
        worn_files=len(worn),
        worn=tuple(
            Worn(file.path, file.live, file.rows - file.live, file.all_bytes) for file in worn[:_LISTED]
        ),
        due_partitions=len(due),
        due_files=sum(len(merge.files) for merge in due),
    )


def _parts(partitions: tuple[Partition, ...]) -> Iterator[Part]:
    """Yield partitions, neighbours taken together where they are too many."""
    size = -(-len(partitions) // MOST)
    for first in range(0, len(partitions), size or 1):
        some = partitions[first : first + size]
        files = [file for partition in some for file in partition.files]
        rows = sum(file.live for file in files)
        yield Part(
            first,
            len(some),
            rows,
            sum(file.rows for file in files) - rows,
            sum(file.all_bytes for file in files),
            len(files),
        )


def growth(volume: Volume, name: str, manifest: str | None, head: MetaTable | None) -> tuple[Growth, ...]:
    """Return how a table was, oldest first, as far back as is stored.

    Parameters
    ----------
    volume
        The store.
    name
        The table.
    manifest
        Its current manifest.
    head
        The newest link of the chain, if that is the truth: then up to 200 of
        all links are looked at, else the last 200 manifests of the table.
    """
    found = _ancestors(volume, manifest) if head is None else _links(volume, name, head)
    return tuple(sorted(found, key=lambda point: point.version))


def _ancestors(volume: Volume, name: str | None) -> Iterator[Growth]:
    for _ in range(MOST):
        manifest = None if name is None else _load(volume, name)
        if manifest is None:
            return
        yield _point(manifest, manifest.version, manifest.created)
        name = manifest.parent


def _links(volume: Volume, name: str, head: MetaTable) -> Iterator[Growth]:
    chain, last = FileChain(volume), None
    for version in _spread(head.version):
        link = head if version == head.version else _link(chain, version)
        entry = link.tables.get(name) if link is not None and not link.stub else None
        if link is None or entry is None or entry.manifest is None or entry.manifest == last:
            continue
        last = entry.manifest
        manifest = _load(volume, last)
        if manifest is not None:
            yield _point(manifest, version, link.created)


def _spread(newest: int) -> list[int]:
    """Return at most 200 versions up to the newest."""
    if newest <= MOST:
        return list(range(1, newest + 1))
    return sorted({newest - round(step * (newest - 1) / (MOST - 1)) for step in range(MOST)})


def _link(chain: FileChain, version: int) -> MetaTable | None:
    try:
        return chain.read(version)
    except CorruptStoreError:
        # What is damaged, `verify` tells.
        return None


def _load(volume: Volume, name: str) -> TableManifest | None:
    """Return a manifest, `None` if a vacuum has taken it."""
    try:
        return volume.manifest(name)
    except CorruptStoreError:
        return None


def _point(manifest: TableManifest, version: int, created: datetime) -> Growth:
    files = [file for _, file in manifest.files()]
    return Growth(version, created, manifest.rows, sum(file.all_bytes for file in files), len(files))
