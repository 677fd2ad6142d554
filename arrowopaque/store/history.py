"""Earlier versions of a store: which are still there, and what each changed.

A root counts versions of the whole store: the links of its chain. In the
store of a registry each table counts its own, which are its manifests. What
is only in a registry's database, recent rows and marks of deleted ones, has
no versions.
"""

from __future__ import annotations

__all__ = ["ChainHistory", "Moment", "TableChange", "TableHistories", "Version", "moment_of"]

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from arrowopaque.errors import ConfigurationError, ObjectMissingError
from arrowopaque.format.manifest import DataFile, MetaTable, TableManifest
from arrowopaque.store.catalog import FileChain
from arrowopaque.store.parallel import ahead
from arrowopaque.store.volume import Volume

Moment = int | datetime
"""A version, or a time, for the newest version that is not younger."""

_EVER = datetime.min.replace(tzinfo=UTC)


def moment_of(value: int | str | datetime) -> Moment:
    """Return a moment: a version, a time, or the text of either.

    Parameters
    ----------
    value
        Digits are a version, anything else is a time in ISO 8601; without a
        zone it is UTC.

    Raises
    ------
    ConfigurationError
        The text is neither.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.isdecimal():
            return int(text)
        try:
            value = datetime.fromisoformat(text)
        except ValueError as err:
            raise ConfigurationError(
                f"{text[:100]!r} is neither a version, as in 12, nor a time, as in 2026-11-28T20:00:00Z"
            ) from err
    if isinstance(value, int):
        return value
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


@dataclass(frozen=True, slots=True)
class TableChange:
    """What a version changed in the data files of a table.

    The counts are `None` where the version before is not there any more.
    """

    table: str
    rows: int
    """Rows in data files after it."""
    files: int
    """Data files after it."""
    bytes: int
    """Bytes of the data files after it, indexes not counted."""
    rows_added: int | None = None
    rows_removed: int | None = None
    rows_rewritten: int | None = None
    """As many rows came in new files as went with old ones: a compaction, or
    a replacement of all of them.
    """
    files_added: int | None = None
    files_removed: int | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """A version: of a root, or of one table of a registry's store."""

    version: int
    created: datetime
    """By the clock of the host that wrote it."""
    commit: str
    writer: str | None
    """The host that wrote it; not recorded in the store of a registry."""
    changes: tuple[TableChange, ...]
    """By table; nothing for a vacuum, or for a table that was made."""
    is_oldest: bool
    """Whether the version before, which there was, is gone."""


def _change(
    table: str, before: TableManifest | None, after: TableManifest | None, *, is_known: bool
) -> TableChange:
    """Return what lies between two manifests; `None` stands for no files."""
    old, new = _files(before), _files(after)
    rows, size = sum(file.live for file in new.values()), sum(file.bytes for file in new.values())
    if not is_known:
        return TableChange(table, rows, len(new), size)
    came = [file for path, file in new.items() if path not in old]
    went = [file for path, file in old.items() if path not in new]
    lost = [old[path].live - new[path].live for path in old.keys() & new.keys()]
    added = sum(file.live for file in came) - sum(count for count in lost if count < 0)
    removed = sum(file.live for file in went) + sum(count for count in lost if count > 0)
    rewritten = 0
    if came and went and added == removed and not any(lost):
        rewritten, added, removed = added, 0, 0
    return TableChange(table, rows, len(new), size, added, removed, rewritten, len(came), len(went))


def _files(manifest: TableManifest | None) -> Mapping[str, DataFile]:
    return {} if manifest is None else {file.path: file for _, file in manifest.files()}


def _gone(what: str, oldest: int, created: datetime) -> ConfigurationError:
    return ConfigurationError(
        f"{what} is not there any more: a vacuum has taken it, or a recovery; "
        f"the oldest that is still there is {oldest}, of {created.isoformat()}"
    )


def _no_version(version: int, what: str) -> ConfigurationError:
    return ConfigurationError(f"there is no version {version} of the data files of {what}")


