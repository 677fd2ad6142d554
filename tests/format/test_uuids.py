"""UUIDs that are made of bytes are those that Python makes."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from arrowopaque.format.uuids import uuid_maker, uuid_of, uuids_maker, uuids_of


class Slotless(uuid.UUID):
    """What has no slots of its own, as UUIDs of a later Python may."""


@pytest.mark.parametrize("make", [uuid_of, uuid_maker(Slotless)], ids=["filled", "built"])
@pytest.mark.parametrize("number", [0, 1, 2**64, 2**127 + 5, 2**128 - 1])
def test_one_of_bytes_is_the_one_of_the_number(make: Callable[[bytes], uuid.UUID], number: int) -> None:
    expected = uuid.UUID(int=number)
    made = make(expected.bytes)
    assert type(made) is uuid.UUID
    assert (made, hash(made), str(made), repr(made)) == (
        expected, hash(expected), str(expected), repr(expected)
    )  # fmt: skip
    assert made.is_safe is expected.is_safe
    assert pickle.loads(pickle.dumps(made)) == expected


@pytest.mark.parametrize("make", [uuids_of, uuids_maker(Slotless)], ids=["filled", "built"])
@pytest.mark.parametrize("count", [0, 1, 1_000])
def test_many_are_each_by_itself(make: Callable[[list[bytes]], list[uuid.UUID]], count: int) -> None:
    expected = [uuid.UUID(int=number << 64 | 5) for number in range(count)]
    made = make([one.bytes for one in expected])
    assert made == expected
    assert {type(one) for one in made} <= {uuid.UUID}
    assert all(one.is_safe is uuid.SafeUUID.unknown for one in made)


def test_slots_of_this_python_are_filled() -> None:
    assert (uuid_of.__name__, uuids_of.__name__) == ("filled", "filled")


def test_one_made_cannot_be_changed() -> None:
    made: Any = uuid_of(bytes(16))
    with pytest.raises(TypeError, match="immutable"):
        made.int = 1
