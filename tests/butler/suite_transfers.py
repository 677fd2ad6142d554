"""Datasets move between repositories, and repositories between folders."""

from __future__ import annotations

__all__ = ["Transfers"]

import shutil
from collections.abc import Callable

import pytest

from tests.opaque.suite_base import SuiteBase
from tests.support.butlers import ButlerRepository


class Transfers(SuiteBase):
    """Transfer, export and import, relocation."""

    @pytest.fixture
    def source(
        self, repository: ButlerRepository, new_repository: Callable[..., ButlerRepository]
    ) -> ButlerRepository:
        """Another repository, of the SQL manager."""
        del repository  # made first
        return new_repository("sql-sqlite")

    @pytest.mark.parametrize("direction", ["in", "out"])
    def test_transfer_from(
        self, repository: ButlerRepository, source: ButlerRepository, direction: str
    ) -> None:
        giver, taker = (source, repository) if direction == "in" else (repository, source)
        kept = taker.store("two", range(2))
        refs = giver.store("one")
        for transferred in (refs[:5], refs):
            result = taker.butler.transfer_from(giver.butler, transferred, transfer="copy")
            assert {ref.id for ref in result} == {ref.id for ref in transferred}
            taker.settle()
        taker.assert_holds([*kept, *refs])
        giver.assert_holds(refs)

    def test_export_and_import(self, repository: ButlerRepository, source: ButlerRepository) -> None:
        refs = repository.store("one")
        folder = repository.site.folder / "exported"
        folder.mkdir()
        with repository.butler.export(directory=str(folder), format="yaml", transfer="copy") as export:
            export.saveDatasets(refs)
        source.butler.import_(directory=str(folder), filename="export.yaml", format="yaml", transfer="copy")
        source.assert_holds(refs)
        repository.butler.removeRuns(["one"])
        repository.butler.import_(
            directory=str(folder), filename="export.yaml", format="yaml", transfer="copy"
        )
        repository.settle()
        repository.assert_holds(refs)

    def test_relocation(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        repository.close()
        shutil.move(repository.root, repository.site.folder / "elsewhere")
        repository.root = repository.site.folder / "elsewhere"
        repository.butler = repository.open()
        repository.assert_holds(refs)
        refs += repository.store("two", range(4))
        repository.butler.pruneDatasets(refs[:2], unstore=True, purge=True)
        repository.assert_holds(refs[2:])
        repository.assert_holds(refs[2:], repository.open(writeable=False))
