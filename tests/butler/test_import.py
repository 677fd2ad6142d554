"""A repository is made of an export, and answers what the first one did."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler, Config, DatasetType, Timespan
from lsst.daf.butler.registry import ConflictingDefinitionError

from arrowopaque import ConfigurationError, CorruptStoreError, FormatVersionError, StoreRoot
from arrowopaque.butler.choosing import Selection
from arrowopaque.butler.dataset_import import Files
from arrowopaque.butler.exporting import export_repository
from arrowopaque.butler.importing import import_repository
from tests.support.answers import YEARS, answers
from tests.support.butlers import ButlerRepository, butler_config, content, manager_of
from tests.support.subjects import KINDS, Site

NewRepository = Callable[..., ButlerRepository]


@pytest.fixture
def dest(tmp_path: Path) -> str:
    return str(tmp_path / "export")


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "imported")


@pytest.fixture(scope="session")
def exported_once(loaded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("exported") / "export"
    with Butler.from_config(str(loaded), writeable=False) as butler:
        export_repository(butler, str(dest))
    return dest


@pytest.fixture
def exported(exported_once: Path, dest: str) -> str:
    """A writeable export of the host's test data."""
    shutil.copytree(exported_once, dest)
    return dest


@pytest.fixture(scope="session")
def expected(loaded: Path) -> dict[str, Any]:
    with Butler.from_config(str(loaded), writeable=False) as butler:
        return answers(butler)


def assert_answers(place: str, expected: dict[str, Any]) -> None:
    with Butler.from_config(place, writeable=False) as butler:
        found = answers(butler)
    for what, answer in expected.items():
        assert found[what] == answer, what


def test_answers_are_the_same(exported: str, place: str, expected: dict[str, Any]) -> None:
    report = import_repository(exported, place)
    assert (report.created, report.datasets, report.dataset_types) == (True, 47, 4)
    assert len(expected["members"]) > 47
    assert_answers(place, expected)
    with Butler.from_config(place, writeable=False) as butler:
        manager_of(butler).verify()


def test_calibrations_are_found_by_time(exported: str, place: str) -> None:
    import_repository(exported, place)
    with Butler.from_config(place, writeable=False) as butler:
        first, between, last = (
            butler.find_dataset(
                "bias", instrument="Cam1", detector=1, collections="calibs", timespan=Timespan.fromInstant(at)
            )
            for at in (YEARS[0], YEARS[1], YEARS[2])
        )
    assert first is not None
    assert between is None
    assert last == first


def test_again_changes_nothing(exported: str, place: str, expected: dict[str, Any]) -> None:
    import_repository(exported, place)
    again = import_repository(exported, place)
    assert not again.created
    assert_answers(place, expected)


def test_into_another_manager(exported: str, place: str, tmp_path: Path, expected: dict[str, Any]) -> None:
    """The seed of a new repository may name any managers."""
    seed = tmp_path / "seed.yaml"
    seed.write_text(
        "registry:\n  managers:\n"
        "    opaque: lsst.daf.butler.registry.opaque.ByNameOpaqueTableStorageManager\n"
    )
    import_repository(exported, place, config=str(seed))
    assert_answers(place, expected)
    with Butler.from_config(place, writeable=False) as butler:
        assert manager_of(butler).extensionName().endswith("ByNameOpaqueTableStorageManager")


