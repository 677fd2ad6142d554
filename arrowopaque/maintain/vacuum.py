"""Vacuum: delete objects that nothing needs any more.

What protects an object: a retained manifest names it, or it is younger than
the retention by the store's own clock. A manifest is retained while it is
current and for the retention after it was superseded.
"""

from __future__ import annotations

__all__ = ["VacuumReport", "vacuum_root", "vacuum_table"]

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from arrowopaque.errors import ConflictError
from arrowopaque.format import names
from arrowopaque.format.manifest import MetaTable, dump
from arrowopaque.objects.base import ObjectInfo
from arrowopaque.store.catalog import FileChain
from arrowopaque.store.root import Root
from arrowopaque.store.table import MaintainedTable
from arrowopaque.store.volume import Volume

_AT_ONCE = 2_000
"""Objects that are deleted under one lock."""

_KINDS = {names.Kind.DATA, names.Kind.INDEX, names.Kind.DELETES, names.Kind.TABLE_MANIFEST}


@dataclass(frozen=True, slots=True)
class VacuumReport:
    """What a vacuum freed."""

    objects: int = 0
    bytes: int = 0
    busy: bool = False
    """Whether a table was left alone because it was in use."""


def _ours(listing: Iterable[ObjectInfo]) -> dict[str, ObjectInfo]:
    """Return the objects that may become garbage; strangers are not ours to
    delete.
    """
    found = {}
    for info in listing:
        name = names.parse(info.path)
        if name is not None and name.kind in _KINDS:
            found[info.path] = info
    return found


def _named(volume: Volume, manifests: Iterable[str]) -> set[str]:
    named: set[str] = set()
    for name in manifests:
        named.add(name)
        named.update(volume.manifest(name).objects())
    return named


def _retained(
    volume: Volume, current: str | None, listing: dict[str, ObjectInfo], cutoff: datetime
) -> set[str]:
    """Return the manifests whose files must stay."""
    kept = {
        path
        for path, info in listing.items()
        if info.modified >= cutoff and (name := names.parse(path)) and name.kind is names.Kind.TABLE_MANIFEST
    }
    while current is not None:
        kept.add(current)
        info = listing.get(current)
        # One that the listing lacks is newer than the listing.
        if info is not None and info.modified < cutoff:
            break
        current = volume.manifest(current).parent
        if current is not None and current not in listing:
            break
    return kept


def vacuum_table(table: MaintainedTable, retention: float) -> VacuumReport:
    """Free what one table of a registry does not need.

    Parameters
    ----------
    table
        The table.
    retention
        Seconds, by the store's clock.
    """
    volume = table.volume
    # Listed before the lock is taken: whatever is staged later is not seen.
    listing = _ours(volume.store.list(names.table_folder(table.name)))
    cutoff = volume.store.now() - timedelta(seconds=retention)
    freed = size = 0
    old = {path: info for path, info in listing.items() if info.modified < cutoff}
    if old:
        # A commit whose files are in the listing will see this and look
        # whether they are still there.
        table.raise_fence()
    while old:
        try:
            with table.exclusive() as held:
                named = _named(volume, _retained(volume, held.current().manifest, listing, cutoff))
                doomed = [path for path in old if path not in named][:_AT_ONCE]
                volume.store.delete(doomed)
        except ConflictError:
            return VacuumReport(freed, size, busy=True)
        if not doomed:
            break
        freed += len(doomed)
        size += sum(old.pop(path).size for path in doomed)
    return VacuumReport(freed, size)


def vacuum_root(root: Root, retention: float) -> VacuumReport:
    """Free what no table of a root needs.

    A fence is put first: from then on, writers that staged their files
    before it stage them again.

    Parameters
    ----------
    root
        The store.
    retention
        Seconds, by the store's clock.
    """
    volume = root.volume
    everything = list(volume.store.list())
    listing = _ours(everything)
    cutoff = volume.store.now() - timedelta(seconds=retention)
    modified = {info.path: info.modified for info in everything}
    old = {path: info for path, info in listing.items() if info.modified < cutoff}
    if not old:
        return VacuumReport()
    root.refresh()
    kept_metas = _retained_metas(volume, root.head, modified, cutoff)
    doomed = _garbage(volume, kept_metas, listing, old, cutoff)
    stale = kept_metas[-1].version - 1
    if not doomed and _is_stubbed(volume, stale):
        return VacuumReport()
    fence = root.commit(lambda head, commit: dict(head.tables), fence=True)
    doomed = _garbage(volume, _retained_metas(volume, fence, modified, cutoff), listing, old, cutoff)
    size = sum(old[path].size for path in doomed)
    volume.store.delete(doomed)
    _stub(volume, stale)
    return VacuumReport(len(doomed), size)


def _garbage(
    volume: Volume,
    metas: list[MetaTable],
    listing: dict[str, ObjectInfo],
    old: dict[str, ObjectInfo],
    cutoff: datetime,
) -> list[str]:
    manifests: set[str] = set()
    for meta in metas:
        for entry in meta.tables.values():
            if entry.manifest is not None:
                manifests.add(entry.manifest)
    for entry in metas[0].tables.values():
        manifests |= _retained(volume, entry.manifest, listing, cutoff)
    named = _named(volume, manifests)
    return [path for path in old if path not in named]


def _retained_metas(
    volume: Volume, head: MetaTable, modified: dict[str, datetime], cutoff: datetime
) -> list[MetaTable]:
    """Return the head and what was superseded less than the retention ago,
    newest first.
    """
    chain, kept = FileChain(volume), [head]
    while True:
        newest = kept[-1]
        at = modified.get(names.chain_manifest(newest.version))
        if newest.parent is None or (at is not None and at < cutoff):
            return kept
        parent = chain.read(newest.parent)
        if parent is None or parent.stub:
            return kept
        kept.append(parent)


def _is_stubbed(volume: Volume, version: int) -> bool:
    if version < 1:
        return True
    meta = FileChain(volume).read(version)
    return meta is None or meta.stub


def _stub(volume: Volume, version: int) -> None:
    """Empty the links up to ``version``; their names and commit ids stay, so
    that no writer can ever take such a name again.
    """
    chain = FileChain(volume)
    while version >= 1:
        meta = chain.read(version)
        if meta is None or meta.stub:
            return
        volume.store.put(
            names.chain_manifest(version), dump(meta.model_copy(update={"stub": True, "tables": {}}))
        )
        version -= 1
