"""The root binding: writers, compactions and vacuums over a store that loses replies.

Every object is old enough for vacuum from the start: age alone protects
nothing here, as it does not where a writer stalls. A data file is an object
that holds rows; a manifest one that names files, each with the positions of
its deleted rows; a link of the chain names a manifest.
"""

from __future__ import annotations

__all__ = ["STEPS", "Link", "Store", "network", "started", "vacuum", "writer"]

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tests.model.clients import Steps
from tests.model.explorer import BlockedError, Process, Statement

STEPS = frozenset(
    {
        "put if absent",
        "lost replies are settled",
        "commit ids are compared",
        "stubs keep the commit id",
        "names are never freed",
        "vacuum puts a fence",
        "the floor is carried",
        "writers heed the floor",
        "listed before the fence",
        "manifests are named anew",
        "a rebase builds on the head",
        "a rebase checks keys again",
        "positions are found anew",
        "a compaction starts over",
    }
)

Files = dict[Hashable, tuple[tuple[int, ...], frozenset[int]]]
"""Rows and deleted positions of each file."""


class Link(NamedTuple):
    """One version: who has written it, and what it names."""

    commit: str | None
    floor: int
    manifest: Hashable
    stub: bool = False


@dataclass(frozen=True)
class Store:
    """One state of the store; `step` returns every next one."""

    links: frozenset[tuple[int, Link]]
    objects: frozenset[tuple[Hashable, Any]]
    flying: frozenset[tuple[int, Link]] = frozenset()
    """Requests whose senders wait no longer."""
    losses: int = 1
    fates: tuple[str, ...] = ("landed", "lost", "late")
    """What may have become of a put without a reply."""
    if_absent: bool = True
    unlisted: bool = False
    """Whether there is no vacuum."""
    log: tuple[tuple[int, str | None, tuple[int, ...] | None], ...] = ()
    """What was ever linked, in that order: version, commit and rows."""

    def __hash__(self) -> int:
        return hash((self.links, self.objects, self.flying, self.losses, self.log))

    def named(self) -> dict[int, Link]:
        return dict(self.links)

    def head(self) -> tuple[int, Link]:
        return max(self.links, key=lambda found: found[0])

    def files(self, link: Link) -> Files | None:
        """Return what a link names, if it is all there."""
        objects = dict(self.objects)
        manifest = objects.get(link.manifest)
        if manifest is None or any(file not in objects for file, _ in manifest):
            return None
        return {file: (objects[file], gone) for file, gone in manifest}

    def crash(self, process: int) -> Store:
        return self

    def victims(self, process: int) -> Store | None:
        return None

    def is_local(self, statement: Statement) -> bool:
        # Nobody can tell when a file was written, unless a vacuum lists.
        return self.unlisted and statement[0] == "write"

    def step(self, process: int, statement: Statement) -> list[tuple[Store, Any]]:
        kind, *arguments = statement
        outcomes: list[tuple[Store, Any]] = getattr(self, kind)(*arguments)
        return outcomes

    def begin(self) -> list[tuple[Store, Any]]:
        """Return the head and its files; what a client passes on its way there
        never changes.
        """
        version, link = self.head()
        return [(self, (version, link, _frozen(self.files(link))))]

    def get(self, version: int) -> list[tuple[Store, Any]]:
        return [(self, self.named().get(version))]

    def list_objects(self) -> list[tuple[Store, Any]]:
        return [(self, frozenset(name for name, _ in self.objects))]

    def write(self, name: Hashable, content: Any) -> list[tuple[Store, Any]]:
        kept = frozenset(found for found in self.objects if found[0] != name)
        return [(replace(self, objects=kept | {(name, content)}), None)]

    def put(self, version: int, link: Link) -> list[tuple[Store, Any]]:
        stored, reply = self._stored(version, link)
        outcomes: list[tuple[Store, Any]] = [(stored, reply)]
        if self.losses:
            late = replace(self, flying=self.flying | {(version, link)})
            fates = {"landed": stored, "lost": self, "late": late}
            outcomes += [(replace(fates[fate], losses=self.losses - 1), "lost") for fate in self.fates]
        return outcomes

    def _stored(self, version: int, link: Link) -> tuple[Store, str]:
        if version in self.named() and self.if_absent:
            return self, "exists"
        files = self.files(link)
        log = (*self.log, (version, link.commit, None if files is None else rows_of(files)))
        kept = {**self.named(), version: link}
        return replace(self, links=frozenset(kept.items()), log=log), "created"

    def deliver(self) -> list[tuple[Store, Any]]:
        if not self.flying:
            raise BlockedError(self)
        landed = (replace(self, flying=self.flying - {late})._stored(*late)[0] for late in self.flying)
        return [(store, None) for store in landed]

    def free(self, names: frozenset[Hashable], links: dict[int, Link | None]) -> list[tuple[Store, Any]]:
        kept = {**self.named(), **links}
        left = frozenset((version, link) for version, link in kept.items() if link is not None)
        objects = frozenset(found for found in self.objects if found[0] not in names)
        return [(replace(self, objects=objects, links=left), None)]


def _frozen(files: Files | None) -> Hashable:
    return None if files is None else tuple(sorted(files.items(), key=repr))


def rows_of(files: Files) -> tuple[int, ...]:
    """Return the live rows, with what is there twice twice."""
    found = [row for rows, gone in files.values() for at, row in enumerate(rows) if at not in gone]
    return tuple(sorted(found))


