"""Filters of keys: what they may leave out, what is refused, and what they spare."""

from __future__ import annotations

import base64
import hashlib
import io
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrowopaque import ConstraintError, CorruptStoreError, Options, StoreRoot
from arrowopaque.format.document import digest
from arrowopaque.format.keyfilter import KeyFilter, can_filter, hash_of, hashes_of
from arrowopaque.format.spec import Column, ColumnKind, TableSpec
from arrowopaque.store.base import Base
from arrowopaque.store.encoding import Layout, encode
from arrowopaque.store.filters import FilterRun
from arrowopaque.store.keys import Keys
from arrowopaque.store.parquet import ParquetObject
from tests.hostile.forge import reseal

COUNT, GROUP = 2_000, 500
KINDS: dict[ColumnKind, Any] = {
    ColumnKind.UUID: lambda n: uuid.uuid5(uuid.NAMESPACE_OID, str(n)).bytes[:15] + b"\0",
    ColumnKind.STRING: lambda n: f"é{n}",
    ColumnKind.BINARY: lambda n: n.to_bytes(2 + n % 3, "big"),
    ColumnKind.SMALLINT: lambda n: n - 900,
    ColumnKind.INTEGER: lambda n: (n - 900) * 500_003,
    ColumnKind.BIGINT: lambda n: (n - 900) * 10**15,
    ColumnKind.TIME: lambda n: n * 10**15,
}
UNFILTERED: dict[ColumnKind, Any] = {ColumnKind.FLOAT: lambda n: n / 7}


def spec_of(kind: ColumnKind) -> TableSpec:
    length = 16 if kind is ColumnKind.STRING else None
    return TableSpec(
        columns=(
            Column(name="key", kind=kind, length=length, nullable=False),
            Column(name="value", kind=ColumnKind.BIGINT),
        ),
        primary_key=("key",),
    )


def rows_of(spec: TableSpec, numbers: range) -> pa.Table:
    make = (KINDS | UNFILTERED)[spec.columns[0].kind]
    return pa.table([[make(n) for n in numbers], list(numbers)], schema=spec.arrow_schema)


def make_root(place: Path, kind: ColumnKind, **options: Any) -> StoreRoot:
    spec = spec_of(kind)
    root = StoreRoot(str(place), options=Options(bulk_rows=2, row_group_rows=GROUP, **options))
    root.register("t", spec)
    root.table("t").insert_arrow(rows_of(spec, range(0, 2 * COUNT, 2)))
    return StoreRoot(str(place))


def data_file(root: StoreRoot) -> Path:
    (found,) = (folder(root) / "tables").rglob("*.parquet")
    return found


def folder(root: StoreRoot) -> Path:
    return Path(root.uri.removeprefix("file://"))


def asked(query: str) -> list[Any]:
    relation = duckdb.sql(query)
    assert relation is not None
    return relation.fetchall()


@pytest.mark.parametrize("kind", [*KINDS, *UNFILTERED])
def test_every_kind_of_key(tmp_path: Path, kind: ColumnKind) -> None:
    """What is there is found, what is not is not, one by one and together."""
    root = make_root(tmp_path / "root", kind)
    table, spec = root.table("t"), spec_of(kind)
    metadata = pq.read_metadata(data_file(root))
    has_filters = metadata.row_group(0).column(0).bloom_filter_offset is not None
    assert has_filters == (kind in KINDS) == can_filter(spec.columns[0].arrow_type)
    make = (KINDS | UNFILTERED)[kind]
    for n in range(0, 2 * COUNT, 97):
        assert [row["value"] for row in table.fetch(key=make(n))] == ([n] if n % 2 == 0 else [])
    with pytest.raises(ConstraintError):
        table.insert_arrow(rows_of(spec, range(1_998, 2_005, 2)))
    table.insert_arrow(rows_of(spec, range(1, 2 * COUNT, 2)))
    assert table.fetch_arrow().num_rows == 2 * COUNT
    root.verify()


def test_duckdb_takes_the_filters_for_its_own(tmp_path: Path) -> None:
    file = data_file(make_root(tmp_path / "root", ColumnKind.BIGINT))
    ask = f"SELECT bool_or(bloom_filter_excludes) FROM parquet_bloom_probe('{file}', 'key', %s)"
    there, absent = KINDS[ColumnKind.BIGINT](1_000), KINDS[ColumnKind.BIGINT](1_001)
    groups = f"SELECT count(*) FROM parquet_bloom_probe('{file}', 'key', %s) WHERE NOT bloom_filter_excludes"
    assert asked(groups % there) != [(0,)]
    assert asked(ask % absent) == [(True,)]


values = st.one_of(st.binary(min_size=16, max_size=16), st.text(), st.integers(-(2**63), 2**63 - 1))


@given(st.lists(values, min_size=1, max_size=50))
def test_one_and_many_are_asked_alike(found: list[Any]) -> None:
    data = np.random.default_rng(len(found)).bytes(4_096)
    header = b"\x15" + _zigzag(len(data)) + b"\x1c\x1c\x00\x00" * 3 + b"\x00"
    asked = KeyFilter(header + data)
    for value in found:
        kind = {bytes: pa.binary(16), str: pa.string(), int: pa.int64()}[type(value)]
        (many,) = asked.may_hold_each(hashes_of([value], kind))
        assert many == asked.may_hold(hash_of(value, kind))


