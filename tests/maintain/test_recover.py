"""A lost or damaged newest manifest: nothing falls back by itself, and the command says what it drops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arrowopaque import ConfigurationError, CorruptStoreError, StoreRoot
from arrowopaque.format import names
from arrowopaque.store.catalog import FileChain
from tests.maintain.forge import Store, flip
from tests.opaque.suite_base import assert_holds
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject, Site, open_repository


def damage(data: bytes) -> bytes:
    return flip(data, 40)


def ids(store: Store) -> list[int]:
    fresh = StoreRoot(str(store.folder), writeable=False)
    fresh.verify()
    return sorted(found["id"] for found in fresh.table("t").fetch())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A root whose versions 3, 4 and 5 insert a row each."""
    store = Store(tmp_path / "root")
    for i in (1, 2, 3):
        store.root.table("t").insert({"id": i, "name": f"n{i}"})
    assert store.root.version == 5
    return store


def remove(store: Store, path: str) -> None:
    (store.folder / path).unlink()


def spoil(store: Store, path: str) -> None:
    store.change(path, damage)


LOSSES = {"lost": remove, "damaged": spoil}


def manifest_of(store: Store, version: int) -> str:
    link = FileChain(store.root.volume).read(version)
    assert link is not None
    name = link.tables["t"].manifest
    assert name is not None
    return name


def everything(store: Store) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("loss", LOSSES)
def test_newest_link_is_restored_from_its_copy(store: Store, loss: str) -> None:
    LOSSES[loss](store, names.chain_manifest(5))
    with pytest.raises(CorruptStoreError, match=names.chain_manifest(5)):
        StoreRoot(str(store.folder))
    recovery = StoreRoot.recover(str(store.folder), dry_run=False)
    assert (recovery.dropped, recovery.mended) == ((), (names.chain_manifest(5),))
    assert ids(store) == [1, 2, 3]


@pytest.mark.parametrize("loss", LOSSES)
def test_newest_link_is_dropped(store: Store, loss: str) -> None:
    lost = FileChain(store.root.volume).read(5)
    assert lost is not None
    if loss == "damaged":
        store.change(names.chain_manifest(5), damage)
        store.change(names.PUBLISHED, damage)
    else:
        # What is known of it is the copy; what that names is lost too.
        remove(store, names.chain_manifest(5))
        remove(store, manifest_of(store, 4).replace(manifest_of(store, 4), str(lost.tables["t"].manifest)))
    before = everything(store)
    with pytest.raises(CorruptStoreError):
        StoreRoot(str(store.folder)).verify()
    plan = StoreRoot.recover(str(store.folder))
    assert everything(store) == before
    assert plan.dry_run
    assert plan.kept == names.chain_manifest(4)
    (dropped,) = plan.dropped
    assert dropped.version == 5
    assert dropped.commit == (None if loss == "damaged" else lost.commit)
    assert dropped.created == (None if loss == "damaged" else lost.created)
    done = StoreRoot.recover(str(store.folder), dry_run=False)
    assert (done.kept, done.dropped, done.mended) == (plan.kept, plan.dropped, plan.mended)
    assert ids(store) == [1, 2]
    fresh = StoreRoot(str(store.folder))
    assert (fresh.version, fresh.head.floor) == (6, 6)
    fresh.table("t").insert({"id": 9, "name": "n9"})
    assert ids(store) == [1, 2, 9]
    assert not StoreRoot.recover(str(store.folder)).needed


@pytest.mark.parametrize("loss", LOSSES)
def test_manifest_of_a_table_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    LOSSES[loss](store, manifest_of(store, 5))
    LOSSES[loss](store, manifest_of(store, 4))
    # As in a process that has not written them.
    monkeypatch.setattr("arrowopaque.store.volume._caches", {})
    with pytest.raises(CorruptStoreError):
        list(StoreRoot(str(store.folder)).table("t").fetch())
    recovery = StoreRoot.recover(str(store.folder), dry_run=False)
    links = [FileChain(store.root.volume).read(version) for version in (5, 4)]
    assert [item.commit for item in recovery.dropped] == [link.commit for link in links if link]
    assert [item.rows for item in recovery.dropped] == [{"t": None}, {"t": None}]
    assert recovery.kept == names.chain_manifest(3)
    assert ids(store) == [1]


def test_data_file_of_the_newest_commit_is_lost(store: Store) -> None:
    old = set(store.root.volume.manifest(manifest_of(store, 4)).objects())
    (path,) = [
        p
        for p in store.root.volume.manifest(manifest_of(store, 5)).objects()
        if p not in old and "index" not in p
    ]
    remove(store, path)
    recovery = StoreRoot.recover(str(store.folder), dry_run=False)
    assert [(item.version, item.rows) for item in recovery.dropped] == [(5, {"t": 3})]
    assert path in recovery.dropped[0].problem
    assert ids(store) == [1, 2]


def test_commit_that_was_staged_before_is_staged_again(store: Store) -> None:
    """A recovery is a fence, and a writer finds its way past what was lost."""
    writer = StoreRoot(str(store.folder))
    LOSSES["lost"](store, manifest_of(store, 5))
    StoreRoot.recover(str(store.folder), dry_run=False)
    writer.table("t").insert({"id": 7, "name": "n7"})
    assert ids(store) == [1, 2, 7]


def test_nobody_builds_on_a_stub(store: Store) -> None:
    store.root._head = store.root.head.model_copy(update={"stub": True, "tables": {}})
    with pytest.raises(CorruptStoreError, match="stub"):
        store.root.commit(lambda found, _: dict(found.tables))
    assert ids(store) == [1, 2, 3]


