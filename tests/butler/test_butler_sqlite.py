"""Butlers on SQLite registries, end to end."""

from __future__ import annotations

import shutil

from tests.butler.suite_datasets import Datasets
from tests.butler.suite_removal import Removal
from tests.butler.suite_sessions import Sessions
from tests.butler.suite_transfers import Transfers
from tests.opaque.suite_base import needs
from tests.support.butlers import ButlerRepository, manager_of


class TestOnSqlite(Datasets, Removal, Transfers, Sessions):
    """The SQL manager and ours, beside each other."""

    kinds = ("sql-sqlite", "arrow-sqlite-local")

    @needs("arrow")
    def test_copies_go_their_own_ways(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        other_root = repository.site.folder / "copy"
        shutil.copytree(repository.root, other_root)
        other = repository.open(root=other_root)
        repository.butler.pruneDatasets(refs[:4], unstore=True, purge=True)
        manager_of(repository.butler).flush()
        manager_of(repository.butler).compact()
        manager_of(repository.butler).vacuum(retention=0)
        repository.assert_holds(refs[4:])
        repository.root = other_root
        repository.assert_holds(refs, other)