def _zigzag(number: int) -> bytes:
    number, out = number << 1, bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def test_few_are_taken_for_there() -> None:
    table = rows_of(spec_of(ColumnKind.UUID), range(8_192))
    encoded = encode(table, spec_of(ColumnKind.UUID).exact_schema, "key", {}, Layout(8_192, has_filters=True))
    place = pq.read_metadata(io.BytesIO(encoded.data)).row_group(0).column(0)
    start, length = place.bloom_filter_offset, place.bloom_filter_length
    found = KeyFilter(encoded.data[start : start + length])
    assert found.nbytes == 16_384
    absent = hashes_of([KINDS[ColumnKind.UUID](n) for n in range(10_000, 60_000)], pa.binary(16))
    assert 0 < found.may_hold_each(absent).mean() < 0.004
    there = hashes_of(table.column("key").to_pylist(), pa.binary(16))
    assert found.may_hold_each(there).all()


class _ReadError(Exception):
    """A page was asked for."""


def test_new_keys_touch_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is new costs a filter, once; then nothing."""
    root = make_root(tmp_path / "root", ColumnKind.UUID)
    base = root.seen("t").snapshot().base
    read: list[Any] = []

    def refuse(self: ParquetObject, *what: Any) -> None:
        read.append(what)
        raise _ReadError

    monkeypatch.setattr(ParquetObject, "_decode", refuse)
    load = ParquetObject._load_filters
    loaded: list[int] = []

    def load_filters(self: ParquetObject, runs: Sequence[int], column: str) -> dict[int, FilterRun]:
        loaded.extend(runs)
        return load(self, runs, column)

    monkeypatch.setattr(ParquetObject, "_load_filters", load_filters)
    present = {KINDS[ColumnKind.UUID](n) for n in range(0, 2 * COUNT, 2)}
    absent = [KINDS[ColumnKind.UUID](n) for n in range(10_001, 10_100, 2)]
    passing = 0
    for key in absent:
        try:
            assert base.existing([(key,)]) == set()
        except _ReadError:
            passing += 1  # a false positive asks for the page
    assert passing == len(read) < 10
    assert loaded == [0]
    del loaded[:]
    assert base.existing([(key,) for key in absent if key not in present][:1]) == set()
    assert loaded == []


def test_a_key_that_filters_exclude_is_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_root(tmp_path / "root", ColumnKind.UUID).seen("t").snapshot().base
    absent = [(KINDS[ColumnKind.UUID](n),) for n in range(10_001, 10_100, 2)]
    for key in absent:
        base.existing([key])
    looked, real = [], ParquetObject.keys

    def keys(self: ParquetObject, group: int) -> Keys | None:
        looked.append(group)
        return real(self, group)

    monkeypatch.setattr(ParquetObject, "keys", keys)
    for key in absent:
        assert base.existing([key]) == set()
    assert len(looked) < 5
    present = (KINDS[ColumnKind.UUID](2),)
    looked.clear()
    assert base.existing([present]) == {present}
    assert looked


def test_a_key_that_keys_at_hand_exclude_is_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the keys are at hand, no filter is fetched."""
    root = make_root(tmp_path / "root", ColumnKind.UUID)
    present = [(KINDS[ColumnKind.UUID](n),) for n in range(0, 2 * COUNT, 2)]
    base = root.seen("t").snapshot().base
    assert base.existing(present) == {*present}
    monkeypatch.setattr(ParquetObject, "_load_filters", None)
    for n in range(10_001, 10_100, 2):
        assert base.existing([(KINDS[ColumnKind.UUID](n),)]) == set()


@pytest.mark.parametrize(
    ("workers", "runs"), [(1, [[0], [1], [2], [3], [4]]), (8, [[0, 1, 2, 3], [4]])], ids=["near", "afar"]
)
def test_filters_that_lie_together_come_by_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, runs: list[list[int]]
) -> None:
    spec = spec_of(ColumnKind.UUID)
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2, row_group_rows=50))
    root.register("t", spec)
    root.table("t").insert_arrow(rows_of(spec, range(COUNT)))
    root = StoreRoot(str(tmp_path / "root"))
    base, asked = root.seen("t").snapshot().base, []
    monkeypatch.setattr(type(base.volume.store), "workers", workers)
    real = ParquetObject._load_filters

    def load_filters(self: ParquetObject, runs: Sequence[int], column: str) -> dict[int, FilterRun]:
        asked.append(list(runs))
        return real(self, runs, column)

    monkeypatch.setattr(ParquetObject, "_load_filters", load_filters)
    for n in range(10_000, 10_400):
        assert base.existing([(KINDS[ColumnKind.UUID](n),)]) == set()
    assert sorted(asked) == runs


