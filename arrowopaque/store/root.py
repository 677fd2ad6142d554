"""The root binding: a store that needs no database."""

from __future__ import annotations

__all__ = ["Root"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Self

from arrowopaque import clock
from arrowopaque.errors import (
    ConfigurationError,
    ConflictError,
    CorruptStoreError,
    ObjectMissingError,
    ReadOnlyError,
    RootInUseError,
    StoreAccessError,
)
from arrowopaque.format.manifest import MetaTable, TableEntry
from arrowopaque.format.names import table_folder
from arrowopaque.format.spec import TableSpec
from arrowopaque.objects.opening import open_store
from arrowopaque.options import Options
from arrowopaque.store.catalog import FileChain, Outcome, following, writer
from arrowopaque.store.draft import TableDraft
from arrowopaque.store.volume import Volume, create_volume, open_volume, publish, read_marker

_BINDING = "root"
_TRIES = 200

Tables = dict[str, TableEntry]


class Root:
    """The transactions of a store; see `arrowopaque.StoreRoot`."""

    _is_pinned = False

    def __init__(self, uri: str, writeable: bool = True, *, options: Options | None = None) -> None:
        store = open_store(str(uri), writeable=writeable)
        marker = read_marker(store)
        if marker is None and not writeable:
            raise ObjectMissingError(f"there is no store at {store.uri}")
        if marker is None:
            with suppress(RootInUseError):
                # Another client may be faster: then the store is its.
                create_volume(store, id=clock.new_id(), binding=_BINDING, options=options or Options())
            marker = read_marker(store)
            assert marker is not None, "it was just written"
        self._owned = marker.binding == _BINDING
        self._writeable = writeable and self._owned
        self._volume = open_volume(store, id=marker.store, options=options)
        self._chain = FileChain(self._volume)
        if self._writeable and self._is_unbegun():
            self._begin_chain()
        self._head = self._newest(None)
        self._drafts: dict[str, TableDraft] | None = None
        self._nested = False

    @classmethod
    def pinned(cls, volume: Volume, head: MetaTable, *, owned: bool) -> Self:
        """Return a store at one moment, for reading; it stays there."""
        root = object.__new__(cls)
        root._volume, root._chain, root._head = volume, FileChain(volume), head
        root._owned, root._writeable, root._is_pinned = owned, False, True
        root._drafts, root._nested = None, False
        return root

    def _is_unbegun(self) -> bool:
        """Return whether the store was made just now, or by a client that
        died before it put the first link.
        """
        if self._chain.read(1) is not None or self._chain.published() is not None:
            return False
        return not any(True for _ in self._volume.store.list("tables"))

    def _begin_chain(self) -> None:
        first = MetaTable(
            store=self._volume.id,
            version=1,
            parent=None,
            commit=clock.new_id(),
            created=clock.now(),
            writer=writer(),
        )
        self._chain.append(first)

    @property
    def chain(self) -> FileChain:
        """The links that the store's versions are."""
        return self._chain

    @property
    def uri(self) -> str:
        """The root, without credentials."""
        return self._volume.store.uri

    @property
    def volume(self) -> Volume:
        """The store's objects, cache and options."""
        return self._volume

    @property
    def is_owned(self) -> bool:
        """Whether the chain is the truth, and not a registry."""
        return self._owned

    def isWriteable(self) -> bool:
        """Return whether writes are allowed here."""
        return self._writeable

    def check_writeable(self) -> None:
        """Refuse a write to a store that was opened read-only.

        Raises
        ------
        ReadOnlyError
            Writes are not allowed here.
        """
        if not self._owned:
            raise ReadOnlyError(f"{self.uri} belongs to a Butler registry and is written through that alone")
        if not self._writeable:
            raise ReadOnlyError(f"{self.uri} was opened read-only")

    def clone(self) -> Self:
        """Return an independent copy at the same moment."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._drafts, other._nested = None, False
        return other

    def refresh(self) -> None:
        """Let reads see what has been committed by now.

        Raises
        ------
        ConflictError
            A transaction is open.
        """
        if self._drafts is not None:
            raise ConflictError(f"{self.uri}: a transaction keeps its moment until it ends")
        self._head = self._newest(self._head)

    def _newest(self, hint: MetaTable | None) -> MetaTable:
        if self._is_pinned:
            return self._head
        if self._owned:
            return self._chain.head(hint)
        published = self._chain.published()
        if published is None:
            raise ObjectMissingError(
                f"{self.uri}: its registry has not published a state yet: flush it first"
            )
        return published

    def entries(self) -> Mapping[str, TableEntry]:
        """Return every table's spec and manifest at the current moment."""
        return self._head.tables

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._drafts is not None

    @property
    def head(self) -> MetaTable:
        """The meta-table that reads see."""
        return self._head

    @property
    def version(self) -> int:
        """The version that reads see."""
        return self._head.version

    def names(self) -> list[str]:
        """Return the tables of the store."""
        return sorted(self._head.tables)

    def spec(self, name: str) -> TableSpec:
        """Return a table's spec.

        Raises
        ------
        LookupError
            There is no such table.
        """
        if name not in self._head.tables:
            raise LookupError(f"there is no table {name!r} in {self.uri}; it has {self.names()}")
        return self._head.tables[name].spec

    def register(self, name: str, spec: TableSpec) -> None:
        """Make a table unless it exists.

        Raises
        ------
        ConfigurationError
            It exists with other columns, or cannot be supported.
        ReadOnlyError
            It does not exist and writes are not allowed here.
        """
        if name not in self._head.tables and self._drafts is None:
            self.refresh()
        existing = self._head.tables.get(name)
        if existing is not None:
            if set(existing.spec.names) != set(spec.names):
                raise ConfigurationError(
                    f"table {name!r} of {self.uri} has the columns {existing.spec.names}, not {spec.names}"
                )
            return
        self.check_writeable()
        table_folder(name)
        if self._drafts is not None:
            raise ConflictError(f"{self.uri}: a table cannot be made inside a transaction")
        if not spec.primary_key:
            raise ConfigurationError(f"table {name!r} has no primary key, which data files are sorted by")
        entry = TableEntry(spec=spec, manifest=None)
        self.commit(lambda head, commit: {**head.tables, name: head.tables.get(name, entry)})

    @contextmanager
    def transaction(self, savepoint: bool = False) -> Iterator[None]:
        """Make everything inside one commit, or nothing.

        Parameters
        ----------
        savepoint
            Inside another transaction: undo this part alone if it raises.
            Without it an inner transaction is part of the outer one.

        Raises
        ------
        ConstraintError
            What others committed meanwhile clashes with a row; nothing of
            the transaction was committed.
        ConflictError, CommitUnknownError
            See those classes.
        """
        if self._drafts is None:
            with self._outermost():
                yield
        elif savepoint or self._nested:
            with self._savepoint():
                yield
        else:
            yield

    @contextmanager
    def _outermost(self) -> Iterator[None]:
        if self._owned:
            self._head = self._newest(self._head)
        self._drafts = {}
        try:
            yield
            drafts = {name: draft for name, draft in self._drafts.items() if draft.changed}
        finally:
            drafts_left, self._drafts = self._drafts, None
            del drafts_left
        if drafts:
            self._commit_drafts(drafts)

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        assert self._drafts is not None, "there is an outer transaction"
        before, outer = {name: draft.copy() for name, draft in self._drafts.items()}, self._nested
        self._nested = True
        try:
            yield
        except BaseException:
            self._drafts = before
            raise
        finally:
            self._nested = outer

    def draft(self, name: str) -> TableDraft:
        """Return what the open transaction has changed in a table.

        Requires: a transaction is open.
        """
        assert self._drafts is not None, "writes need a transaction"
        if name not in self._drafts:
            entry = self._head.tables[name]
            self._drafts[name] = TableDraft(self._volume, name, entry.spec, entry.manifest)
        return self._drafts[name]

    def seen(self, name: str) -> TableDraft:
        """Return a table as it is seen now, changes of the open transaction
        included.
        """
        if self._drafts is not None:
            return self.draft(name)
        entry = self._head.tables[name]
        return TableDraft(self._volume, name, entry.spec, entry.manifest)

    def _commit_drafts(self, drafts: dict[str, TableDraft]) -> None:
        for draft in drafts.values():
            draft.settle()

        def build(head: MetaTable, commit: str) -> Tables:
            tables = dict(head.tables)
            for name, draft in drafts.items():
                # Not the commit's id: the name must be new in every attempt,
                # for a vacuum may be about to delete that of the last one.
                manifest = draft.commit_onto(tables[name].manifest, clock.new_id())
                tables[name] = TableEntry(
                    spec=draft.spec, manifest=self._volume.put_manifest(manifest, draft.spec)
                )
            return tables

        def restage() -> None:
            for draft in drafts.values():
                draft.restage()

        self.commit(build, restage)

    def commit(
        self,
        build: Callable[[MetaTable, str], Tables],
        restage: Callable[[], None] = lambda: None,
        *,
        fence: datetime | None = None,
        receipts: Callable[[], Sequence[str]] = tuple,
    ) -> MetaTable:
        """Append a link to the chain, rebasing until it fits.

        Parameters
        ----------
        build
            Makes the next tables from the head and the commit id.
        restage
            Writes staged files again, after a vacuum has put a fence since
            they were written.
        fence
            Makes the new link a fence: what is older may be deleted then.
        receipts
            Says, after each ``build``, which receipts that has taken.

        Raises
        ------
        ConflictError
            Others were faster every time.
        CommitUnknownError
            Whether it landed could not be found out.
        """
        self.check_writeable()
        commit, staged_at, head = clock.new_id(), self._head.version, self._head
        for attempt in range(_TRIES):
            with self._volume.store.turn():
                began = clock.monotonic()
                head = self._caught_up(head, commit)
                if head.commit == commit:
                    return self._landed(head)
                if head.floor > staged_at:
                    restage()
                    staged_at = head.version
                tables = build(head, commit)
                meta = following(head, commit, tables, receipts(), fence)
                if self._chain.append(meta) is Outcome.COMMITTED:
                    return self._landed(meta)
            # An attempt beside others' makes those slower, and is likely to be lost too.
            spent = clock.monotonic() - began
            clock.pause(clock.backoff(attempt, base=spent, limit=8 * spent))
        raise ConflictError(f"{self.uri}: {_TRIES} attempts to commit lost the race: try again later")

    def _caught_up(self, head: MetaTable, commit: str) -> MetaTable:
        """Return the newest link, or that of ``commit`` if it is there."""
        newest = head
        for newest in self._chain.after(head.version):
            if newest.commit == commit:
                return newest
        if newest.stub:
            raise CorruptStoreError(f"{self.uri}: the newest manifest, {newest.version}, is a stub: recover")
        return newest

    def _landed(self, meta: MetaTable) -> MetaTable:
        self._head = meta
        # A copy that the next commit makes anew: whoever were told of a
        # failure would do again what is done.
        with suppress(StoreAccessError):
            publish(self._volume, meta)
        return meta
