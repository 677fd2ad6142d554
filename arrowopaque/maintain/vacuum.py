"""Vacuum: delete objects that nothing needs any more.

What protects an object: a retained manifest names it, or it is younger than
the retention by the store's own clock. A manifest is retained while it is
current and for the retention after it was superseded.
"""

from __future__ import annotations

__all__ = ["Garbage", "VacuumReport", "vacuum_leftovers", "vacuum_root", "vacuum_table"]

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from arrowopaque.errors import ConflictError, ObjectMissingError
from arrowopaque.format import names
from arrowopaque.format.document import dump
from arrowopaque.format.manifest import MetaTable
from arrowopaque.maintain.progress import Progress, ignored
from arrowopaque.objects.base import ObjectInfo
from arrowopaque.store.catalog import FileChain
from arrowopaque.store.root import Root
from arrowopaque.store.table import MaintainedTable
from arrowopaque.store.volume import Volume

_AT_ONCE = 500
"""Objects that are deleted under one lock, for as long as which writers wait."""

_KINDS = {
    names.Kind.DATA,
    names.Kind.INDEX,
    names.Kind.DELETES,
    names.Kind.TABLE_MANIFEST,
    names.Kind.PROBE,
}

_ONE_WRITE = 3600.0
"""Seconds that no write of one object takes after its last byte."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """One object that nothing needs."""

    path: str
    bytes: int
    modified: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class VacuumReport:
    """What a vacuum freed, or would free."""

    objects: int = 0
    bytes: int = 0
    busy: bool = False
    """Whether a table was left alone because it was in use."""
    garbage: tuple[Garbage, ...] = ()
    """Each object, and why nothing needs it."""
    stubs: int = 0
    """Links of a root's chain that are emptied; their names stay."""
    dry_run: bool = False
    """Whether nothing was deleted."""


_REASONS = {
    names.Kind.TABLE_MANIFEST: "superseded, or never committed, longer ago than the retention",
    names.Kind.DATA: "no retained manifest names it",
    names.Kind.INDEX: "no retained manifest names it",
    names.Kind.DELETES: "no retained manifest names it",
    names.Kind.PROBE: "its writer died before it was deleted",
}


def _described(infos: Iterable[ObjectInfo]) -> tuple[Garbage, ...]:
    found = []
    for info in infos:
        name = names.parse(info.path)
        assert name is not None, "strangers are not ours to delete"
        found.append(Garbage(info.path, info.size, info.modified, _REASONS[name.kind]))
    return tuple(found)


def _report(garbage: tuple[Garbage, ...], *, busy: bool = False, dry_run: bool = False) -> VacuumReport:
    size = sum(item.bytes for item in garbage)
    return VacuumReport(len(garbage), size, busy, garbage, dry_run=dry_run)


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


def _named(volume: Volume, manifests: Iterable[str], current: Collection[str | None]) -> set[str]:
    """Return what manifests name, and themselves.

    One that is not current may be gone since it was listed: another vacuum,
    begun a little later, does not retain it any more.
    """
    named: set[str] = set()
    for name in manifests:
        try:
            named.update([name, *volume.manifest(name).objects()])
        except ObjectMissingError:
            if name in current:
                raise
    return named


def _retained(
    volume: Volume, current: str | None, listing: dict[str, ObjectInfo], cutoff: datetime
) -> set[str]:
    """Return the manifests whose files must stay."""
    kept = {
        path
        for path, info in listing.items()
        if info.modified >= cutoff and (to := names.parse(path)) and to.kind is names.Kind.TABLE_MANIFEST
    }
    name = current
    while name is not None:
        kept.add(name)
        info = listing.get(name)
        # One that the listing lacks is newer than the listing.
        if info is not None and info.modified < cutoff:
            break
        name = _parent(volume, name, is_current=name == current)
        if name is not None and name not in listing:
            break
    return kept


def _parent(volume: Volume, name: str, *, is_current: bool) -> str | None:
    try:
        return volume.manifest(name).parent
    except ObjectMissingError:
        if is_current:
            raise
        # As in `_named`: what came before it is gone as well.
        return None


def vacuum_leftovers(volume: Volume, retention: float) -> int:
    """Free what writes that crashed have left unseen, and return how many.

    A write that is under way may be younger than a short retention.
    """
    seconds = max(retention, _ONE_WRITE)
    return volume.store.remove_leftovers(volume.store.now() - timedelta(seconds=seconds))


