"""Verify: prove a store sound, quickly or by reading all of it."""

from __future__ import annotations

__all__ = ["check_chain", "check_objects", "check_published", "unremembered", "verify_tables"]

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from arrowopaque.errors import CorruptStoreError, ObjectMissingError
from arrowopaque.format import names
from arrowopaque.format.manifest import DataFile, Deletes, IndexFile, MetaTable, TableManifest, check_manifest
from arrowopaque.maintain.contents import check_contents
from arrowopaque.maintain.findings import (
    RECOVER,
    RESTORE,
    Check,
    Finding,
    Level,
    TableReport,
    VerifyReport,
    caught,
    collected,
)
from arrowopaque.maintain.progress import Doing
from arrowopaque.maintain.unique import check_delta, check_tombstones, check_unique
from arrowopaque.store.base import Base
from arrowopaque.store.cache import Cache
from arrowopaque.store.catalog import FileChain
from arrowopaque.store.table import Snapshot
from arrowopaque.store.volume import Volume

_CACHE = 64 * 2**20


def verify_tables(
    volume: Volume,
    tables: Mapping[str, Callable[[], Snapshot]],
    of_store: Iterator[Finding],
    level: Level,
    *,
    raising: bool,
    doing: Doing,
) -> VerifyReport:
    """Check tables, after the store as a whole.

    Parameters
    ----------
    volume
        The store.
    tables
        How to read each table's state.
    of_store
        What is wrong with the catalog.
    level
        How much is read.
    raising
        Whether to raise the first finding.
    doing
        Is told of each reading of a table, and of the rows that are read.

    Raises
    ------
    CorruptStoreError
        Something is unsound, and ``raising`` is set.
    """
    reports: dict[str, TableReport] = {}
    found = collected(of_store, raising=raising)
    for name, read in tables.items():
        found += collected(_table(volume, name, read, level, reports, doing), raising=raising)
    return VerifyReport(reports, tuple(found))


def unremembered(volume: Volume) -> Volume:
    """Return the store without what was read of it before."""
    return replace(volume, cache=Cache(_CACHE))


def _table(
    volume: Volume,
    name: str,
    read: Callable[[], Snapshot],
    level: Level,
    reports: dict[str, TableReport],
    doing: Doing,
) -> Iterator[Finding]:
    place = f"table {name!r} of {volume.store.uri}"

    def look() -> Iterator[Finding]:
        try:
            snapshot = read()
            base = _reread(snapshot.base)
        except ObjectMissingError as err:
            yield Finding(Check.CATALOG, name, place, f"its catalog names what is lost: {err}", RECOVER)
            return
        reports[name] = _report(snapshot)
        yield from _snapshot(name, snapshot, base, level, doing)

    yield from caught(Check.MANIFEST, name, place, look(), RECOVER)


def _report(snapshot: Snapshot) -> TableReport:
    base, gone = snapshot.base, 0 if snapshot.gone is None else snapshot.gone.num_rows
    return TableReport(
        rows=base.rows - gone + snapshot.delta.num_rows,
        delta=snapshot.delta.num_rows,
        tombstones=gone,
        files=len(base.files),
        bytes=sum(file.bytes + sum(i.bytes for i in file.indexes) for file in base.files),
    )


def _snapshot(name: str, snapshot: Snapshot, base: Base, level: Level, doing: Doing) -> Iterator[Finding]:
    if base.manifest is not None and base.manifest.table != name:
        yield Finding(
            Check.CATALOG,
            name,
            f"{base.volume.store.uri}/{base.manifest.name}",
            f"the catalog names it for table {name!r}, it is of {base.manifest.table!r}",
            RECOVER,
        )
        return
    broken = list(check_objects(base, name))
    yield from broken
    if level is Level.FULL and not broken:
        yield from _contents(name, snapshot, base, doing)


def _reread(base: Base) -> Base:
    """Return the base from its manifest as it is stored now."""
    if base.manifest is None:
        return base
    volume = unremembered(base.volume)
    manifest: TableManifest = volume.manifest(base.manifest.name)
    check_manifest(manifest, base.spec)
    return Base(volume, base.spec, manifest)


