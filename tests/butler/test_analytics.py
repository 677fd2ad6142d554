"""Views of what only the registry knows give what the host's queries give."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import astropy.time
import pytest
from lsst.daf.butler import (  # type: ignore[attr-defined]  # CollectionType is not re-exported by the book
    Butler,
    CollectionType,
    Config,
    DatasetRef,
    DatasetType,
    Timespan,
)

from arrowopaque import ArrowOpaqueTableStorageManager, ConfigurationError, sql
from arrowopaque.butler.analytics import VIEWS
from arrowopaque.butler.census import Census
from tests.opaque.suite_base import SuiteBase, needs, once
from tests.support.butlers import RECORDS, SEED, ButlerRepository, content, datastore_of, make_inputs

BEGIN = astropy.time.Time("2026-03-01T00:00:00", scale="tai")
END = astropy.time.Time("2026-04-01T00:00:00", scale="tai")
CHAINS = {"inner": ["tag", "one"], "outer": ["cal", "inner", "two"]}


def fill(butler: Butler) -> list[DatasetRef]:
    """Put datasets of three types into the runs ``one`` and ``two``, and
    some of them into collections of the other kinds.
    """
    universe = butler.dimensions
    for name, dimensions, is_calibration in (("bias", ["detector"], True), ("note", [], False)):
        dataset_type = DatasetType(
            name, dimensions, "StructuredDataDict", universe=universe, isCalibration=is_calibration
        )
        butler.registry.registerDatasetType(dataset_type)
    things = [put(butler, "thing", "one", detector) for detector in range(3)]
    biases = [put(butler, "bias", "two", detector) for detector in range(3)]
    note = butler.put({"a": 1}, "note", run="two")
    butler.collections.register("tag", CollectionType.TAGGED, doc="Some.")
    butler.registry.associate("tag", [things[0], biases[0]])
    butler.collections.register("cal", CollectionType.CALIBRATION)
    butler.registry.certify("cal", biases[:1], Timespan(BEGIN, END))
    butler.registry.certify("cal", biases[1:2], Timespan(None, END))
    butler.registry.certify("cal", biases[1:2], Timespan(END, None))
    for name, children in CHAINS.items():
        butler.collections.register(name, CollectionType.CHAINED)
        butler.collections.redefine_chain(name, children)
    return [*things, *biases, note]


def put(butler: Butler, dataset_type: str, run: str, detector: int) -> DatasetRef:
    return butler.put(content(detector, run), dataset_type, instrument="Cam", detector=detector, run=run)


def rows(butler: Butler, query: str) -> list[tuple[Any, ...]]:
    return sorted(sql(butler, query).fetchall(), key=repr)


def ingest_dates(butler: Butler, dataset_type: str, run: str) -> dict[uuid.UUID, Any]:
    """Return ingest dates as the host's queries have them."""
    dimensions = butler.get_dataset_type(dataset_type).dimensions
    with butler.query() as query:
        found = query.join_dataset_search(dataset_type, [run]).general(
            dimensions, dataset_fields={dataset_type: {"dataset_id", "ingest_date"}}, find_first=False
        )
        return {row[f"{dataset_type}.dataset_id"]: row[f"{dataset_type}.ingest_date"] for row in found}


def assert_dates_agree(butler: Butler) -> None:
    expected = ingest_dates(butler, "thing", "one")
    found = dict(sql(butler, "SELECT dataset_id, ingest_date FROM datasets WHERE run = 'one'").fetchall())
    assert found.keys() == expected.keys()
    for id, date in expected.items():
        assert abs((found[id] - date.utc.to_datetime()).total_seconds()) < 1e-5


def assert_datasets_agree(butler: Butler, refs: list[DatasetRef]) -> None:
    found = rows(
        butler, "SELECT dataset_id, dataset_type, run, type_storage_class, instrument, detector FROM datasets"
    )
    expected = [
        (
            ref.id,
            ref.datasetType.name,
            ref.run,
            ref.datasetType.storageClass_name,
            ref.dataId.get("instrument"),
            ref.dataId.get("detector"),
        )
        for ref in refs
    ]
    assert found == sorted(expected, key=repr)