def test_missing_link_becomes_a_stub(store: Store) -> None:
    remove(store, names.chain_manifest(2))
    recovery = StoreRoot.recover(str(store.folder), dry_run=False)
    assert (recovery.dropped, recovery.mended) == ((), (names.chain_manifest(2),))
    link = FileChain(store.root.volume).read(2)
    assert link is not None
    assert link.stub
    assert ids(store) == [1, 2, 3]


def test_nothing_sound_is_left(store: Store) -> None:
    for version in (3, 4, 5):
        remove(store, manifest_of(store, version))
    for version in (1, 2):
        store.change(names.chain_manifest(version), damage)
    before = everything(store)
    with pytest.raises(CorruptStoreError, match="no sound manifest is left"):
        StoreRoot.recover(str(store.folder), dry_run=False)
    assert everything(store) == before


# A registry.


@pytest.fixture
def client(tmp_path: Path) -> Iterator[RegistrySubject]:
    """A table of which rows 1 to 3 were flushed, then 4 and a replaced 2, then 5 is in the delta."""
    with open_repository("arrow-sqlite-local", Site(tmp_path), option_values={"flush_at_open": 0}) as subject:
        table = subject.table(specs.standard(), *rows([1, 2, 3]), name="t")
        subject.flush()
        table.replace(row(2, "new"))
        table.delete(["id"], {"id": 3})
        table.insert(row(4))
        subject.flush()
        table.insert(row(5), row(3, "again"))
        yield subject


def current(client: RegistrySubject) -> str:
    return str(client.sql("SELECT manifest FROM arrowopaque_catalog")[0][0])


def folder(client: RegistrySubject) -> Path:
    return next(path.parent for path in Path(str(client.repository.base)).rglob(names.MARKER))


def fresh(client: RegistrySubject) -> tuple[Any, Any]:
    other: Any = client.second()
    return other, other.manager.register("t", specs.standard())


def lose(path: Path) -> None:
    path.unlink()


def garble(path: Path) -> None:
    path.write_bytes(damage(path.read_bytes()))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def test_a_large_delta_does_not_keep_it_from_being_opened(
    client: RegistrySubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(folder(client) / current(client))
    # As in another process, which has not read it before.
    monkeypatch.setattr("arrowopaque.store.volume._caches", {})
    client.repository.option_values["flush_at_open"] = 1
    other, table = fresh(client)
    other.manager.recover(dry_run=False)
    assert sorted(found["id"] for found in table.fetch()) == [1, 2, 3, 5]


@pytest.mark.parametrize("loss", [lose, garble, truncate])
def test_manifest_that_the_catalog_names(client: RegistrySubject, loss: Callable[[Path], None]) -> None:
    lost = current(client)
    loss(folder(client) / lost)
    other, table = fresh(client)
    with pytest.raises(CorruptStoreError):
        other.manager.verify("quick")
    plan = other.manager.recover()["t"]
    assert current(client) == lost
    name = names.parse(lost)
    assert name is not None
    assert [(item.version, item.commit, item.rows) for item in plan.dropped] == [
        (2, name.commit, {"t": None})
    ]
    done = other.manager.recover(dry_run=False)["t"]
    assert (done.kept, done.dropped) == (plan.kept, plan.dropped)
    # The delta stays, and what comes back gives way to it.
    assert done.buried == 1
    other, table = fresh(client)
    assert_holds(table, [row(1, val=10), row(2, val=20), row(3, "again"), row(5)])
    other.manager.verify()
    other.manager.flush()
    assert_holds(table, [row(1, val=10), row(2, val=20), row(3, "again"), row(5)])
    other.manager.verify()
    parsed = names.parse(current(client))
    assert parsed is not None
    assert parsed.version == 4
    assert not other.manager.recover()["t"].needed


def test_recovery_raises_the_fence(client: RegistrySubject) -> None:
    before = client.sql("SELECT fence FROM arrowopaque_catalog")
    lose(folder(client) / current(client))
    client.manager.recover(dry_run=False)  # type: ignore[attr-defined]  # ours alone has it
    assert client.sql("SELECT fence FROM arrowopaque_catalog") == [(before[0][0] + 1,)]


def test_two_manifests_are_lost(client: RegistrySubject) -> None:
    """Nothing proves which other manifest was ever current: no guess is made."""
    parent = client.sql("SELECT parent FROM arrowopaque_catalog")[0][0]
    for name in (current(client), parent):
        lose(folder(client) / name)
    with pytest.raises(CorruptStoreError, match="no sound manifest is known"):
        client.manager.recover(dry_run=False)  # type: ignore[attr-defined]


def test_root_of_a_registry_is_recovered_through_it(client: RegistrySubject) -> None:
    with pytest.raises(ConfigurationError, match="registry"):
        StoreRoot.recover(str(folder(client)))


def test_unique_values_that_come_back(tmp_path: Path) -> None:
    with open_repository("arrow-sqlite-local", Site(tmp_path)) as subject:
        table = subject.table(specs.uniques(), {"id": 1, "name": "a"}, {"id": 2, "name": "b"}, name="t")
        subject.flush()
        table.delete(["id"], {"id": 1})
        subject.flush()
        table.insert({"id": 9, "name": "a"})
        lose(folder(subject) / current(subject))
        subject.manager.recover(dry_run=False)
        other: Any = subject.second()
        found = other.manager.register("t", specs.uniques()).fetch()
        assert sorted((item["id"], item["name"]) for item in found) == [(2, "b"), (9, "a")]
        other.manager.verify()
