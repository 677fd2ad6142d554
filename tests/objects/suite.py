"""What every object store promises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta
from typing import Any

import pytest

from arrowopaque.errors import CorruptStoreError, ObjectMissingError, ReadOnlyError
from arrowopaque.objects.base import ObjectStore, Put
from tests.support.racing import race_in_threads
from tests.support.stores import Backend

ODD_NAMES = ["plain", "a/b/c", "with space+plus", "tables/a%2Fb/partition=0/x.dv", "ü/é", "a&b=c", "..x/y.."]
ESCAPES = ["", "/", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "a\\b", "a\0b", "s3://bucket/x"]
THREADS = 16


class ObjectStoreSuite:
    """A subclass supplies `backend`; it must not weaken a test."""

    race_rounds: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {name for name in vars(ObjectStoreSuite) if name.startswith("test_")}
        if weakened := own & set(vars(cls)):
            raise TypeError(f"{cls.__name__} redefines {sorted(weakened)}")

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError

    @pytest.fixture
    def store(self, backend: Backend) -> ObjectStore:
        return backend.open()

    @pytest.mark.parametrize("path", ODD_NAMES)
    def test_put_stores_the_bytes_under_the_name(
        self, store: ObjectStore, backend: Backend, path: str
    ) -> None:
        store.put(path, b"\x00data\xff")
        assert backend.peek(path) == b"\x00data\xff"

    @pytest.mark.parametrize("path", ODD_NAMES)
    def test_get_returns_what_is_stored(self, store: ObjectStore, backend: Backend, path: str) -> None:
        backend.plant(path, b"\x00data\xff")
        assert store.get(path) == b"\x00data\xff"

    def test_put_replaces(self, store: ObjectStore, backend: Backend) -> None:
        store.put("a", b"a long first version")
        store.put("a", b"second")
        assert backend.peek("a") == b"second"

    @pytest.mark.parametrize("data", [b"", b"x" * 300_000])
    def test_any_length_is_kept(self, store: ObjectStore, data: bytes) -> None:
        store.put("put", data)
        store.put_if_absent("created", data)
        assert (store.get("put"), store.get("created")) == (data, data)
        assert (store.size("put"), store.size("created")) == (len(data), len(data))

    def test_a_second_client_sees_what_the_first_wrote(self, store: ObjectStore, backend: Backend) -> None:
        second = backend.open()
        assert list(second.list()) == []
        store.put("a/b", b"1")
        assert second.get("a/b") == b"1"
        assert [info.path for info in second.list()] == ["a/b"]
        store.put("a/b", b"22")
        assert (second.get("a/b"), second.size("a/b")) == (b"22", 2)

    @pytest.mark.parametrize(("start", "length"), [(0, 10), (0, 1), (9, 1), (3, 4), (0, 0), (10, 0)])
    def test_get_range(self, store: ObjectStore, backend: Backend, start: int, length: int) -> None:
        backend.plant("a", b"0123456789")
        assert store.get_range("a", start, length) == b"0123456789"[start : start + length]

    def test_get_ranges_keeps_their_order(self, store: ObjectStore, backend: Backend) -> None:
        backend.plant("a", bytes(range(256)))
        wanted = [(200, 3), (0, 0), (0, 2), (1, 2), (255, 1), (200, 3)]
        expected = [bytes(range(256))[start : start + length] for start, length in wanted]
        assert store.get_ranges("a", wanted) == expected
        assert store.get_ranges("a", []) == []

    @pytest.mark.parametrize("data", [b"0123", b""])
    @pytest.mark.parametrize("start", [2, 4, 100])
    def test_a_truncated_object_is_named(
        self, store: ObjectStore, backend: Backend, data: bytes, start: int
    ) -> None:
        backend.plant("tables/a", data)
        with pytest.raises(CorruptStoreError, match=r"tables/a is truncated.*3 bytes.* at \d") as caught:
            store.get_range("tables/a", start, 3)
        assert backend.uri in str(caught.value)
        assert not isinstance(caught.value, ObjectMissingError)
        with pytest.raises(CorruptStoreError, match="tables/a is truncated"):
            store.get_ranges("tables/a", [(0, 1), (start, 3)])

    def test_a_missing_object_is_named(self, store: ObjectStore, backend: Backend) -> None:
        backend.plant("there/too", b"")
        for path in ("a", "there", "there/too/far", "no/such/folder"):
            with pytest.raises(ObjectMissingError, match=f"{path} does not exist"):
                store.get(path)
            with pytest.raises(ObjectMissingError, match=f"{path} does not exist"):
                store.get_range(path, 0, 1)
            assert store.size(path) is None

    def test_a_missing_object_is_a_file_not_found_too(self, store: ObjectStore) -> None:
        with pytest.raises(FileNotFoundError):
            store.get("a")

    def test_list_gives_paths_sizes_and_times(self, store: ObjectStore, backend: Backend) -> None:
        before = store.now()
        sizes = {path: number for number, path in enumerate(ODD_NAMES)}
        for path, size in sizes.items():
            store.put(path, b"x" * size)
        infos = list(store.list())
        assert {info.path: info.size for info in infos} == sizes
        after = store.now()
        for info in infos:
            assert info.modified.tzinfo is UTC
            assert before <= info.modified <= after

    def test_list_stays_below_the_folder(self, store: ObjectStore) -> None:
        for path in ("a/1", "a/b/2", "ab/3", "a.txt", "4"):
            store.put(path, b"")
        assert sorted(info.path for info in store.list("a")) == ["a/1", "a/b/2"]
        assert sorted(info.path for info in store.list("a/")) == ["a/1", "a/b/2"]
        assert [info.path for info in store.list("a/b")] == ["a/b/2"]
        assert list(store.list("4")) == []
        assert list(store.list("none")) == []
        assert len(list(store.list())) == 5

    def test_list_tolerates_changes_while_it_runs(self, store: ObjectStore) -> None:
        for number in range(30):
            store.put(f"folder-{number % 5}/{number}", b"x")
        seen = set()
        for info in store.list():
            seen.add(info.path)
            store.delete([f"folder-{number % 5}/{number}" for number in range(30)])
        assert seen
        assert list(store.list()) == []

    def test_delete_takes_what_is_named_and_no_more(self, store: ObjectStore, backend: Backend) -> None:
        for path in ("a/1", "a/2", "a/3", "b"):
            backend.plant(path, b"x")
        store.delete(path for path in ("a/1", "a/3", "absent", "a", "b/below"))
        assert {path: backend.peek(path) for path in ("a/1", "a/2", "a/3", "b")} == {
            "a/1": None,
            "a/2": b"x",
            "a/3": None,
            "b": b"x",
        }
        store.delete([])
        store.delete(["a/1"])

    def test_delete_frees_the_name(self, store: ObjectStore) -> None:
        assert store.put_if_absent("a", b"1") is Put.CREATED
        store.delete(["a"])
        assert store.put_if_absent("a", b"2") is Put.CREATED
        assert store.get("a") == b"2"

    @pytest.mark.parametrize("path", ESCAPES)
    def test_a_path_that_leaves_the_root_is_refused(
        self, store: ObjectStore, backend: Backend, path: str
    ) -> None:
        backend.plant("keep", b"x")
        calls: list[Callable[[], object]] = [
            lambda: store.get(path),
            lambda: store.get_range(path, 0, 1),
            lambda: store.get_ranges(path, []),
            lambda: store.put(path, b""),
            lambda: store.put_if_absent(path, b""),
            lambda: store.size(path),
            lambda: store.delete(["keep", path]),
            lambda: store.local_path(path),
        ]
        if path not in ("", "a/"):  # the root itself, and a folder with its slash, can be listed
            calls.append(lambda: store.list(path))
        for call in calls:
            with pytest.raises(CorruptStoreError, match="leaves the store's root or is malformed"):
                call()
        assert [info.path for info in store.list()] == ["keep"]

    def test_put_if_absent_keeps_the_first(self, store: ObjectStore, backend: Backend) -> None:
        assert store.put_if_absent("manifests/1", b"first") is Put.CREATED
        assert store.put_if_absent("manifests/1", b"second") is Put.EXISTS
        assert store.put_if_absent("manifests/1", b"") is Put.EXISTS
        assert backend.peek("manifests/1") == b"first"

    def test_put_if_absent_respects_what_put_wrote(self, store: ObjectStore, backend: Backend) -> None:
        backend.plant("empty", b"")
        assert store.put_if_absent("empty", b"x") is Put.EXISTS
        assert backend.peek("empty") == b""

    def test_of_racing_threads_one_creates(self, backend: Backend) -> None:
        stores = [backend.open() for _ in range(THREADS)]

        def attempt(number: int, racer: int) -> Put:
            return stores[racer].put_if_absent(f"manifests/{number}", b"racer %d" % racer)

        for number, outcomes in enumerate(race_in_threads(THREADS, self.race_rounds, attempt)):
            assert outcomes.count(Put.CREATED) == 1
            winner = b"racer %d" % outcomes.index(Put.CREATED)
            assert backend.peek(f"manifests/{number}") == winner

    def test_no_partial_object_is_seen(self, backend: Backend) -> None:
        versions = [bytes([number]) * 200_000 for number in range(10)]
        done = threading.Event()

        def watch() -> Iterator[bytes]:
            store = backend.open()
            finished = False
            while not finished:
                finished = done.is_set()
                for info in store.list():
                    yield store.get(info.path)

        def write() -> None:
            store = backend.open()
            try:
                for number, data in enumerate(versions):
                    store.put("replaced", data)
                    store.put_if_absent(f"created/{number}", data)
            finally:
                done.set()

        with ThreadPoolExecutor(4) as pool:
            writing = pool.submit(write)
            seen = list(pool.map(lambda _: set(watch()), range(3)))
            writing.result()
        assert all(found and found <= set(versions) for found in seen)

    def test_now_is_the_clock_of_the_listing_and_leaves_nothing(self, store: ObjectStore) -> None:
        first = store.now()
        assert first.tzinfo is UTC
        store.put("a", b"")
        (info,) = store.list()
        assert first <= info.modified <= store.now() <= info.modified + timedelta(minutes=5)

    def test_probe_leaves_nothing(self, store: ObjectStore) -> None:
        store.probe()
        assert list(store.list()) == []

    def test_a_store_opened_read_only_only_reads(self, store: ObjectStore, backend: Backend) -> None:
        store.put("a", b"x")
        reader = backend.open(writeable=False)
        assert (reader.get("a"), reader.size("a")) == (b"x", 1)
        calls: list[Callable[[], object]] = [
            lambda: reader.put("a", b"y"),
            lambda: reader.put_if_absent("b", b"y"),
            lambda: reader.delete(["a"]),
            lambda: reader.now(),
        ]
        for call in calls:
            with pytest.raises(ReadOnlyError, match="was opened read-only") as caught:
                call()
            assert backend.uri in str(caught.value)
        assert [info.path for info in store.list()] == ["a"]

    def test_the_uri_opens_the_same_root(self, store: ObjectStore, backend: Backend) -> None:
        assert store.uri == backend.uri
        assert backend.uri in repr(store)

    def test_local_path_is_the_object(self, store: ObjectStore) -> None:
        store.put("a/b", b"data")
        path = store.local_path("a/b")
        if path is not None:
            with open(path, "rb") as file:
                assert file.read() == b"data"
