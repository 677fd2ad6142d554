"""What differs between two versions of a table, against a model."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrowopaque import ConfigurationError, Options, StoreRoot
from arrowopaque.butler.ddl import CODECS, from_lsst
from arrowopaque.difference import Counts, Difference
from arrowopaque.store.proved import ProvedFile
from tests.support import specs

Rows = dict[Any, dict[str, Any]]

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "delete", "compact"]),
        st.lists(st.integers(0, 39), min_size=1, max_size=25, unique=True),
    ),
    min_size=1,
    max_size=8,
)


def expected(before: Rows, after: Rows) -> tuple[Counts, list[tuple[Any, ...]]]:
    """Return what a difference has to say."""
    rows: list[tuple[Any, ...]] = []
    changed = 0
    for key in sorted({*before, *after}):
        if key not in before:
            rows.append(("added", *after[key].values()))
        elif key not in after:
            rows.append(("removed", *before[key].values()))
        elif before[key] != after[key]:
            rows += [("before", *before[key].values()), ("after", *after[key].values())]
            changed += 1
    return Counts(len(after.keys() - before.keys()), len(before.keys() - after.keys()), changed), rows


def told(difference: Difference) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for batch in difference.rows() for row in batch.to_pylist()]


def do(root: StoreRoot, model: Rows, step: str, ids: list[int], serial: int) -> None:
    table = root.table("here")
    if step == "compact":
        root.compact(full=True)
    elif step == "delete":
        table.delete(["id"], *[{"id": id} for id in ids])
        for id in ids:
            model.pop(id, None)
    else:
        rows = [specs.row(id, f"n{serial}", None if id % 3 else id) for id in ids]
        if step == "insert":
            rows = [row for row in rows if row["id"] not in model]
            table.insert(*rows)
        else:
            table.replace(*rows)
        model.update({row["id"]: row for row in rows})


@given(STEPS, st.data(), st.sampled_from([1, 1_000_000]))
def test_any_two_versions(steps: list[tuple[str, list[int]]], data: st.DataObject, piece: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("arrowopaque.difference._ROWS", piece)
        root = StoreRoot(folder, options=Options(bulk_rows=2, partition_rows=10))
        root.register("here", from_lsst("here", specs.standard()))
        states: dict[int, Rows] = {root.version: {}}
        model: Rows = {}
        for serial, (step, ids) in enumerate(steps):
            do(root, model, step, ids, serial)
            states[root.version] = dict(model)
        one, other = (data.draw(st.sampled_from(sorted(states))) for _ in range(2))
        found = root.diff(one, other)["here"]
        counts, rows = expected(states[one], states[other])
        assert found.counts() == counts
        assert told(found) == rows


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., StoreRoot]:
    """Make a root with one table, which is called ``here``."""

    def make(spec: Any, **options: Any) -> StoreRoot:
        root = StoreRoot(str(tmp_path / "root"), options=Options(**{"bulk_rows": 2, **options}))
        root.register("here", from_lsst("here", spec))
        return root

    return make


@pytest.mark.parametrize("same", [True, False])
def test_every_type(make: Callable[..., StoreRoot], same: bool) -> None:
    root = make(specs.every_type())
    values: dict[str, Any] = {
        "short": "a",
        "long": "é",
        "small": 1,
        "big": 2**40,
        "real": float("nan"),
        "flag": True,
        "blob": b"\x00\xff",
        "uid": uuid.UUID(int=5),
        "hash": b"h" * 32,
        "time": specs.moment(1),
    }
    before = root.version
    empty = {"id": 2, **dict.fromkeys(values)}
    root.table("here", CODECS).insert({"id": 1, **values}, empty)
    middle = root.version
    changed = values if same else {**values, "uid": uuid.UUID(int=6)}
    root.table("here", CODECS).replace({"id": 1, **changed}, empty)
    assert root.diff(before, middle)["here"].counts() == Counts(added=2)
    found = root.diff(middle, root.version)["here"]
    assert found.counts() == Counts(changed=0 if same else 1)
    assert [row[0] for row in told(found)] == ([] if same else ["before", "after"])


def test_composite_key(make: Callable[..., StoreRoot]) -> None:
    root = make(specs.composite())
    rows = [
        {"run": run, "kind": kind, "uid": uuid.UUID(int=run), "flag": True, "after": 0}
        for run in range(5)
        for kind in ("a", "b")
    ]
    root.table("here").insert(*rows)
    before = root.version
    root.table("here").replace({**rows[3], "after": 1})
    root.table("here").delete(["run", "kind"], {"run": 4, "kind": "a"})
    assert root.diff(before, root.version)["here"].counts() == Counts(removed=1, changed=1)


def test_keys_only(make: Callable[..., StoreRoot]) -> None:
    root = make(specs.keys_only())
    root.table("here").insert({"a": 1, "b": 1}, {"a": 1, "b": 2})
    before = root.version
    root.compact(full=True)
    root.table("here").insert({"a": 2, "b": 1}, {"a": 2, "b": 2})
    root.table("here").delete(["a", "b"], {"a": 1, "b": 1})
    root.compact(full=True)
    found = root.diff(before, root.version)["here"]
    assert found.counts() == Counts(added=2, removed=1)
    assert told(found) == [("removed", 1, 1), ("added", 2, 1), ("added", 2, 2)]


def test_odd_names(make: Callable[..., StoreRoot]) -> None:
    spec = specs.odd_columns()
    root = make(spec)
    before = root.version
    row = dict.fromkeys(spec.fields.names, 1)
    root.table("here").insert(row, {**row, "id": 2})
    middle = root.version
    root.table("here").replace({**row, "a;b--": 2})
    root.compact(full=True)
    assert root.diff(before, middle)["here"].counts() == Counts(added=2)
    assert root.diff(middle, root.version)["here"].counts() == Counts(changed=1)
    assert [row[0] for row in told(root.diff(middle, root.version)["here"])] == ["before", "after"]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with every data file that is given to DuckDB."""
    found: list[str] = []
    made = ProvedFile.__init__

    def note(self: ProvedFile, volume: Any, spec: Any, entry: Any) -> None:
        found.append(entry.path)
        made(self, volume, spec, entry)

    monkeypatch.setattr(ProvedFile, "__init__", note)
    return found


