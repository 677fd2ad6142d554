"""Searching the sorted column of several row groups."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrowopaque.store.keys import Sought, comparable, keys_of, promising

KINDS = {"uuid": pa.binary(16), "bytes": pa.binary(8), "int": pa.int64(), "text": pa.string()}


def stored(kind: str, number: int) -> object:
    if kind == "int":
        return number
    if kind == "text":
        return f"{number:03}"
    # Some of sixteen bytes differ in the last word alone.
    width = KINDS[kind].byte_width
    return (
        (number // 3).to_bytes(8, "big") + (number % 3).to_bytes(width - 8, "big")
        if width > 8
        else (number.to_bytes(8, "big"))
    )


@pytest.mark.parametrize("kind", KINDS)
@given(numbers=st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_keys_know_whether_they_are_in_order(kind: str, numbers: list[int]) -> None:
    keys = keys_of(pa.array([stored(kind, one) for one in numbers], KINDS[kind]))
    assert keys.is_ordered() == (numbers == sorted(numbers))


@pytest.mark.parametrize("kind", KINDS)
@given(
    numbers=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    wanted=st.sets(st.integers(0, 35), min_size=1),
    size=st.integers(1, 9),
)
def test_every_part_with_a_value_is_promising(
    kind: str, numbers: list[int], wanted: set[int], size: int
) -> None:
    numbers.sort()
    pieces = {10 * at: numbers[at : at + size] for at in range(0, len(numbers), size)}
    parts = {
        number: keys_of(pa.array([stored(kind, one) for one in piece], KINDS[kind]))
        for number, piece in pieces.items()
    }
    sought = Sought(comparable(pa.array([stored(kind, one) for one in sorted(wanted)], KINDS[kind])))
    found = promising(parts, sought)
    assert found == sorted(found)
    for number, piece in pieces.items():
        places = [at for at, one in enumerate(piece) if one in wanted]
        assert list(parts[number].places(sought)) == places
        assert number in found or not places
    if kind == "bytes":
        assert found == [number for number, piece in pieces.items() if wanted & {*piece}]
