"""Let an operation fail at each of its steps in turn, and compare with what it should have done.

To repeat one failure alone, give the environment variable ``FAULT`` the step
and mode that the assertion names, and run that test.
"""

from __future__ import annotations

__all__ = ["Operation", "State", "Sweep", "replayed"]

import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.exc import DBAPIError, IntegrityError

from arrowopaque.errors import ArrowOpaqueError
from arrowopaque.format import names
from arrowopaque.maintain.findings import Check
from arrowopaque.objects.base import ObjectStore
from arrowopaque.objects.opening import open_store
from arrowopaque.store import volume as volume_module
from arrowopaque.store.catalog import FileChain
from arrowopaque.store.volume import Volume
from tests.opaque.suite_base import contents
from tests.support import specs
from tests.support.faults import Fault, Faults, Mode, injected
from tests.support.subjects import RegistrySubject, Repository, RootSubject, Subject

State = dict[str, list[specs.Row]]
"""The rows of each table."""

TABLES = ("t", "u")
_LATER = timedelta(days=1)


@dataclass(frozen=True)
class Operation:
    """Something a client does, and what it should change."""

    prepare: Callable[[Subject], None]
    act: Callable[[Subject], object]
    after: State
    repeatable: bool = True
    """Whether doing it twice is the same as doing it once; otherwise the second time is refused."""
    later: bool = False
    """Whether it happens long after the state it starts from was stored."""


def replayed(faults: Iterable[Fault]) -> Iterator[Fault]:
    """Yield the faults to try: all, or the one that the environment asks for."""
    asked = os.environ.get("FAULT")
    for fault in faults:
        if asked is None or str(fault) == asked:
            yield fault


def ours(client: Subject) -> Any:
    """Return a client's manager; it has more methods than the host's interface."""
    return client.manager


def volume_of(client: Subject) -> Volume:
    found: Volume = client.root.volume if isinstance(client, RootSubject) else ours(client)._binding.volume
    return found


def _forget(client: Subject) -> None:
    """Empty a client's cache."""
    volume_of(client).cache.clear()


def seen(client: Subject) -> State:
    """Return all rows that a client sees."""
    client.refresh()
    for name in TABLES:
        client.manager.register(name, specs.standard())
    return {name: contents(client.manager[name]) for name in TABLES}


class _Saved:
    """A repository as it was, to be put back."""

    def __init__(self, store: ObjectStore, keeper: RegistrySubject | None) -> None:
        self._store = store
        self._objects = {info.path: store.get(info.path) for info in store.list()}
        self._engine = None if keeper is None else keeper.database._engine
        self._rows: list[tuple[sqlalchemy.Table, list[dict[str, Any]]]] = []
        if keeper is not None:
            tables = sqlalchemy.MetaData()
            with keeper.database._engine.connect() as connection:
                tables.reflect(connection, schema=keeper.database.namespace)
                for table in tables.sorted_tables:
                    rows = [dict(row._mapping) for row in connection.execute(table.select())]
                    self._rows.append((table, rows))

    def restore(self) -> None:
        here = {info.path: info.size for info in self._store.list()}
        self._store.delete(here.keys() - self._objects.keys())
        for path, data in self._objects.items():
            if here.get(path) != len(data) or path == names.PUBLISHED:
                self._store.put(path, data)
        if self._engine is None:
            return
        with self._engine.begin() as connection:
            for table, rows in self._rows:
                connection.execute(table.delete())
                if rows:
                    connection.execute(table.insert(), rows)