def test_many_new_keys_touch_few_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path / "root", ColumnKind.UUID, cache_bytes=0)
    read: list[int] = []
    real = ParquetObject._decode

    def decode(self: ParquetObject, groups: list[int], names: list[str]) -> dict[int, dict[str, pa.Array]]:
        read.extend(groups)
        return real(self, groups, names)

    monkeypatch.setattr(ParquetObject, "_decode", decode)
    base = root.seen("t").snapshot().base
    new = [(KINDS[ColumnKind.UUID](n),) for n in range(10_001, 10_021)]
    assert base.existing(new) == set()
    assert len(read) < 4
    there = [(KINDS[ColumnKind.UUID](n),) for n in range(0, 40, 2)]
    assert base.existing([*new, *there]) == set(there)


def _altered(root: StoreRoot, change: Any) -> Path:
    """Change the bytes of a data file's filter, or of its footer."""
    file = data_file(root)
    place = pq.read_metadata(file).row_group(1).column(0)
    data = bytearray(file.read_bytes())
    change(data, place.bloom_filter_offset, place.bloom_filter_length)
    file.write_bytes(data)
    return file


def _look_for_absent(base: Base) -> None:
    for n in range(1, 200, 2):
        base.existing([(KINDS[ColumnKind.UUID](n),)])


def test_altered_filter_is_refused(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", ColumnKind.UUID, cache_bytes=0)

    def flip(data: bytearray, start: int, length: int) -> None:
        data[start + length // 2] ^= 1

    file = _altered(root, flip)
    base = root.seen("t").snapshot().base
    with pytest.raises(CorruptStoreError, match=f"{file.name}.*key filters.*altered"):
        _look_for_absent(base)
    # Rows that are there are found without it.
    assert root.table("t").fetch_arrow(key=[KINDS[ColumnKind.UUID](n) for n in (10, 500)]).num_rows == 2


def test_a_filter_is_checked_when_it_is_asked() -> None:
    """Those that are read with it take no time for it, and are not believed."""
    good = b"\x15\x40\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x00" + b"\xff" * 32
    run = FilterRun([good, good, b"none"], [_digest(good), _digest(b"other"), _digest(b"none")])
    assert run.filter(0).may_hold(hash_of("anything", pa.string()))
    assert run.filter(0) is run.filter(0)
    for number in (1, 2):
        for _ in range(2):
            with pytest.raises((ValueError, IndexError)):
                run.filter(number)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x15",
        b"\x15\x00\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x00",
        b"\x15\x40\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x00" + bytes(31),
        b"\x15\x3e\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x00" + bytes(31),
        b"\x15\x40\x1c\x2c\x00\x00\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x00" + bytes(32),
        b"\x15\x40\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x00" + bytes(32),
    ],
)
def test_what_is_no_filter(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        KeyFilter(data)


def test_good_filter_of_one_block() -> None:
    found = KeyFilter(b"\x15\x40\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x1c\x1c\x00\x00\x00" + b"\xff" * 32)
    assert found.may_hold(hash_of("anything", pa.string()))


def test_a_filter_that_lies_is_found(tmp_path: Path) -> None:
    """Whoever makes a store can hide rows from look-ups; `verify` tells."""
    root = make_root(tmp_path / "root", ColumnKind.UUID)
    file = data_file(root)
    data = bytearray(file.read_bytes())
    metadata = pq.read_metadata(io.BytesIO(data))
    digests = []
    for group in range(metadata.num_row_groups):
        place = metadata.row_group(group).column(0)
        start, length = place.bloom_filter_offset, place.bloom_filter_length
        if group == 2:
            data[start + length - 256 : start + length] = bytes(256)
        digests.append(_digest(data[start : start + length]))
    old = metadata.metadata[b"arrowopaque.filters"]
    new = base64.b64encode(b"".join(digests))
    at = data.rfind(old)
    data[at : at + len(old)] = new
    _replace(root, file, bytes(data))
    with pytest.raises(CorruptStoreError, match="key filter of row group 2 leaves out a key"):
        StoreRoot(root.uri).verify()


def _digest(data: bytes | bytearray) -> bytes:
    return hashlib.sha256(data).digest()[:16]


def _replace(root: StoreRoot, file: Path, data: bytes) -> None:
    """Store other bytes as the only data file, and say so in the catalog."""
    file.write_bytes(data)
    manifest = root.seen("t").snapshot().base.manifest
    assert manifest is not None
    (partition,) = manifest.partitions
    (entry,) = partition.files
    footer = data[-entry.footer :]
    changed = entry.model_copy(update={"digest": digest(data), "footer_digest": digest(footer)})
    body = manifest.model_copy(
        update={"partitions": (partition.model_copy(update={"files": (changed,)}),)}
    ).model_dump(mode="json")
    path = folder(root) / manifest.name
    path.write_bytes(reseal(body))


def test_small_files_have_none(tmp_path: Path) -> None:
    spec = spec_of(ColumnKind.UUID)
    assert (
        b"arrowopaque.filters"
        not in encode(
            rows_of(spec, range(1_023)), spec.exact_schema, "key", {}, Layout(GROUP, has_filters=True)
        ).data
    )
