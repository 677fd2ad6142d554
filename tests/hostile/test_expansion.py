"""Data files whose few bytes stand for many."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrowopaque import ConfigurationError, CorruptStoreError, StoreRoot
from arrowopaque.format import limits
from arrowopaque.format.thrift import Reader
from arrowopaque.store import decoding as stored
from arrowopaque.store.encoding import Layout, encode
from arrowopaque.store.footer import chunks_of
from arrowopaque.store.pages import check_pages
from tests.hostile.forge import ROWS, SPEC, Hostile, key
from tests.hostile.test_parquet import good, parquet

VALUE = 2**12
"""Bytes of a value that all rows have."""
ENCODINGS: dict[str, dict[str, Any]] = {
    "dictionary": {},
    "prefixes": {"use_dictionary": False, "column_encoding": {"kind": "DELTA_BYTE_ARRAY"}},
}
encoded_as = pytest.mark.parametrize("how", ENCODINGS.values(), ids=ENCODINGS)


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    return Hostile(tmp_path / "root")


def with_kinds(hostile: Hostile, kinds: Any) -> pa.Table:
    return good(hostile).set_column(2, "kind", kinds)


def put(hostile: Hostile, data: bytes, **facts: Any) -> None:
    hostile.commit(hostile.replaced(hostile.files[0], data, deletes=None, **facts), hostile.files[1])


def check_refused(hostile: Hostile, reason: str) -> None:
    path = hostile.files[0].path
    questions: list[Callable[[StoreRoot], object]] = [
        lambda root: root.table("t").fetch_arrow(),
        lambda root: list(root.table("t").fetch(id=key(7))),
        lambda root: root.compact(),
        lambda root: root.verify(),
    ]
    for question in questions:
        with pytest.raises(CorruptStoreError, match=f"{path}.*{reason}"):
            question(StoreRoot(str(hostile.folder)))


@encoded_as
def test_a_value_for_every_row(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    put(hostile, parquet(with_kinds(hostile, pa.array(["x" * VALUE] * ROWS)), ROWS, **how))
    monkeypatch.setattr(limits, "CHUNK_BYTES", ROWS * VALUE - 1)
    check_refused(hostile, f"'kind' of row group 0 has more than {ROWS * VALUE - 1} bytes")
    monkeypatch.setattr(limits, "CHUNK_BYTES", ROWS * VALUE)
    StoreRoot(str(hostile.folder)).verify()


@encoded_as
def test_it_is_decoded_piece_by_piece(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    """No more of it than it takes to know that it is too much."""
    put(hostile, parquet(with_kinds(hostile, pa.array(["x" * VALUE] * ROWS)), ROWS, **how))
    monkeypatch.setattr(limits, "CHUNK_BYTES", 8 * VALUE)
    monkeypatch.setattr(stored, "_PIECE_BYTES", 3 * VALUE)
    pieces: list[int] = []

    def count(column: pa.Array) -> int:
        pieces.append(len(column))
        return count_bytes(column)

    count_bytes = stored.text_bytes
    monkeypatch.setattr(stored, "text_bytes", count)
    with pytest.raises(CorruptStoreError, match="more than"):
        StoreRoot(str(hostile.folder)).table("t").fetch_arrow(["kind"])
    assert max(pieces) <= 3
    assert 8 < sum(pieces) <= 11


@encoded_as
@pytest.mark.parametrize("group", [7, ROWS])
def test_what_only_looks_like_it_is_read(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch, group: int, how: dict[str, Any]
) -> None:
    kinds = [None if i % 5 == 0 else "" if i % 7 == 0 else "x" * 100 * i for i in range(ROWS)]
    put(hostile, parquet(with_kinds(hostile, pa.array(kinds)), group, **how))
    monkeypatch.setattr(limits, "CHUNK_BYTES", 2**17)
    monkeypatch.setattr(stored, "_PIECE_BYTES", 2**18)
    root = StoreRoot(str(hostile.folder))
    root.verify()
    assert root.table("t").fetch_arrow(["kind"]).column("kind").to_pylist()[:ROWS] == kinds
    assert [row["kind"] for row in root.table("t").fetch(id=[key(19), key(20)])] == [kinds[19], None]


_READ = """
import resource, sys
from arrowopaque import CorruptStoreError, StoreRoot
resource.setrlimit(resource.RLIMIT_AS, (5 * 2**30,) * 2)
try:
    StoreRoot(sys.argv[1], writeable=False).table("t").fetch_arrow(["kind"])
except CorruptStoreError as err:
    print(err)
