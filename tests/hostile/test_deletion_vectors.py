"""Deletion vectors that lie: no reader may believe a count that a bitmap states of itself."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from arrowopaque import CorruptStoreError, StoreRoot
from arrowopaque.format import bitmap, limits
from tests.hostile.forge import ROWS, Hostile

PLAIN, RUNS = 12_346, 12_347


def u16(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def arrays(*containers: tuple[int, list[int]], sizes: list[int] | None = None, shift: int = 0) -> bytes:
    """Return a bitmap of array containers, by key, that may lie of their sizes."""
    count = len(containers)
    counts = sizes or [len(values) for _, values in containers]
    head = u32(PLAIN, count)
    head += b"".join(u16(key, size - 1) for (key, _), size in zip(containers, counts, strict=True))
    at, offsets, body = len(head) + 4 * count, [], b""
    for _, values in containers:
        offsets.append(at + len(body) + shift)
        body += u16(*values)
    return head + u32(*offsets) + body


def run(size: int, *pairs: int, key: int = 0) -> bytes:
    """Return a bitmap of one container of runs: start and length less one."""
    return u32(RUNS) + b"\1" + u16(key, size - 1) + u16(len(pairs) // 2, *pairs)


def bitset(size: int, bits: bytes) -> bytes:
    return u32(PLAIN, 1) + u16(0, size - 1) + u32(16) + bits


LIES: dict[str, bytes] = {
    "nothing": b"",
    "a cookie": u32(PLAIN),
    "another cookie": u32(77, 0),
    "too many containers": u32(PLAIN, 2**31),
    "more containers than there are": u32(PLAIN, 1),
    "an array that ends early": arrays((0, [1, 2, 3]), sizes=[4]),
    "an array that ends late": arrays((0, [1, 2, 3]), sizes=[2]),
    "an array out of order": arrays((0, [3, 2, 1])),
    "an array with one twice": arrays((0, [1, 1, 2])),
    "containers out of order": arrays((1, [0]), (0, [0])),
    "containers twice": arrays((0, [1]), (0, [2])),
    "offsets elsewhere": arrays((0, [1, 2, 3]), shift=2),
    "a bitset with more bits than it says": bitset(4_097, b"\xff" * 8_192),
    "a bitset with fewer bits than it says": bitset(8_192, b"\1" * 8_000 + b"\0" * 192),
    "a bitset that ends early": bitset(5_000, b"\xff" * 100),
    "runs that overlap": run(6, 1, 2, 2, 2),
    "runs out of order": run(4, 10, 1, 2, 1),
    "a run that leaves its container": run(11, 65_530, 10),
    "a run longer than it says": run(3, 1, 9),
    "a run shorter than it says": run(9, 1, 2),
    "no run": run(3),
    "bytes that follow": arrays((0, [1, 2, 3])) + b"\0",
    "positions beyond": arrays((0, [1, 2, 2**16 - 1])),
    "containers beyond": arrays((60_000, [1, 2, 3])),
    "endless runs": u32(RUNS | 65_535 << 16) + b"\xff" * 8_192
    + b"".join(u16(key, 65_535) for key in range(65_536))
    + b"\0" * 4 * 65_536,
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(lie: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        bitmap.positions(LIES[lie], ROWS if "beyond" in lie else 2**16)


@pytest.mark.parametrize("lie", LIES)
def test_readers_and_writers_refuse_it_by_name(tmp_path: Path, lie: str) -> None:
    hostile = Hostile(tmp_path)
    file = hostile.files[0]
    data = LIES[lie]
    if len(data) > limits.deletes_bytes(ROWS):
        data = data[: limits.deletes_bytes(ROWS)]
    lying = hostile.deleting(file, data)
    hostile.commit(lying, hostile.files[1])
    assert lying.deletes is not None
    root = StoreRoot(str(tmp_path))
    table = root.table("t")
    for question in (
        lambda: table.fetch_arrow(),
        lambda: list(table.fetch(path="run/0003")),
        lambda: root.sql("SELECT count(*) FROM t"),
        lambda: table.delete(["path"], {"path": "run/0002"}),
        lambda: root.verify(),
    ):
        with pytest.raises(CorruptStoreError, match=lying.deletes.path):
            question()


@pytest.mark.parametrize("count", [0, 2, 4, ROWS])
def test_another_count_than_the_manifest_says(tmp_path: Path, count: int) -> None:
    hostile = Hostile(tmp_path)
    file = hostile.deleting(hostile.files[0], BitMap([1, 2, 3]), count=min(count, ROWS - 1))
    hostile.commit(file, hostile.files[1])
    with pytest.raises(CorruptStoreError, match=rf"3 positions, the manifest says {min(count, ROWS - 1)}"):
        StoreRoot(str(tmp_path)).table("t").fetch_arrow()


def test_a_vector_of_another_size_is_not_read(tmp_path: Path) -> None:
    hostile = Hostile(tmp_path)
    deletes = hostile.files[0].deletes
    assert deletes is not None
    with open(tmp_path / deletes.path, "r+b") as file:
        file.truncate(2**40)
    with pytest.raises(CorruptStoreError, match=str(2**40)):
        StoreRoot(str(tmp_path)).table("t").fetch_arrow()


SETS = st.one_of(
    st.sets(st.integers(0, 2**18), max_size=60),
    st.builds(
        lambda starts: {i for start, length in starts for i in range(start, start + length)},
        st.lists(st.tuples(st.integers(0, 2**18), st.integers(1, 9_000)), max_size=4),
    ),
    st.builds(lambda step, size: set(range(0, step * size, step)), st.integers(1, 9), st.integers(0, 30_000)),
)


@given(SETS, st.booleans())
def test_every_bitmap_is_read_as_its_library_reads_it(members: set[int], optimized: bool) -> None:
    given = BitMap(members)
    if optimized:
        given.run_optimize()
    data = given.serialize()
    found = bitmap.positions(data, max(members, default=0) + 1)
    assert np.array_equal(found, np.array(sorted(members), np.int64))
    rows = max(members, default=0) + 1
    assert len(data) <= limits.deletes_bytes(rows)
    if members:
        with pytest.raises(ValueError, match="positions above"):
            bitmap.positions(data, rows - 1)


@given(SETS, st.booleans(), st.data())
def test_mutated_bitmaps(members: set[int], optimized: bool, data: st.DataObject) -> None:
    """What is read is what it says of itself, in order and below the limit, or nothing."""
    given = BitMap(members)
    if optimized:
        given.run_optimize()
    raw = bytearray(given.serialize())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(min(len(raw), 64) - 1, 0)))
        raw[at : at + 1] = data.draw(st.sampled_from([b"", b"\0", b"\1", b"\xff", b"\x3a\x30", b"\x7f"]))
    try:
        found = bitmap.positions(bytes(raw), 2**19)
    except ValueError:
        return
    assert (np.diff(found) > 0).all()
    assert not len(found) or 0 <= found[0] <= found[-1] < 2**19
    again = BitMap(found.astype(np.uint32))
    assert len(again) == len(found)