class Sweep:
    """One operation on one repository, again and again from the same state.

    Parameters
    ----------
    repository
        An empty one, created.
    faults
        What goes wrong with its clients.
    operation
        The operation.
    """

    def __init__(self, repository: Repository, faults: Faults, operation: Operation) -> None:
        self.repository = repository
        self.faults = faults
        self.operation = operation
        self._keeper = repository.open()
        self._client = self._open()
        self._watcher = self._open()
        operation.prepare(self._client)
        self.before = seen(self._client)
        store = open_store(volume_of(self._client).store.uri)
        keeper = self._keeper if isinstance(self._keeper, RegistrySubject) else None
        self._saved = _Saved(store, keeper)

    def _open(self) -> Subject:
        client = self.repository.open()
        if isinstance(client, RegistrySubject):
            self.faults.watch(client.database._engine)
        seen(client)
        return client

    def record(self) -> list[str]:
        """Do the operation undisturbed, and return its steps."""
        self._begin()
        with self.faults.recording() as steps:
            self._act()
        recorded = list(steps)
        self._check(self.operation.after, "undisturbed")
        return recorded

    def _act(self) -> None:
        with self._later() if self.operation.later else nullcontext():
            self.operation.act(self._client)

    @contextmanager
    def _later(self) -> Iterator[None]:
        """Let the store's clock be ahead of what is stored."""
        self.faults.later = _LATER
        try:
            yield
        finally:
            self.faults.later = timedelta(0)

    def run(self, fault: Fault, step: str) -> None:
        """Do the operation with a fault in it, then see what is there, and go on."""
        self._begin()
        error: BaseException | None = None
        with self.faults.striking(fault):
            try:
                self._act()
            except (ArrowOpaqueError, DBAPIError) as caught:
                error = caught
        what = f"FAULT={fault} at {step!r}, which gave {error!r}"
        assert self.faults.struck, f"{what}: never came to the step"
        assert error is None or fault.mode is Mode.SLOW or injected(error), what
        found = self._reopened(what)
        assert found in (self.before, self.operation.after), f"{what}: between before and after: {found}"
        assert error is not None or found == self.operation.after, f"{what}: reported as done"
        self._again(found, what)
        assert seen(self._client) == self.operation.after, f"{what}: after a retry"
        ours(self._client).flush()
        self._check(self.operation.after, f"{what}: after a flush")
        self._clear(what)

    def _begin(self) -> None:
        self._saved.restore()
        _forget(self._client)
        if self.repository.kind.dialect is None:
            # A root's clients count up from what they have seen last.
            self._client, self._watcher = self._open(), self._open()

    def _reopened(self, what: str) -> State:
        """Return what the same client sees, and a new one that has cached nothing."""
        found = seen(self._client)
        if isinstance(self._client, RegistrySubject) and self._client.dialect == "sqlite":
            with self._client.database.query(sqlalchemy.text("PRAGMA busy_timeout")) as rows:
                assert rows.scalar_one() == 5000, f"{what}: the client has lost its patience"
        if self.repository.kind.dialect == "postgresql":
            # To connect takes longer than all the rest.
            self._check(found, what)
            self._verify(self._watcher, what)
            return found
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(volume_module, "_caches", weakref.WeakValueDictionary())
            client = self.repository.open()
            assert seen(client) == found, f"{what}: the client itself sees {found}"
            self._verify(client, what)
        self.repository.clients.remove(client)
        client.close()
        return found

    def _check(self, expected: State, what: str) -> None:
        """Compare with what another client sees, which has cached nothing."""
        _forget(self._watcher)
        found = seen(self._watcher)
        assert found == expected, f"{what}: {found}"

    def _verify(self, client: Subject, what: str) -> None:
        findings = ours(client).verify(raising=False).findings
        if self.faults.struck == f"put {names.PUBLISHED}":
            # A copy for people, which the next flush or commit makes anew.
            findings = [finding for finding in findings if finding.check is not Check.PUBLISHED]
        assert not findings, f"{what}: {findings}"

    def _again(self, found: State, what: str) -> None:
        if found == self.before or self.operation.repeatable:
            self._act()
            return
        with pytest.raises(IntegrityError):
            self._act()

    def _clear(self, what: str) -> None:
        """Vacuum: nothing is lost, and nothing useless stays."""
        with self._later():
            ours(self._client).vacuum(retention=600)
        self._check(self.operation.after, f"{what}: after a vacuum")
        self._verify(self._watcher, what)
        assert not (left := self._garbage()), f"{what}: vacuum left {left}"

    def _garbage(self) -> set[str]:
        volume = volume_of(self._watcher)
        if isinstance(self._client, RootSubject):
            self._client.refresh()
            current = [entry.manifest for entry in self._client.root.entries().values()]
        else:
            current = [manifest for manifest, _ in ours(self._client)._binding.entries().values()]
        needed: set[str] = set()
        for name in current:
            if name is not None:
                needed |= {name, *volume.manifest(name).objects()}
        return {info.path for info in volume.store.list("tables")} - needed | self._full_links(volume)

    def _full_links(self, volume: Volume) -> set[str]:
        """Return the links that the last vacuum should have emptied."""
        if not isinstance(self._client, RootSubject):
            return set()
        fence = self._client.root.head.floor
        links = [FileChain(volume).read(version) for version in range(1, fence - 1)]
        return {names.chain_manifest(link.version) for link in links if link is not None and not link.stub}
