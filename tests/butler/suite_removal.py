"""Datasets go by prune, trash and removal of their run."""

from __future__ import annotations

__all__ = ["Removal"]

from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler, DatasetRef, MissingCollectionError

from tests.opaque.suite_base import SuiteBase
from tests.support.butlers import ButlerRepository, content, datastore_of


def _known(butler: Butler) -> set[Any]:
    return {ref.id for ref in butler.query_all_datasets("*", find_first=False)}


def _ids(refs: list[DatasetRef]) -> set[Any]:
    return {ref.id for ref in refs}


class Removal(SuiteBase):
    """What is removed is gone, records and files; nothing else is."""

    def test_prune(self, repository: ButlerRepository) -> None:
        gone, kept = repository.store("one"), repository.store("two")
        butler = repository.butler
        butler.pruneDatasets([*gone[:5], kept.pop()], unstore=True, purge=True)
        repository.assert_holds([*gone[5:], *kept])
        assert _known(butler) == _ids([*gone[5:], *kept])
        repository.settle()
        butler.pruneDatasets(gone[5:], unstore=True, purge=True)
        repository.assert_holds(kept)
        repository.assert_holds(kept, repository.open())

    def test_unstored_datasets_stay_known_and_can_come_back(self, repository: ButlerRepository) -> None:
        refs = repository.store()
        butler = repository.butler
        butler.pruneDatasets(refs[:3], disassociate=False, unstore=True)
        repository.assert_holds(refs[3:])
        assert _known(butler) == _ids(refs)
        for ref in refs[:3]:
            assert not butler.stored(ref)
            with pytest.raises(FileNotFoundError):
                butler.get(ref)
        repository.settle()
        butler.put(content(0, "one"), refs[0])
        repository.ingest(refs[1:3])
        repository.assert_holds(refs)

    def test_trash_and_empty_trash(self, repository: ButlerRepository) -> None:
        refs = repository.store()
        datastore = datastore_of(repository.butler)
        files = repository.artifacts()
        datastore.trash(refs[:4])
        assert repository.artifacts() == files
        assert len(datastore.emptyTrash(dry_run=True)) == 4
        assert repository.artifacts() == files
        assert repository.records().keys() == _ids(refs)
        assert len(datastore.emptyTrash(refs=refs[:1])) == 1
        assert repository.records().keys() == _ids(refs[1:])
        repository.settle()
        assert len(datastore.emptyTrash()) == 3
        repository.assert_holds(refs[4:])
        assert datastore.emptyTrash() == set()

    def test_another_client_empties_the_trash(self, repository: ButlerRepository) -> None:
        refs = repository.store()
        datastore_of(repository.butler).trash(refs[:4])
        assert len(datastore_of(repository.open()).emptyTrash()) == 4
        repository.assert_holds(refs[4:])

    def test_remove_runs(self, repository: ButlerRepository) -> None:
        repository.store("one")
        kept = repository.store("two")
        repository.butler.removeRuns(["one"])
        repository.assert_holds(kept)
        assert _known(repository.butler) == _ids(kept)
        with pytest.raises(MissingCollectionError):
            repository.butler.collections.get_info("one")
        repository.butler.collections.register("one")
        repository.assert_holds([*kept, *repository.store("one")])

    def test_directly_ingested_files_are_not_removed(self, repository: ButlerRepository) -> None:
        refs = repository.ingest(repository.unstored("one", range(4)), transfer="direct")
        paths = [Path(repository.butler.getURI(ref).ospath) for ref in refs]
        repository.butler.pruneDatasets(refs, unstore=True, purge=True)
        assert repository.records() == {}
        assert all(path.exists() for path in paths)

    def test_files_shared_by_datasets_go_with_the_last(self, repository: ButlerRepository) -> None:
        """A zip archive is one file of many datasets."""
        butler = repository.butler
        refs = repository.store("one")
        archive = butler.retrieve_artifacts_zip(refs, str(repository.site.folder / "zipped"))
        butler.removeRuns(["one"])
        butler.ingest_zip(archive, transfer="copy")
        repository.settle()
        zipped = repository.artifacts()
        assert len(zipped) == 1
        butler.pruneDatasets(refs[:5], unstore=True, purge=True)
        assert repository.artifacts() == zipped
        assert [butler.get(ref) for ref in refs[5:]] == [content(i, "one") for i in range(5, 8)]
        butler.pruneDatasets(refs[5:], unstore=True, purge=True)
        repository.assert_holds([])
