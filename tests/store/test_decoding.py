"""Single values of decoded columns are those that Arrow returns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from arrowopaque.store.decoding import getter

_COLUMNS = [
    pa.array([1, -5, 2**63 - 1]),
    pa.array([3, 4, -5], pa.int16()),
    pa.array([0.5, float("inf"), -0.0]),
    pa.array([True, False, True]),
    pa.array(["", "é\U0001f600\0x", "", "a" * 300]),
    pa.array([b"", b"\0\xff", b"abc"]),
    pa.array([b"\0" * 16, b"abcdefgh\0\0\0\0\0\0\0\0", b"\xff" * 16], pa.binary(16)),
    pa.array(["x", "y", "x"]).dictionary_encode(),
]


def _with_null(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.DictionaryArray):
        return _with_null(column.dictionary_decode()).dictionary_encode()
    return pa.array([*column.to_pylist(), None], column.type)


@pytest.mark.parametrize("column", _COLUMNS, ids=lambda column: str(column.type))
@pytest.mark.parametrize(
    "change",
    [lambda c: c, lambda c: c[1:], _with_null, lambda c: c[:0]],
    ids=["whole", "sliced", "with NULL", "empty"],
)
def test_each_value(column: pa.Array, change: Any) -> None:
    column = change(column)
    found = [getter(column)(at) for at in range(len(column))]
    assert found == column.to_pylist()
    assert [type(value) for value in found] == [type(value) for value in column.to_pylist()]


def test_a_column_of_nulls() -> None:
    assert getter(pa.nulls(3, pa.string()))(2) is None
