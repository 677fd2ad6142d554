"""The file chain: writers and a vacuum over a store that loses replies.

Every object is old enough for vacuum from the start: age alone protects
nothing here, as it does not where a writer stalls.
"""

from __future__ import annotations

__all__ = ["STEPS", "Link", "Store", "network", "vacuum", "writer"]

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tests.model.explorer import BlockedError, Process, Statement

STEPS = frozenset(
    {
        "lost replies are settled",
        "commit ids are compared",
        "stubs keep the commit id",
        "names are never freed",
        "vacuum puts a fence",
        "the floor is carried",
        "writers heed the floor",
        "listed before the fence",
    }
)


class Link(NamedTuple):
    """One version: who has written what, and in which files it lies."""

    commit: str | None
    floor: int
    content: tuple[str, ...]
    files: frozenset[str]
    stub: bool = False


@dataclass(frozen=True)
class Store:
    """One state of the store; `step` returns every next one."""

    links: frozenset[tuple[int, Link]]
    files: frozenset[str]
    flying: frozenset[tuple[int, Link]] = frozenset()
    """Requests whose senders wait no longer."""
    losses: int = 1
    log: tuple[tuple[int, Link], ...] = ()
    """What was ever stored, in that order."""

    def named(self) -> dict[int, Link]:
        return dict(self.links)

    def head(self) -> tuple[int, Link]:
        return max(self.links, key=lambda found: found[0])

    def crash(self, process: int) -> Store:
        return self

    def victims(self, process: int) -> Store | None:
        return None

    def step(self, process: int, statement: Statement) -> list[tuple[Store, Any]]:
        kind, *arguments = statement
        outcomes: list[tuple[Store, Any]] = getattr(self, kind)(*arguments)
        return outcomes

    def read_head(self) -> list[tuple[Store, Any]]:
        return [(self, self.head())]

    def get(self, version: int) -> list[tuple[Store, Any]]:
        return [(self, self.named().get(version))]

    def list_files(self) -> list[tuple[Store, Any]]:
        return [(self, self.files)]

    def stage(self, file: str) -> list[tuple[Store, Any]]:
        return [(replace(self, files=self.files | {file}), None)]

    def put(self, version: int, link: Link) -> list[tuple[Store, Any]]:
        stored, reply = self._stored(version, link)
        outcomes: list[tuple[Store, Any]] = [(stored, reply)]
        if self.losses:
            fewer = self.losses - 1
            outcomes.append((replace(stored, losses=fewer), "lost"))
            outcomes.append((replace(self, losses=fewer), "lost"))
            outcomes.append((replace(self, losses=fewer, flying=self.flying | {(version, link)}), "lost"))
        return outcomes

    def _stored(self, version: int, link: Link) -> tuple[Store, str]:
        if version in self.named():
            return self, "exists"
        log = (*self.log, (version, link))
        return replace(self, links=self.links | {(version, link)}, log=log), "created"

    def deliver(self) -> list[tuple[Store, Any]]:
        if not self.flying:
            raise BlockedError(self)
        landed = (replace(self, flying=self.flying - {late})._stored(*late)[0] for late in self.flying)
        return [(store, None) for store in landed]

    def free(self, files: frozenset[str], links: dict[int, Link | None]) -> list[tuple[Store, Any]]:
        kept = {**self.named(), **links}
        left = frozenset((version, link) for version, link in kept.items() if link is not None)
        return [(replace(self, files=self.files - files, links=left), None)]


def network() -> Process:
    """Deliver late requests at any time."""
    while True:
        yield ("deliver",)


def writer(name: str, has: frozenset[str]) -> Process:
    """Add one's name to the content; return what the caller is told."""
    version, head = yield ("read_head",)
    staged_at, file = version, name
    yield ("stage", file)
    while True:
        if head.floor > staged_at and "writers heed the floor" in has:
            staged_at, file = version, file + "'"
            yield ("stage", file)
            version, head = yield ("read_head",)
            continue
        floor = head.floor if "the floor is carried" in has else 0
        link = Link(name, floor, (*head.content, name), head.files | {file})
        while (reply := (yield ("put", version + 1, link))) == "lost":
            if "lost replies are settled" not in has:
                return "failed"
        if reply == "created":
            return "committed"
        stored = yield ("get", version + 1)
        if stored is not None and stored.commit == name and "commit ids are compared" in has:
            return "committed"
        version, head = yield ("read_head",)


def vacuum(name: str, has: frozenset[str]) -> Process:
    """Free what the head does not name."""
    listed = yield ("list_files",)
    while True:
        version, head = yield ("read_head",)
        if "vacuum puts a fence" not in has:
            break
        fence = Link(name, version + 1, head.content, head.files)
        reply = yield ("put", version + 1, fence)
        if reply == "created":
            break
        stored = yield ("get", version + 1)
        if stored is not None and stored.commit == name:
            break
    if "listed before the fence" not in has:
        listed = yield ("list_files",)
    stubs: dict[int, Link | None] = {}
    for older in range(1, version):
        link = yield ("get", older)
        if link is not None:
            commit = link.commit if "stubs keep the commit id" in has else None
            stub = Link(commit, link.floor, (), frozenset(), stub=True)
            stubs[older] = stub if "names are never freed" in has else None
    yield ("free", listed - head.files, stubs)
    return "done"
