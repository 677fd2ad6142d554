"""Receipts that a dropped commit had taken can be taken again."""

from __future__ import annotations

from pathlib import Path

from arrowopaque import StoreRoot
from arrowopaque.store.catalog import FileChain
from tests.maintain.forge import Store


def test_receipts_of_a_dropped_commit(tmp_path: Path) -> None:
    store = Store(tmp_path / "root")
    receipt = store.root.stage("t", store.rows([1, 2]))
    store.root.commit_staged([receipt])
    link = FileChain(store.root.volume).read(store.root.version)
    assert link is not None
    manifest = link.tables["t"].manifest
    assert manifest is not None
    (store.folder / manifest).unlink()
    recovery = StoreRoot.recover(str(store.folder), dry_run=False)
    assert [item.commit for item in recovery.dropped] == [link.commit]
    fresh = StoreRoot(str(store.folder))
    assert fresh.head.swept is not None
    fresh.commit_staged([receipt])
    assert sorted(row["id"] for row in fresh.table("t").fetch()) == [1, 2]
