"""A repository is exported: what the export holds, and that it follows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lsst.daf.butler import Butler, DatasetType

from arrowopaque import ConfigurationError, ReadOnlyError, StoreRoot
from arrowopaque.butler.choosing import Selection, choose, count_datasets
from arrowopaque.butler.exporting import export_repository
from arrowopaque.transfer.tables import SPECS
from tests.support.absent import WITHOUT_BUTLER
from tests.support.answers import YEARS, answers, members_of
from tests.support.butlers import RECORDS, ButlerRepository, content

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "EXPORTS.md").read_text()
NewRepository = Callable[..., ButlerRepository]


@pytest.fixture
def dest(tmp_path: Path) -> str:
    return str(tmp_path / "export")


def rows(root: StoreRoot, query: str) -> list[tuple[Any, ...]]:
    return root.sql(query).fetchall()


def changed(report: Any) -> dict[str, tuple[int, int]]:
    """Return rows written and removed, of the tables that changed."""
    return {
        name: (done.written, done.removed)
        for name, done in report.tables.items()
        if done.written or done.removed
    }


def test_everything(registry: Butler, dest: str) -> None:
    report = export_repository(registry, dest)
    root = StoreRoot(dest, writeable=False)
    root.verify()
    known = answers(registry)
    assert report.datasets == len(known["datasets"]) == 47
    found = root.table("datasets").fetch()
    for row in found:
        dataset_type, run, mapping = known["datasets"].pop(row["dataset_id"])
        assert (row["dataset_type"], row["run"]) == (dataset_type.name, run)
        assert json.loads(row["data_id"]).items() <= mapping.items()
        assert all(row[name] == value for name, value in mapping.items())
    assert not known["datasets"]
    members: set[tuple[Any, ...]] = {
        (row["dataset_id"], row["collection"], None) for row in root.table("dataset_tags").fetch()
    }
    for row in root.table("dataset_calibrations").fetch():
        members.add((row["dataset_id"], row["collection"], (row["timespan_begin"], row["timespan_end"])))
    assert members == {member for member in known["members"] if member[1] in ("tagged", "calibs")}
    chains = rows(root, "SELECT parent, child FROM collection_chains ORDER BY parent, rank")
    assert [child for parent, child in chains if parent == "outer"] == ["tagged", "chain", "calibs"]
    assert ("calibs", "CALIBRATION", "the calibs") in rows(root, "SELECT name, type, doc FROM collections")
    for element, records in known["dimensions"].items():
        assert rows(root, f"SELECT count(*) FROM dimension_{element}") == [(len(records),)]


def test_again_writes_nothing(registry: Butler, dest: str) -> None:
    export_repository(registry, dest)
    assert changed(export_repository(registry, dest)) == {}


def test_what_changed_follows(registry: Butler, dest: str) -> None:
    export_repository(registry, dest)
    tagged = registry.query_datasets("bias", "tagged", find_first=False)
    registry.registry.disassociate("tagged", tagged[:1])
    registry.collections.redefine_chain("chain", ["imported_g"])
    registry.registry.insertDimensionData(
        "physical_filter", {"instrument": "Cam1", "name": "Cam1-R1", "band": "x"}, replace=True
    )
    flats = registry.query_datasets("flat", "imported_g", find_first=False)
    registry.pruneDatasets(flats, purge=True, unstore=True, disassociate=True)
    registry.registry.registerDatasetType(
        DatasetType("new", ["instrument"], "StructuredDataDict", universe=registry.dimensions)
    )
    registry.collections.register("fresh")
    assert changed(export_repository(registry, dest)) == {
        # The flats through that filter have another band.
        "datasets": (2, 3),
        "dataset_tags": (0, 1),
        "dataset_types": (1, 0),
        "collections": (1, 0),
        "collection_chains": (1, 2),
        "dimension_physical_filter": (1, 0),
    }
    root = StoreRoot(dest, writeable=False)
    root.verify()
    assert rows(root, "SELECT DISTINCT band FROM datasets WHERE physical_filter = 'Cam1-R1'") == [("x",)]


def test_interrupted_and_resumed(registry: Butler, dest: str) -> None:
    done = []

    def stop(datasets: int) -> None:
        done.append(datasets)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_repository(registry, dest, advance=stop)
    root = StoreRoot(dest, writeable=False)
    assert rows(root, "SELECT value FROM export WHERE name = 'is_complete'") == [("false",)]
    first = rows(root, "SELECT count(*) FROM datasets")[0][0]
    assert 0 < first == sum(done) < 47
    resumed = changed(export_repository(registry, dest))
    assert resumed["datasets"] == (47 - first, 0)
    root.refresh()
    assert rows(root, "SELECT value FROM export WHERE name = 'is_complete'") == [("true",)]


def selected(root: StoreRoot, table: str, column: str = "name") -> set[Any]:
    return {value for (value,) in rows(root, f'SELECT "{column}" FROM "{table}"')}


def test_of_a_tagged_collection(registry: Butler, dest: str) -> None:
    """Its runs come along, and the dimension records that its datasets need."""
    export_repository(registry, dest, Selection(collections=("tagged",)))
    root = StoreRoot(dest, writeable=False)
    assert selected(root, "datasets", "dataset_id") == {
        id for id, collection, _ in members_of(registry) if collection == "tagged"
    }
    assert selected(root, "collections") == {"tagged", "imported_g", "imported_r"}
    assert selected(root, "dataset_types") == {"bias", "flat"}
    assert selected(root, "dimension_instrument") == {"Cam1"}
    assert selected(root, "dimension_physical_filter") == {"Cam1-R1"}
    assert selected(root, "dimension_visit", "id") == set()


def test_of_a_chain(registry: Butler, dest: str) -> None:
    report = export_repository(registry, dest, Selection(collections=("outer",)))
    root = StoreRoot(dest, writeable=False)
    assert report.datasets == 13, "those in several collections are counted once"
    assert selected(root, "collections") == {
        "outer", "chain", "tagged", "calibs", "imported_g", "imported_r"
    }  # fmt: skip
    assert rows(root, "SELECT count(*) FROM datasets") == [(13,)]
    assert rows(root, "SELECT count(*) FROM dataset_calibrations") == [(8,)]


def test_of_dataset_types(registry: Butler, dest: str) -> None:
    export_repository(registry, dest, Selection(dataset_types=("bi*", "flat")))
    root = StoreRoot(dest, writeable=False)
    assert selected(root, "datasets", "dataset_type") == {"bias", "flat"} == selected(root, "dataset_types")


def test_where(registry: Butler, dest: str) -> None:
    chosen = Selection(dataset_types=("bias",), where="instrument = 'Cam1' AND detector IN (2, 3)")
    report = export_repository(registry, dest, chosen)
    root = StoreRoot(dest, writeable=False)
    assert report.datasets == 4
    assert selected(root, "datasets", "detector") == {2, 3} == selected(root, "dimension_detector", "id")


def test_records_that_belong_to_a_visit_come_along(registry: Butler, dest: str) -> None:
    """Nothing selected refers to a visit's exposures: the visit does."""
    visits = DatasetType(
        "summary", ["instrument", "visit"], "StructuredDataDict", universe=registry.dimensions
    )
    registry.registry.registerDatasetType(visits)
    registry.collections.register("summaries")
    (definition, *_) = registry.query_dimension_records("visit_definition")
    data_id = registry.registry.expandDataId(instrument=definition.instrument, visit=definition.visit)
    registry.registry.insertDatasets(visits, [data_id], run="summaries")
    export_repository(registry, dest, Selection(collections=("summaries",)))
    root = StoreRoot(dest, writeable=False)
    of_visit = registry.query_dimension_records(
        "visit_definition", instrument=definition.instrument, visit=definition.visit
    )
    exposures = {record.exposure for record in of_visit}
    assert selected(root, "dimension_visit", "id") == {definition.visit}
    assert selected(root, "dimension_visit_definition", "exposure") == exposures
    assert selected(root, "dimension_exposure", "id") == exposures
    assert selected(root, "dimension_group")


