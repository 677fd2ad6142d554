"""The order of rows is Arrow's, however it was found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrowopaque.store.order import Sorted, sort_rows

# Few different bytes, so that prefixes tie in every way.
KEYS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "uuid": (pa.binary(16), st.lists(st.sampled_from([0, 1, 255]), min_size=16, max_size=16).map(bytes)),
    "tied uuid": (pa.binary(16), st.integers(0, 3).map(lambda n: bytes(15) + bytes([n]))),
    "hash": (pa.binary(4), st.binary(min_size=4, max_size=4)),
    "integer": (pa.int64(), st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)),
    "short": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "string": (pa.string(), st.text(max_size=3)),
    "float": (pa.float64(), st.floats(allow_nan=False)),
    "boolean": (pa.bool_(), st.booleans()),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("is_nullable", [False, True])
@given(data=st.data())
def test_sort_is_stable_and_arrows(kind: str, is_nullable: bool, data: st.DataObject) -> None:
    type, value = KEYS[kind]
    rows = data.draw(
        st.lists(st.tuples(st.none() | value if is_nullable else value, st.integers(0, 2)), max_size=12)
    )
    keys = pa.array([key for key, _ in rows], type)
    table = pa.table(
        {"key": keys, "second": pa.array([n for _, n in rows]), "at": pa.array(range(len(rows)))}
    )
    start = data.draw(st.integers(0, len(rows)))
    for given_rows in (
        table,
        table.slice(start),
        pa.concat_tables([table.slice(start), table.slice(0, start)]),
    ):
        order = pc.sort_indices(
            given_rows.append_column("n", pa.array(range(given_rows.num_rows))),
            sort_keys=[(name, "ascending") for name in ("key", "second", "n")],
        )
        assert sort_rows(given_rows, ["key", "second"]).to_pylist() == given_rows.take(order).to_pylist()


@given(data=st.data())
def test_sorted_rows_know_the_order_in_which_they_came(data: st.DataObject) -> None:
    """To sort them by something else from there ends as it does from any other order."""
    rows = data.draw(
        st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2)), max_size=12, unique_by=lambda row: row[0])
    )
    table = pa.table({"key": [key for key, _ in rows], "other": [other for _, other in rows]})
    table = table.cast(pa.schema({"key": pa.int64(), "other": pa.int64()}))
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), bool)
    start = data.draw(st.integers(0, int(keep.sum())))
    part = Sorted.of(table, ["key"]).filter(keep).slice(start, len(rows))
    keys, others = (part.rows.column(name).to_pylist() for name in ("key", "other"))
    assert keys == sorted(keys)
    numbered = part.numbered(["other", "key"], "at")
    came = [rows.index(row) for row in zip(keys, others, strict=True)]
    assert numbered.column("at").to_pylist() == sorted(range(len(came)), key=came.__getitem__)
    assert numbered.column("other").to_pylist() == [others[at] for at in numbered.column("at").to_pylist()]
    order = sorted(range(len(others)), key=lambda at: (others[at], at))
    assert sort_rows(numbered, ["other", "at"]).column("at").to_pylist() == order
