"""Data files that are not what their table says: all digests fit, and each is refused by name."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption

from arrowopaque import ConfigurationError, CorruptStoreError, Options, StoreRoot
from arrowopaque.format import limits
from arrowopaque.format.manifest import DataFile
from arrowopaque.format.thrift import Reader
from arrowopaque.store import encoding
from arrowopaque.store.apply import write_file
from arrowopaque.store.decoding import to_exact
from arrowopaque.store.encoding import Layout, encode
from arrowopaque.store.footer import Footer, chunk_digest, chunks_of
from arrowopaque.store.parquet import index_schema
from tests.hostile.forge import ROWS, SPEC, Hostile, key, path_of

SCHEMA = SPEC.exact_schema
Rows = Callable[[pa.Table], pa.Table]


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    return Hostile(tmp_path / "root")


def parquet(table: pa.Table, group: int = 10, metadata: dict[str, str] | None = None, **kwargs: Any) -> bytes:
    """Return any table as a Parquet object with digests that fit."""
    groups = max(1, -(-table.num_rows // group))
    blank = "~" * (-(-groups * table.num_columns * 16 // 3) * 4)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, **{"store_schema": False, **kwargs}) as writer:
        writer.write_table(table, row_group_size=group)
        writer.add_key_value_metadata({"arrowopaque.digests": blank, **(metadata or {})})
    data = bytearray(sink.getvalue())
    _seal(data, blank)
    return bytes(data)


def _seal(data: bytearray, blank: str) -> None:
    """Put digests that fit in the place of ``blank``."""
    chunks = [chunk for group in chunks_of(pq.read_metadata(io.BytesIO(data))) for chunk in group]
    digests = b"".join(chunk_digest(data[chunk.start : chunk.start + chunk.length]) for chunk in chunks)
    place = data.rindex(blank.encode())
    data[place : place + len(blank)] = base64.b64encode(digests)


def bounds(table: pa.Table, group: int = 10) -> dict[str, str]:
    """Return what a footer says of the row groups, if their rows are in order."""
    ids = [id.bytes.hex() for id in table.column("id").to_pylist()]
    pieces = [ids[at : at + group] for at in range(0, len(ids), group)]
    return {"arrowopaque.bounds": json.dumps([[piece[0], piece[-1]] for piece in pieces])}


def good(hostile: Hostile) -> pa.Table:
    return to_exact(hostile.rows(range(ROWS)), SCHEMA)


def refused(hostile: Hostile, data: bytes, **facts: Any) -> str:
    """Return why new readers refuse a file, in every way that they may ask."""
    file = hostile.replaced(hostile.files[0], data, deletes=None, **facts)
    hostile.commit(file, hostile.files[1])
    messages = []
    for question in (
        lambda table, root: table.fetch_arrow(),
        lambda table, root: list(table.fetch(id=[key(7)])),
        lambda table, root: root.sql("SELECT * FROM t").fetchall(),
        lambda table, root: root.verify("quick"),
        lambda table, root: root.verify(),
    ):
        root = StoreRoot(str(hostile.folder), writeable=False)
        with pytest.raises(CorruptStoreError, match=re.escape(file.path)) as caught:
            question(root.table("t"), root)
        messages.append(str(caught.value))
    assert len(set(messages)) <= 2, messages
    return messages[0]


def test_the_forged_file_is_taken(hostile: Hostile) -> None:
    hostile.commit(hostile.replaced(hostile.files[0], parquet(good(hostile))), hostile.files[1])
    root = StoreRoot(str(hostile.folder), writeable=False)
    root.verify()
    assert root.sql("SELECT count(*) FROM t").fetchall() == [(2 * ROWS - 3,)]


SCHEMAS: dict[str, Rows] = {
    "a column less": lambda table: table.drop_columns(["flag"]),
    "a column more": lambda table: table.append_column("more", table.column("size")),
    "another order": lambda table: table.select([*reversed(table.column_names)]),
    "another name": lambda table: table.rename_columns(["id", "path", "kind", "Size", "real", "flag"]),
    "a name twice": lambda table: table.rename_columns(["id", "path", "path", "size", "real", "flag"]),
    "another type": lambda table: table.set_column(3, "size", table.column("size").cast(pa.int32())),
    "text for numbers": lambda table: table.set_column(3, "size", table.column("size").cast(pa.string())),
    "bytes for text": lambda table: table.set_column(2, "kind", table.column("kind").cast(pa.binary())),
    "bytes for UUIDs": lambda table: table.set_column(
        0, pa.field("id", pa.binary(16), False), [chunk.storage for chunk in table.column("id").chunks]
    ),
    "shorter UUIDs": lambda table: table.set_column(
        0, pa.field("id", pa.binary(4), False), pa.array([b"abcd"] * ROWS, pa.binary(4))
    ),
    "unsigned": lambda table: table.set_column(3, "size", table.column("size").cast(pa.uint64())),
    "lists": lambda table: table.set_column(3, "size", pa.array([[1]] * ROWS)),
    "structs": lambda table: table.set_column(3, "size", pa.array([{"size": 1}] * ROWS)),
    "NULL that may not be": lambda table: table.set_column(
        1, "path", pa.array([None, *map(path_of, range(1, ROWS))])
    ),
    "a key that may be NULL": lambda table: table.set_column(0, "id", table.column("id")),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_other_columns(hostile: Hostile, case: str) -> None:
    assert "its columns are not" in refused(hostile, parquet(SCHEMAS[case](good(hostile))))


def test_a_schema_of_arrow(hostile: Hostile) -> None:
    data = parquet(good(hostile), store_schema=True)
    assert "Arrow schema of its own" in refused(hostile, data)


class _Kms(encryption.KmsClient):  # type: ignore[misc]  # pyarrow publishes no types
    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return base64.b64encode(key_bytes).decode()


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_encryption(hostile: Hostile, plaintext_footer: bool) -> None:
    factory = encryption.CryptoFactory(lambda _: _Kms())
    configuration = encryption.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["size"]}, plaintext_footer=plaintext_footer
    )
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), configuration)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, store_schema=False, encryption_properties=properties) as writer:
        writer.write_table(good(hostile))
    message = refused(hostile, sink.getvalue())
    assert "footer cannot be read" in message
    assert plaintext_footer or "it is encrypted" in message


@pytest.mark.parametrize("rows", [1, ROWS - 1, ROWS + 1, 2**20])
def test_another_count_of_rows(hostile: Hostile, rows: int) -> None:
    message = refused(hostile, parquet(good(hostile)), rows=rows, indexes=hostile.files[0].indexes)
    assert f"it has {ROWS} rows, the manifest says {rows}" in message or "more rows than the file" in message


@pytest.mark.parametrize("kind", [0, 1, 2, 4, 5, 6])
def test_a_chunk_of_another_type(hostile: Hostile, kind: int) -> None:
    """The schema says that it is a UUID, the first column chunk that it is another type of Parquet."""
    data = bytearray(parquet(good(hostile)))
    footer = len(data) - int.from_bytes(data[-8:-4], "little") - 8
    # In Thrift's compact form: the metadata of a chunk begin with type 7, of fixed length.
    data[data.index(b"\x1c\x15\x0e", footer) + 2] = 2 * kind
    assert "row group 0 of column 0 is of type" in refused(hostile, bytes(data))


def test_bounds_on_groups_rows_and_bytes(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    data = parquet(good(hostile))
    for limit, reason in (
        ("ROW_GROUPS", "cannot be read"),
        ("GROUP_ROWS", "row group 0 has 10 rows, the limit is 3"),
        ("CHUNK_BYTES", "the limit is 3"),
        ("FOOTER_BYTES", "more than 3|a footer of"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(limits, limit, 3)
            message = refused(hostile, data)
            assert any(part in message for part in reason.split("|")), message


def _values(footer: bytes) -> int:
    """Count the structs and strings of a footer."""
    low, high = 0, 2**20
    while low < high:
        middle = (low + high) // 2
        try:
            Reader(footer, middle).struct(0)
            high = middle
        except ValueError:
            low = middle + 1
    return low


def test_a_dense_footer_is_not_parsed(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made of column chunks of three bytes, each of which takes hundreds when it is parsed."""
    chunk, count = b"\x26\x00\x00", 2**20
    size = bytes([0x80 | count & 0x7F, 0x80 | count >> 7 & 0x7F, 0x80 | count >> 14])
    body = b"\x49\x1c\x19\xfc" + size + chunk * count + b"\x00\x00"
    tail = body + len(body).to_bytes(4, "little") + b"PAR1"
    assert limits.FOOTER_UNCOUNTED < len(tail) <= limits.FOOTER_BYTES
    monkeypatch.setattr("arrowopaque.store.footer.pq.ParquetFile", None)
    with pytest.raises(ValueError, match=f"more than {limits.FOOTER_VALUES} structs and strings"):
        Footer(tail, 2**30, SCHEMA)