class TestViews(SuiteBase):
    """Every view, on every kind of registry."""

    kinds = ("arrow-sqlite-local", "arrow-postgres-local")

    @once
    def test_datasets(self, repository: ButlerRepository) -> None:
        butler = repository.butler
        refs = fill(butler)
        assert_datasets_agree(butler, refs)
        texts = dict(rows(butler, "SELECT dataset_id, data_id FROM datasets"))
        assert {texts[ref.id] for ref in refs[1:4:2]} == {
            "instrument=Cam, detector=0",
            "instrument=Cam, detector=1",
        }
        assert texts[refs[-1].id] == ""

    @once
    def test_ingest_dates(self, repository: ButlerRepository) -> None:
        butler = repository.butler
        fill(butler)
        assert_dates_agree(butler)

    @once
    def test_collection_members(self, repository: ButlerRepository) -> None:
        butler = repository.butler
        refs = fill(butler)
        direct = {
            ("one", ref.id, None, None) if ref.run == "one" else ("two", ref.id, None, None) for ref in refs
        }
        direct |= {("tag", ref.id, None, None) for ref in (refs[0], refs[3])}
        begin, end = (time.to_datetime() for time in (BEGIN, END))
        direct |= {
            ("cal", refs[3].id, begin, end),
            ("cal", refs[4].id, None, end),
            ("cal", refs[4].id, end, None),
        }
        wholes = {name: [name] for name in ("one", "two", "tag", "cal")}
        wholes |= {"inner": ["tag", "one"], "outer": ["cal", "tag", "one", "two"]}
        expected = [
            (whole, *member) for whole, parts in wholes.items() for member in direct if member[0] in parts
        ]
        found = rows(butler, "SELECT * FROM collection_members")
        assert found == sorted(expected, key=repr)
        # The host agrees about what a chain finds.
        things = {ref.id for ref in butler.query_datasets("thing", "outer", find_first=False)}
        assert things == {ref.id for ref in refs[:3]}
        both = (
            "SELECT DISTINCT d.dataset_id FROM datasets AS d JOIN collection_members AS m USING (dataset_id)"
        )
        query = f"{both} WHERE m.collection = 'outer' AND d.dataset_type = 'thing'"
        assert {id for (id,) in rows(butler, query)} == things

    @once
    def test_collections(self, repository: ButlerRepository) -> None:
        butler = repository.butler
        fill(butler)
        expected = [
            (info.name, info.type.name, info.doc or None, sorted(info.parents or ()), list(info.children))
            for info in butler.collections.query_info("*", include_parents=True, include_doc=True)
        ]
        assert len(expected) == 6
        found = rows(butler, "SELECT name, type, doc, parents, children FROM collections")
        assert found == sorted(expected, key=repr)

    @once
    def test_dataset_types(self, repository: ButlerRepository) -> None:
        fill(repository.butler)
        assert rows(repository.butler, "SELECT * FROM dataset_types") == [
            (name, "StructuredDataDict", name == "bias") for name in ("bias", "note", "thing")
        ]

    @once
    def test_trash_and_locations(self, repository: ButlerRepository) -> None:
        butler = repository.butler
        refs = fill(butler)
        datastore_of(butler).trash(refs[:2])
        (name,) = datastore_of(butler).names
        assert rows(butler, "SELECT * FROM trash") == sorted((ref.id, name) for ref in refs[:2])
        assert rows(butler, "SELECT * FROM dataset_locations") == sorted((ref.id, name) for ref in refs[2:])
        in_trash = f"SELECT count(*), sum(file_size) FROM {RECORDS} JOIN trash USING (dataset_id)"
        files = [butler.getURI(ref).size() for ref in refs[2:4]]
        assert rows(butler, in_trash) == [(2, sum(files))]
        datastore_of(butler).emptyTrash()
        assert rows(butler, in_trash) == [(0, None)]

    @once
    def test_before_there_is_a_dataset(self, repository: ButlerRepository) -> None:
        for view in VIEWS:
            expected = {"collections": 2, "dataset_types": 1}.get(view, 0)
            assert len(rows(repository.butler, f"FROM {view}")) == expected

    @once
    def test_all_are_listed(self, repository: ButlerRepository) -> None:
        listed = {name for (name,) in rows(repository.butler, "SHOW TABLES")}
        repository.store()
        assert listed | {RECORDS} == {*VIEWS, RECORDS}
        assert {name for (name,) in rows(repository.butler, "SHOW TABLES")} == {*VIEWS, RECORDS}

    @once
    def test_own_transaction_is_seen(self, repository: ButlerRepository) -> None:
        butler = repository.butler
        count = f"SELECT count(*) FROM datasets JOIN {RECORDS} USING (dataset_id)"
        with butler.transaction():
            put(butler, "thing", "one", 0)
            assert rows(butler, count) == [(1,)]

    @once
    def test_answers_are_of_their_moment(self, repository: ButlerRepository) -> None:
        butler = repository.butler
        put(butler, "thing", "one", 0)
        relation = sql(butler, f"SELECT count(*) FROM datasets JOIN {RECORDS} USING (dataset_id)")
        put(butler, "thing", "one", 1)
        assert relation.fetchall() == [(1,)]

    @needs("concurrent")
    @once
    def test_records_and_views_are_of_one_moment(
        self, repository: ButlerRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = repository.open()
        put(other, "thing", "one", 0)
        read = Census.datasets

        def read_late(census: Census) -> Any:
            put(other, "thing", "one", 1)
            return read(census)

        monkeypatch.setattr(Census, "datasets", read_late)
        query = f"SELECT (SELECT count(*) FROM {RECORDS}), (SELECT count(*) FROM datasets)"
        assert rows(repository.butler, query) == [(1, 1)]

    @once
    def test_many_batches(self, repository: ButlerRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("arrowopaque.butler.arrow_sql._BATCH", 2)
        assert_datasets_agree(repository.butler, fill(repository.butler))


def make(root: Path, **managers: Any) -> Butler:
    config = Config(SEED)
    for name, manager in managers.items():
        config["registry", "managers", name] = manager
    Butler.makeRepo(str(root), config=config)
    return Butler.from_config(str(root), writeable=True)


def test_only_what_is_named_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make(tmp_path) as butler:
        make_inputs(butler, "one")
        put(butler, "thing", "one", 0)
        monkeypatch.setattr(Census, "__init__", None)
        assert rows(butler, f"SELECT count(*) FROM {RECORDS}") == [(1,)]
        monkeypatch.undo()
        monkeypatch.setattr(Census, "datasets", None)
        assert rows(butler, "SELECT collection, via FROM collection_members") == [("one", "one")]
        with pytest.raises(TypeError):
            sql(butler, "SELECT * FROM datasets")


COLLECTIONS = "lsst.daf.butler.registry.collections.nameKey.NameKeyCollectionManager"
DATASETS = "lsst.daf.butler.registry.datasets.byDimensions.ByDimensionsDatasetRecordStorageManagerUUID"


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_other_managers_of_the_host(tmp_path: Path, version: str) -> None:
    """Collections by name; both kinds of ingest date."""
    datasets = {"cls": DATASETS, "schema_version": version}
    with make(tmp_path, collections=COLLECTIONS, datasets=datasets) as butler:
        make_inputs(butler, "one", "two")
        assert_datasets_agree(butler, fill(butler))
        members = "SELECT collection, count(*) FROM collection_members GROUP BY ALL ORDER BY ALL"
        assert rows(butler, members) == [
            ("cal", 3), ("inner", 5), ("one", 3), ("outer", 12), ("tag", 2), ("two", 4)
        ]  # fmt: skip
        assert_dates_agree(butler)


def test_other_driver(butler_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARROWOPAQUE_ROOT", str(tmp_path / "opaque"))
    monkeypatch.setattr("arrowopaque.butler.arrow_sql._BATCH", 2)
    config = Config(SEED)
    config["registry", "db"] = butler_database.replace("+psycopg:", "+psycopg2:")
    config["registry", "namespace"] = "analytics_psycopg2"
    Butler.makeRepo(str(tmp_path / "repo"), config=config)
    with Butler.from_config(str(tmp_path / "repo"), writeable=True) as butler:
        make_inputs(butler, "one", "two")
        assert_datasets_agree(butler, fill(butler))
        assert len(rows(butler, "FROM collection_members")) == 29


def test_repository_of_another_manager(tmp_path: Path) -> None:
    Butler.makeRepo(str(tmp_path))
    with Butler.from_config(str(tmp_path)) as butler, pytest.raises(ConfigurationError, match="ByName"):
        sql(butler, "SELECT * FROM datasets")


def test_table_with_the_name_of_a_view(tmp_path: Path) -> None:
    from tests.support import specs

    with make(tmp_path) as butler:
        manager = ArrowOpaqueTableStorageManager.of_butler(butler)
        manager.register("Trash", specs.standard())
        assert manager.sql("SELECT count(*) FROM Trash").fetchall() == [(0,)]
        with pytest.raises(ConfigurationError, match="'Trash' and 'trash'"):
            sql(butler, "SELECT * FROM trash")
