"""Look-ups through an index whose order is not that of the rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrowopaque import ConstraintError, Options, StoreRoot
from arrowopaque.format.spec import Column, ColumnKind, Index, TableSpec
from arrowopaque.store.datafile import SortedFile
from arrowopaque.store.parquet import PIECE_GROUPS, ParquetObject

COUNT = 100
SPEC = TableSpec(
    columns=(
        Column(name="id", kind=ColumnKind.BIGINT, nullable=False),
        Column(name="name", kind=ColumnKind.STRING, length=16, nullable=False),
    ),
    primary_key=("id",),
    unique=(("name",),),
)


def _name(n: int) -> str:
    return f"n{n * 37 % COUNT:03d}"


@pytest.fixture
def root(tmp_path: Path, request: pytest.FixtureRequest) -> StoreRoot:
    """A file of many row groups, with names in an order of their own."""
    options = Options(bulk_rows=2, row_group_rows=4, cache_bytes=getattr(request, "param", 2**20))
    root = StoreRoot(str(tmp_path / "root"), options=options)
    root.register("t", SPEC)
    root.table("t").insert_arrow(
        pa.table({"id": range(COUNT), "name": [_name(n) for n in range(COUNT)]}, SPEC.arrow_schema)
    )
    return StoreRoot(str(tmp_path / "root"))


whatever_is_cached = pytest.mark.parametrize(
    "root", [2**20, 1_000, 0], ids=["all", "little", "nothing"], indirect=True
)


@whatever_is_cached
@pytest.mark.parametrize("wanted", [[3], [50, 2], [7, 8, 9, 70, 71], [*range(0, COUNT, 2)], [*range(COUNT)]])
def test_values_of_many_row_groups(root: StoreRoot, wanted: list[int]) -> None:
    table = root.table("t")
    found = table.fetch_arrow(name=[*map(_name, wanted), "nowhere"])
    assert found.column("id").to_pylist() == sorted(wanted)
    assert found.column("name").to_pylist() == [_name(n) for n in sorted(wanted)]
    assert sorted(row["id"] for row in table.fetch(name=[*map(_name, wanted)])) == sorted(wanted)


@whatever_is_cached
def test_prefixes_of_many_row_groups(root: StoreRoot) -> None:
    for prefix in ("n", "n0", "n04", "n047"):
        found = root.table("t").fetch_arrow(name=f"{prefix}%").column("id").to_pylist()
        assert found == [n for n in range(COUNT) if _name(n).startswith(prefix)]


@whatever_is_cached
def test_constraints_over_many_row_groups(root: StoreRoot) -> None:
    table = root.table("t")
    rows = [{"id": COUNT + n, "name": f"other{n}"} for n in range(10)]
    with pytest.raises(ConstraintError):
        table.insert(*rows, {"id": 2 * COUNT, "name": _name(63)})
    table.delete(["name"], *[{"name": _name(n)} for n in (90, 5, 40)])
    table.insert(*rows, {"id": 2 * COUNT, "name": _name(5)})
    assert [row["id"] for row in table.fetch(name=_name(5))] == [2 * COUNT]
    assert table.fetch_arrow().num_rows == COUNT - 3 + 11
    root.verify()


@pytest.mark.parametrize("name", ["comparable", "keys", "row", "bounds", "deleted"])
def test_a_column_of_any_name_is_cached_as_itself(tmp_path: Path, name: str) -> None:
    """What is kept of a file under a name of ours is not taken for its column of that name."""
    spec = TableSpec(
        columns=(
            Column(name="id", kind=ColumnKind.STRING, length=16, nullable=False),
            Column(name=name, kind=ColumnKind.STRING, length=16),
        ),
        primary_key=("id",),
        unique=((name,),),
    )
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2, row_group_rows=4))
    root.register("t", spec)
    table = root.table("t")
    ids = [f"{n:03d}" for n in range(COUNT)]
    table.insert_arrow(pa.table({"id": ids, name: [_name(n) for n in range(COUNT)]}, spec.arrow_schema))
    for _ in range(2):
        assert [dict(row) for row in table.fetch(id="007")] == [{"id": "007", name: _name(7)}]
        assert [dict(row) for row in table.fetch(**{name: _name(7)})] == [{"id": "007", name: _name(7)}]
        assert table.fetch_arrow(id=ids[:20]).column(name).to_pylist() == [_name(n) for n in range(20)]


@pytest.mark.parametrize("length", [3, 100])
def test_keys_that_are_strings_are_kept_once(tmp_path: Path, length: int) -> None:
    """As objects of Python's, for searching, they would take a multiple."""
    spec = TableSpec(
        columns=(Column(name="id", kind=ColumnKind.STRING, length=200, nullable=False),), primary_key=("id",)
    )
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2))
    root.register("t", spec)
    ids = [f"{n:0{length}d}" for n in range(0, 900, 2)]
    root.table("t").insert_arrow(pa.table({"id": ids}, spec.arrow_schema))
    assert not list(root.table("t").fetch(id=ids[-1] + "0"))
    before = root.volume.cache.used
    assert not list(root.table("t").fetch(id=ids[0] + "0"))
    column = pa.array(ids).nbytes
    assert column <= root.volume.cache.used - before <= column + 4_000