def test_into_postgres(
    exported: str,
    place: str,
    tmp_path: Path,
    butler_database: str,
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = butler_config(
        KINDS["arrow-postgres-local"], Site(tmp_path, postgres=butler_database), "imported"
    )
    config.dumpToUri(str(tmp_path / "seed.yaml"))
    monkeypatch.setenv("ARROWOPAQUE_ROOT", str(tmp_path / "opaque"))
    import_repository(exported, place, config=str(tmp_path / "seed.yaml"))
    assert_answers(place, expected)


def test_interrupted_and_resumed(
    new_repository: NewRepository, dest: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = new_repository("arrow-sqlite-local")
    refs = repository.store()
    export_repository(repository.butler, dest, with_files=True)
    monkeypatch.setattr("arrowopaque.butler.dataset_import._AT_ONCE", 3)

    def stop(datasets: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_repository(dest, place, advance=stop)
    with Butler.from_config(place, writeable=False) as butler:
        assert len(butler.query_datasets("thing", "one", find_first=False)) == 3
    report = import_repository(dest, place)
    assert (report.files, report.records) == (5, 5)
    with Butler.from_config(place, writeable=False) as butler:
        assert [butler.get(ref) for ref in refs] == [content(n, "one") for n in range(8)]


@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "sql-sqlite"])
def test_files_are_copied(new_repository: NewRepository, dest: str, place: str, kind: str) -> None:
    repository = new_repository(kind)
    refs = [*repository.store("one"), *repository.store("two")]
    export_repository(repository.butler, dest, with_files=True)
    expected = answers(repository.butler)
    repository.close()
    shutil.rmtree(repository.root)
    report = import_repository(dest, place)
    assert (report.files, report.records) == (16, 16)
    assert_answers(place, expected)
    with Butler.from_config(place, writeable=True) as butler:
        for ref in refs:
            assert butler.get(ref) == content(int(ref.dataId["detector"]), ref.run)
        butler.pruneDatasets(refs, purge=True, unstore=True, disassociate=True)
    assert not list(Path(place).rglob("thing*.yaml"))


def test_files_go_through_s3(new_repository: NewRepository, place: str, s3_bucket: str) -> None:
    repository = new_repository("arrow-sqlite-local")
    refs = repository.store()
    dest = f"s3://{s3_bucket}/export"
    export_repository(repository.butler, dest, with_files=True)
    assert import_repository(dest, place).files == 8
    with Butler.from_config(place, writeable=False) as butler:
        assert [butler.get(ref) for ref in refs] == [content(n, "one") for n in range(8)]


def test_files_are_used_where_they_are(new_repository: NewRepository, dest: str, place: str) -> None:
    repository = new_repository("arrow-sqlite-local")
    refs = repository.store()
    export_repository(repository.butler, dest)
    report = import_repository(dest, place)
    assert (report.files, report.records) == (0, 8)
    with Butler.from_config(place, writeable=False) as butler:
        for ref in refs:
            assert butler.get(ref) == content(int(ref.dataId["detector"]), ref.run)
            assert butler.getURI(ref) == repository.butler.getURI(ref)


def test_files_are_left_out(new_repository: NewRepository, dest: str, place: str) -> None:
    repository = new_repository("arrow-sqlite-local")
    refs = repository.store()
    export_repository(repository.butler, dest)
    assert import_repository(dest, place, files=Files.NONE).records == 0
    with Butler.from_config(place, writeable=False) as butler:
        assert not any(butler.stored_many(refs).values())
        assert len(butler.query_datasets("thing", "one", find_first=False)) == 8


def test_copies_need_files(exported: str, place: str) -> None:
    with pytest.raises(ConfigurationError, match="has no artifacts"):
        import_repository(exported, place, files=Files.COPY)
    assert not Path(place).exists()


def test_files_that_others_need_are_not_written_over(
    new_repository: NewRepository, dest: str, tmp_path: Path
) -> None:
    """The repository has a file of that name, of a dataset of its own."""
    repository = new_repository("arrow-sqlite-local")
    repository.store(detectors=[1])
    export_repository(repository.butler, dest, with_files=True)
    other = new_repository("arrow-sqlite-local")
    (theirs,) = other.store(detectors=[1])
    before = other.butler.getURI(theirs).read()
    with pytest.raises(ConflictingDefinitionError):
        import_repository(dest, str(other.root))
    assert other.butler.getURI(theirs).read() == before
    assert other.records().keys() == {theirs.id}


def test_into_a_repository_that_has_other_datasets(new_repository: NewRepository, dest: str) -> None:
    repository = new_repository("arrow-sqlite-local")
    refs = repository.store("one")
    export_repository(repository.butler, dest, with_files=True)
    other = new_repository("arrow-sqlite-local")
    theirs = other.store("two")
    report = import_repository(dest, str(other.root))
    assert not report.created
    other.assert_holds([*refs, *theirs], other.open())


def damage(dest: str, pattern: str) -> str:
    """Flip one bit of each file that matches, and return a pattern of their names."""
    paths = [path for path in Path(dest).glob(pattern) if "index" not in path.name]
    for path in paths:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    return f"({'|'.join(path.name for path in paths)})"


@pytest.mark.parametrize("table", ["datasets", "collections", "dimension_visit", "export"])
def test_a_damaged_table_is_refused_by_name(exported: str, place: str, table: str) -> None:
    name = damage(exported, f"tables/{table}/partition=*/*.parquet")
    with pytest.raises(CorruptStoreError, match=name):
        import_repository(exported, place)
    assert not Path(place).exists()


def test_a_damaged_artifact_is_refused_by_name(new_repository: NewRepository, dest: str, place: str) -> None:
    repository = new_repository("arrow-sqlite-local")
    repository.store()
    export_repository(repository.butler, dest, with_files=True)
    name = damage(dest, "artifacts/**/*.yaml")
    with pytest.raises(CorruptStoreError, match=f"{name}' was altered"):
        import_repository(dest, place)


def test_a_missing_artifact_is_refused_by_name(new_repository: NewRepository, dest: str, place: str) -> None:
    repository = new_repository("arrow-sqlite-local")
    repository.store()
    export_repository(repository.butler, dest, with_files=True)
    path = next(Path(dest).glob("artifacts/**/*.yaml"))
    path.unlink()
    with pytest.raises(CorruptStoreError, match=path.name):
        import_repository(dest, place)


def test_an_unfinished_export_is_refused(exported: str, place: str) -> None:
    root = StoreRoot(exported)
    root.table("export").replace({"name": "is_complete", "value": "false"})
    with pytest.raises(ConfigurationError, match="the export was interrupted"):
        import_repository(exported, place)


def test_a_later_format_is_refused(exported: str, place: str) -> None:
    StoreRoot(exported).table("export").replace({"name": "format", "value": "2"})
    with pytest.raises(FormatVersionError, match="format 2"):
        import_repository(exported, place)


@pytest.mark.parametrize(("name", "value"), [("universe", "{"), ("format", '"one"'), ("selection", None)])
def test_a_malformed_description_is_refused(exported: str, place: str, name: str, value: str | None) -> None:
    table = StoreRoot(exported).table("export")
    if value is None:
        table.delete(["name"], {"name": name})
    else:
        table.replace({"name": name, "value": value})
    with pytest.raises(CorruptStoreError, match="description of the export is malformed"):
        import_repository(exported, place)


def test_a_path_that_climbs_out_is_refused(new_repository: NewRepository, dest: str, place: str) -> None:
    """Else the repository would delete what is not its own."""
    repository = new_repository("arrow-sqlite-local")
    repository.store(detectors=[1])
    export_repository(repository.butler, dest, with_files=True)
    records = StoreRoot(dest).table("file_datastore_records")
    (row,) = records.fetch()
    records.replace({**row, "path": "../../other/thing.yaml"})
    with pytest.raises(CorruptStoreError, match="leaves the store's root"):
        import_repository(dest, place)


def test_other_dimensions_are_refused(exported: str, place: str) -> None:
    dimensions = Config("resource://lsst.daf.butler/configs/dimensions.yaml")
    dimensions["version"] = 4711
    Butler.makeRepo(place, dimensionConfig=dimensions)
    with pytest.raises(ConfigurationError, match="4711"):
        import_repository(exported, place)


def test_another_dataset_type_of_that_name_is_refused(exported: str, place: str) -> None:
    Butler.makeRepo(place)
    with Butler.from_config(place, writeable=True) as butler:
        butler.registry.registerDatasetType(
            DatasetType("bias", ["instrument"], "StructuredDataDict", universe=butler.dimensions)
        )
    with pytest.raises(ConflictingDefinitionError, match="bias"):
        import_repository(exported, place)


def test_a_configuration_is_for_new_repositories(exported: str, place: str) -> None:
    Butler.makeRepo(place)
    with pytest.raises(ConfigurationError, match="a configuration is for new ones"):
        import_repository(exported, place, config="anything.yaml")


def test_a_missing_datastore_is_named(new_repository: NewRepository, dest: str, place: str) -> None:
    repository = new_repository("arrow-sqlite-local")
    repository.store(detectors=[1])
    export_repository(repository.butler, dest)
    config = Config({"datastore": {"records": {"table": "others"}}})
    Butler.makeRepo(place, config=config)
    with pytest.raises(ConfigurationError, match="has the records table 'file_datastore_records'"):
        import_repository(dest, place)


def test_no_export(place: str, tmp_path: Path) -> None:
    StoreRoot(str(tmp_path / "empty"))
    with pytest.raises(ConfigurationError, match="is no export"):
        import_repository(str(tmp_path / "empty"), place)


def test_a_part_of_a_repository(registry: Butler, dest: str, place: str) -> None:
    export_repository(registry, dest, Selection(collections=("chain",)))
    import_repository(dest, place)
    with Butler.from_config(place, writeable=False) as butler:
        for name in ("bias", "flat"):
            found = butler.query_datasets(name, "chain", find_first=True)
            assert {*found} == {*registry.query_datasets(name, "chain", find_first=True)}
        assert butler.collections.get_info("chain").children == ("imported_r", "tagged", "imported_g")
