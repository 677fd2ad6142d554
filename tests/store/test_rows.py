"""Many rows as mappings: made a few at a time, equal to what was stored."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import pyarrow as pa
import pytest

from arrowopaque.format.spec import Column, ColumnKind, TableSpec
from arrowopaque.format.values import Values
from arrowopaque.store.rows import to_rows

SPEC = TableSpec(
    columns=(
        Column(name="id", kind=ColumnKind.UUID),
        Column(name="path", kind=ColumnKind.STRING, length=32),
        Column(name="kind", kind=ColumnKind.STRING, length=32),
        Column(name="size", kind=ColumnKind.BIGINT),
        Column(name="owner", kind=ColumnKind.UUID),
    ),
    primary_key=("id",),
)
VALUES = Values(SPEC)
COUNT = 3_000
"""Rows of several batches, the last of them not full."""


def _made(count: int = COUNT) -> list[dict[str, Any]]:
    kinds = itertools.cycle(["Exposure", "Wcs", "é", None, ""])
    return [
        {
            "id": uuid.UUID(int=i),
            "path": f"some/{i}",
            "kind": kind,
            "size": None if i % 3 else i,
            # Not all batches have NULL.
            "owner": uuid.UUID(int=i + 1) if i % 900 else None,
        }
        for i, kind in zip(range(count), kinds, strict=False)
    ]


def _table(rows: list[dict[str, Any]], pieces: int = 1) -> pa.Table:
    whole = VALUES.table([VALUES.stored_row(row, SPEC.names) for row in rows])
    step = -(-len(rows) // pieces) or 1
    return pa.concat_tables([whole.slice(start, step) for start in range(0, max(1, len(rows)), step)])


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, COUNT])
def test_rows_are_what_was_stored(count: int, pieces: int) -> None:
    made = _made(count)
    found = list(to_rows(VALUES, _table(made, pieces)))
    assert found == made
    assert [dict(row) for row in found] == made


def test_views_of_a_row_are_those_of_a_dict_in_the_order_of_the_columns() -> None:
    made = _made()[-1]
    *_, row = to_rows(VALUES, _table(_made()))
    row["size"]
    assert [*row] == [*row.keys()] == [*made]
    assert [*row.values()] == [*made.values()]
    assert [*row.items()] == [*made.items()]
    assert row.keys() & {"size", "other"} == {"size"}


def test_what_is_done_to_a_view_does_not_reach_the_row() -> None:
    first, *_ = to_rows(VALUES, _table(_made()))
    dict(first.items()).clear()
    assert not hasattr(first.keys(), "clear")
    assert dict(first) == _made()[0]


def test_strings_that_repeat_are_kept_once() -> None:
    rows = list(to_rows(VALUES, _table(_made(), pieces=3)))
    objects = {id(row["kind"]) for row in rows}
    assert len(objects) == 5
    assert len({id(row["path"]) for row in rows}) == COUNT


def test_a_value_is_made_once() -> None:
    *_, row = to_rows(VALUES, _table(_made()))
    assert row["id"] is row["id"]
    assert dict(row)["id"] is row["id"]