def test_another_selection_removes_the_rest(registry: Butler, dest: str) -> None:
    export_repository(registry, dest)
    report = changed(export_repository(registry, dest, Selection(collections=("imported_g",))))
    root = StoreRoot(dest, writeable=False)
    assert report["datasets"] == (0, 41)
    assert selected(root, "datasets", "run") == {"imported_g"} == selected(root, "collections")
    assert selected(root, "dataset_tags", "collection") == set()


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(dataset_types=("no*",)), r"no dataset type matches 'no\*'"),
        (Selection(collections=("no*",)), r"no collection matches 'no\*'"),
    ],
)
def test_nothing_has_the_name(registry: Butler, dest: str, selection: Selection, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        export_repository(registry, dest, selection)
    assert not Path(dest).exists()


def test_counts_before(registry: Butler) -> None:
    counts = count_datasets(registry, choose(registry, Selection()))
    assert counts == {"bias": 6, "calexp": 33, "flat": 7, "skyMap": 1}


def test_other_stores_are_refused(registry: Butler, dest: str, tmp_path: Path) -> None:
    StoreRoot(dest).register("mine", SPECS["collections"])
    with pytest.raises(ConfigurationError, match="is no export: it is a store with the tables \\['mine'\\]"):
        export_repository(registry, dest)
    with pytest.raises(ReadOnlyError, match="belongs to a Butler registry"):
        export_repository(registry, str(next((tmp_path / "registry" / "opaque").iterdir())))


def test_the_export_of_another_repository_is_refused(
    registry: Butler, dest: str, new_repository: NewRepository
) -> None:
    export_repository(registry, dest)
    with pytest.raises(ConfigurationError, match="export of another repository"):
        export_repository(new_repository("arrow-sqlite-local").butler, dest)


@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "sql-sqlite", "arrow-postgres-local"])
def test_records_and_files(new_repository: NewRepository, dest: str, kind: str) -> None:
    repository = new_repository(kind)
    refs = repository.store()
    trashed, *kept = refs
    repository.butler.pruneDatasets([trashed], unstore=True, disassociate=False)
    report = export_repository(repository.butler, dest, with_files=True)
    root = StoreRoot(dest, writeable=False)
    assert {row["dataset_id"]: row["path"] for row in root.table(RECORDS).fetch()} == repository.records()
    assert len(kept) == report.tables["artifacts"].written == len(repository.records())
    assert report.bytes_copied == sum(size for (size,) in rows(root, "SELECT size FROM artifacts"))
    copies = {path.name for path in (Path(dest) / "artifacts").rglob("*.yaml")}
    assert copies == {Path(path).name for path in repository.records().values()}
    again = export_repository(repository.butler, dest, with_files=True)
    assert (changed(again), again.bytes_copied) == ({}, 0)
    repository.butler.pruneDatasets(kept[:2], unstore=True, purge=True, disassociate=True)
    # What was copied before goes, too, if nothing is to be copied now.
    assert changed(export_repository(repository.butler, dest)) == {
        "datasets": (0, 2),
        RECORDS: (0, 2),
        "artifacts": (0, 2),
    }
    assert len(list((Path(dest) / "artifacts").rglob("*.yaml"))) == len(kept) - 2