def test_a_long_footer_is_counted(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    data = parquet(good(hostile))
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    values = _values(footer)
    monkeypatch.setattr(limits, "FOOTER_UNCOUNTED", 100)
    monkeypatch.setattr(limits, "FOOTER_VALUES", values - 1)
    assert f"more than {values - 1} structs and strings" in refused(hostile, data)
    monkeypatch.setattr(limits, "FOOTER_VALUES", values)
    assert StoreRoot(str(hostile.folder), writeable=False).table("t").fetch_arrow().num_rows == 2 * ROWS


def test_a_writers_footer_is_far_from_the_limits(hostile: Hostile) -> None:
    """As many row groups as a million rows have; and no footer that is short enough is too dense."""
    groups = -(-(10**6) // Options().row_group_rows)
    encoded = encode(hostile.rows(range(10 * groups)), SCHEMA, "id", {}, Layout(10))
    size = encoded.facts["footer"]
    values = _values(encoded.data[-size:-8])
    assert 8 * size < limits.FOOTER_UNCOUNTED
    assert values / size * limits.FOOTER_BYTES < limits.FOOTER_VALUES


def test_a_bomb(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its declared size, decompressed, is thousands of times that of the file."""
    table = good(hostile).set_column(2, "kind", pa.array(["x" * 2**21] * ROWS))
    data = parquet(table, use_dictionary=False, compression="zstd", write_statistics=False, group=ROWS)
    assert len(data) < 2**16
    monkeypatch.setattr(limits, "CHUNK_BYTES", 2**26)
    assert re.search(r"column 2 expands to 8\d{7} bytes", refused(hostile, data))


def test_writers_keep_the_limits(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = hostile.rows(range(ROWS))
    for limit in ("FILE_ROWS", "DATA_FILE_BYTES", "ROW_GROUPS", "GROUP_ROWS", "FOOTER_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(limits, limit, 3)
            with pytest.raises(ConfigurationError, match="readers take 3"):
                encode(rows, SCHEMA, "id", {}, Layout(10))
    assert encode(rows, SCHEMA, "id", {}, Layout(10)).facts["rows"] == ROWS


def digests(data: bytes) -> bytes:
    found: bytes = pq.read_metadata(io.BytesIO(data)).metadata[b"arrowopaque.digests"]
    return found


def swapped(table: pa.Table, order: list[int]) -> pa.Table:
    return table.take(pa.array(order))


def asked(hostile: Hostile, file: DataFile, question: Callable[[Any], object]) -> str:
    """Return what is said of a file, the same whether the cache holds what is read or not."""
    hostile.commit(file, hostile.files[1])
    messages = []
    for options in (Options(cache_bytes=0), None):
        with pytest.raises(CorruptStoreError, match="restore") as caught:
            question(StoreRoot(str(hostile.folder), writeable=False, options=options).table("t"))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    return messages[0]


SEARCHES: dict[str, Callable[[Any], object]] = {
    "one": lambda table: list(table.fetch(id=[key(7)])),
    "many": lambda table: list(table.fetch(id=[key(i) for i in range(30)])),
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize(
    "order",
    [
        [*range(10, 20), *range(10), *range(20, ROWS)],
        [*reversed(range(ROWS))],
        [0, 9, *range(1, 9), *range(10, ROWS)],
    ],
    ids=["groups", "rows", "one row"],
)
@pytest.mark.parametrize("bounded", [True, False])
def test_rows_out_of_order(
    hostile: Hostile, order: list[int], bounded: bool, search: Callable[[Any], object]
) -> None:
    # Without bounds, row groups that are in order by themselves say nothing.
    group, rows = 10 if bounded else ROWS, swapped(good(hostile), order)
    data = parquet(rows, group, bounds(rows) if bounded else None)
    file = hostile.replaced(hostile.files[0], data, deletes=None)
    message = asked(hostile, file, search)
    assert file.path in message
    assert "order of 'id'" in message


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_bounds_that_are_not_its_own(hostile: Hostile, search: Callable[[Any], object]) -> None:
    """The footer of one file over the pages of another, whose keys are others."""
    table = good(hostile)
    kwargs: dict[str, Any] = {"use_dictionary": False, "compression": "none", "metadata": bounds(table)}
    mine = parquet(table, **kwargs)
    stored = [bytes([255]) * 15 + bytes([i]) for i in range(ROWS)]
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array(stored, pa.binary(16)))
    theirs = parquet(table.set_column(0, SCHEMA.field("id"), ids), **kwargs)
    assert len(mine) == len(theirs)
    footer = int.from_bytes(mine[-8:-4], "little") + 8
    forged = theirs[:-footer] + mine[-footer:].replace(digests(mine), digests(theirs))
    file = hostile.replaced(hostile.files[0], forged, deletes=None)
    message = asked(hostile, file, search)
    assert file.path in message
    assert "the bounds of row group 0 are not those of its column 'id'" in message


def index_of(hostile: Hostile, change: Rows) -> DataFile:
    """Return the first file with its index changed."""
    file = hostile.files[0].model_copy(update={"deletes": None})
    (index,) = file.indexes
    table = pq.read_table(hostile.folder / index.path)
    schema = index_schema(SPEC, ["path"])
    encoded = encode(change(table), schema, "path", {}, Layout(10))
    hostile.put(index.path, encoded.data)
    return file.model_copy(update={"indexes": (index.model_copy(update=encoded.facts),)})


def positions(change: Callable[[Any], Any]) -> Rows:
    def changed(table: pa.Table) -> pa.Table:
        return table.set_column(1, "position", pa.array(change(table.column("position").to_pylist())))

    return changed


INDEXES: dict[str, Rows] = {
    "beyond": positions(lambda at: [i + ROWS for i in at]),
    "negative": positions(lambda at: [i - ROWS for i in at]),
    "enormous": positions(lambda at: [2**62 for _ in at]),
    "other rows": positions(lambda at: [*reversed(at)]),
    "one row": positions(lambda at: [0 for _ in at]),
    "other values": lambda table: table.set_column(
        0, "path", pc.binary_join_element_wise(table.column("path"), pa.scalar("x"), "")
    ),
}


@pytest.mark.parametrize("case", INDEXES)
@pytest.mark.parametrize(
    "search",
    [
        lambda table: list(table.fetch(path="run/0007")) + list(table.fetch(path="run/0007x")),
        lambda table: list(table.fetch(path=["run/0007", "run/0009x", *map(path_of, range(10, 30))])),
        lambda table: list(table.fetch(path="run/00%")),
        lambda table: list(table.fetch_arrow(["size"], path="run/00%")),
    ],
    ids=["one", "several", "prefix", "a column"],
)
def test_indexes_that_lie(hostile: Hostile, case: str, search: Callable[[Any], object]) -> None:
    file = index_of(hostile, INDEXES[case])
    assert "names other rows" in asked(hostile, file, search)


@pytest.mark.parametrize("case", INDEXES)
def test_verify_finds_indexes_that_lie(hostile: Hostile, case: str) -> None:
    file = index_of(hostile, INDEXES[case])
    hostile.commit(file, hostile.files[1])
    report = StoreRoot(str(hostile.folder), writeable=False).verify(raising=False)
    assert {str(finding.check) for finding in report.findings} == {"index"}


def test_text_that_is_none(hostile: Hostile) -> None:
    odd = pa.array([b"\xff\xfe"] * ROWS, pa.binary()).view(pa.string())
    file = hostile.replaced(hostile.files[0], parquet(good(hostile).set_column(2, "kind", odd)), deletes=None)
    hostile.commit(file, hostile.files[1])
    table = StoreRoot(str(hostile.folder), writeable=False).table("t")
    for question in (table.fetch_arrow, lambda: list(table.fetch()), lambda: list(table.fetch(id=key(3)))):
        with pytest.raises(CorruptStoreError, match=f"{file.path}.*UTF"):
            question()


BOUNDS: dict[str, str] = {
    "no JSON": "[[",
    "no list": "7",
    "too few": '[["00", "01"]]',
    "no pairs": "[1, 2, 3, 4]",
    "no bytes": '[["x", "y"], ["x", "y"], ["x", "y"], ["x", "y"]]',
    "too short": '[["00", "01"], ["02", "03"], ["04", "05"], ["06", "07"]]',
    "nothing": "[[null, null], [null, null], [null, null], [null, null]]",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("case", BOUNDS)
def test_bounds_that_are_none(hostile: Hostile, case: str) -> None:
    data = parquet(good(hostile), metadata={"arrowopaque.bounds": BOUNDS[case]})
    file = hostile.replaced(hostile.files[0], data, deletes=None)
    for search in SEARCHES.values():
        message = asked(hostile, file, search)
        assert file.path in message
        assert "its bounds are none" in message


def test_statistics_that_are_no_values(hostile: Hostile) -> None:
    """The least UUID of a row group, cut short within the footer; pyarrow would end the process."""
    data = bytearray(parquet(good(hostile)))
    footer = len(data) - int.from_bytes(data[-8:-4], "little") - 8
    at = data.index(b"\x10" + key(10), footer)
    # A shorter value, and what is left of it as an unknown field of the same struct.
    data[at : at + 17] = b"\x04" + key(10)[:4] + b"\xf8\x0a" + b"\x01" * 10
    file = hostile.replaced(hostile.files[0], bytes(data), deletes=None)
    hostile.commit(file, hostile.files[1])
    root = StoreRoot(str(hostile.folder), writeable=False)
    assert len(list(root.table("t").fetch(id=key(7)))) == 1
    assert len(list(root.table("t").fetch(path="run/00%"))) == 2 * ROWS
    findings = root.verify(raising=False).findings
    assert {(str(finding.check), "column 'id'" in finding.problem) for finding in findings} == {
        ("statistics", True)
    }


def test_a_file_of_the_wrong_size_is_not_read(hostile: Hostile) -> None:
    path = hostile.files[1].path
    with open(hostile.folder / path, "r+b") as file:
        file.truncate(2**40)
    root = StoreRoot(str(hostile.folder), writeable=False)
    with pytest.raises(CorruptStoreError, match=rf"{path}.*{2**40} bytes"):
        root.sql("SELECT * FROM t")
    with pytest.raises(CorruptStoreError, match=path):
        root.verify("quick")


def test_what_a_writer_makes_is_taken(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the fewest rows and no value but NULL."""
    rows = hostile.rows(range(ROWS, ROWS + 1))
    for name in ("kind", "size", "real", "flag"):
        at = rows.column_names.index(name)
        rows = rows.set_column(at, name, pa.nulls(1, rows.schema.field(name).type))
    file = write_file(hostile.root.volume, SPEC, "t", 0, rows)
    hostile.commit(file)
    StoreRoot(str(hostile.folder), writeable=False).verify()
    assert json.loads(hostile.read(hostile.head))
    assert encoding.encode(rows, SCHEMA, "id", {}, Layout(1)).facts["rows"] == 1


def test_a_place_beyond_the_dictionary(hostile: Hostile) -> None:
    """One that Arrow itself would read from whatever memory lies there."""
    kinds = pa.array(["a", "b", *["c"] * (ROWS - 2)])
    table = good(hostile).set_column(2, SCHEMA.field("kind"), kinds)
    how: dict[str, Any] = {"compression": "none", "use_dictionary": ["kind"], "write_statistics": False}
    data = bytearray(parquet(table, ROWS, **how))
    place = pq.read_metadata(io.BytesIO(data)).row_group(0).column(2)
    start, end = place.dictionary_page_offset, place.dictionary_page_offset + place.total_compressed_size
    # The last run: one value of the two bits that three take, as often as all the rest.
    assert data[end - 1] == 2, data[start:end]
    data[end - 1] = 3
    metadata = pq.read_metadata(io.BytesIO(data)).metadata
    old = metadata[b"arrowopaque.digests"]
    at = data.rindex(old)
    data[at : at + len(old)] = b"~" * len(old)
    _seal(data, "~" * len(old))
    file = hostile.replaced(hostile.files[0], bytes(data), deletes=None)
    hostile.commit(file, hostile.files[1])
    for ask in (lambda table: table.fetch_arrow(), lambda table: list(table.fetch(id=[key(7)]))):
        with pytest.raises(CorruptStoreError, match=re.escape(file.path)):
            ask(StoreRoot(str(hostile.folder), writeable=False).table("t"))