def vacuum_table(
    table: MaintainedTable, retention: float, *, dry_run: bool = False, progress: Progress = ignored
) -> VacuumReport:
    """Free what one table of a registry does not need.

    Parameters
    ----------
    table
        The table.
    retention
        Seconds, by the store's clock.
    dry_run
        Whether to delete nothing, and lock nobody out.
    progress
        Is told of objects that were deleted.
    """
    volume = table.volume
    # Listed before the lock is taken: whatever is staged later is not seen.
    listing = _ours(volume.store.list(names.table_folder(table.name)))
    cutoff = volume.store.now() - timedelta(seconds=retention)
    freed: tuple[Garbage, ...] = ()
    old = {path: info for path, info in listing.items() if info.modified < cutoff}
    if old and dry_run:
        current = table.current().manifest
        named = _named(volume, _retained(volume, current, listing, cutoff), [current])
        return _report(_described(old[path] for path in old if path not in named), dry_run=True)
    try:
        if old:
            # A commit whose files are in the listing will see this and look
            # whether they are still there.
            table.raise_fence()
        while old:
            with table.exclusive() as held:
                current = held.current().manifest
                named = _named(volume, _retained(volume, current, listing, cutoff), [current])
                doomed = [path for path in old if path not in named][:_AT_ONCE]
                volume.store.delete(doomed)
            if not doomed:
                break
            freed += _described(old.pop(path) for path in doomed)
            progress(len(doomed))
    except ConflictError:
        return _report(freed, busy=True)
    return _report(freed, dry_run=dry_run)


def vacuum_root(
    root: Root, retention: float, *, dry_run: bool = False, progress: Progress = ignored
) -> VacuumReport:
    """Free what no table of a root needs.

    A fence is put first: from then on, writers that staged their files
    before it stage them again.

    Parameters
    ----------
    root
        The store.
    retention
        Seconds, by the store's clock.
    dry_run
        Whether to delete nothing and to put no fence.
    progress
        Is told of objects that were deleted.
    """
    volume = root.volume
    if not dry_run:
        vacuum_leftovers(volume, retention)
    everything = list(volume.store.list())
    listing = _ours(everything)
    cutoff = volume.store.now() - timedelta(seconds=retention)
    modified = {info.path: info.modified for info in everything}
    old = {path: info for path, info in listing.items() if info.modified < cutoff}
    if not old:
        return VacuumReport(dry_run=dry_run)
    root.refresh()
    kept_metas = _retained_metas(volume, root.head, modified, cutoff)
    doomed = _garbage(volume, kept_metas, listing, old, cutoff)
    stale = kept_metas[-1].version - 1
    stubs = _full_links(volume, stale)
    if dry_run or not (doomed or stubs):
        plan = _report(_described(old[path] for path in doomed), dry_run=dry_run)
        return replace(plan, stubs=len(stubs))
    fence = root.commit(lambda head, commit: dict(head.tables), fence=cutoff)
    doomed = _garbage(volume, _retained_metas(volume, fence, modified, cutoff), listing, old, cutoff)
    for start in range(0, len(doomed), _AT_ONCE):
        some = doomed[start : start + _AT_ONCE]
        volume.store.delete(some)
        progress(len(some))
    _stub(volume, stubs)
    return replace(_report(_described(old[path] for path in doomed)), stubs=len(stubs))


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
    current = [entry.manifest for entry in metas[0].tables.values()]
    for name in current:
        manifests |= _retained(volume, name, listing, cutoff)
    named = _named(volume, manifests, current)
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


def _full_links(volume: Volume, version: int) -> list[MetaTable]:
    """Return the links up to ``version`` that are no stubs, newest first."""
    chain, found = FileChain(volume), []
    while version >= 1:
        meta = chain.read(version)
        if meta is None or meta.stub:
            break
        found.append(meta)
        version -= 1
    return found


def _stub(volume: Volume, links: Sequence[MetaTable]) -> None:
    """Empty links; their names and commit ids stay, so that no writer can
    ever take such a name again.
    """
    # Oldest first: after a crash the rest are found again, above the stubs.
    for meta in reversed(links):
        version = meta.version
        volume.store.put(
            names.chain_manifest(version), dump(meta.model_copy(update={"stub": True, "tables": {}}))
        )
