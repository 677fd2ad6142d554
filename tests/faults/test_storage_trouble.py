"""A storage is full, read-only, forbidden or away: clear errors, nothing lost, the same client goes on."""

from __future__ import annotations

import builtins
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from arrowopaque.errors import ArrowOpaqueError, CommitUnknownError, ObjectMissingError, StoreAccessError
from arrowopaque.objects import local
from tests.faults.sweep import ours
from tests.opaque.suite_base import assert_holds
from tests.support import specs
from tests.support.s3server import Fault, S3Server
from tests.support.specs import row, rows
from tests.support.subjects import Site, Subject, open_repository

_OPTIONS = {"bulk_rows": 2, "flush_at_open": 0, "cache_bytes": 0}
_BEFORE = [*rows([1, 2, 3]), row(4)]

OPERATIONS: dict[str, Callable[[Subject], object]] = {
    "insert": lambda c: c.manager["t"].insert(row(10)),
    "bulk insert": lambda c: c.manager["t"].insert(*rows([11, 12])),
    "bulk delete": lambda c: c.manager["t"].delete(["id"], {"id": 1}, {"id": 4}),
    "flush": lambda c: c.flush(),
    "compact": lambda c: ours(c).compact(),
    "register": lambda c: c.manager.register("new", specs.standard()),
}
_AFTER = [*rows([2, 3, 11, 12]), row(10)]


def _fill(client: Subject) -> None:
    """Two data files, and a row that a registry has not flushed."""
    table = client.manager.register("t", specs.standard())
    table.insert(*rows([1, 2]))
    table.insert(*rows([3, 7]))
    table.delete(["id"], {"id": 7})
    client.flush()
    table.insert(row(4))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("clock", "objects.s3"):
        monkeypatch.setattr(f"arrowopaque.{module}.pause", lambda _: None)


@pytest.fixture(params=["arrow-sqlite-local", "arrow-root-local"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with open_repository(request.param, Site(tmp_path), option_values=dict(_OPTIONS)) as client:
        _fill(client)
        yield client


def _needs_files(client: Subject, name: str) -> bool:
    """Small writes of a registry are the database's alone, and a root has no delta to flush."""
    return name not in (("flush",) if client.dialect is None else ("insert", "register"))


def _through(client: Subject, trouble: AbstractContextManager[None], *, reads: bool) -> None:
    """Do all operations while the storage is in trouble, and again when it is not."""
    with trouble:
        for name, act in OPERATIONS.items():
            if _needs_files(client, name):
                with pytest.raises((StoreAccessError, CommitUnknownError, ObjectMissingError)) as caught:
                    act(client)
                assert volume_uri(client) in str(caught.value), name
            if reads:
                assert_holds(client.manager["t"], _BEFORE)
        if not reads:
            with pytest.raises(ArrowOpaqueError):
                list(client.manager["t"].fetch())
    client.refresh()
    assert_holds(client.manager["t"], _BEFORE)
    for act in OPERATIONS.values():
        act(client)
    assert_holds(client.manager["t"], _AFTER)
    fresh = client.second()
    assert_holds(fresh.manager.register("t", specs.standard()), _AFTER)
    ours(fresh).verify()


def volume_uri(client: Subject) -> str:
    """Return the root as messages have it."""
    return str(client.repository.base)


@contextmanager
def _failing(owner: Any, call: str, code: int) -> Iterator[None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, call, fail)
        yield


@contextmanager
def _both_names(code: int) -> Iterator[None]:
    with _failing(os, "replace", code), _failing(os, "link", code):
        yield


@contextmanager
def _unwriteable(code: int) -> Iterator[None]:
    """Let no file be made: root passes permissions, so the system's answer is given for it."""

    def guarded(path: str, mode: str = "r", *arguments: Any, **kwargs: Any) -> Any:
        if "x" in mode or "w" in mode:
            raise OSError(code, os.strerror(code), path)
        return builtins.open(path, mode, *arguments, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "open", guarded, raising=False)
        yield


TROUBLES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "full, at the data": lambda: _failing(os, "fsync", errno.ENOSPC),
    "full, at the name": lambda: _both_names(errno.ENOSPC),
    "over quota": lambda: _failing(os, "fsync", errno.EDQUOT),
    "read-only": lambda: _unwriteable(errno.EROFS),
    "no permission": lambda: _unwriteable(errno.EACCES),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_storage_takes_nothing(client: Subject, trouble: str) -> None:
    _through(client, TROUBLES[trouble](), reads=True)


@contextmanager
def _away(client: Subject) -> Iterator[None]:
    root = Path(volume_uri(client))
    elsewhere = root.with_name("elsewhere")
    root.rename(elsewhere)
    try:
        yield
    finally:
        # Whatever had been written in its place would be lost now.
        assert not root.exists(), [*root.rglob("*")]
        elsewhere.rename(root)


def test_root_is_away_for_a_while(client: Subject) -> None:
    _through(client, _away(client), reads=False)


def test_repository_on_a_full_disk_can_be_opened_and_read(tmp_path: Path) -> None:
    with open_repository("arrow-sqlite-local", Site(tmp_path), option_values=dict(_OPTIONS)) as client:
        _fill(client)
        client.manager["t"].insert(row(5))
        client.repository.option_values["flush_at_open"] = 1
        with TROUBLES["full, at the data"]():
            assert_holds(client.second().manager.register("t", specs.standard()), [*_BEFORE, row(5)])
        assert client.delta_rows("t") == 2
        assert_holds(client.second().manager.register("t", specs.standard()), [*_BEFORE, row(5)])
        assert client.delta_rows("t") == 0


# S3: the server's answers are forced.


@contextmanager
def _answering(server: S3Server, **answer: Any) -> Iterator[None]:
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        server.break_next(Fault(method, times=1_000_000, **answer))
    yield
    server.mend()


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        pytest.param("arrow-sqlite-s3", {"status": 403, "code": "AccessDenied"}, id="revoked"),
        pytest.param("arrow-root-s3", {"status": None}, id="away"),
    ],
)
def test_s3_refuses_for_a_while(
    tmp_path: Path,
    s3_server: S3Server,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    answer: dict[str, Any],
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    site = Site(tmp_path, s3=f"s3://{s3_bucket}")
    with open_repository(kind, site, option_values=dict(_OPTIONS)) as client:
        _fill(client)
        _through(client, _answering(s3_server, **answer), reads=False)
