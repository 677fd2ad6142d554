"""What only a file system can do to a store."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from arrowopaque.errors import (
    ConfigurationError,
    CorruptStoreError,
    ObjectMissingError,
    ReadOnlyError,
    StoreAccessError,
)
from arrowopaque.objects.base import Put
from arrowopaque.objects.local import LocalStore

Write = Callable[[LocalStore], object]
WRITES: dict[str, Write] = {
    "put": lambda store: store.put("a/new", b"data"),
    "put_if_absent": lambda store: store.put_if_absent("a/new", b"data"),
    "now": lambda store: store.now(),
}
each_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())


def hidden_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(".tmp-")]


def refusal(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise error

    return fail


def refuse(monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException) -> None:
    monkeypatch.setattr(os, call, refusal(error))


@each_write
@pytest.mark.parametrize(
    ("code", "advice"), [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "raise the quota")]
)
def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, code: int, advice: str
) -> None:
    store = LocalStore(str(tmp_path))
    store.put("a/old", b"old")
    with monkeypatch.context() as full:
        refuse(full, "fsync", OSError(code, os.strerror(code)))
        with pytest.raises(StoreAccessError, match=advice) as caught:
            write(store)
    assert tmp_path.as_uri() in str(caught.value)
    assert hidden_files(tmp_path) == []
    assert [info.path for info in store.list()] == ["a/old"]


def test_a_failed_replacement_keeps_the_old_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(str(tmp_path))
    store.put("a", b"old")
    with monkeypatch.context() as full:
        refuse(full, "fsync", OSError(errno.ENOSPC, "full"))
        with pytest.raises(StoreAccessError):
            store.put("a", b"new")
    assert store.get("a") == b"old"


@pytest.mark.parametrize("call", ["fsync", "replace", "link"])
def test_an_interrupt_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store = LocalStore(str(tmp_path))
    refuse(monkeypatch, call, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        store.put_if_absent("a", b"") if call == "link" else store.put("a", b"")
    assert list(tmp_path.iterdir()) == []


@each_write
def test_a_root_below_a_regular_file_is_refused(tmp_path: Path, write: Write) -> None:
    (tmp_path / "file").write_text("")
    store = LocalStore(str(tmp_path / "file" / "root"))
    with pytest.raises(StoreAccessError, match=r"file/root/.*move away the file"):
        write(store)
    with pytest.raises(ObjectMissingError):
        store.get("a")
    assert list(store.list()) == []


# A child, because root passes every permission and a process cannot stop being root for a while.
AS_NOBODY = """
import os, pwd, sys
from arrowopaque.errors import StoreAccessError
from arrowopaque.objects.local import LocalStore

if os.geteuid() == 0:
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
store = LocalStore(sys.argv[1])
calls = [
    lambda: store.put("a/new", b""),
    lambda: store.put_if_absent("a/new", b""),
    lambda: store.delete(["a/old"]),
    lambda: store.now(),
    lambda: store.get("a/secret"),
    lambda: list(store.list("closed")),
]
for call in calls:
    try:
        call()
    except StoreAccessError as exc:
        assert "give this user access" in str(exc) and sys.argv[1] in str(exc), exc
    else:
        raise SystemExit("not refused")