def started(losses: int, has: frozenset[str], fates: tuple[str, ...]) -> Store:
    """Return a store with rows 1 and 2 in one file."""
    file, manifest = ("first", "file"), ("first", "manifest")
    objects = {(file, (1, 2)), (manifest, frozenset({(file, frozenset[int]())}))}
    first = Link("first", 0, manifest)
    if_absent = "put if absent" in has
    return Store(frozenset({(1, first)}), frozenset(objects), losses=losses, fates=fates, if_absent=if_absent)


def network() -> Process:
    """Deliver late requests at any time."""
    while True:
        yield ("deliver",)


def _append(version: int, link: Link, has: frozenset[str]) -> Steps:
    """Put a link; return whether it is ours, `None` if it was given up."""
    while (reply := (yield ("put", version, link))) == "lost":
        if "lost replies are settled" not in has:
            return None
    if reply == "created":
        return True
    stored = yield ("get", version)
    return stored is not None and stored.commit == link.commit and "commit ids are compared" in has


def writer(name: str, operation: tuple[Any, ...], has: frozenset[str]) -> Process:
    """Insert or delete a row, or compact; return what the caller is told."""
    version, link, begun = yield ("begin",)
    if begun is None:
        return "missing"
    known: Files = dict(begun)
    if operation[0] == "insert" and operation[1] in rows_of(known):
        return "clash"
    file = yield from _stage(name, 0, operation, known)
    commit = _Commit(name, operation, has, known, version, file)
    while (answer := (yield from commit.attempt(version, link, begun))) is None:
        version, link, begun = yield ("begin",)
    return str(answer)


class _Commit:
    """A commit that is tried until it is known how it ended."""

    def __init__(
        self,
        name: str,
        operation: tuple[Any, ...],
        has: frozenset[str],
        known: Files,
        at: int,
        file: Hashable,
    ) -> None:
        self._name, self._operation, self._has = name, operation, has
        self._known, self._staged_at, self._file = known, at, file
        self._attempts = 0

    def attempt(self, version: int, link: Link, found: Any) -> Steps:
        """Return the answer, `None` to try again on the next head."""
        refusal = yield from self._restaged(version, link)
        if refusal is not None or found is None:
            return refusal or "missing"
        now: Files = dict(found) if "a rebase builds on the head" in self._has else self._known
        refusal = self._refusal(now)
        if refusal is not None:
            return refusal
        source = now if "positions are found anew" in self._has else self._known
        number = self._attempts if "manifests are named anew" in self._has else 0
        self._attempts += 1
        manifest = (self._name, "manifest", number)
        if self._operation[0] == "compact":
            # Files that the others brought stay beside the merged one.
            now = {file: held for file, held in now.items() if file not in self._known}
        yield ("write", manifest, _composed(self._operation, now, source, self._file))
        floor = link.floor if "the floor is carried" in self._has else 0
        landed = yield from _append(version + 1, Link(self._name, floor, manifest), self._has)
        return {None: "failed", True: "committed", False: None}[landed]

    def _restaged(self, version: int, link: Link) -> Steps:
        """Write the files again, if a vacuum may have taken them."""
        if link.floor <= self._staged_at or "writers heed the floor" not in self._has:
            return None
        if self._operation[0] == "compact" and "a compaction starts over" in self._has:
            return "started over"
        if self._operation[0] == "insert":
            self._file = yield from _stage(self._name, version, self._operation, self._known)
        self._staged_at = version
        return None

    def _refusal(self, now: Files) -> str | None:
        """Return why the operation cannot be done on what the others did."""
        kind, *rest = self._operation
        rivals = {file: held for file, held in now.items() if file not in self._known}
        if kind == "insert" and rest[0] in rows_of(rivals) and "a rebase checks keys again" in self._has:
            return "clash"
        changed = any(now.get(file) != held for file, held in self._known.items())
        return "started over" if kind == "compact" and changed else None


def _stage(name: str, at: int, operation: tuple[Any, ...], known: Files) -> Steps:
    """Write the data file of an operation, if it has one."""
    kind, *rest = operation
    if kind == "delete":
        return None
    file = (name, "file", at)
    yield ("write", file, tuple(rest) if kind == "insert" else rows_of(known))
    return file


def _composed(
    operation: tuple[Any, ...], now: Files, source: Files, file: Hashable
) -> frozenset[tuple[Hashable, frozenset[int]]]:
    """Return the manifest with a file added or positions deleted."""
    kind, *rest = operation
    kept = {name: gone for name, (_, gone) in now.items()}
    if kind in ("insert", "compact"):
        kept[file] = frozenset()
    else:
        for name, (rows, _) in source.items():
            if name in kept:
                kept[name] |= {at for at, row in enumerate(rows) if row == rest[0]}
    return frozenset(kept.items())


def vacuum(name: str, has: frozenset[str]) -> Process:
    """Free what the head does not name."""
    listed = yield ("list_objects",)
    while True:
        version, head, files = yield ("begin",)
        if "vacuum puts a fence" not in has:
            break
        if (yield from _append(version + 1, Link(name, version + 1, head.manifest), has)):
            break
    if "listed before the fence" not in has:
        listed = yield ("list_objects",)
    if files is None:
        return "missing"
    stubs: dict[int, Link | None] = {}
    for older in range(1, version):
        link = yield ("get", older)
        if link is not None:
            commit = link.commit if "stubs keep the commit id" in has else None
            stub = Link(commit, link.floor, None, stub=True)
            stubs[older] = stub if "names are never freed" in has else None
    yield ("free", listed - {head.manifest, *(file for file, _ in files)}, stubs)
    return "done"
