"""What only a server can do to a store: refusals, lost replies, its count of requests."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from arrowopaque.errors import (
    ConfigurationError,
    CorruptStoreError,
    ObjectMissingError,
    StoreAccessError,
)
from arrowopaque.objects import s3
from arrowopaque.objects.base import ObjectStore, Put
from arrowopaque.objects.opening import open_store
from tests.objects.calls import each_call
from tests.support.s3server import Fault, Request, S3Server
from tests.support.stores import S3Backend


def methods(requests: list[Request]) -> list[str]:
    return ["LIST" if request.is_list else request.method for request in requests]


# How many requests


def test_get_is_one_get(store: ObjectStore, backend: S3Backend) -> None:
    backend.plant("a", b"x" * 1000)
    with backend.server.recording() as requests:
        store.get("a")
    assert [(r.method, r.key, r.range, r.sent) for r in requests] == [("GET", "some/prefix/a", None, 1000)]


def test_a_range_is_one_get_of_its_bytes(store: ObjectStore, backend: S3Backend) -> None:
    backend.plant("a", b"x" * 1000)
    with backend.server.recording() as requests:
        store.get_range("a", 10, 20)
        store.get_ranges("a", [(0, 5), (500, 0), (990, 10)])
    assert methods(requests) == ["GET"] * 3
    assert requests[0].range == "bytes=10-29"
    assert {r.range for r in requests[1:]} == {"bytes=0-4", "bytes=990-999"}
    assert sum(r.sent for r in requests) == 35


def test_other_calls_are_one_request(store: ObjectStore, backend: S3Backend) -> None:
    backend.plant("a", b"x")
    counts: list[tuple[Callable[[], object], list[str]]] = [
        (lambda: store.put("a", b"x"), ["PUT"]),
        (lambda: store.put_if_absent("new", b"x"), ["PUT"]),
        (lambda: store.put_if_absent("a", b"y"), ["PUT", "GET"]),
        (lambda: store.size("a"), ["HEAD"]),
        (lambda: store.size("missing"), ["HEAD"]),
        (lambda: list(store.list()), ["LIST"]),
        (lambda: store.delete(["a", "new", "missing"]), ["POST"]),
        (lambda: store.delete([]), []),
        (lambda: backend.open(), []),
    ]
    for call, expected in counts:
        with backend.server.recording() as requests:
            call()
        assert methods(requests) == expected


def test_a_missing_object_costs_one_request(store: ObjectStore, backend: S3Backend) -> None:
    with backend.server.recording() as requests, pytest.raises(ObjectMissingError):
        store.get("missing")
    assert methods(requests) == ["GET"]


def test_ranges_are_fetched_at_the_same_time(store: ObjectStore, backend: S3Backend) -> None:
    backend.plant("a", bytes(range(20)))
    store.get("a")
    backend.server.latency = 0.2
    start = time.monotonic()
    assert store.get_ranges("a", [(number, 1) for number in range(20)]) == [bytes([n]) for n in range(20)]
    assert time.monotonic() - start < 20 * 0.2 / 2


def test_long_listings_and_deletions_go_in_pages(store: ObjectStore, backend: S3Backend) -> None:
    paths = {f"{number % 7}/{number}" for number in range(2100)}
    for path in paths:
        backend.plant(path, b"")
    with backend.server.recording() as requests:
        assert {info.path for info in store.list()} == paths
    assert methods(requests) == ["LIST"] * 3
    with backend.server.recording() as requests:
        store.delete(paths)
    assert methods(requests) == ["POST"] * 3
    assert list(store.list()) == []


def test_a_prefix_is_not_left(store: ObjectStore, backend: S3Backend) -> None:
    backend.server.plant(backend.bucket, "some/prefix-of-another/x", b"")
    backend.server.plant(backend.bucket, "x", b"")
    backend.server.plant(backend.bucket, "some/prefix/", b"")  # what consoles make to show a folder
    backend.plant("a", b"")
    assert [info.path for info in store.list()] == ["a"]


def test_a_root_may_be_a_whole_bucket(backend: S3Backend) -> None:
    store = open_store(f"s3://{backend.bucket}")
    store.put("a/b", b"x")
    assert backend.server.peek(backend.bucket, "a/b") == b"x"
    assert [info.path for info in store.list()] == ["a/b"]


# Conditional writes


def test_a_lost_reply_of_a_write_that_landed_is_created(store: ObjectStore, backend: S3Backend) -> None:
    fault = backend.server.break_next(Fault("PUT", "manifests/1", lands=True))
    with backend.server.recording() as requests:
        assert store.put_if_absent("manifests/1", b"commit 1") is Put.CREATED
    assert fault.times == 0
    assert methods(requests)[0] == "PUT"
    assert backend.peek("manifests/1") == b"commit 1"


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_after_a_write_that_landed_is_created(
    store: ObjectStore, backend: S3Backend, status: int
) -> None:
    # Every layer below gives up before the write is settled by what is stored.
    backend.server.break_next(Fault("PUT", lands=True, status=status, times=20))
    assert store.put_if_absent("a", b"ours") is Put.CREATED
    assert backend.peek("a") == b"ours"


def test_a_lost_request_is_repeated(store: ObjectStore, backend: S3Backend) -> None:
    fault = backend.server.break_next(Fault("PUT", lands=False))
    assert store.put_if_absent("a", b"ours") is Put.CREATED
    assert fault.times == 0
    assert backend.peek("a") == b"ours"


def test_a_lost_reply_is_not_mistaken_for_another_writers_object(
    store: ObjectStore, backend: S3Backend
) -> None:
    backend.plant("a", b"theirs")
    backend.server.break_next(Fault("PUT", lands=True, times=2))
    assert store.put_if_absent("a", b"ours") is Put.EXISTS
    assert backend.peek("a") == b"theirs"


def test_a_conflict_is_retried(store: ObjectStore, backend: S3Backend) -> None:
    fault = backend.server.break_next(Fault("PUT", status=409, code="ConditionalRequestConflict", times=3))
    assert store.put_if_absent("a", b"ours") is Put.CREATED
    assert fault.times == 0


def test_a_refusal_without_its_condition_is_a_refusal(store: ObjectStore, backend: S3Backend) -> None:
    # What radosgw answers: s3fs makes no FileExistsError of it.
    backend.plant("a", b"theirs")
    backend.server.break_next(Fault("PUT", status=412, code="PreconditionFailed"))
    assert store.put_if_absent("a", b"ours") is Put.EXISTS


def test_a_write_that_stays_open_is_an_error(
    store: ObjectStore, backend: S3Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "pause", lambda seconds: None)
    backend.server.break_next(Fault("PUT", status=409, code="ConditionalRequestConflict", times=1000))
    with pytest.raises(StoreAccessError, match=r"prefix/a: .* it may still appear") as caught:
        store.put_if_absent("a", b"ours")
    assert backend.uri in str(caught.value)
    assert backend.peek("a") is None


def test_a_server_that_ignores_the_condition_is_refused(store: ObjectStore, backend: S3Backend) -> None:
    backend.server.honours_conditions = False
    with pytest.raises(ConfigurationError, match="does not honour conditional writes") as caught:
        store.probe()
    assert backend.uri in str(caught.value)
    assert list(store.list()) == []


def test_a_server_that_lacks_the_condition_is_refused(store: ObjectStore, backend: S3Backend) -> None:
    backend.server.break_next(Fault("PUT", status=501, code="NotImplemented", times=1000))
    with pytest.raises(ConfigurationError, match="has no conditional writes"):
        store.probe()


def test_what_needs_several_requests_is_not_written_conditionally(
    store: ObjectStore, backend: S3Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_SINGLE_PUT", 100)
    assert store.put_if_absent("a", b"x" * 99) is Put.CREATED
    with backend.server.recording() as requests, pytest.raises(ConfigurationError, match="b of 100 bytes"):
        store.put_if_absent("b", b"x" * 100)
    assert requests == []


def test_a_long_conditional_write_is_one_request(store: ObjectStore, backend: S3Backend) -> None:
    data = bytes(101 * 2**20)  # s3fs would upload it in parts
    with backend.server.recording() as requests:
        assert store.put_if_absent("a", data) is Put.CREATED
    assert [(request.method, request.query) for request in requests] == [("PUT", {})]


# Faults


@each_call
def test_a_short_outage_is_not_noticed(
    store: ObjectStore, backend: S3Backend, call: Callable[[ObjectStore], object]
) -> None:
    backend.plant("a", b"xyz")
    for method in ("GET", "PUT", "HEAD", "POST"):
        backend.server.break_next(Fault(method, status=503, code="ServiceUnavailable"))
    call(store)


@each_call
@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        ({"status": 403, "code": "AccessDenied"}, "credentials that allow it"),
        ({"status": 500, "code": "InternalError"}, "retry later"),
        ({"status": 400, "code": "InvalidRequest"}, "status 400"),
    ],
)
def test_what_the_server_refuses_is_said(
    store: ObjectStore,
    backend: S3Backend,
    call: Callable[[ObjectStore], object],
    fault: dict[str, Any],
    advice: str,
) -> None:
    for method in ("GET", "PUT", "HEAD", "POST"):
        backend.server.break_next(Fault(method, times=1000, **fault))
    with pytest.raises(StoreAccessError, match=advice) as caught:
        call(store)
    assert backend.uri in str(caught.value)


@each_call
def test_a_dead_server_is_said(
    backend: S3Backend, call: Callable[[ObjectStore], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with S3Server() as dead:
        url = dead.url
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreAccessError, match="check the endpoint and the network") as caught:
        call(backend.open())
    assert backend.uri in str(caught.value)


def test_a_missing_bucket_is_not_a_missing_object(s3_bucket: str) -> None:
    store = open_store("s3://no-such-bucket/x")
    with pytest.raises(StoreAccessError, match="NoSuchBucket; create the bucket"):
        store.get("a")
    with pytest.raises(StoreAccessError, match="NoSuchBucket"):
        store.put_if_absent("a", b"")
    with pytest.raises(StoreAccessError, match="NoSuchBucket"):
        list(store.list())


def test_a_reply_that_breaks_off_is_read_again(store: ObjectStore, backend: S3Backend) -> None:
    backend.plant("a", b"0123456789")
    fault = backend.server.break_next(Fault("GET", "a", lands=True))
    assert store.get("a") == b"0123456789"
    assert fault.times == 0


def test_a_deletion_that_fails_is_an_error(
    store: ObjectStore, backend: S3Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.plant("a", b"")
    body = (
        "<DeleteResult><Error><Key>some/prefix/a</Key><Code>AccessDenied</Code></Error>"
        "<Error><Key>some/prefix/b</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    )
    backend.server.break_next(Fault("POST", status=200, body=body))
    with pytest.raises(StoreAccessError, match=r"some/prefix/a: AccessDenied: it and 1 more"):
        store.delete(["a", "b"])


def test_a_server_that_ignores_ranges_is_not_believed(store: ObjectStore, backend: S3Backend) -> None:
    backend.plant("a", b"0123456789")
    backend.server.break_next(Fault("GET", "a", status=200, body="0123456789"))
    with pytest.raises(CorruptStoreError, match="3 bytes were asked for at 2, 10 came"):
        store.get_range("a", 2, 3)


# Threads and processes


def test_stores_of_one_process_share_a_client(store: ObjectStore, backend: S3Backend) -> None:
    clients: list[Any] = []
    barrier = threading.Barrier(8)

    def open_one() -> None:
        barrier.wait()
        clients.append(s3._file_system(s3._environment()))

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(client) for client in clients}) == 1


def _read_after_fork(store: ObjectStore, connection: Any) -> None:
    connection.send((os.getpid(), store.get("a"), store.put_if_absent("b", b"child")))
    connection.close()


# The point of the test: a parent with threads, as every user of s3fs is, forks.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_store_outlives_a_fork(store: ObjectStore, backend: S3Backend) -> None:
    backend.plant("a", b"x")
    assert store.get("a") == b"x"
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_read_after_fork, args=(store, theirs))
    child.start()
    assert ours.poll(60)
    assert ours.recv() == (child.pid, b"x", Put.CREATED)
    child.join()
    assert child.exitcode == 0
    assert store.get("b") == b"child"
    ours.close()
    theirs.close()
