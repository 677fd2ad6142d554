"""What a compaction merges, what it costs, and what it holds meanwhile."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from arrowopaque import CorruptStoreError, Options, StoreRoot
from arrowopaque.clock import new_id
from arrowopaque.format.manifest import DataFile, Deletes, Partition, TableManifest
from arrowopaque.format.spec import Column, ColumnKind, TableSpec
from arrowopaque.maintain import compact as compact_module
from arrowopaque.maintain import tiers
from arrowopaque.maintain.tiers import Merge, plan
from arrowopaque.store import apply, order
from arrowopaque.store import merge as merge_module
from arrowopaque.store.apply import FileWriter, cut
from arrowopaque.store.datafile import SortedFile
from arrowopaque.store.decoding import plain
from arrowopaque.store.order import Sorted

SMALL = {"bulk_rows": 1, "partition_rows": 64, "row_group_rows": 8}


def spec_of(*kinds: ColumnKind) -> TableSpec:
    """Return a table with a key of some kinds, and a value."""
    key = tuple(f"k{i}" for i in range(len(kinds)))
    columns = [Column(name=name, kind=kind, nullable=False) for name, kind in zip(key, kinds, strict=True)]
    return TableSpec(columns=(*columns, Column(name="value", kind=ColumnKind.BIGINT)), primary_key=key)


def root_of(spec: TableSpec, **options: Any) -> StoreRoot:
    root = StoreRoot(f"memory://{new_id()}", options=Options(**{**SMALL, **options}))
    root.register("t", spec)
    return root


def reopened(root: StoreRoot, **options: Any) -> StoreRoot:
    return StoreRoot(root.uri, options=Options(**{**SMALL, **options}))


def put(root: StoreRoot, keys: Iterable[tuple[Any, ...]]) -> None:
    """Insert rows as one data file a partition."""
    schema = root.spec("t").arrow_schema
    rows = [(*key, 7) for key in keys]
    columns = [
        pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    root.table("t").insert_arrow(pa.Table.from_arrays(columns, schema=schema))


def keys_of(root: StoreRoot) -> list[tuple[Any, ...]]:
    """Return the keys of all rows, sorted."""
    names = root.spec("t").primary_key
    rows = root.table("t").fetch_arrow()
    return sorted(zip(*(plain(rows.column(name)).to_pylist() for name in names), strict=True))


def partitions(root: StoreRoot) -> tuple[Partition, ...]:
    root.refresh()
    manifest = root.seen("t").snapshot().base.manifest
    assert manifest is not None
    return manifest.partitions


def layout(root: StoreRoot) -> list[list[int]]:
    """Return the live rows of the files of each partition."""
    return [[file.live for file in partition.files] for partition in partitions(root)]


# Which files.


def file_of(live: int, deleted: int = 0, *, number: int = 0, ends: tuple[int, int] = (0, 1)) -> DataFile:
    deletes = Deletes(path="", count=deleted, bytes=1, digest="") if deleted else None
    return DataFile(
        path=str(number),
        rows=live + deleted,
        footer=0,
        footer_digest="",
        min=ends[:1],
        max=ends[1:],
        deletes=deletes,
        bytes=1,
        digest="",
    )


def merges(files: Sequence[DataFile], *, full: bool = False) -> list[Merge]:
    manifest = TableManifest.model_construct(
        partitions=(Partition(number=0, lower=None, files=tuple(files)),), next_partition=1
    )
    return plan(manifest, Options(**SMALL), full=full)


def chosen(*sizes: int | tuple[int, int], full: bool = False) -> list[int]:
    """Return the live rows of the files that are merged; a pair is live and
    deleted rows.
    """
    pairs = [size if isinstance(size, tuple) else (size, 0) for size in sizes]
    files = [file_of(*pair, number=number) for number, pair in enumerate(pairs)]
    found = merges(files, full=full)
    assert all(not merge.splits for merge in found)
    return [file.live for merge in found for file in merge.files]


def test_what_is_merged() -> None:
    assert chosen() == chosen(1) == chosen(100) == []
    # Less than a row group.
    assert chosen(1, 2) == [1, 2]
    assert chosen(100, 1) == []
    assert chosen(100, 1, 2) == [1, 2]
    # As large as those that are smaller together.
    assert chosen(50, 20, 10) == []
    assert chosen(10, 40, 20, 10) == [10, 40, 20, 10]
    assert chosen(60, 10, 20, 10) == [10, 20, 10]
    assert chosen(100, 3, 9, 7) == [3, 7]
    assert chosen(26, 3, 9, 7, 7) == [26, 3, 9, 7, 7]
    assert chosen(10, 7, 1) == [7, 1]


def test_files_with_deleted_rows_are_rewritten() -> None:
    assert chosen((90, 10)) == []
    assert chosen((89, 11)) == [89]
    assert chosen((60, 20), 30) == [60]
    # What is rewritten is a file that takes in smaller ones, or is taken in.
    assert chosen((40, 20), 45) == [40]
    assert chosen((40, 20), 20, 21) == [40, 20, 21]
    assert chosen((20, 20), 80, 10, 5) == [20]
    assert chosen((20, 20), 30, 9) == [20, 30, 9] if 20 + 9 >= 30 else [20]
    assert chosen((4, 1), 20, 3) == [4, 3]


def test_all_is_merged_when_asked() -> None:
    assert chosen(100, 1, full=True) == [100, 1]
    assert chosen((100, 1), full=True) == [100]
    assert chosen(100, full=True) == []


def test_nothing_is_due_after_what_was_due() -> None:
    """Whatever the sizes: one more compaction would find nothing."""
    source = random.Random(1)
    for _ in range(300):
        sizes = [
            (source.choice([1, 5, 9, 20]), source.choice([0, 0, 0, 1, 4])) for _ in range(source.randrange(9))
        ]
        files = [file_of(*size, number=number) for number, size in enumerate(sizes)]
        for merge in merges(files):
            if not merge.splits:
                rest = [file for file in files if file not in merge.files]
                assert merges([*rest, file_of(merge.live, number=99)]) == []


def test_a_crowd_is_merged_before_a_split() -> None:
    files = [file_of(5, number=number) for number in range(40)]
    (merge,) = merges(files)
    assert merge.is_first
    assert not merge.splits
    assert len(merge.files) == 12
    (merge,) = merges([file_of(64, number=number) for number in range(40)])
    assert merge.splits
    (merge,) = merges(files[: tiers._FAN_IN])
    assert merge.splits
    assert merge.files == tuple(files[: tiers._FAN_IN])


def test_what_cannot_be_divided_is_not_split() -> None:
    """It would be rewritten by every compaction."""
    assert merges([file_of(1000, ends=(3, 3))]) == []
    assert merges([file_of(1000, ends=(3, 3)), file_of(1000, ends=(4, 4), number=1)])[0].splits


# What it costs.


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every data file that is written, in turn."""
    rows: list[int] = []
    write = FileWriter.file

    def counted(writer: FileWriter, partition: int, piece: Sorted) -> Any:
        rows.append(piece.rows.num_rows)
        return write(writer, partition, piece)

    monkeypatch.setattr(FileWriter, "file", counted)
    return rows


