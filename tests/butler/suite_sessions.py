"""Transactions, clones, several clients, and clients that may not write."""

from __future__ import annotations

__all__ = ["Sessions"]

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from lsst.daf.butler import Butler, DatasetRef
from lsst.daf.butler.registry.interfaces import ReadOnlyDatabaseError

from tests.opaque.suite_base import SuiteBase, needs, once
from tests.support.butlers import RECORDS, ButlerRepository, content, datastore_of, manager_of
from tests.support.subjects import UndoError


class Sessions(SuiteBase):
    """What a failing transaction takes back, and what others see."""

    def test_rollback_takes_back_everything(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        butler = repository.butler
        with suppress(UndoError), butler.transaction():
            butler.put(content(0, "two"), "thing", instrument="Cam", detector=0, run="two")
            butler.ingest(*repository.files(repository.unstored("two", range(1, 6))), transfer="copy")
            assert len(repository.records()) == len(refs) + 6
            raise UndoError
        repository.assert_holds(refs)
        repository.assert_holds([*refs, *repository.store("two")])

    def test_rollback_of_trash(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        butler = repository.butler
        with suppress(UndoError), butler.transaction():
            datastore_of(butler).trash(refs[:4])
            assert datastore_of(butler).emptyTrash(dry_run=True)
            raise UndoError
        repository.assert_holds(refs)

    def test_clone_inside_a_transaction(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        with repository.butler.transaction():
            clone = repository.butler.clone()
            repository.clients.append(clone)
        refs.append(clone.put(content(1, "two"), "thing", instrument="Cam", detector=1, run="two"))
        repository.settle(clone)
        repository.assert_holds(refs)
        repository.assert_holds(refs, clone)

    @needs("concurrent")
    def test_clone_does_not_see_its_originals_transaction(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        with repository.butler.transaction():
            repository.butler.ingest(*repository.files(repository.unstored("two")), transfer="copy")
            clone = repository.butler.clone()
            repository.clients.append(clone)
            assert repository.records(clone).keys() == {ref.id for ref in refs}
        assert len(repository.records(clone)) == 2 * len(refs)

    def test_clones_read_in_threads(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        clones = [repository.butler.clone() for _ in range(4)]
        repository.clients.extend(clones)

        def read(butler: Butler) -> list[object]:
            return [butler.get(ref) for ref in refs]

        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(read, clones):
                assert found == [content(i, "one") for i in range(8)]

    def test_clients_see_each_other(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        other = repository.open()
        repository.assert_holds(refs, other)
        refs += [other.put(content(0, "two"), "thing", instrument="Cam", detector=0, run="two")]
        repository.settle(other)
        repository.assert_holds(refs)
        repository.butler.pruneDatasets(refs[:3], unstore=True, purge=True)
        repository.assert_holds(refs[3:], other)

    def test_read_only(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        reader = repository.open(writeable=False)
        repository.assert_holds(refs, reader)
        for write in (
            lambda: reader.put({}, "thing", instrument="Cam", detector=0, run="two"),
            lambda: reader.pruneDatasets(refs, unstore=True, purge=True),
            lambda: reader.removeRuns(["one"]),
        ):
            with pytest.raises(TypeError, match="read-only"):
                write()
        with pytest.raises(ReadOnlyDatabaseError):
            manager_of(reader)[RECORDS].delete(["dataset_id"], {"dataset_id": refs[0].id})
        refs += repository.store("two")
        repository.assert_holds(refs, reader)

    @needs("arrow")
    def test_read_only_clients_do_not_maintain(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        reader = repository.open(writeable=False)
        for maintain in (manager_of(reader).flush, manager_of(reader).compact, manager_of(reader).vacuum):
            with pytest.raises(ReadOnlyDatabaseError):
                maintain()
        repository.assert_holds(refs, reader)

    def test_reading_clone_of_a_reader(self, repository: ButlerRepository) -> None:
        refs: list[DatasetRef] = repository.store("one")
        clone = repository.open(writeable=False).clone()
        repository.clients.append(clone)
        repository.assert_holds(refs, clone)

    @once
    def test_read_only_before_the_records_table_exists(self, repository: ButlerRepository) -> None:
        """A repository that no writeable client has opened yet."""
        bare = repository.sibling()
        reader = bare.open(writeable=False)
        assert manager_of(reader).get(RECORDS) is None
        with pytest.raises(LookupError):
            manager_of(reader)[RECORDS]
        assert not hasattr(datastore_of(reader), "_table")
        assert list(reader.collections.query("*")) == []
