"""Exports and imports of records as Arrow are those of the host."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lsst.daf.butler import Butler, Config, DatasetRef, DatasetType
from lsst.daf.butler._rubin import datastore_records as host_side
from lsst.daf.butler.registry.interfaces import FakeDatasetRef, ReadOnlyDatabaseError
from lsst.daf.butler.tests import MetricsExample
from sqlalchemy.exc import IntegrityError

from arrowopaque import ArrowOpaqueTableStorage
from arrowopaque.butler.bridge import ArrowDatastoreRegistryBridge
from arrowopaque.butler.datastores import leaves
from arrowopaque.butler.records import export_datastore_records_table, import_datastore_records_table
from tests.opaque.suite_base import SuiteBase, once
from tests.support.butlers import (
    RECORDS,
    SEED,
    ButlerRepository,
    content,
    datastore_of,
    make_inputs,
    manager_of,
)
from tests.support.subjects import override_options

COMPOSITE = {
    "pytype": "lsst.daf.butler.tests.MetricsExample",
    "delegate": "lsst.daf.butler.tests.MetricsDelegate",
    "components": {name: "StructuredDataDict" for name in ("summary", "output")},
}
WHOLE = "lsst.daf.butler.tests.testFormatters.MetricsExampleFormatter"
FILES = "lsst.daf.butler.datastores.fileDatastore.FileDatastore"
CHAIN = "lsst.daf.butler.datastores.chainedDatastore.ChainedDatastore"
MEMORY = "lsst.daf.butler.datastores.inMemoryDatastore.InMemoryDatastore"


def of_files(name: str) -> dict[str, Any]:
    return {
        "datastore": {"cls": FILES, "root": f"<butlerRoot>/{name}", "records": {"table": f"records_{name}"}}
    }


def config(seed: Config, chain: bool) -> Config:
    seed["storageClasses", "Composite"] = COMPOSITE
    disassembled = {"disassembled": {"Composite": True}}
    if not chain:
        seed["datastore", "composites"] = disassembled
        return seed
    children = [of_files("first"), of_files("second"), {"datastore": {"cls": MEMORY}}]
    children[0]["datastore"]["formatters"] = {"Composite": WHOLE}
    children[1]["datastore"]["composites"] = disassembled
    seed["datastore"] = {"cls": CHAIN, "datastores": children}
    return seed


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Butler]]:
    """Makes repositories that know the dataset types of these tests."""
    with ExitStack() as stack:

        def create(name: str, *, seed: str | None = SEED, chain: bool = False) -> Butler:
            root = tmp_path / name
            Butler.makeRepo(str(root), config=config(Config(seed), chain))
            butler: Butler = stack.enter_context(Butler.from_config(str(root), writeable=True))
            make_inputs(butler, "one")
            butler.registry.registerDatasetType(
                DatasetType("whole", ["detector"], "Composite", universe=butler.dimensions)
            )
            return butler

        yield create


def fill(butler: Butler) -> list[DatasetRef]:
    """Put simple and disassembled datasets; those in the first half are in
    data files, and of one the size is not known.
    """
    refs = []
    for detector in range(6):
        data_id = {"instrument": "Cam", "detector": detector}
        refs.append(butler.put(content(detector, "one"), "thing", data_id, run="one"))
        parts = MetricsExample(summary={"a": detector}, output={"b": detector})
        refs.append(butler.put(parts, "whole", data_id, run="one"))
        if detector == 2:
            _forget_size(butler, refs[0])
            manager = manager_of(butler)
            if hasattr(manager, "flush"):
                manager.flush()
    return refs


def _forget_size(butler: Butler, ref: DatasetRef) -> None:
    manager = manager_of(butler)
    for name in (RECORDS, "records_first"):
        table = manager.get(name)
        if table is not None:
            table.replace(*[{**row, "file_size": -1} for row in table.fetch(dataset_id=ref.id)])


def assert_same(butler: Butler, ids: list[uuid.UUID]) -> pa.Table:
    """Assert that both export the same, in the same order; return it."""
    ours = export_datastore_records_table(butler, ids)
    theirs = host_side.export_datastore_records_table(butler, ids)
    assert type(ours) is type(theirs)
    assert ours.to_arrow().schema.equals(theirs.to_arrow().schema, check_metadata=True)
    assert ours.to_arrow().to_pylist() == theirs.to_arrow().to_pylist()
    ours.to_arrow().validate(full=True)
    return ours.to_arrow()


@pytest.fixture(params=[1, 500])
def many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few datasets are many for the bridge, or not."""
    monkeypatch.setattr("arrowopaque.butler.bridge._MANY", request.param)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("chain", [False, True])