def check_objects(base: Base, name: str) -> Iterator[Finding]:
    """Check that every object is there, of its size and with its footer."""
    store = base.volume.store
    sizes = {info.path: info.size for info in store.list(names.table_folder(name))} if base.files else {}
    for file in base.files:
        entries: list[DataFile | IndexFile | Deletes] = [file, *file.indexes]
        for entry in entries + ([file.deletes] if file.deletes else []):
            # What is new since the listing is asked for by name.
            size = sizes.get(entry.path)
            found = list(_size(base, name, entry, store.size(entry.path) if size is None else size))
            yield from found
            if not found:
                uri = f"{store.uri}/{entry.path}"
                yield from caught(Check.FOOTER, name, uri, _footer(base, entry))


def _size(
    base: Base, name: str, entry: DataFile | IndexFile | Deletes, size: int | None
) -> Iterator[Finding]:
    uri = f"{base.volume.store.uri}/{entry.path}"
    if size is None:
        yield Finding(Check.EXISTENCE, name, uri, "it does not exist")
    elif size != entry.bytes:
        yield Finding(Check.SIZE, name, uri, f"it has {size} bytes, the manifest says {entry.bytes}")


def _footer(base: Base, entry: DataFile | IndexFile | Deletes) -> Iterator[Finding]:
    if isinstance(entry, DataFile):
        base.open(entry).object.footer  # noqa: B018  # it is checked when it is loaded
    elif isinstance(entry, IndexFile):
        base.open(entry).object.footer  # noqa: B018
    yield from ()


def _contents(name: str, snapshot: Snapshot, base: Base, doing: Doing) -> Iterator[Finding]:
    """Check every row, once the objects are known to be there."""
    sound, rows = True, sum(entry.rows for entry in base.files)
    with doing(name, rows) as progress:
        for entry in base.files:
            for finding in check_contents(base, name, entry):
                sound = False
                yield finding
            progress(entry.rows)
    if not sound:
        # Nothing else can be told of a table whose rows or order are wrong.
        return
    for columns in (base.spec.primary_key, *base.spec.unique):
        if columns:
            with doing(f"{name}: {', '.join(columns)}", base.rows) as progress:
                yield from check_unique(name, snapshot, base, columns, progress)
            yield from check_delta(name, snapshot, base, columns)
    if base.spec.primary_key:
        yield from check_tombstones(name, snapshot, base)


def check_published(volume: Volume) -> Iterator[Finding]:
    """Check the copy of the meta-table."""
    uri = f"{volume.store.uri}/{names.PUBLISHED}"
    try:
        FileChain(volume).published()
    except CorruptStoreError as err:
        problem = str(err).removesuffix(f"; {RESTORE}")
        yield Finding(Check.PUBLISHED, None, uri, problem, "the next flush or commit writes it anew")


def check_chain(volume: Volume, head: MetaTable, level: Level) -> Iterator[Finding]:
    """Check the links of a root's chain up to the newest.

    Parameters
    ----------
    volume
        The store.
    head
        The newest link that reads see.
    level
        At `Level.FULL` every link is read.
    """
    yield from check_published(volume)
    listed = {
        name.version
        for info in volume.store.list(names.CHAIN)
        if (name := names.parse(info.path)) is not None and name.version is not None
    }
    for version in range(1, max([head.version, *listed])):
        if version not in listed:
            yield _link(volume, version, "it is missing, so that its name could be taken again")
    versions = sorted(listed) if level is Level.FULL else [head.version]
    for version in versions:
        yield from caught(
            Check.CHAIN, None, _uri(volume, version), _read_link(volume, version, head), RECOVER
        )


def _uri(volume: Volume, version: int) -> str:
    return f"{volume.store.uri}/{names.chain_manifest(version)}"


def _link(volume: Volume, version: int, problem: str) -> Finding:
    return Finding(Check.CHAIN, None, _uri(volume, version), problem, RECOVER)


def _read_link(volume: Volume, version: int, head: MetaTable) -> Iterator[Finding]:
    link = FileChain(volume).read(version)
    if link is None:
        yield _link(volume, version, "it is missing, so that its name could be taken again")
    elif version == head.version and link.commit != head.commit:
        yield _link(volume, version, f"it is commit {link.commit}, reads see commit {head.commit}")
    elif link.floor > version or link.parent != (version - 1 or None):
        yield _link(volume, version, f"its parent is {link.parent} and its floor {link.floor}")