assert store.get("a/old") == b"old"
print("all refused")
"""


def test_missing_permissions_are_said() -> None:
    # Not below pytest's own folder, which only this user may enter.
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        store = LocalStore(name)
        for path in ("a/old", "a/secret", "closed/x"):
            store.put(path, b"old")
        (root / "a" / "old").chmod(0o444)
        for path, mode in (("a/secret", 0), ("a", 0o555), ("closed", 0), ("", 0o555)):
            (root / path).chmod(mode)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", AS_NOBODY, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        for path in ("", "a", "closed"):
            (root / path).chmod(0o755)
    assert done.stdout == "all refused\n", done.stderr


@pytest.mark.parametrize("target", ["outside", "outside/deep", "outside/not-there"])
def test_a_link_that_leaves_the_root_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "x").write_bytes(b"secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "tables").symlink_to(tmp_path / target)
    store = LocalStore(str(tmp_path / "root"))
    calls: list[Callable[[], object]] = [
        lambda: store.get("tables/x"),
        lambda: store.get_range("tables/x", 0, 1),
        lambda: store.put("tables/y", b""),
        lambda: store.put_if_absent("tables/y", b""),
        lambda: store.size("tables/x"),
        lambda: store.delete(["tables/x"]),
        lambda: store.local_path("tables/x"),
        lambda: list(store.list("tables")),
    ]
    for call in calls:
        with pytest.raises(CorruptStoreError, match=r"tables.* through a symbolic link"):
            call()
    assert list(store.list()) == []
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == ["deep", "x"]


def test_a_linked_file_that_leaves_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    store = LocalStore(str(tmp_path / "root"))
    store.put("a", b"")
    (tmp_path / "root" / "b").symlink_to(tmp_path / "secret")
    with pytest.raises(CorruptStoreError, match="symbolic link"):
        store.get("b")


def test_a_root_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = LocalStore(str(tmp_path / "link"))
    store.put("a/b", b"x")
    assert store.get("a/b") == (tmp_path / "real" / "a" / "b").read_bytes() == b"x"
    assert [info.path for info in store.list()] == ["a/b"]


def test_leftovers_of_a_crash_are_not_listed(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    store.put("a/b", b"x")
    (tmp_path / "a" / ".tmp-0123").write_bytes(b"half")
    assert [info.path for info in store.list()] == ["a/b"]


def test_old_leftovers_of_a_crash_are_removed_and_nothing_else(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    store.put("a/b", b"x")
    kept = [".tmp-notes", "a/.tmp-", "a/.tmp-" + "e" * 32]
    old = [".tmp-" + "c" * 32, "a/.tmp-" + "d" * 32]
    for name in (*kept, *old):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "a" / (".tmp-" + "f" * 32)).mkdir()
    now = store.now()
    for name in ("a/b", *kept[:2], *old):
        os.utime(tmp_path / name, (now.timestamp() - 100, now.timestamp() - 100))
    assert store.remove_leftovers(now - timedelta(seconds=50)) == 2
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == sorted(
        ["a", "a/b", "a/.tmp-" + "f" * 32, *kept]
    )
    assert store.remove_leftovers(now - timedelta(seconds=50)) == 0
    reader = LocalStore(str(tmp_path), writeable=False)
    with pytest.raises(ReadOnlyError):
        reader.remove_leftovers(now + timedelta(days=1))


def test_a_file_that_vanishes_while_listing_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(str(tmp_path))
    store.put("a", b"x")
    store.put("folder/b", b"x")
    scan = os.scandir

    def scan_then_lose(path: str) -> Any:
        entries = list(scan(path))
        (tmp_path / "a").unlink(missing_ok=True)
        (tmp_path / "folder" / "b").unlink(missing_ok=True)
        if (tmp_path / "folder").exists():
            (tmp_path / "folder").rmdir()

        class Entries(list[Any]):
            def __enter__(self) -> list[Any]:
                return self

            def __exit__(self, *_: object) -> None: ...

        return Entries(entries)

    monkeypatch.setattr(os, "scandir", scan_then_lose)
    assert list(store.list()) == []


def test_a_lost_reply_of_nfs_is_our_own_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(str(tmp_path))
    link = os.link

    def link_twice(source: str, target: str) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", link_twice)
    assert store.put_if_absent("a", b"ours") is Put.CREATED
    assert store.put_if_absent("a", b"later") is Put.EXISTS
    assert store.get("a") == b"ours"
    assert hidden_files(tmp_path) == []


def test_a_file_system_without_links_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(str(tmp_path))
    refuse(monkeypatch, "link", OSError(errno.EPERM, "Operation not permitted"))
    with pytest.raises(ConfigurationError, match="no hard links"):
        store.probe()
    assert list(tmp_path.iterdir()) == []


def test_data_and_names_are_synced_before_the_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def log_fsync(handle: int) -> None:
        events.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))[:5]))
        fsync(handle)

    def log_replace(source: str, target: str) -> None:
        events.append(("name", os.path.basename(target)))
        replace(source, target)

    def log_link(source: str, target: str) -> None:
        events.append(("name", os.path.basename(target)))
        link(source, target)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(os, "replace", log_replace)
    monkeypatch.setattr(os, "link", log_link)
    store = LocalStore(str(tmp_path / "root"))
    for write, name in ((store.put, "a"), (store.put_if_absent, "b")):
        events.clear()
        write(f"x/y/{name}", b"data")
        assert events[-3:] == [("sync", ".tmp-"), ("name", name), ("sync", "y")]
    # Names of new folders are synced too.
    events.clear()
    store.put("new/folder/c", b"")
    assert events[:2] == [("sync", "root"), ("sync", "new")]


def test_turns_are_taken_one_after_the_other(tmp_path: Path) -> None:
    first, second = LocalStore(str(tmp_path)), LocalStore(str(tmp_path))
    entered: list[str] = []

    def wait() -> None:
        with second.turn():
            entered.append("second")

    with first.turn():
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.1)
        entered.append("first")
    waiting.join()
    assert entered == ["first", "second"]
    assert list(first.list()) == []


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "no locks"])
def test_a_turn_is_a_courtesy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_held: bool) -> None:
    """Whoever has waited long, or cannot lock, goes on."""
    store = LocalStore(str(tmp_path))
    monkeypatch.setattr("arrowopaque.objects.local._TURN", 0.01)
    with ExitStack() as stack:
        if is_held:
            stack.enter_context(LocalStore(str(tmp_path)).turn())
        else:
            monkeypatch.setattr(fcntl, "flock", refusal(OSError(errno.ENOLCK, "no locks")))
        with store.turn():
            store.put("a", b"data")
    assert store.get("a") == b"data"


def test_a_turn_needs_no_root(tmp_path: Path) -> None:
    with LocalStore(str(tmp_path / "later")).turn():
        assert not (tmp_path / "later").exists()


def test_a_turn_ends_with_what_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), LocalStore(str(tmp_path)).turn():
        raise ZeroDivisionError
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)
