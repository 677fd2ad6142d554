"""Recover: go back to the newest sound manifest, and tell what that drops.

Never done by the way: an ordinary open or read of a damaged store fails.
"""

from __future__ import annotations

__all__ = ["Dropped", "RecoveredTable", "Recovery", "recover_root", "recover_table"]

import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from arrowopaque import clock
from arrowopaque.errors import ConflictError, CorruptStoreError
from arrowopaque.format import names
from arrowopaque.format.document import dump
from arrowopaque.format.manifest import Key, MetaTable, TableManifest, check_manifest
from arrowopaque.format.spec import TableSpec
from arrowopaque.format.values import Values
from arrowopaque.maintain.verify import check_objects, unremembered
from arrowopaque.store.base import Base
from arrowopaque.store.catalog import FileChain, Outcome
from arrowopaque.store.matches import live_only, rows_of
from arrowopaque.store.table import Current, DeltaState, key_table
from arrowopaque.store.volume import Volume, publish


@dataclass(frozen=True, slots=True)
class Dropped:
    """A commit that a recovery gives up; what is not known is `None`."""

    version: int
    commit: str | None
    created: datetime | None
    rows: dict[str, int | None]
    """Rows in data files after it, by table."""
    problem: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery did, or would do."""

    kept: str
    """The manifest that is sound and gone back to."""
    dropped: tuple[Dropped, ...] = ()
    """The commits after it, newest first."""
    mended: tuple[str, ...] = ()
    """Links of a chain that are written again, or emptied to stubs."""
    buried: int = 0
    """Rows of data files that delta rows replace."""
    dry_run: bool = True

    @property
    def needed(self) -> bool:
        """Whether there is anything to recover."""
        return bool(self.dropped or self.mended)


def _sound(volume: Volume, table: str, spec: TableSpec, name: str) -> tuple[TableManifest | None, str]:
    """Return a manifest if it can be read, and what is wrong with it."""
    try:
        manifest = volume.manifest(name)
        check_manifest(manifest, spec)
    except CorruptStoreError as err:
        return None, str(err)
    if manifest.table != table:
        return None, f"{name} is of table {manifest.table!r}"
    finding = next(check_objects(Base(volume, spec, manifest), table), None)
    return manifest, "" if finding is None else f"{finding.object}: {finding.problem}"


# A table of a registry.


class Held(Protocol):
    """A table while nobody else can change it."""

    def current(self) -> Current:
        """Return the catalog row."""

    def state(self) -> DeltaState:
        """Return the whole delta and all tombstones."""

    def bury(self, keys: Sequence[Key]) -> None:
        """Add tombstones."""

    def raise_fence(self) -> None:
        """Let every commit find out that staged files may be gone."""

    def swap(self, old: str | None, new: str) -> None:
        """Make ``new`` the current manifest if ``old`` is."""


class RecoveredTable(Protocol):
    """What a recovery asks of a table of a registry."""

    name: str
    spec: TableSpec

    @property
    def volume(self) -> Volume:
        """The store that it lies in."""

    def ancestor(self) -> str | None:
        """Return the manifest that was current before, as far as known."""

    def current(self) -> Current:
        """Return the catalog row."""

    def exclusive(self) -> AbstractContextManager[Held]:
        """Keep every other writer out for the length of a commit."""


def recover_table(table: RecoveredTable, *, dry_run: bool) -> Recovery | None:
    """Go back to the newest sound manifest that was current once.

    Parameters
    ----------
    table
        The table.
    dry_run
        Whether to change nothing.

    Returns
    -------
    recovery
        `None` for a table that has no data files.

    Raises
    ------
    CorruptStoreError
        No sound manifest is left.
    """
    volume = unremembered(table.volume)
    lost = table.current().manifest
    if lost is None:
        return None
    kept, dropped = _newest_sound(volume, table, lost)
    recovery = Recovery(kept.name, tuple(dropped), dry_run=dry_run)
    if dry_run or not dropped:
        return recovery
    with table.exclusive() as held:
        if held.current().manifest != lost:
            raise ConflictError(f"table {table.name!r} was changed meanwhile: look again")
        buried = _clashes(Base(volume, table.spec, kept), held.state())
        held.bury(sorted(buried))
        # What was staged on the lost manifest is looked at before it is committed.
        held.raise_fence()
        held.swap(lost, volume.put_manifest(_following(kept, lost), table.spec))
    return Recovery(kept.name, tuple(dropped), buried=len(buried), dry_run=False)


def _version(name: str) -> int:
    parsed = names.parse(name)
    return parsed.version or 0 if parsed else 0


def _newest_sound(volume: Volume, table: RecoveredTable, lost: str) -> tuple[TableManifest, list[Dropped]]:
    """Return the newest sound manifest among those that are known to have
    been committed, and what came after it.
    """
    known = {name for name in (lost, table.ancestor(), _published(volume, table.name)) if name is not None}
    dropped: list[Dropped] = []
    while known:
        name = max(known, key=_version)
        known.remove(name)
        manifest, problem = _sound(volume, table.name, table.spec, name)
        if manifest is not None and not problem:
            return manifest, dropped
        if manifest is not None and manifest.parent is not None:
            known.add(manifest.parent)
        dropped.append(_dropped(table.name, name, manifest, problem))
    raise CorruptStoreError(
        f"table {table.name!r} of {volume.store.uri}: no sound manifest is known to have been committed; "
        "restore one of the objects that are named from a copy: " + "; ".join(d.problem for d in dropped)
    )


def _published(volume: Volume, table: str) -> str | None:
    try:
        copy = FileChain(volume).published()
    except CorruptStoreError:
        return None
    entry = copy.tables.get(table) if copy is not None else None
    return entry.manifest if entry is not None else None


def _dropped(table: str, name: str, manifest: TableManifest | None, problem: str) -> Dropped:
    parsed = names.parse(name)
    rows = None if manifest is None else manifest.rows
    created = None if manifest is None else manifest.created
    return Dropped(_version(name), parsed.commit if parsed else None, created, {table: rows}, problem)


def _following(kept: TableManifest, lost: str) -> TableManifest:
    """Return the commit that follows a lost one, with the files of ``kept``."""
    return kept.model_copy(
        update={
            "version": max(_version(lost), kept.version) + 1,
            "commit": clock.new_id(),
            "parent": kept.name,
            "created": clock.now(),
        }
    )


def _clashes(base: Base, state: DeltaState) -> set[Key]:
    """Return the keys of rows that come back, and that delta rows replace."""
    key, found = base.spec.primary_key, set[Key]()
    if not state.rows:
        return found
    delta = Values(base.spec).table(list(state.rows.values()))
    gone = key_table(base.spec, list(state.tombstones)) if state.tombstones else None
    for columns in (key, *base.spec.unique):
        wanted = list(dict.fromkeys([*columns, *key]))
        for match in live_only(base.matching(columns, delta, wanted), gone, key):
            found.update(rows_of(match.rows.select(list(key))))
    return found


# A root.


@dataclass(slots=True)
class _Chain:
    """What is left of a chain."""

    volume: Volume
    newest: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)
    copy: MetaTable | None = None

    def read(self, version: int) -> MetaTable | None:
        """Return a link, or its copy, if one is sound."""
        try:
            link = FileChain(self.volume).read(version)
            problem = f"{names.chain_manifest(version)} does not exist"
        except CorruptStoreError as err:
            link, problem = None, str(err)
        if link is None:
            self.unreadable[version] = problem
            if self.copy is not None and self.copy.version == version:
                return self.copy
        return link


def recover_root(volume: Volume, *, dry_run: bool) -> Recovery:
    """Go back to the newest sound link of a chain.

    Parameters
    ----------
    volume
        The store.
    dry_run
        Whether to change nothing.

    Raises
    ------
    CorruptStoreError
        No sound link is left.
    ConflictError
        Another client was faster.
    """
    volume = unremembered(volume)
    chain = _survey(volume)
    kept, dropped = _newest_link(chain)
    mended = sorted(chain.unreadable)
    recovery = Recovery(
        names.chain_manifest(kept.version),
        tuple(dropped),
        tuple(names.chain_manifest(version) for version in mended),
        dry_run=dry_run,
    )
    if dry_run or not recovery.needed:
        return recovery
    # The new link comes first: nobody gets past a damaged one, and nobody may build on a stub.
    newest = _append(chain, kept) if dropped else kept
    for version in mended:
        _mend(chain, version)
    publish(volume, newest)
    return recovery


def _survey(volume: Volume) -> _Chain:
    chain = _Chain(volume)
    try:
        chain.copy = FileChain(volume).published()
    except CorruptStoreError:
        chain.copy = None
    listed = {
        name.version
        for info in volume.store.list(names.CHAIN)
        if (name := names.parse(info.path)) is not None and name.version is not None
    }
    chain.newest = max([0, *listed, *([chain.copy.version] if chain.copy else [])])
    for version in range(1, chain.newest + 1):
        if version not in listed:
            chain.unreadable[version] = f"{names.chain_manifest(version)} does not exist"
    return chain


def _newest_link(chain: _Chain) -> tuple[MetaTable, list[Dropped]]:
    dropped: list[Dropped] = []
    for version in range(chain.newest, 0, -1):
        link = chain.read(version)
        if link is not None and link.stub:
            break
        rows, problem = _tables(chain.volume, link) if link else ({}, chain.unreadable[version])
        if link is not None and not problem:
            return link, dropped
        commit, created = (link.commit, link.created) if link else (None, None)
        dropped.append(Dropped(version, commit, created, rows, problem))
    raise CorruptStoreError(
        f"{chain.volume.store.uri}: no sound manifest is left; restore one of the objects that are named "
        "from a copy: " + "; ".join(item.problem for item in dropped)
    )


def _tables(volume: Volume, link: MetaTable) -> tuple[dict[str, int | None], str]:
    """Return the rows of every table at a link, and the first problem."""
    rows: dict[str, int | None] = {}
    problems = []
    for table, entry in link.tables.items():
        if entry.manifest is not None:
            manifest, problem = _sound(volume, table, entry.spec, entry.manifest)
            rows[table] = None if manifest is None else manifest.rows
            problems += [problem] if problem else []
    return rows, problems[0] if problems else ""


def _append(chain: _Chain, kept: MetaTable) -> MetaTable:
    version = chain.newest + 1
    link = MetaTable(
        store=kept.store,
        version=version,
        parent=chain.newest,
        commit=clock.new_id(),
        created=clock.now(),
        writer=socket.gethostname(),
        # Whatever was staged before has to be staged again.
        floor=version,
        # A dropped link may have been a vacuum's; the receipts of dropped links can be taken again.
        swept=chain.volume.store.now(),
        taken=kept.version if kept.receipts else kept.taken,
        tables=kept.tables,
    )
    if FileChain(chain.volume).append(link) is not Outcome.COMMITTED:
        raise ConflictError(f"{chain.volume.store.uri}: another client committed meanwhile: look again")
    return link


def _mend(chain: _Chain, version: int) -> None:
    """Write a lost link again: from its copy, or as a stub that keeps its name."""
    copy = chain.copy
    if copy is None or copy.version != version:
        copy = MetaTable(
            store=chain.volume.id,
            version=version,
            parent=version - 1 or None,
            commit=clock.new_id(),
            created=clock.now(),
            writer=socket.gethostname(),
            stub=True,
        )
    chain.volume.store.put(names.chain_manifest(version), dump(copy))
