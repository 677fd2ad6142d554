"""The file chain: which meta-table is current where there is no database."""

from __future__ import annotations

__all__ = ["FileChain", "Outcome", "following", "writer"]

import enum
import socket
from collections.abc import Iterator, Sequence
from datetime import datetime

from arrowopaque import clock
from arrowopaque.errors import CommitUnknownError, CorruptStoreError, ObjectMissingError, StoreAccessError
from arrowopaque.format import names
from arrowopaque.format.document import dump, load
from arrowopaque.format.manifest import MetaTable, TableEntry
from arrowopaque.objects.base import Put
from arrowopaque.store.volume import Volume

_TRIES = 8


class Outcome(enum.Enum):
    """How an attempt to append ended, once it is known."""

    COMMITTED = "committed"
    CONFLICT = "conflict"


class FileChain:
    """The numbered manifests of a root; a name once taken is never freed.

    Parameters
    ----------
    volume
        The store.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume

    def read(self, version: int) -> MetaTable | None:
        """Return one link, `None` if it is not there yet."""
        name = names.chain_manifest(version)
        try:
            data = self._volume.store.get(name, MetaTable.max_bytes)
        except ObjectMissingError:
            return None
        meta = load(MetaTable, data, f"{self._volume.store.uri}/{name}")
        if meta.store != self._volume.id or meta.version != version:
            raise CorruptStoreError(
                f"{self._volume.store.uri}/{name} is version {meta.version} of store {meta.store}: "
                "it was copied from elsewhere"
            )
        return meta

    def published(self) -> MetaTable | None:
        """Return the last published copy, which may be old or absent."""
        try:
            data = self._volume.store.get(names.PUBLISHED, MetaTable.max_bytes)
        except ObjectMissingError:
            return None
        return load(MetaTable, data, f"{self._volume.store.uri}/{names.PUBLISHED}")

    def _sound_copy(self) -> MetaTable | None:
        """Return the last published copy, `None` if the links have to tell."""
        try:
            return self.published()
        except CorruptStoreError:
            return None

    def after(self, version: int) -> Iterator[MetaTable]:
        """Yield every link above ``version``, in order."""
        while (meta := self.read(version + 1)) is not None:
            yield meta
            version += 1

    def head(self, hint: MetaTable | None = None) -> MetaTable:
        """Return the newest link.

        Parameters
        ----------
        hint
            A link to count up from; old ones are fine.

        Raises
        ------
        CorruptStoreError
            There is no chain.
        """
        start = hint or self._last_published() or self.read(1)
        if start is None:
            raise CorruptStoreError(
                f"{self._volume.store.uri} has no {names.chain_manifest(1)}: the chain is lost"
            )
        newest = start
        for meta in self.after(start.version):
            newest = meta
        if newest.stub:
            raise CorruptStoreError(
                f"{self._volume.store.uri}: the newest manifest, {newest.version}, is a stub"
            )
        return newest

    def _last_published(self) -> MetaTable | None:
        """Return the link that the published copy is of, to count up from."""
        copy = self._sound_copy()
        if copy is None:
            return None
        link = self.read(copy.version)
        if link is None:
            raise CorruptStoreError(
                f"{self._volume.store.uri}/{names.chain_manifest(copy.version)} is lost, though "
                f"{names.PUBLISHED} is a copy of it: restore it from a copy, or recover the store"
            )
        return link

    def receipts(self, head: MetaTable, above: int) -> set[str]:
        """Return the receipts that were taken above a version, up to ``head``."""
        found, version = set(head.receipts), head.taken
        while version > above:
            link = self.read(version)
            if link is None or link.taken >= version:
                raise CorruptStoreError(
                    f"{self._volume.store.uri}/{names.chain_manifest(version)} is lost, or names "
                    f"a later link than itself: restore it from a copy, or recover the store"
                )
            found.update(link.receipts)
            version = link.taken
        return found

    def append(self, meta: MetaTable) -> Outcome:
        """Try to make ``meta`` the newest link.

        A reply that is lost is settled by asking again, never by guessing:
        the commit id tells whether the stored link is ours.

        Raises
        ------
        CommitUnknownError
            The store could not be asked.
        """
        name, data = names.chain_manifest(meta.version), dump(meta)
        last: StoreAccessError | None = None
        for attempt in range(_TRIES):
            try:
                if self._volume.store.put_if_absent(name, data) is Put.CREATED:
                    return Outcome.COMMITTED
                stored = self.read(meta.version)
                assert stored is not None, "names of the chain are never freed"
                return Outcome.COMMITTED if stored.commit == meta.commit else Outcome.CONFLICT
            except StoreAccessError as err:
                last = err
                clock.pause(clock.backoff(attempt))
        raise CommitUnknownError(
            f"whether commit {meta.commit} landed as {self._volume.store.uri}/{name} is not known: "
            f"read that object before trying again ({last})"
        ) from last


def following(
    head: MetaTable,
    commit: str,
    tables: dict[str, TableEntry],
    receipts: Sequence[str],
    fence: datetime | None,
) -> MetaTable:
    """Return the link after ``head``."""
    version = head.version + 1
    return MetaTable(
        store=head.store,
        version=version,
        parent=head.version,
        commit=commit,
        created=clock.now(),
        writer=writer(),
        floor=head.floor if fence is None else version,
        swept=head.swept if fence is None else max(fence, head.swept or fence),
        receipts=tuple(receipts),
        taken=head.version if head.receipts else head.taken,
        tables=tables,
    )


def writer() -> str:
    """Return who commits, as it is stored."""
    return socket.gethostname()
