"""Each column is stored as it takes the least."""

from __future__ import annotations

import io
import random
import uuid
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrowopaque.store import encoding
from arrowopaque.store.encoding import Layout, encode

ROWS = 8_192


def stored(column: list[str], leading: str = "id") -> pq.ColumnChunkMetaData:
    """Return what a footer says of a column ``text``."""
    table = pa.table({"id": pa.array(range(len(column)), pa.int64()), "text": column})
    return pq.read_metadata(io.BytesIO(_encoded(table, leading))).row_group(0).column(1)


def _encoded(table: pa.Table, leading: str = "id") -> bytes:
    return encode(table, table.schema, leading, {}, Layout(ROWS)).data


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


def _random_id(n: int) -> bytes:
    return uuid.UUID(int=random.Random(n).getrandbits(128), version=4).bytes


def _ordered_id(n: int) -> bytes:
    """Return an id that begins with the time, as those of version 7 do."""
    return (1_700_000_000_000 + n).to_bytes(6, "big") + _random_id(n)[6:]


def _numbers(*values: list[int]) -> list[pa.Array]:
    return [pa.array(column, pa.int64()) for column in values]


def test_numbers_have_the_encoding_that_is_smaller() -> None:
    source = random.Random(1)
    sizes = [int(source.lognormvariate(12, 3)) for _ in range(ROWS)]
    places = list(range(ROWS))
    table = pa.table(_numbers(places, sizes, places), names=["id", "size", "place"])
    group = pq.read_metadata(io.BytesIO(_encoded(table))).row_group(0)
    found = [next(iter({*group.column(c).encodings} - {"RLE"})) for c in range(3)]
    assert found == ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"]
    # What is packed already is not compressed once more.
    assert group.column(1).compression == "ZSTD"
    assert pq.read_table(io.BytesIO(_encoded(table))).equals(table)


@pytest.mark.parametrize(("make", "codec"), [(_random_id, "UNCOMPRESSED"), (_ordered_id, "ZSTD")])
def test_random_ids_are_not_compressed(make: Callable[[int], bytes], codec: str) -> None:
    ids = sorted(make(n) for n in range(ROWS))
    table = pa.table({"id": pa.array(ids, pa.binary(16))})
    data = _encoded(table)
    assert pq.read_metadata(io.BytesIO(data)).row_group(0).column(0).compression == codec
    assert pq.read_table(io.BytesIO(data)).equals(table)


def test_few_rows_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of one row costs what it must."""
    monkeypatch.setattr(encoding, "_stored_bytes", None)
    table = pa.table(_numbers(list(range(2_047)), list(range(2_047))), names=["id", "size"])
    assert pq.read_table(io.BytesIO(_encoded(table))).equals(table)
