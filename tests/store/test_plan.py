"""Files of a bulk write are made while it is found out whether they may be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arrowopaque import ConstraintError, Options, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.store import encoding
from arrowopaque.store.base import Base
from tests.support import specs
from tests.support.specs import row, rows


@pytest.fixture(params=[2, 1_000], ids=["at once", "one after the other"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreRoot:
    """A root with one table, whose bulk writes do both at once or not."""
    monkeypatch.setattr("arrowopaque.store.plan.LONG", request.param)
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2))
    root.register("t", from_lsst("t", specs.standard()))
    root.table("t").insert(*rows(range(5)))
    return root


def objects(root: StoreRoot) -> set[str]:
    return {info.path for info in root.volume.store.list()}


def found(root: StoreRoot) -> list[Any]:
    return sorted((dict(one) for one in root.table("t").fetch()), key=lambda one: one["id"])


def test_a_clash_stores_nothing(root: StoreRoot) -> None:
    before = objects(root)
    with pytest.raises(ConstraintError, match="'id': 4"):
        root.table("t").insert(*rows(range(4, 9)))
    assert objects(root) == before
    assert found(root) == rows(range(5))


def test_an_error_of_a_read_stores_nothing(root: StoreRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    before = objects(root)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no such disk")

    with monkeypatch.context() as patch:
        patch.setattr(Base, "matching", fail)
        with pytest.raises(OSError, match="no such disk"):
            root.table("t").insert(*rows(range(10, 15)))
    assert objects(root) == before
    root.table("t").insert(*rows(range(10, 15)))
    assert found(root) == [*rows(range(5)), *rows(range(10, 15))]


def test_an_error_of_a_write_is_raised(root: StoreRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(root.volume.store), "put", fail)
        with pytest.raises(OSError, match="disk is full"):
            root.table("t").insert(*rows(range(10, 15)))
    assert found(root) == rows(range(5))


WRITES: dict[str, tuple[Callable[[Any], None], list[specs.Row]]] = {
    "insert": (lambda t: t.insert(*rows([7, 6, 5])), rows(range(8))),
    "replace": (
        lambda t: t.replace(row(9, "b"), row(2, "b"), row(9, "c")),
        [*rows([0, 1]), row(2, "b"), *rows([3, 4]), row(9, "c")],
    ),
    "ensure": (lambda t: t.ensure(*rows([3, 4, 5, 6], "b")), [*rows(range(5)), *rows([5, 6], "b")]),
}


@pytest.mark.parametrize("write", WRITES)
def test_writes(root: StoreRoot, write: str) -> None:
    action, expected = WRITES[write]
    action(root.table("t"))
    assert found(root) == expected
    root.verify()


@pytest.mark.parametrize("root", [2], indirect=True)
def test_both_are_done_at_once(root: StoreRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the other."""
    meeting = threading.Barrier(2, timeout=20)
    matching, encoded = Base.matching, encoding.encode

    def look(*arguments: Any, **options: Any) -> Any:
        meeting.wait()
        return matching(*arguments, **options)

    def encode(*arguments: Any) -> Any:
        meeting.wait()
        return encoded(*arguments)

    monkeypatch.setattr(Base, "matching", look)
    monkeypatch.setattr("arrowopaque.store.apply.encode", encode)
    root.table("t").insert(*rows([7, 6, 5]))
    assert meeting.n_waiting == 0
    assert found(root) == rows(range(8))