def test_rows_are_known_longer_than_their_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a large table each row that is asked for has a row group of its own, and few of those are kept."""
    options = Options(bulk_rows=2, row_group_rows=10_000, cache_bytes=1_000_000)
    root = StoreRoot(str(tmp_path / "root"), options=options)
    root.register("t", SPEC)
    names = [f"n{n:015d}" for n in range(100_000)]
    root.table("t").insert_arrow(pa.table({"id": range(100_000), "name": names}, SPEC.arrow_schema))
    table, wanted = root.table("t"), range(5, 100_000, 10_000)
    first = [list(table.fetch(id=id)) for id in wanted]
    assert first == [[{"id": id, "name": names[id]}] for id in wanted]
    with monkeypatch.context() as patch:
        patch.setattr(ParquetObject, "_decode", None)
        assert [list(table.fetch(id=id)) for id in wanted] == first
        with pytest.raises(TypeError):
            list(table.fetch(id=6))
    table.delete(["id"], {"id": 5}, {"id": 10_005})
    table.replace({"id": 20_005, "name": "new"}, {"id": 5, "name": "again"})
    again = [list(table.fetch(id=id)) for id in wanted]
    assert again[:3] == [[{"id": 5, "name": "again"}], [], [{"id": 20_005, "name": "new"}]]
    assert again[3:] == first[3:]


@pytest.mark.parametrize("ids", [[*range(40)], [n * 7 % 40 for n in range(40)]], ids=["in order", "in none"])
def test_an_index_is_sorted_by_its_values_and_the_rows_places(tmp_path: Path, ids: list[int]) -> None:
    """In whatever order the rows came."""
    spec = TableSpec(columns=SPEC.columns, primary_key=("id",), indexes=(Index(columns=("name",)),))
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2, row_group_rows=4))
    root.register("t", spec)
    names = [f"n{n % 3}" for n in ids]
    root.table("t").insert_arrow(pa.table({"id": ids, "name": names}, spec.arrow_schema))
    data, index = sorted((tmp_path / "root").rglob("*.parquet"), key=lambda path: ".index" in path.name)
    rows = pq.read_table(data)
    assert rows.column("id").to_pylist() == [*range(40)]
    expected = sorted((name, at) for at, name in enumerate(rows.column("name").to_pylist()))
    assert [tuple(entry.values()) for entry in pq.read_table(index).to_pylist()] == expected


def test_what_all_indexes_say_of_a_value_is_kept(root: StoreRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the table is another."""
    table = root.table("t")
    root.table("t").insert_arrow(pa.table({"id": [COUNT, COUNT + 1], "name": ["a", "b"]}, SPEC.arrow_schema))
    asked: list[str] = []
    find = SortedFile.find

    def counted(file: SortedFile, value: str, *along: Sequence[str]) -> list[tuple[int, int]]:
        asked.append(value)
        return find(file, value, *along)

    monkeypatch.setattr(SortedFile, "find", counted)
    names = {_name(3): [3], "a": [COUNT], "nowhere": []}
    for _ in range(3):
        assert {name: [row["id"] for row in table.fetch(name=name)] for name in names} == names
    assert sorted(asked) == sorted([*names, *names])
    with root.transaction():
        table.delete(["name"], {"name": "a"})
        assert [*table.fetch(name="a")] == []
    table.insert({"id": 7 * COUNT, "name": "nowhere"})
    assert [row["id"] for row in table.fetch(name="nowhere")] == [7 * COUNT]
    assert [*table.fetch(name="a")] == []


def test_an_index_without_rows_is_sound(tmp_path: Path) -> None:
    """Its footer says that there is a dictionary, and that its rows are nowhere."""
    nullable = Column(name="name", kind=ColumnKind.STRING, length=16)
    spec = TableSpec(columns=(SPEC.columns[0], nullable), primary_key=("id",), unique=(("name",),))
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2))
    root.register("t", spec)
    root.table("t").insert_arrow(pa.table({"id": [1, 2], "name": [None, None]}, spec.arrow_schema))
    assert StoreRoot(str(tmp_path / "root")).verify().tables["t"].rows == 2


def test_nothing_is_kept_of_a_table_without_files(tmp_path: Path) -> None:
    root = StoreRoot(str(tmp_path / "root"))
    root.register("t", SPEC)
    assert [*root.table("t").fetch(name="a")] == []
    used = root.volume.cache.used
    assert [*root.table("t").fetch(name="b")] == []
    assert root.volume.cache.used == used