def test_only_what_differs_is_read(make: Callable[..., StoreRoot], read: list[str]) -> None:
    root = make(specs.standard(), partition_rows=100)
    root.table("here").insert(*specs.rows(range(1000)))
    before = root.version
    root.table("here").delete(["id"], *[{"id": id} for id in range(0, 1000, 50)])
    found = root.diff(before, root.version)["here"]
    assert found.counts() == Counts(removed=20)
    # Deletion vectors tell; those rows alone are read.
    assert read == []
    assert len(told(found)) == 20
    assert read == []
    middle = root.version
    root.table("here").replace(*[specs.row(id, "b") for id in range(201, 205)])
    found = root.diff(middle, root.version)["here"]
    assert found.counts() == Counts(changed=4)
    assert len(read) == 1


def test_equal_versions_read_nothing(make: Callable[..., StoreRoot], read: list[str]) -> None:
    root = make(specs.standard())
    root.table("here").insert(*specs.rows(range(10)))
    found = root.diff(root.version, root.version)["here"]
    assert (len(found), found.counts(), told(found), read) == (0, Counts(), [], [])
    assert not found.counts()


def test_pieces_are_apart(make: Callable[..., StoreRoot], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arrowopaque.difference._ROWS", 300)
    root = make(specs.standard(), partition_rows=100)
    root.table("here").insert(*specs.rows(range(1000)))
    before = root.version
    root.table("here").replace(*[specs.row(id, "b") for id in range(1000)])
    found, done = root.diff(before, root.version)["here"], list[float]()
    assert len(found) == 5
    assert found.counts(done.append) == Counts(changed=1000)
    assert done == [1] * 5


def test_tables_that_are_in_one_version_alone(make: Callable[..., StoreRoot]) -> None:
    root = make(specs.standard())
    before = root.version
    root.register("later", from_lsst("later", specs.standard()))
    root.table("later").insert(specs.row(1))
    found = root.diff(before, root.version)
    assert {name: difference.counts() for name, difference in found.items()} == {
        "here": Counts(),
        "later": Counts(added=1),
    }
    assert list(root.diff(before, root.version, "later")) == ["later"]
    with pytest.raises(LookupError, match="nowhere"):
        root.diff(before, root.version, "nowhere")
    with pytest.raises(ConfigurationError, match="no version 99"):
        root.diff(before, 99)
