"""Each column is stored as it takes the least."""

from __future__ import annotations

import io
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrowopaque.format.spec import Column, ColumnKind
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
    assert group.column(1).compression == "ZSTD"
    assert pq.read_table(io.BytesIO(_encoded(table))).equals(table)


def test_what_is_packed_is_not_compressed_once_more() -> None:
    """As places of rows in an index are."""
    places = random.Random(1).sample(range(2**20), ROWS)
    table = pa.table(_numbers(list(range(ROWS)), places), names=["id", "place"])
    column = pq.read_metadata(io.BytesIO(_encoded(table))).row_group(0).column(1)
    assert (column.compression, "DELTA_BINARY_PACKED" in column.encodings) == ("UNCOMPRESSED", True)


def test_the_first_rows_do_not_decide_for_all() -> None:
    """The first in time may have had other values, or none."""
    source = random.Random(1)
    noise = [source.getrandbits(60) for _ in range(ROWS)]
    table = pa.table(_numbers(list(range(4 * ROWS)), [*noise, *[7] * (3 * ROWS)]), names=["id", "late"])
    late = pq.read_metadata(io.BytesIO(_encoded(table))).row_group(3).column(1)
    assert late.total_compressed_size < ROWS


def _some_values(kind: pa.DataType, count: int, nulls: float) -> pa.Array:
    source = random.Random(1)

    def one() -> Any:
        if pa.types.is_boolean(kind):
            return source.random() < 0.5
        if pa.types.is_integer(kind):
            return source.getrandbits(kind.bit_width) - 2 ** (kind.bit_width - 1)
        if pa.types.is_floating(kind):
            return source.gauss(0, 1e9)
        return str(source.random()) if pa.types.is_string(kind) else source.randbytes(16)

    return pa.array([None if source.random() < nulls else one() for _ in range(count)], kind)


@pytest.mark.parametrize("kind", ColumnKind)
@pytest.mark.parametrize("nulls", [0.0, 0.4, 1.0])
def test_every_kind_comes_back(tmp_path: Path, kind: ColumnKind, nulls: float) -> None:
    """Through Arrow and through DuckDB."""
    stored = Column(name="value", kind=kind).arrow_type
    values = _some_values(stored, 3_000, nulls)
    table = pa.table({"id": pa.array(range(3_000), pa.int64()), "value": values})
    file = tmp_path / "file.parquet"
    file.write_bytes(_encoded(table))
    assert pq.read_table(file).equals(table)
    found = duckdb.execute(f"SELECT * FROM '{file}' ORDER BY id").fetchall()
    assert found == [*zip(range(3_000), values.to_pylist(), strict=True)]


@pytest.mark.parametrize(("make", "codec"), [(_random_id, "UNCOMPRESSED"), (_ordered_id, "ZSTD")])
def test_random_ids_are_not_compressed(make: Callable[[int], bytes], codec: str) -> None:
    ids = sorted(make(n) for n in range(ROWS))
    table = pa.table({"id": pa.array(ids, pa.binary(16))})
    data = _encoded(table)
    assert pq.read_metadata(io.BytesIO(data)).row_group(0).column(0).compression == codec
    assert pq.read_table(io.BytesIO(data)).equals(table)


def test_few_rows_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of one row costs what it must."""
    monkeypatch.setattr(encoding, "_encoded", None)
    table = pa.table(_numbers(list(range(2_047)), list(range(2_047))), names=["id", "size"])
    assert pq.read_table(io.BytesIO(_encoded(table))).equals(table)