_OF_EACH_KIND: dict[ColumnKind, list[object]] = {
    ColumnKind.STRING: ["", "é", "x" * 99],
    ColumnKind.TEXT: ["same"],
    ColumnKind.SMALLINT: [-(2**15), 0, 7],
    ColumnKind.INTEGER: [-(2**31), 0, 7],
    ColumnKind.FLOAT: [-0.0, 0.5, float("inf")],
    ColumnKind.BOOLEAN: [True, False],
    ColumnKind.BINARY: [b"", b"\0\xff", b"abc"],
    ColumnKind.UUID: [bytes(16), b"\xff" * 16],
    ColumnKind.REGION: [b"region", b""],
    ColumnKind.TIME: [0, 2**62, -5],
}


@pytest.mark.parametrize("share", [0.0, 0.3], ids=["whole", "with NULL"])
def test_rows_that_are_taken_one_by_one_are_those_that_arrow_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    columns = [Column(name=kind.value, kind=kind) for kind in _OF_EACH_KIND]
    spec = TableSpec(
        columns=(Column(name="id", kind=ColumnKind.BIGINT, nullable=False), *columns), primary_key=("id",)
    )
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2, row_group_rows=8))
    root.register("t", spec)
    source = random.Random(3)
    given: dict[str, list[object]] = {
        kind.value: [None if source.random() < share else source.choice(values) for _ in range(COUNT)]
        for kind, values in _OF_EACH_KIND.items()
    }
    root.table("t").insert_arrow(pa.table({"id": [*range(COUNT)], **given}, spec.arrow_schema))
    wanted = [0, 1, 9, 30, 31, 32, 33, 98, 99, *range(40, 50)]
    found = []
    for few in (0, 100):
        monkeypatch.setattr("arrowopaque.store.gather._SCATTERED", few)
        found.append(StoreRoot(str(tmp_path / "root")).table("t").fetch_arrow(id=wanted))
    assert found[0].equals(found[1])
    assert found[0].column("id").to_pylist() == sorted(wanted)
    for kind in (ColumnKind.FLOAT, ColumnKind.BINARY):
        assert found[0].column(kind.value).to_pylist() == [given[kind.value][id] for id in sorted(wanted)]


@pytest.mark.parametrize("column", ["id", "name"], ids=["by key", "by index"])
def test_what_the_cache_cannot_hold_drops_nothing_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    options = Options(bulk_rows=2, row_group_rows=1_000, cache_bytes=600_000)
    root = StoreRoot(str(tmp_path / "root"), options=options)
    root.register("t", SPEC)
    rows = pa.table({"id": range(40_000), "name": [f"n{n:015d}" for n in range(40_000)]}, SPEC.arrow_schema)
    root.table("t").insert_arrow(rows)
    root = StoreRoot(str(tmp_path / "root"))
    table, cache = root.table("t"), root.volume.cache
    some = rows.take(pa.array(range(7, 40_000, 13)))

    def found(count: int) -> pa.Table:
        return table.fetch_arrow(**{column: some.slice(0, count).column(column).to_pylist()})

    # Of few row groups, which it holds.
    assert found(300).equals(some.slice(0, 300))
    kept = cache.used
    decoded: list[int] = []
    columns_of = ParquetObject.columns

    def counting(self: ParquetObject, groups: Sequence[int], names: Sequence[str]) -> object:
        decoded.append(len(groups))
        return columns_of(self, groups, names)

    with monkeypatch.context() as patch:
        patch.setattr(ParquetObject, "columns", counting)
        assert found(len(some)).equals(some)
    assert max(decoded) <= PIECE_GROUPS
    assert kept <= cache.used <= kept + 50_000
    with monkeypatch.context() as patch:
        patch.setattr(ParquetObject, "_decode", None)
        assert found(300).equals(some.slice(0, 300))


@pytest.mark.parametrize("cache_bytes", [2**20, 0])
def test_values_that_row_groups_share_are_found_once(tmp_path: Path, cache_bytes: int) -> None:
    spec = TableSpec(
        columns=(
            Column(name="id", kind=ColumnKind.BIGINT, nullable=False),
            Column(name="part", kind=ColumnKind.BIGINT, nullable=False),
        ),
        primary_key=("id", "part"),
    )
    options = Options(bulk_rows=2, row_group_rows=4, cache_bytes=cache_bytes)
    root = StoreRoot(str(tmp_path / "root"), options=options)
    root.register("t", spec)
    source = random.Random(5)
    # Some ids fill several row groups, and some of those end a piece.
    counts = [source.choice([1, 1, 2, 30, 70]) for _ in range(40)]
    keys = [(id, part) for id, count in enumerate(counts) for part in range(count)]
    ids, parts = zip(*keys, strict=True)
    root.table("t").insert_arrow(pa.table({"id": ids, "part": parts}, spec.arrow_schema))
    table = root.table("t")
    for wanted in ([*range(40)], [*range(1, 40, 2)], [3, 4, 5, 39]):
        found = table.fetch_arrow(id=[*wanted, 99]).to_pylist()
        assert [(row["id"], row["part"]) for row in found] == [key for key in keys if key[0] in wanted]
    gone = keys[::3]
    table.delete(["id", "part"], *[{"id": id, "part": part} for id, part in gone])
    assert [(row["id"], row["part"]) for row in table.fetch(id=[*range(40)])] == sorted({*keys} - {*gone})