@pytest.mark.parametrize("seed", [SEED, None])
def test_export(make: Callable[..., Butler], seed: str | None, chain: bool) -> None:
    butler = make("repo", seed=seed, chain=chain)
    refs = fill(butler)
    datastore_of(butler).trash(refs[2:4])
    ids = [ref.id for ref in refs]
    table = assert_same(butler, [*reversed(ids), uuid.UUID(int=1)])
    # Five of each type are left; a whole of two parts, in the chain also one that is not taken apart.
    assert table.num_rows == 5 * 3 + 5 * 2 * chain
    assert table.column("component").unique().to_pylist().count(None) == 1
    assert table.column("file_size").null_count == 1
    assert len(table.column("datastore_name").unique()) == 1 + chain
    assert assert_same(butler, ids[:2]).num_rows == 3 + 2 * chain
    assert assert_same(butler, ids[2:4]).num_rows == 0
    assert assert_same(butler, []).num_rows == 0


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("chain", [False, True])
@pytest.mark.parametrize("bulk_rows", [2, 10_000])
def test_import(make: Callable[..., Butler], chain: bool, bulk_rows: int) -> None:
    with override_options({"bulk_rows": bulk_rows}):
        source, other = (make(name, chain=chain) for name in ("source", "other"))
        refs = fill(source)
        ids = [ref.id for ref in refs]
        table = export_datastore_records_table(source, ids)
        other.registry._importDatasets(refs, expand=False)
        import_datastore_records_table(other, table)
        copied = assert_same(other, ids)
        assert copied.equals(table.to_arrow())
        assert all(datastore_of(other).knows_these(refs).values())


class TestManyDatasets(SuiteBase):
    """The bridge asks and writes of many datasets in statements of its own."""

    kinds = ("arrow-sqlite-local", "arrow-postgres-local")

    @once
    def test_known_and_unknown(self, repository: ButlerRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("arrowopaque.butler.bridge._MANY", 2)
        refs = repository.ingest(repository.unstored("one", range(4)))
        datastore = datastore_of(repository.butler)
        datastore.trash(refs[:1])
        unknown = repository.unstored("two", range(2))
        asked = [ref.id for ref in [*refs, *unknown, refs[1]]]
        assert datastore._bridge.check(id for id in asked) == {ref.id for ref in refs[1:]}
        table = assert_same(repository.butler, asked)
        assert table.num_rows == 3

    @once
    def test_clash(self, repository: ButlerRepository, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("arrowopaque.butler.bridge._MANY", 2)
        refs = repository.store("one", range(3))
        table = export_datastore_records_table(repository.butler, [ref.id for ref in refs])
        for clashing in ([refs[0], refs[0]], [FakeDatasetRef(uuid.UUID(int=n)) for n in range(2)], refs):
            with pytest.raises(IntegrityError):
                datastore_of(repository.butler)._bridge.insert(clashing)
        with pytest.raises(IntegrityError):
            import_datastore_records_table(repository.butler, table)
        repository.assert_holds(refs)


def test_import_as_the_host_does(make: Callable[..., Butler]) -> None:
    """Without parts, whose dataset the host would record once for each."""
    source, ours, theirs = (make(name) for name in ("source", "ours", "theirs"))
    refs = fill(source)[::2]
    ids = [ref.id for ref in refs]
    table = host_side.export_datastore_records_table(source, ids)
    for other in (ours, theirs):
        other.registry._importDatasets(refs, expand=False)
    import_datastore_records_table(ours, table)
    host_side.import_datastore_records_table(theirs, table)
    assert manager_of(ours)[RECORDS].fetch_arrow().equals(manager_of(theirs)[RECORDS].fetch_arrow())
    assert assert_same(ours, ids).equals(assert_same(theirs, ids))


def test_what_datastores_keep_private_is_found(make: Callable[..., Butler]) -> None:
    """Without it the host's own functions would be called, and nobody would notice."""
    found, is_chain = leaves(make("repo"))
    assert not is_chain
    of_chain, is_chain = leaves(make("chain", chain=True))
    assert is_chain
    for leaf in (*found, *of_chain[:2]):
        assert isinstance(leaf.table, ArrowOpaqueTableStorage)
        assert isinstance(leaf.bridge, ArrowDatastoreRegistryBridge)
    assert [leaf.table for leaf in of_chain[2:]] == [None]


def test_import_of_nothing(make: Callable[..., Butler]) -> None:
    butler = make("repo")
    import_datastore_records_table(butler, export_datastore_records_table(butler, []))
    assert list(manager_of(butler)[RECORDS].fetch()) == []


def test_import_is_all_or_nothing(make: Callable[..., Butler]) -> None:
    source, other = make("source"), make("other")
    refs = fill(source)
    table = export_datastore_records_table(source, [ref.id for ref in refs])
    with pytest.raises(IntegrityError):
        import_datastore_records_table(other, table)
    other.registry._importDatasets(refs, expand=False)
    table_of_records = manager_of(other)[RECORDS]
    row = next(iter(manager_of(source)[RECORDS].fetch(dataset_id=refs[-1].id)))
    table_of_records.insert(dict(row))
    with pytest.raises(IntegrityError):
        import_datastore_records_table(other, table)
    assert datastore_of(other)._bridge.check([ref.id for ref in refs]) == set()
    assert len(list(table_of_records.fetch())) == 1


def test_import_into_a_chain_without_the_datastore(make: Callable[..., Butler]) -> None:
    source, other = make("source"), make("other", chain=True)
    table = export_datastore_records_table(source, [ref.id for ref in fill(source)])
    with pytest.raises(ValueError, match="do not match known datastores"):
        import_datastore_records_table(other, table)


def test_import_by_a_reader(make: Callable[..., Butler], tmp_path: Path) -> None:
    source = make("source")
    table = export_datastore_records_table(source, [ref.id for ref in fill(source)])
    with Butler.from_config(str(tmp_path / "source")) as reader, pytest.raises(ReadOnlyDatabaseError):
        import_datastore_records_table(reader, table)
