"""NaN among numbers that rows are sorted, indexed and looked up by."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from arrowopaque import ConstraintError, Options, StoreRoot
from arrowopaque.format.spec import Column, ColumnKind, Index, TableSpec
from arrowopaque.store.rooted import RootedTable
from tests.hostile.forge import reseal

Row = dict[str, Any]
COLUMNS = ("id", "real", "other")
KINDS = (ColumnKind.BIGINT, ColumnKind.FLOAT, ColumnKind.FLOAT)
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"primary_key": ("id",)},
    "index": {
        "primary_key": ("id",),
        "indexes": (Index(columns=("real",)), Index(columns=("other", "real"))),
    },
    "unique": {"primary_key": ("id",), "unique": (("real", "id"),)},
    "key": {"primary_key": ("real", "id")},
    "later in the key": {"primary_key": ("id", "real")},
}


def rows() -> list[Row]:
    special = {2: -0.0, 3: math.nan, 7: math.nan, 8: math.inf, 9: -math.inf}
    return [{"id": i, "real": special.get(i, float(i)), "other": math.nan} for i in range(12)]


@pytest.fixture(params=SHAPES)
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreRoot:
    shape = SHAPES[request.param]
    columns = tuple(
        Column(name=name, kind=kind, nullable=name not in shape["primary_key"])
        for name, kind in zip(COLUMNS, KINDS, strict=True)
    )
    root = StoreRoot(str(tmp_path))
    root.register("t", TableSpec(columns=columns, **shape))
    with monkeypatch.context() as patch:
        # PostgreSQL takes NaN for a key, so that a store which a registry has published may hold it.
        patch.setattr(RootedTable, "_is_real_key", lambda *_: False)
        root.table("t").insert(*rows())
    return root


def test_verify_finds_nothing(root: StoreRoot) -> None:
    for _ in range(2):
        assert root.verify().findings == ()
        root.compact()


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (4.0, {4}),
        # In SQL both zeros are equal, and NaN is to nothing.
        (0.0, {0, 2}),
        (-0.0, {0, 2}),
        (math.inf, {8}),
        (-math.inf, {9}),
        (math.nan, set()),
        ([math.nan, 5.0], {5}),
        ([math.nan, 3.0], set()),
    ],
    ids=repr,
)
def test_lookups(root: StoreRoot, value: Any, ids: set[int]) -> None:
    table = root.table("t")
    assert {row["id"] for row in table.fetch(real=value)} == ids
    assert set(table.fetch_arrow(["id"], real=value).column("id").to_pylist()) == ids
    assert list(table.fetch(other=value)) == []


@pytest.mark.parametrize("root", ["plain", "index", "unique"], indirect=True)
def test_writes(root: StoreRoot) -> None:
    table = root.table("t")
    table.insert({"id": 20, "real": math.nan, "other": 1.0}, {"id": 21, "real": 21.0, "other": math.nan})
    table.delete(["real"], {"real": math.nan})
    table.delete(["id"], {"id": 7})
    assert {row["id"] for row in table.fetch()} == {*range(12), 20, 21} - {7}
    root.verify()


@pytest.mark.parametrize("root", ["key", "later in the key"], indirect=True)
def test_no_key_is_nan(root: StoreRoot) -> None:
    """It would be no key: it is equal to nothing."""
    table = root.table("t")
    before = table.fetch_arrow()
    row = {"id": 20, "real": math.nan, "other": 1.0}
    for write in (table.insert, table.replace, table.ensure):
        with pytest.raises(ConstraintError, match="column 'real' of the primary key must not be NaN"):
            write(row, {**row, "real": 1.0})
    many = table.fetch_arrow().slice(0, 0).to_pylist() + [{**row, "id": 100 + i} for i in range(3)]
    rows = pa.Table.from_pylist(many, schema=before.schema)
    for write_arrow in (table.insert_arrow, lambda rows: root.stage("t", rows)):
        with pytest.raises(ConstraintError, match="must not be NaN"):
            write_arrow(rows)
    bulk = StoreRoot(root.uri, options=Options(bulk_rows=2))
    with pytest.raises(ConstraintError, match="must not be NaN"):
        bulk.table("t").insert_arrow(rows)
    assert table.fetch_arrow().num_rows == before.num_rows
    table.insert({**row, "real": 1.0, "other": math.nan})


def test_other_bounds_are_found(root: StoreRoot) -> None:
    """NaN or not: the least and the greatest key are compared."""
    (path,) = Path(root.uri.removeprefix("file://")).glob("tables/t/manifests/*.json")

    def change(body: Row) -> Row:
        (file,) = body["partitions"][0]["files"]
        least = file["min"]
        place = next(at for at, value in enumerate(least) if isinstance(value, int) or len(least) == 1)
        least[place] = least[place] - 1
        return body

    path.write_bytes(reseal(change(json.loads(path.read_bytes()))))
    findings = StoreRoot(root.uri, writeable=False).verify(raising=False).findings
    assert {str(finding.check) for finding in findings} == {"bounds"}