"""


def test_sixteen_gigabytes(hostile: Hostile) -> None:
    """In a process that may not have them."""
    rows = 2**16
    kinds = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 2**18]))
    data = parquet(good(hostile).take([0] * rows).set_column(2, "kind", kinds), rows)
    assert len(data) < 2**16
    put(hostile, data, rows=rows)
    ran = subprocess.run(
        [sys.executable, "-c", _READ, str(hostile.folder)], capture_output=True, text=True, timeout=300
    )
    assert f"'kind' of row group 0 has more than {2**29} bytes" in ran.stdout, ran.stderr


def number(value: int) -> bytes:
    """Return an integer as Thrift has it."""
    value, found = 2 * value, b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def test_a_footer_that_says_less_than_its_pages(hostile: Hostile) -> None:
    table = with_kinds(hostile, pa.array(["x" * VALUE] * ROWS))
    data = bytearray(parquet(table, ROWS, write_statistics=False))
    chunk = chunks_of(pq.read_metadata(io.BytesIO(data)))[0][2]
    said = b"\x16" + number(chunk.expanded) + b"\x16" + number(chunk.length)
    at = data.rindex(said)
    data[at : at + len(said)] = said.replace(number(chunk.expanded), number(VALUE - 100))
    put(hostile, bytes(data))
    check_refused(hostile, f"its pages expand to .* bytes, its footer says {VALUE - 100}")


def test_a_dictionary_behind_its_rows(hostile: Hostile) -> None:
    """What is proved begins with the one, what Arrow decodes with the other."""
    data = bytearray(parquet(with_kinds(hostile, pa.array(["x" * VALUE] * ROWS)), ROWS))
    chunk = pq.read_metadata(io.BytesIO(data)).row_group(0).column(2)
    rows, dictionary = number(chunk.data_page_offset), number(chunk.dictionary_page_offset)
    said = b"\x26" + rows + b"\x26" + dictionary
    assert len(rows) == len(dictionary)
    at = data.rindex(said)
    data[at : at + len(said)] = b"\x26" + dictionary + b"\x26" + rows
    put(hostile, bytes(data))
    check_refused(hostile, "column 2 has its dictionary at .* after its rows")


def pages(values: int = 1000, **how: Any) -> bytes:
    """Return a column chunk of some data pages, by default with a dictionary."""
    sink = io.BytesIO()
    table = pa.table({"a": pa.array([str(i % 7) for i in range(values)])})
    pq.write_table(table, sink, data_page_size=100, write_batch_size=100, row_group_size=values, **how)
    (((start, length, _, _),),) = chunks_of(pq.read_metadata(sink))
    return sink.getvalue()[start : start + length]


def test_pages() -> None:
    chunk = pages()
    check_pages(chunk, 1000, 2**20)
    for rows, expanded, reason in ((999, 2**20, "1000 values"), (1001, 2**20, "1000"), (1000, 99, "expand")):
        with pytest.raises(ValueError, match=reason):
            check_pages(chunk, rows, expanded)
    for stop in range(1, len(chunk)):
        with pytest.raises(ValueError, match="page"):
            check_pages(chunk[:stop], 1000, 2**20)
    with pytest.raises(ValueError, match="header"):
        check_pages(chunk + b"\xff" * 9, 1000, 2**20)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_pages_tell_whether_all_values_are_there(version: str) -> None:
    def tell(encoding: str | None) -> bool:
        encoded: dict[str, Any] = {"use_dictionary": False, "column_encoding": {"a": encoding}}
        how = encoded if encoding else {}
        return check_pages(pages(data_page_version=version, **how), 1000, 2**20)

    assert tell("PLAIN")
    assert tell("DELTA_LENGTH_BYTE_ARRAY")
    assert not tell("DELTA_BYTE_ARRAY")
    assert not tell(None)


def test_values_that_are_there_are_decoded_at_once(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: dict[str, Any] = {
        "use_dictionary": False,
        "column_encoding": {"kind": "DELTA_LENGTH_BYTE_ARRAY"},
    }
    put(hostile, parquet(with_kinds(hostile, pa.array(["x" * VALUE] * ROWS)), ROWS, **lengths))
    monkeypatch.setattr(limits, "CHUNK_BYTES", ROWS * VALUE * 2)
    monkeypatch.setattr(stored, "text_bytes", lambda _: pytest.fail("decoded in pieces"))
    assert len(StoreRoot(str(hostile.folder)).table("t").fetch_arrow(["kind"])) == 2 * ROWS


DATA, INDEX = number(0), number(1)
HEADERS: dict[str, bytes] = {
    "no page": b"\x00",
    "of another type": b"\x15" + INDEX + b"\x15" + number(3) + b"\x15" + number(0) + b"\x00",
    "no length": b"\x15" + DATA + b"\x15" + number(3) + b"\x2c\x15" + number(9) + b"\x00\x00",
    "text for a number": b"\x15" + DATA + b"\x18\x00\x15" + number(0) + b"\x00",
    "nothing of its rows": b"\x15" + DATA + b"\x15" + number(3) + b"\x15" + number(0) + b"\x00",
    # -1, as Thrift has it.
    "negative": b"\x15" + DATA + b"\x15\x01\x15" + number(0) + b"\x2c\x15" + number(9) + b"\x00\x00",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_headers_that_are_none(header: bytes) -> None:
    with pytest.raises(ValueError, match="page"):
        check_pages(header, 9, 2**20)


@pytest.mark.parametrize(
    "field",
    [
        b"\x05" + number(2) + b"\x02",
        b"\x05" + number(2**16 + 2) + b"\x02",
        b"\x05" + number(0) + b"\x02",
    ],
    ids=["twice", "modulo", "zero"],
)
def test_fields_that_parsers_take_differently(field: bytes) -> None:
    with pytest.raises(ValueError, match="second field"):
        Reader(b"\x25\x08" + field + b"\x00").struct(0)


def test_writers_keep_the_limit(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = hostile.rows(range(ROWS)).set_column(2, "kind", pa.array(["x" * VALUE] * ROWS))
    monkeypatch.setattr(limits, "CHUNK_BYTES", 10 * VALUE)
    assert encode(rows, SPEC.exact_schema, "id", {}, Layout(10)).facts["rows"] == ROWS
    with pytest.raises(ConfigurationError, match=f"{11 * VALUE} bytes in one row group.*row_group_rows"):
        encode(rows, SPEC.exact_schema, "id", {}, Layout(11))
    different = rows.set_column(2, "kind", pa.array([f"{i:04d}" * (VALUE // 4) for i in range(ROWS)]))
    monkeypatch.setattr(limits, "CHUNK_BYTES", 10 * VALUE + 100)
    with pytest.raises(ConfigurationError, match="readers take"):
        encode(different, SPEC.exact_schema, "id", {}, Layout(11))