class ChainHistory:
    """The versions of a root.

    Parameters
    ----------
    volume
        The store.
    head
        The newest version to look at.
    """

    def __init__(self, volume: Volume, head: MetaTable) -> None:
        self._volume = volume
        self._head = head
        self._chain = FileChain(volume)

    def _read(self, version: int) -> MetaTable | None:
        """Return a link, `None` if nothing but its name is left."""
        link = self._head if version == self._head.version else self._chain.read(version)
        return None if link is None or link.stub else link

    def _is_whole(self, link: MetaTable | None) -> bool:
        """Return whether a link is there, with the manifests that it names."""
        try:
            for entry in link.tables.values() if link is not None else ():
                if entry.manifest is not None:
                    self._volume.manifest(entry.manifest)
        except ObjectMissingError:
            # A vacuum empties links after it has deleted what they name.
            return False
        return link is not None

    def at(self, moment: Moment, names: Sequence[str] = ()) -> MetaTable:
        """Return the version at a moment.

        Parameters
        ----------
        moment
            Which version, or when.
        names
            Not needed here: a version is one of all tables.

        Raises
        ------
        ConfigurationError
            There is none, or none any more.
        """
        version = moment if isinstance(moment, int) else self._version_at(moment)
        if not 1 <= version <= self._head.version:
            raise ConfigurationError(
                f"{self._volume.store.uri} has no version {version}: they are 1 to {self._head.version}"
            )
        link = self._read(version)
        if link is None or not self._is_whole(link):
            when = "" if isinstance(moment, int) else f", the newest at {moment.isoformat()},"
            raise _gone(f"version {version}{when} of {self._volume.store.uri}", *self._oldest())
        return link

    def _version_at(self, time: datetime) -> int:
        versions = range(1, self._head.version + 1)
        version = bisect_right(versions, time, key=self._created)
        if not version:
            raise ConfigurationError(
                f"{self._volume.store.uri} has no version at {time.isoformat()}: "
                f"its first is of {self._created(1).isoformat()}"
            )
        return version

    def _created(self, version: int) -> datetime:
        # Stubs keep their time.
        link = self._chain.read(version)
        return _EVER if link is None else link.created

    def _oldest(self) -> tuple[int, datetime]:
        """Return the oldest version that is still there, and its time."""
        versions = range(1, self._head.version)
        found = bisect_left(versions, True, key=lambda version: self._is_whole(self._read(version)))
        link = self._read(found + 1)
        assert link is not None, "the newest is there, and the search ends there at the latest"
        return link.version, link.created

    def versions(self, table: str | None = None) -> Iterator[Version]:
        """Yield the versions that are still there, newest first.

        Parameters
        ----------
        table
            Leave out versions that did not change this table.
        """
        link = self._head
        for older in ahead(self._read, range(link.version - 1, 0, -1), self._volume.store.workers):
            before = older if self._is_whole(older) else None
            yield from self._version(link, before, table, is_known=before is not None)
            if before is None:
                return
            link = before
        yield from self._version(link, None, table, is_known=True)

    def _version(
        self, link: MetaTable, before: MetaTable | None, table: str | None, *, is_known: bool
    ) -> Iterator[Version]:
        changes = []
        for name, entry in link.tables.items():
            old = before.tables.get(name) if before is not None else None
            names = (old.manifest if old is not None else None, entry.manifest)
            if table in (None, name) and names[0] != names[1]:
                manifests = [None if one is None else self._volume.manifest(one) for one in names]
                changes.append(_change(name, *manifests, is_known=is_known))
        if changes or table is None:
            is_oldest = not is_known
            yield Version(link.version, link.created, link.commit, link.writer, tuple(changes), is_oldest)


class TableHistories:
    """The versions of the tables of a registry's store.

    Parameters
    ----------
    volume
        The store.
    head
        Every table's newest manifest.
    """

    def __init__(self, volume: Volume, head: MetaTable) -> None:
        self._volume = volume
        self._head = head

    def at(self, moment: Moment, names: Sequence[str] = ()) -> MetaTable:
        """Return some tables as their data files were at a moment.

        Parameters
        ----------
        moment
            Which version, of one table; or when, of any.
        names
            Which tables; by default all.

        Raises
        ------
        ConfigurationError
            There is no such version, or not any more; or of which table it
            is cannot be told.
        """
        entries = self._head.tables
        if isinstance(moment, int):
            names = names or [name for name, entry in entries.items() if entry.manifest is not None]
            if len(names) != 1:
                raise ConfigurationError(
                    f"in {self._volume.store.uri} each table counts its own versions: "
                    f"name the one that version {moment} is of ({', '.join(names)}), or give a time, "
                    "which means all of them"
                )
        found = {
            name: entries[name].model_copy(update={"manifest": self._manifest_at(name, moment)})
            for name in names or entries
        }
        return self._head.model_copy(update={"tables": found})

    def _manifest_at(self, name: str, moment: Moment) -> str | None:
        what, oldest = f"table {name!r} of {self._volume.store.uri}", None
        for manifest, _ in self._links(name):
            if isinstance(moment, int) and manifest.version < moment:
                raise _no_version(moment, what)
            if manifest.version == moment or (isinstance(moment, datetime) and manifest.created <= moment):
                return manifest.name
            oldest = manifest
        if oldest is not None and oldest.parent is not None:
            asked = f"version {moment}" if isinstance(moment, int) else f"the state at {moment.isoformat()}"
            raise _gone(f"{asked} of {what}", oldest.version, oldest.created)
        if isinstance(moment, int):
            raise _no_version(moment, what)
        # It had no data files yet.
        return None

    def _newest(self, name: str) -> TableManifest | None:
        current = self._head.tables[name].manifest
        return None if current is None else self._volume.manifest(current)

    def _links(self, name: str) -> Iterator[tuple[TableManifest, TableManifest | None]]:
        """Yield every manifest that is still there, newest first, with the
        one before it.
        """
        manifest = self._newest(name)
        while manifest is not None:
            before = self._before(manifest)
            yield manifest, before
            manifest = before

    def _before(self, manifest: TableManifest) -> TableManifest | None:
        try:
            return None if manifest.parent is None else self._volume.manifest(manifest.parent)
        except ObjectMissingError:
            return None

    def versions(self, table: str | None = None) -> Iterator[Version]:
        """Yield the versions that are still there, newest first.

        Parameters
        ----------
        table
            Which table's; by default those of all.
        """
        names = self._head.tables if table is None else [table]
        each = [self._versions(name) for name in names]
        yield from heapq.merge(*each, key=lambda version: version.created, reverse=True)

    def _versions(self, name: str) -> Iterator[Version]:
        for manifest, before in self._links(name):
            is_oldest = before is None and manifest.parent is not None
            change = _change(name, before, manifest, is_known=not is_oldest)
            yield Version(manifest.version, manifest.created, manifest.commit, None, (change,), is_oldest)
