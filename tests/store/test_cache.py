"""What the cache keeps, and what it drops first."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from arrowopaque import Options, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.store.cache import Cache
from arrowopaque.store.keys import comparable
from arrowopaque.store.parquet import ParquetObject
from tests.support import specs

LARGE = 300_000


def test_the_longest_unused_goes_first() -> None:
    cache = Cache(3 * LARGE)
    for name in "abc":
        cache.put(name, name, LARGE)
    assert cache.get("a") == "a"
    cache.put("d", "d", LARGE)
    assert [cache.get(name) for name in "abcd"] == ["a", None, "c", "d"]
    assert cache.used == 3 * LARGE


def test_small_values_outlive_large_ones() -> None:
    cache = Cache(4 * LARGE)
    cache.put("filter", "filter", 8_000)
    for n in range(50):
        cache.put(n, n, LARGE)
    assert cache.get("filter") == "filter"
    assert [n for n in range(50) if cache.get(n) is not None] == [47, 48, 49]


def test_small_values_take_no_more_than_half_from_large_ones() -> None:
    cache = Cache(4 * LARGE)
    for name in "ab":
        cache.put(name, name, LARGE)
    for n in range(1_000):
        cache.put(n, n, 1_000)
    assert cache.used <= 4 * LARGE
    assert [cache.get(name) for name in "ab"] == ["a", "b"]
    assert cache.get(999) == 999
    assert cache.get(0) is None


def test_small_values_fill_what_is_free() -> None:
    cache = Cache(4 * LARGE)
    for n in range(400):
        cache.put(n, n, LARGE // 100)
    assert cache.used == 4 * LARGE
    cache.put(400, 400, LARGE // 100)
    assert cache.used == 4 * LARGE


def test_a_value_that_grows_changes_its_place() -> None:
    cache = Cache(4 * LARGE)
    cache.put("a", 1, 10)
    cache.put("a", 2, LARGE)
    assert (cache.get("a"), cache.used) == (2, LARGE)
    cache.put("a", 3, 10)
    assert (cache.get("a"), cache.used) == (3, 10)
    cache.put("b", 4, 5 * LARGE)
    assert (cache.get("b"), cache.used) == (None, 10)


def test_many_threads() -> None:
    cache = Cache(4 * LARGE)

    def work(seed: int) -> None:
        for n in range(2_000):
            cache.put((seed * n) % 97, n, LARGE if n % 3 else 100)
            cache.get(n % 97)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < cache.used <= 4 * LARGE


def test_a_large_scan_fills_what_is_unused_and_drops_nothing(tmp_path: Path) -> None:
    options = Options(bulk_rows=2, row_group_rows=16, cache_bytes=300_000)
    root = StoreRoot(str(tmp_path / "root"), options=options)
    root.register("here", from_lsst("here", specs.standard()))
    table, cache = root.table("here"), root.volume.cache
    table.insert(*[specs.row(n, name=f"{n:016}") for n in range(4_096)])
    cache.clear()
    unused = cache.has_room
    before = list(table.fetch(id=7))
    point = [key for key, (value, _) in cache._large.entries.items() if hasattr(value, "columns")]
    assert unused
    assert point, "a row group is kept"
    for _ in range(2):
        assert table.fetch_arrow().num_rows == 4_096
        assert not cache.has_room
        assert cache.used <= 300_000
        assert cache.get(point[0]) is not None
    assert list(table.fetch(id=7)) == before


def test_a_scan_that_the_cache_can_hold_drops_what_nobody_asks_for_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that were superseded would else keep those out that took their place."""
    options = Options(bulk_rows=2, row_group_rows=256, cache_bytes=1_000_000)
    root = StoreRoot(str(tmp_path / "root"), options=options)
    root.register("here", from_lsst("here", specs.standard()))
    table, cache = root.table("here"), root.volume.cache
    rows = [specs.row(n, name=f"{n:016}") for n in range(4_096)]
    for _ in range(4):
        table.replace(*rows)
        assert table.fetch_arrow().num_rows == 4_096
    assert cache.used > 500_000
    with monkeypatch.context() as patch:
        patch.setattr(ParquetObject, "_decoded", None)
        assert table.fetch_arrow().num_rows == 4_096


def test_superseded_manifests_are_not_kept(tmp_path: Path) -> None:
    """Those of many single inserts would leave no room for rows."""
    root = StoreRoot(str(tmp_path / "root"))
    root.register("t", from_lsst("t", specs.standard()))
    for n in range(20):
        root.table("t").insert(specs.row(n))
    assert len(list(root.table("t").fetch())) == 20
    cache = root.seen("t").snapshot().base.volume.cache
    parts = [key[1] for key in (*cache._small.entries, *cache._large.entries) if isinstance(key, tuple)]
    assert (parts.count("manifest"), parts.count("base")) == (1, 1)


def test_keys_read_in_vain_do_not_push_filters_out(tmp_path: Path) -> None:
    root = StoreRoot(str(tmp_path / "root"))
    root.register("t", from_lsst("t", specs.records()))
    root.table("t").insert(*[specs.record(n) for n in range(16_384)])
    base = root.seen("t").snapshot().base
    base.volume.cache.clear()
    file, cache = base.open(base.files[0]), base.volume.cache
    file.object.filters(range(file.object.groups), file.leading)
    assert [*cache._large.entries] == []
    file.locate(comparable(pa.array([bytes(16)], pa.binary(16))), [0, 1])
    assert [*cache._large.entries] == [(base.files[0].path, group) for group in (0, 1)]