@pytest.mark.parametrize("seed", range(2))
def test_files_and_rows_written_grow_with_the_logarithm(written: list[int], seed: int) -> None:
    source, unit, partition_rows = random.Random(seed), 8, 4096
    root = root_of(spec_of(ColumnKind.BIGINT), partition_rows=partition_rows)
    fresh = iter(source.sample(range(100_000), 8_000))
    inserted = compactions = 0
    while inserted < 2_000:
        for _ in range(source.randrange(1, 5)):
            count = source.choice([1, 5, 20, 20, 100])
            put(root, [(key,) for key in itertools.islice(fresh, count)])
            inserted += count
        root.compact()
        compactions += 1
        ((sizes),) = layout(root)
        assert len(sizes) <= 2 + math.floor(math.log2(max(inserted / unit, 1)))
        large = sorted(size for size in sizes if size >= unit)
        assert all(size > sum(large[:at]) for at, size in enumerate(large))
        assert len(sizes) - len(large) <= 1
    # Each row doubles its file each time, but for those of files of less than a row group.
    assert sum(written) <= inserted * (2 + math.log2(inserted / unit)) + unit * compactions
    assert len(keys_of(root)) == inserted


def test_partitions_keep_their_size(written: list[int]) -> None:
    source = random.Random(7)
    root = root_of(spec_of(ColumnKind.BIGINT))
    fresh = iter(source.sample(range(100_000), 2_000))
    for _ in range(20):
        put(root, [(key,) for key in itertools.islice(fresh, 50)])
        root.compact()
        assert all(sum(sizes) <= 2 * SMALL["partition_rows"] for sizes in layout(root))
    assert len(layout(root)) >= 1_000 / (2 * SMALL["partition_rows"])
    assert sum(written) <= 1_000 * (4 + math.log2(2 * 64 / 8))