def test_unstored_records_go(new_repository: NewRepository, dest: str) -> None:
    """The dataset stays, its records do not."""
    repository = new_repository("arrow-sqlite-local")
    refs = repository.store()
    export_repository(repository.butler, dest)
    repository.butler.pruneDatasets(refs[:3], unstore=True, disassociate=False)
    assert changed(export_repository(repository.butler, dest)) == {RECORDS: (0, 3)}


def test_to_s3(registry: Butler, s3_bucket: str) -> None:
    dest = f"s3://{s3_bucket}/exports/one"
    export_repository(registry, dest)
    root = StoreRoot(dest, writeable=False)
    root.verify()
    assert rows(root, "SELECT count(*) FROM datasets") == [(47,)]
    assert changed(export_repository(registry, dest)) == {}


def test_opens_without_lsst(registry: Butler, dest: str) -> None:
    export_repository(registry, dest)
    source = """
        from arrowopaque import StoreRoot
        root = StoreRoot(sys.argv[1], writeable=False)
        root.verify()
        print(root.sql(
            "SELECT d.full_name, count(*) FROM datasets JOIN dimension_detector AS d "
            "ON d.instrument = datasets.instrument AND d.id = datasets.detector "
            "WHERE dataset_type = 'bias' GROUP BY ALL ORDER BY ALL"
        ).fetchall())
        """
    command = [sys.executable, "-c", WITHOUT_BUTLER + textwrap.dedent(source), dest]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[('Aa', 1), ('Ab', 2), ('Ba', 2), ('Bb', 1)]"


def test_the_document_names_all_tables(new_repository: NewRepository, dest: str) -> None:
    repository = new_repository("arrow-sqlite-local")
    repository.store()
    export_repository(repository.butler, dest)
    root = StoreRoot(dest, writeable=False)
    assert rows(root, re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)[0])[0][:3] == ("Cam", "thing", 8)
    for name, spec in {**SPECS, "datasets": root.spec("datasets")}.items():
        (line,) = (line for line in DOCUMENT.splitlines() if line.startswith(f"| `{name}`"))
        assert all(f"`{column}`" in line for column in spec.names[:4]), name


def test_opens_with_duckdb_alone(new_repository: NewRepository, dest: str) -> None:
    """The manifests say which files: old ones stay for a while."""
    repository = new_repository("arrow-sqlite-local")
    repository.store("one")
    export_repository(repository.butler, dest)
    repository.store("two")
    export_repository(repository.butler, dest)
    *_, recipe = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)
    found = duckdb.connect().execute(recipe.replace("DEST", dest)).fetchall()
    assert found == [("one", 8), ("two", 8)]


def test_content_is_what_it_was(new_repository: NewRepository, dest: str) -> None:
    """The copies of artifacts are the artifacts."""
    repository = new_repository("arrow-sqlite-local")
    (ref,) = repository.store(detectors=[5])
    export_repository(repository.butler, dest, with_files=True)
    (copy,) = (Path(dest) / "artifacts").rglob("*.yaml")
    assert copy.read_bytes() == repository.butler.getURI(ref).read()
    assert repository.butler.get(ref) == content(5, "one")


def test_years_are_kept_to_the_nanosecond(registry: Butler, dest: str) -> None:
    export_repository(registry, dest)
    root = StoreRoot(dest, writeable=False)
    begins = selected(root, "dataset_calibrations", "timespan_begin")
    assert begins == {0, 1577836800_000_000_000, 1640995200_000_000_000}
    assert YEARS[0].isot == "2020-01-01T00:00:00.000"
