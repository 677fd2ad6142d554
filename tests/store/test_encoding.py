"""Each column is stored as it takes the least."""

from __future__ import annotations

import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrowopaque.store.encoding import Layout, encode

ROWS = 8_192


def stored(column: list[str], leading: str = "id") -> pq.ColumnChunkMetaData:
    """Return what a footer says of a column ``text``."""
    table = pa.table({"id": pa.array(range(len(column)), pa.int64()), "text": column})
    data = encode(table, table.schema, leading, {}, Layout(ROWS)).data
    return pq.read_metadata(io.BytesIO(data)).row_group(0).column(1)


@pytest.mark.parametrize("kinds", [1, 2, 189, 256])
def test_strings_of_which_there_are_few_have_a_dictionary(kinds: int) -> None:
    source = random.Random(kinds)
    assert stored([f"detector {source.randrange(kinds)}" for _ in range(ROWS)]).has_dictionary_page


@pytest.mark.parametrize("kinds", [1_000, ROWS])
@pytest.mark.parametrize(
    ("leading", "encoding"), [("id", "DELTA_LENGTH_BYTE_ARRAY"), ("text", "DELTA_BYTE_ARRAY")]
)
def test_others_have_what_neighbours_share_only_where_they_are_sorted(
    kinds: int, leading: str, encoding: str
) -> None:
    column = stored(sorted(f"file {n % kinds}" for n in range(ROWS)), leading)
    assert not column.has_dictionary_page
    assert encoding in column.encodings
