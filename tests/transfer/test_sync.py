"""A table is made to hold what it is given: no lsst, no Butler."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from arrowopaque import ConfigurationError, CorruptStoreError, StoreRoot
from arrowopaque.format.names import artifact_object, parse
from arrowopaque.format.spec import ColumnKind
from arrowopaque.transfer.artifacts import read_artifact, store_artifact
from arrowopaque.transfer.description import Description, describe, read_description
from arrowopaque.transfer.sync import TableSync
from arrowopaque.transfer.tables import ARTIFACTS, EXPORT, SPECS, check_opaque_names, datasets_spec

SPEC = datasets_spec([("instrument", ColumnKind.STRING), ("detector", ColumnKind.BIGINT)])


def dataset(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "dataset_id": uuid.UUID(int=number).bytes,
        "dataset_type": "thing",
        "run": "one",
        "data_id": "{}",
        "instrument": "Cam",
        "detector": None,
    }
    return row | changes


@pytest.fixture
def root(tmp_path: Path) -> StoreRoot:
    root = StoreRoot(str(tmp_path / "export"))
    root.register("datasets", SPEC)
    return root


def sync(root: StoreRoot, *rows: dict[str, Any], **scope: Any) -> tuple[int, int]:
    one = TableSync(root, "datasets", scope)
    for row in rows:
        one.add(pa.Table.from_pylist([row], schema=SPEC.arrow_schema))
    one.sweep()
    return one.done.written, one.done.removed


def held(root: StoreRoot) -> dict[int, Any]:
    return {row["dataset_id"].int: row["detector"] for row in root.table("datasets").fetch()}


def test_only_what_differs_is_written(root: StoreRoot) -> None:
    assert sync(root, dataset(1), dataset(2, detector=5)) == (2, 0)
    version = root.version
    assert sync(root, dataset(1), dataset(2, detector=5)) == (0, 0)
    assert root.version == version
    assert sync(root, dataset(1, detector=0), dataset(2), dataset(3)) == (3, 0)
    assert held(root) == {1: 0, 2: None, 3: None}


def test_what_was_not_given_is_removed(root: StoreRoot) -> None:
    sync(root, *map(dataset, range(5)))
    assert sync(root, dataset(1), dataset(7)) == (1, 4)
    assert held(root).keys() == {1, 7}
    assert sync(root) == (0, 2)


def test_rows_outside_of_the_scope_stay(root: StoreRoot) -> None:
    sync(root, dataset(1), dataset(2, dataset_type="other"))
    assert sync(root, dataset(3, dataset_type="other"), dataset_type="other") == (1, 1)
    assert held(root).keys() == {1, 3}


def test_a_page_is_one_commit(root: StoreRoot) -> None:
    version = root.version
    with root.transaction():
        sync(root, dataset(1), dataset(2))
        sync(root, dataset(2))
    assert root.version == version + 1
    assert held(root).keys() == {2}


@pytest.mark.parametrize("name", ["datasets", "export", "dimension_visit"])
def test_opaque_tables_do_not_take_our_names(name: str) -> None:
    check_opaque_names(["file_datastore_records"])
    with pytest.raises(ConfigurationError, match=name):
        check_opaque_names(["file_datastore_records", name])


def test_description(tmp_path: Path) -> None:
    root = StoreRoot(str(tmp_path / "new"))
    assert read_description(root) is None
    root.register(EXPORT, SPECS[EXPORT])
    assert read_description(root) is None
    description = Description({"version": 7}, "daf_butler", 7, {"where": ""}, True, False)
    describe(root, description)
    assert read_description(root) == description
    assert description.dimensions == "daf_butler 7"


@pytest.mark.parametrize(
    ("datastore", "path"), [("FileDatastore@<butlerRoot>", "run/a b?c#d:%2e.fits"), ("ü", "%2e%2e/x")]
)
def test_artifacts(root: StoreRoot, datastore: str, path: str) -> None:
    row = store_artifact(root, datastore, path, b"bytes")
    assert {*row} == {*SPECS[ARTIFACTS].names}
    assert read_artifact(root, row) == b"bytes"
    name = artifact_object(datastore, path)
    assert parse(name) is None, "maintenance leaves it alone"
    for altered in (b"bytez", b"byte", b"bytes and more"):
        root.volume.store.put(name, altered)
        with pytest.raises(CorruptStoreError, match="artifacts"):
            read_artifact(root, row)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "", "a/../../b"])
def test_artifacts_stay_inside(path: str) -> None:
    with pytest.raises(CorruptStoreError):
        artifact_object("datastore", path)


def test_vacuum_leaves_artifacts(root: StoreRoot) -> None:
    row = store_artifact(root, "datastore", "a", b"bytes")
    root.vacuum(0)
    assert read_artifact(root, row) == b"bytes"