def test_full_leaves_a_file_a_partition_and_no_deleted_row() -> None:
    root = root_of(spec_of(ColumnKind.BIGINT))
    put(root, [(key,) for key in range(0, 120, 2)])
    put(root, [(key,) for key in range(1, 21, 2)])
    root.table("t").delete(["k0"], {"k0": 4})
    before = keys_of(root)
    assert root.compact()["t"].partitions == 0
    report = root.compact(full=True)["t"]
    assert (report.partitions, report.files_before, report.files_after) == (1, 2, 1)
    assert layout(root) == [[69]]
    assert partitions(root)[0].files[0].deletes is None
    assert keys_of(root) == before
    assert root.compact("t", full=True)["t"].partitions == 0


def test_a_crowd_becomes_partitions_in_one_call() -> None:
    root = root_of(spec_of(ColumnKind.BIGINT))
    for start in range(40):
        put(root, [(key,) for key in range(start, 240, 40)])
    report = root.compact()["t"]
    assert layout(root) == [[60]] * 4
    assert report.partitions == 1
    assert report.files_after < report.files_before
    assert keys_of(root) == [(key,) for key in range(240)]


# Any keys.

KEYS: dict[str, tuple[tuple[ColumnKind, ...], list[tuple[Any, ...]]]] = {
    "integers": ((ColumnKind.BIGINT,), [(number - 150,) for number in range(300)]),
    "floats": ((ColumnKind.FLOAT,), [(number / 7 - 9,) for number in range(299)] + [(math.inf,)]),
    "strings": ((ColumnKind.STRING,), [(f"{number % 7}/é{number}",) for number in range(300)]),
    "uuids": (
        (ColumnKind.UUID,),
        [(bytes([number % 3, 0, number // 2]) + bytes([number % 2] * 13),) for number in range(300)],
    ),
    "hashes": ((ColumnKind.HASH,), [(bytes([number % 2] * (number // 2 + 1)),) for number in range(300)]),
    "composite": (
        (ColumnKind.UUID, ColumnKind.STRING),
        [(bytes([number // 5]) * 16, "abcde"[number % 5]) for number in range(300)],
    ),
    "float first": (
        (ColumnKind.FLOAT, ColumnKind.BIGINT),
        [(float(number // 9), number) for number in range(300)],
    ),
    "booleans": ((ColumnKind.BOOLEAN, ColumnKind.BIGINT), [(number > 100, number) for number in range(300)]),
    "one value": ((ColumnKind.BIGINT, ColumnKind.BIGINT), [(5, number) for number in range(300)]),
}


@pytest.mark.parametrize("kind", KEYS)
def test_of_any_keys(kind: str) -> None:
    kinds, keys = KEYS[kind]
    root = root_of(spec_of(*kinds))
    mixed = random.Random(3).sample(keys, len(keys))
    for start in range(0, len(keys), 60):
        put(root, mixed[start : start + 60])
    names = root.spec("t").primary_key
    root.table("t").delete(list(names), *(dict(zip(names, key, strict=True)) for key in mixed[::11]))
    expected = sorted(set(keys) - set(mixed[::11]))
    for full in (False, True):
        root.compact(full=full)
        assert keys_of(root) == expected
        assert root.verify().findings == ()
    assert all(len(sizes) == 1 for sizes in layout(root))
    leading = [[file.min[0], file.max[0]] for partition in partitions(root) for file in partition.files]
    ends = list(itertools.chain(*leading))
    assert len(set(ends)) == len(ends) or any(low == high for low, high in leading)
    assert all(one[1] != next[0] for one, next in itertools.pairwise(leading))


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 40])
def test_pieces_are_those_of_all_rows_at_once(pieces: int) -> None:
    source = random.Random(pieces)
    keys = sorted(source.choices(range(12), k=40))
    table = pa.table({"k": keys, "at": range(40)})
    starts = sorted({0, *(keys.index(key) for key in source.sample(keys, 3)), 40})
    ranges = (table.slice(start, stop - start) for start, stop in itertools.pairwise(starts))
    found = list(compact_module._cut(ranges, "k", 40, pieces))
    cuts = cut(pa.array(keys), -(-40 // pieces))
    if -(-40 // -(-40 // pieces)) == pieces:
        assert [piece.num_rows for piece in found] == [
            stop - start for start, stop in itertools.pairwise(cuts)
        ]
    assert pa.concat_tables(found).to_pylist() == table.to_pylist()


def test_no_bound_is_nan() -> None:
    """A registry on PostgreSQL takes it for a key; it comes last."""
    keys = pa.table({"k": [1.0, 2.0, *[math.nan] * 4]})
    found = list(compact_module._cut(iter([keys.slice(0, 3), keys.slice(3)]), "k", 6, 6))
    assert [piece.num_rows for piece in found] == [1, 5]
    assert cut(keys.column("k").chunk(0), 1) == [0, 1, 6]


# What it holds.


class Held:
    """How many rows are decoded for a merge and not yet given to its caller."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded = self.most = 0
        rows_of, drop = SortedFile.rows_of, merge_module._drop_beyond

        def counted(file: SortedFile, groups: Sequence[int], names: Sequence[str]) -> Any:
            found = rows_of(file, groups, names)
            if len(names) > 1:
                self.decoded += found[0].num_rows
                self.now += found[0].num_rows
                self.most = max(self.most, self.now)
            return found

        def merged(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
            # Sorted, it is there twice.
            self.most = max(self.most, self.now + rows.num_rows)
            return order.sort_rows(rows, columns)

        def dropped(cursors: Any, most: int) -> None:
            drop(cursors, most)
            self.now = sum(cursor.held for cursor in cursors)

        self.now = 0
        monkeypatch.setattr(SortedFile, "rows_of", counted)
        monkeypatch.setattr(merge_module, "sort_rows", merged)
        monkeypatch.setattr(merge_module, "_drop_beyond", dropped)


@pytest.mark.parametrize("kind", [ColumnKind.BIGINT, ColumnKind.FLOAT, ColumnKind.UUID])
@pytest.mark.parametrize("files", [4, 25])
def test_no_more_than_some_partitions_in_memory(
    monkeypatch: pytest.MonkeyPatch, kind: ColumnKind, files: int
) -> None:
    """Whatever the size of the partition that is split."""
    rows, partition_rows = 4_000, 200
    root = root_of(spec_of(kind), partition_rows=10**6)
    makers: dict[ColumnKind, Callable[[int], Any]] = {
        ColumnKind.FLOAT: float,
        ColumnKind.UUID: lambda number: number.to_bytes(16, "big"),
    }
    made = makers.get(kind, int)
    numbers = random.Random(5).sample(range(10**6), rows)
    for start in range(files):
        put(root, [(made(number),) for number in numbers[start::files]])
    root = reopened(root, partition_rows=partition_rows)
    assert len(layout(root)) == 1
    held = Held(monkeypatch)
    root.compact()
    assert len(layout(root)) == rows / partition_rows
    assert held.most <= 3 * partition_rows
    # Nothing is decoded for more than two ranges.
    assert rows <= held.decoded <= 2 * rows
    assert keys_of(root) == sorted((made(number),) for number in numbers)


def test_what_waits_is_dropped_if_it_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups as large as a partition: they are decoded again instead."""
    rows, partition_rows = 1_000, 100
    root = root_of(spec_of(ColumnKind.BIGINT), partition_rows=10**6, row_group_rows=1_000)
    numbers = random.Random(5).sample(range(10**6), rows)
    for start in range(20):
        put(root, [(number,) for number in numbers[start::20]])
    root = reopened(root, partition_rows=partition_rows)
    held = Held(monkeypatch)
    root.compact()
    # A row group at a time, besides what the range takes.
    assert held.most <= rows / 20 * 20 + 3 * partition_rows
    assert keys_of(root) == sorted((number,) for number in numbers)


# What it refuses.


@pytest.mark.parametrize("kind", [ColumnKind.BIGINT, ColumnKind.FLOAT])
@pytest.mark.parametrize("row_group_rows", [2, 100])
def test_a_file_out_of_order_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: ColumnKind, row_group_rows: int
) -> None:
    """Its rows could be left out of the ranges that they belong to."""
    root = root_of(spec_of(kind), row_group_rows=row_group_rows, partition_rows=4)
    with monkeypatch.context() as patch:
        write = FileWriter.file
        patch.setattr(apply, "cut", lambda keys, _: [0, len(keys)])

        def disordered(writer: FileWriter, partition: int, piece: Sorted) -> Any:
            return write(writer, partition, Sorted(piece.rows.take([0, 2, 1, 3, 4, 5])))

        patch.setattr(FileWriter, "file", disordered)
        put(root, [(number,) for number in [1, 4, 5, 8, 9, 10]])
    put(root, [(number,) for number in [20, 21, 22]])
    path = partitions(root)[0].files[0].path
    with pytest.raises(CorruptStoreError, match=rf"{path}.*(not in the order|does not follow)"):
        root.compact()
