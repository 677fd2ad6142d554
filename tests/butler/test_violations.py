"""What PostgreSQL would refuse of many rows, told without asking it."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrowopaque.butler.violations import refused_columns
from arrowopaque.format.spec import Column, ColumnKind, TableSpec

SPEC = TableSpec(columns=(Column(name="text", kind=ColumnKind.STRING),), primary_key=("text",))
STRINGS = st.lists(st.none() | st.sampled_from(["", "a", "\0", "a\0", "é"]), max_size=6)


def _is_refused(column: pa.ChunkedArray, dialect: str = "postgresql") -> bool:
    return refused_columns(SPEC, dialect, pa.table([column], names=["text"]))


@given(st.lists(STRINGS, max_size=3), st.integers(0, 6), st.integers(0, 6))
def test_a_nul_in_any_string_of_any_piece(pieces: list[list[str | None]], start: int, count: int) -> None:
    arrays = [pa.array(piece, pa.string()).slice(start, count) for piece in pieces]
    values = [value for array in arrays for value in array.to_pylist()]
    column = pa.chunked_array(arrays, pa.string())
    assert _is_refused(column) == any("\0" in value for value in values if value)
    assert not _is_refused(column, "sqlite")


@pytest.mark.parametrize("is_null", [True, False])
def test_what_a_null_hides_is_no_nul(is_null: bool) -> None:
    text, valid = pa.py_buffer(b"a\0b"), pa.py_buffer(bytes([0b101 if is_null else 0b111]))
    ends = pa.py_buffer(b"".join(end.to_bytes(4, "little") for end in (0, 1, 2, 3)))
    column = pa.chunked_array([pa.Array.from_buffers(pa.string(), 3, [valid, ends, text])])
    assert _is_refused(column) is not is_null
