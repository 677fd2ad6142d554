"""Many values at once are checked as each by itself is."""

from __future__ import annotations

import uuid
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from arrowopaque.format.columns import python_list
from arrowopaque.format.spec import Column, ColumnKind, TableSpec
from arrowopaque.format.values import RejectedValueError, Values

COLUMNS = {
    "id": Column(name="id", kind=ColumnKind.UUID),
    "text": Column(name="text", kind=ColumnKind.STRING, length=8),
    "small": Column(name="small", kind=ColumnKind.SMALLINT),
    "big": Column(name="big", kind=ColumnKind.BIGINT),
}
VALUES = Values(TableSpec(columns=tuple(COLUMNS.values()), primary_key=("id",)))
COUNT = 3_000
"""Rows that are not all taken at a time."""


class Text(str):
    """A string of a caller's own class."""

    __slots__ = ()

    def __str__(self) -> str:
        return "another"


def _rows() -> list[dict[str, Any]]:
    return [
        {"id": uuid.UUID(int=i), "text": None if i % 7 else "é", "small": i % 9, "big": -i}
        for i in range(COUNT)
    ]


def _stored(rows: list[dict[str, Any]]) -> list[list[Any]]:
    columns = VALUES.stored_columns(rows, VALUES.columns_of(rows))
    return [column.to_pylist() if isinstance(column, pa.Array) else column for column in columns]


def test_same_as_one_by_one() -> None:
    rows = _rows()
    one_by_one = [VALUES.stored_row(row, VALUES.spec.names) for row in rows]
    assert _stored(rows) == [list(column) for column in zip(*one_by_one, strict=True)]


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("id", "00000000-0000-0000-0000-00000000ffff", uuid.UUID(int=0xFFFF).bytes),
        ("id", None, None),
        ("text", "é" * 8, "é" * 8),
        ("text", Text("own"), "own"),
        ("small", 2.0, 2),
        ("big", 2**63 - 1, 2**63 - 1),
    ],
)
def test_odd_value_among_many(name: str, value: Any, stored: Any) -> None:
    rows = _rows()
    rows[COUNT - 2][name] = value
    found = _stored(rows)[VALUES.spec.positions[name]]
    assert (found[-2], type(found[-2]), len(found)) == (stored, type(stored), COUNT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "none"),
        ("text", b"bytes"),
        ("text", 1),
        ("text", ["a"]),
        ("text", "longer than eight"),
        ("text", "\ud800"),
        ("small", 2**15),
        ("small", "1"),
        ("big", 2**63),
        ("big", -(2**70)),
        ("big", True),
        ("big", np.True_),
    ],
)
def test_wrong_value_among_many_is_named(name: str, value: Any) -> None:
    rows = _rows()
    rows[COUNT - 2][name] = value
    with pytest.raises(RejectedValueError) as caught:
        _stored(rows)
    assert repr(name) in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [b"bytes", 1, ["a"], True])
def test_nothing_but_wrong_values_is_named(value: Any) -> None:
    rows = [row | {"text": value} for row in _rows()]
    with pytest.raises(RejectedValueError, match="'text'"):
        _stored(rows)


def test_nothing_but_null() -> None:
    rows = [row | {"text": None, "big": None} for row in _rows()]
    assert {(text, big) for _, text, _, big in zip(*_stored(rows), strict=True)} == {(None, None)}


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    return {"other" if name == "small" else name: value for name, value in row.items()}


def _made_up(row: dict[str, Any]) -> dict[str, Any]:
    return defaultdict(int, _renamed(row))


def _shorter(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "small"}


@pytest.mark.parametrize("change", [_renamed, _made_up, _shorter])
def test_row_with_other_columns_among_many_is_named(change: Any) -> None:
    rows = _rows()
    rows[COUNT - 2] = change(rows[COUNT - 2])
    before = dict(rows[COUNT - 2])
    with pytest.raises(RejectedValueError, match="differ in their columns") as caught:
        _stored(rows)
    assert "'small'" in str(caught.value)
    assert dict(rows[COUNT - 2]) == before


@pytest.mark.parametrize("width", [1, 16, 20])
def test_bytes_of_one_width_come_back_whole(width: int) -> None:
    made = [bytes([i % 256]).rjust(width, b"\0") if i % 2 else bytes(width) for i in range(COUNT)]
    whole = pa.array(made, pa.binary(width))
    assert python_list(whole) == made
    assert python_list(whole[7:9]) == made[7:9]
    assert python_list(pa.chunked_array([whole[5:], whole[:0], whole[:5]])) == [*made[5:], *made[:5]]
    assert python_list(whole[:0]) == []


def test_a_column_with_null_comes_back_whole() -> None:
    made = [None, bytes(16), b"0123456789abcdef"]
    assert python_list(pa.array(made, pa.binary(16))) == made
    assert python_list(pa.array(["a", None, "é"])) == ["a", None, "é"]
