"""Datasets come in by put and ingest, and can be read."""

from __future__ import annotations

__all__ = ["Datasets"]

from pathlib import Path

import pytest
from lsst.daf.butler import DatasetIdGenEnum, DatasetRef
from lsst.daf.butler.datastores.fileDatastore import FileDatastore
from lsst.daf.butler.registry import ConflictingDefinitionError

from tests.opaque.suite_base import SuiteBase, needs
from tests.support.butlers import RECORDS, ButlerRepository, content, datastore_of, manager_of
from tests.support.subjects import Placement


def delta_rows(repository: ButlerRepository) -> int:
    """Count the rows that lie in the registry's own table."""
    db = manager_of(repository.butler)._binding.db
    delta = db.getExistingTable(RECORDS, FileDatastore.makeTableSpec())
    assert delta is not None
    with db.query(delta.select()) as result:
        return len(result.fetchall())


class Datasets(SuiteBase):
    """Put, ingest, get, and what is refused."""

    def test_put_and_get(self, repository: ButlerRepository) -> None:
        refs = repository.store("one") + repository.store("two", range(3))
        repository.assert_holds(refs)
        repository.assert_holds(refs, repository.open())
        first = repository.butler.get("thing", instrument="Cam", detector=2, collections="two")
        assert first == content(2, "two")

    @needs("arrow")
    def test_rows_lie_where_the_placement_says(self, repository: ButlerRepository) -> None:
        repository.store()
        assert delta_rows(repository) == (8 if repository.placement is Placement.DELTA else 0)

    def test_records_come_with_the_dataset(self, repository: ButlerRepository) -> None:
        refs = repository.store()
        found = repository.butler.get_dataset(refs[3].id, datastore_records=True)
        assert found is not None
        assert found._datastore_records is not None
        (info,) = found._datastore_records[RECORDS]
        assert repository.records()[refs[3].id] in str(info)

    def test_ingest(self, repository: ButlerRepository) -> None:
        kept = repository.store("two", range(2))
        refs = repository.ingest(repository.unstored("one"))
        repository.assert_holds([*kept, *refs])

    def test_direct_ingest_leaves_files_where_they_are(self, repository: ButlerRepository) -> None:
        kept = repository.store("two", range(2))
        refs = repository.ingest(repository.unstored("one", range(4)), transfer="direct")
        assert repository.records().keys() == {ref.id for ref in [*kept, *refs]}
        assert len(repository.artifacts()) == len(kept)
        for ref in refs:
            uri = repository.butler.getURI(ref)
            assert Path(uri.ospath).parent == repository.site.folder / "incoming"
            assert repository.butler.get(ref) == content(int(ref.dataId["detector"]), "one")

    def test_direct_ingest_of_reproducible_ids_replaces(self, repository: ButlerRepository) -> None:
        refs = repository.unstored("one", range(4), id_generation_mode=DatasetIdGenEnum.DATAID_TYPE_RUN)
        repository.ingest(refs, transfer="direct")
        again = repository.files(refs[1:3])
        datastore = datastore_of(repository.butler)
        datastore.ingest(*again, transfer="direct")
        repository.settle()
        assert repository.records().keys() == {ref.id for ref in refs}
        assert repository.butler.get(refs[1]) == content(1, "one")

    def test_put_of_a_known_dataset_conflicts(self, repository: ButlerRepository) -> None:
        refs = repository.store()
        files = repository.artifacts()
        with pytest.raises(ConflictingDefinitionError):
            repository.butler.put(content(0, "one"), refs[0])
        with pytest.raises(ConflictingDefinitionError):
            repository.butler.put({}, "thing", instrument="Cam", detector=0, run="one")
        assert repository.artifacts() == files
        repository.assert_holds(refs)

    def test_put_conflicts_with_a_leftover_record(self, repository: ButlerRepository) -> None:
        kept = repository.store("two")
        refs = repository.unstored("one", range(2))
        table = manager_of(repository.butler)[RECORDS]
        example = dict(next(iter(table.fetch())))
        leftover = [{**example, "dataset_id": ref.id, "path": f"left/{ref.id}"} for ref in refs]
        table.insert(*leftover)
        repository.settle()
        files = repository.artifacts()
        with pytest.raises(ConflictingDefinitionError):
            repository.butler.put(content(0, "one"), refs[0])
        assert repository.butler.get_dataset(refs[0].id) is None
        assert repository.artifacts() == files
        assert repository.records()[refs[0].id] == leftover[0]["path"]
        assert repository.records().keys() == {ref.id for ref in [*kept, *refs]}

    @pytest.mark.parametrize("known", [0, 5])
    def test_ingest_of_a_known_dataset_conflicts(self, repository: ButlerRepository, known: int) -> None:
        refs = repository.store("one", range(6))
        fresh = repository.unstored("two")
        files = repository.artifacts()
        batch: list[DatasetRef] = [*fresh[:3], refs[known], *fresh[3:]]
        with pytest.raises(ConflictingDefinitionError):
            repository.butler.ingest(*repository.files(batch), transfer="copy")
        assert repository.artifacts() == files
        repository.assert_holds(refs)
        repository.butler.ingest(*repository.files(batch), transfer="copy", skip_existing=True)
        repository.settle()
        repository.assert_holds([*refs, *fresh])

    def test_ingest_conflicts_with_a_leftover_record(
        self, repository: ButlerRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = repository.store("two", range(3))
        refs = repository.unstored("one")
        table = manager_of(repository.butler)[RECORDS]
        example = dict(next(iter(table.fetch())))
        table.insert({**example, "dataset_id": refs[5].id, "path": "left"})
        repository.settle()
        datastore = datastore_of(repository.butler)
        # As if another client's ingest came between the check and the write.
        monkeypatch.setattr(datastore, "knows_these", lambda refs: dict.fromkeys(refs, False))
        with pytest.raises(ConflictingDefinitionError):
            repository.butler.ingest(*repository.files(refs), transfer="copy")
        assert repository.records().keys() == {*(ref.id for ref in kept), refs[5].id}
        assert len(repository.artifacts()) == len(kept)
