"""Names that lead out of the store, and things that are no files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arrowopaque import ArrowOpaqueError, CorruptStoreError, StoreRoot
from arrowopaque.format.names import check_path, parse
from arrowopaque.objects.base import ObjectStore
from arrowopaque.objects.local import LocalStore
from tests.hostile.forge import Hostile, ask_everything
from tests.support.stores import S3Backend

SECRET = b"a secret"
LEAVING = [
    "../secret",
    "../../secret",
    "tables/../../secret",
    "tables/t/../../../secret",
    "/secret",
    "//secret",
    "file:///secret",
    "s3://bucket/secret",
    "memory://x",
    "..\\secret",
    "tables\\..\\secret",
    "tables/t\0/../secret",
    "tables/./x",
    "tables//x",
    "tables/t\n.json",
    "tables/t?versionId=1",
    "tables/t\x7f",
    "x" * 2_000,
    "",
]
PERCENT = ["%2e%2e/secret", "%2e%2e%2fsecret", "tables/%2e%2e/%2e%2e/secret"]

OPERATIONS: dict[str, Callable[[ObjectStore, str], object]] = {
    "get": lambda store, path: store.get(path),
    "bounded get": lambda store, path: store.get(path, 100),
    "range": lambda store, path: store.get_range(path, 0, 1),
    "ranges": lambda store, path: store.get_ranges(path, [(0, 1), (1, 1)]),
    "empty range": lambda store, path: store.get_range(path, 0, 0),
    "size": lambda store, path: store.size(path),
    "put": lambda store, path: store.put(path, b"x"),
    "create": lambda store, path: store.put_if_absent(path, b"x"),
    "list": lambda store, path: list(store.list(path)) if path else check_path(path),
    "delete": lambda store, path: store.delete([path]),
    "local path": lambda store, path: store.local_path(path),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root beside secrets that must stay as they are."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    (tmp_path / "root" / "tables").mkdir(parents=True)
    return tmp_path / "root"


def assert_untouched(root: Path) -> None:
    outside = root.parent / "outside"
    assert (root.parent / "secret").read_bytes() == (outside / "secret").read_bytes() == SECRET
    assert sorted(os.listdir(root.parent)) == ["outside", "root", "secret"]
    assert os.listdir(outside) == ["secret"]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("path", LEAVING, ids=lambda path: repr(path)[:30])
def test_names_that_leave_the_root(root: Path, operation: str, path: str) -> None:
    with pytest.raises(CorruptStoreError, match="leaves the store's root or is malformed"):
        OPERATIONS[operation](LocalStore(str(root)), path)
    assert_untouched(root)


@pytest.mark.parametrize("path", [path for path in LEAVING if path])
def test_names_that_leave_a_bucket(s3_server: Any, s3_bucket: str, path: str) -> None:
    store = S3Backend(s3_server, s3_bucket).open()
    s3_server.plant(s3_bucket, "secret", SECRET)
    for operation in OPERATIONS.values():
        with pytest.raises(CorruptStoreError):
            operation(store, path)
    assert s3_server.peek(s3_bucket, "secret") == SECRET


@pytest.mark.parametrize("path", PERCENT)
def test_percent_signs_are_themselves(root: Path, path: str) -> None:
    store = LocalStore(str(root))
    store.put(path, b"inside")
    assert store.get(path) == (root / path).read_bytes() == b"inside"
    assert parse(path) is None
    assert_untouched(root)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("link", ["file", "folder", "folder above"])
def test_links_out_of_the_root(root: Path, operation: str, link: str) -> None:
    outside = root.parent / "outside"
    if link == "file":
        (root / "tables" / "x").symlink_to(outside / "secret")
        path = "tables/x"
    elif link == "folder":
        (root / "tables" / "x").symlink_to(outside)
        path = "tables/x" if operation == "list" else "tables/x/secret"
    else:
        (root / "tables" / "x").symlink_to(root.parent)
        path = "tables/x/outside" if operation == "list" else "tables/x/outside/secret"
    if operation == "empty range":
        # Nothing is looked at.
        assert LocalStore(str(root)).get_range(path, 0, 0) == b""
        return
    with pytest.raises(CorruptStoreError, match="leaves the store's root through a symbolic link"):
        OPERATIONS[operation](LocalStore(str(root)), path)
    assert_untouched(root)


def test_links_are_not_listed_and_not_followed(root: Path) -> None:
    (root / "tables" / "file").symlink_to(root.parent / "secret")
    (root / "tables" / "folder").symlink_to(root.parent / "outside")
    (root / "tables" / "mine").write_bytes(b"1")
    assert [info.path for info in LocalStore(str(root)).list()] == ["tables/mine"]


@pytest.mark.parametrize("which", ["marker", "link", "manifest", "data", "index", "vector"])
def test_a_store_whose_object_is_a_link(tmp_path: Path, which: str) -> None:
    hostile = Hostile(tmp_path / "root")
    file = hostile.files[0]
    assert file.deletes is not None
    path = {
        "marker": "arrowopaque.json",
        "link": hostile.head,
        "manifest": hostile.manifest.name,
        "data": file.path,
        "index": file.indexes[0].path,
        "vector": file.deletes.path,
    }[which]
    # The very bytes, but elsewhere.
    os.rename(hostile.folder / path, tmp_path / "elsewhere")
    (hostile.folder / path).symlink_to(tmp_path / "elsewhere")
    errors = ask_everything(hostile.folder)
    assert any("symbolic link" in str(error) or "does not exist" in str(error) for error in errors), errors


@pytest.mark.parametrize("which", ["marker", "link", "manifest", "data", "vector"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, which: str) -> None:
    """As an archive may hold one. Without care the reader waits for ever."""
    hostile = Hostile(tmp_path / "root")
    file = hostile.files[0]
    assert file.deletes is not None
    path = {
        "marker": "arrowopaque.json",
        "link": hostile.head,
        "manifest": hostile.manifest.name,
        "data": file.path,
        "vector": file.deletes.path,
    }[which]
    os.unlink(hostile.folder / path)
    os.mkfifo(hostile.folder / path)
    errors = ask_everything(hostile.folder)
    assert any(path in str(error) for error in errors), errors


MANIFESTS = [
    "../../secret",
    "/etc/passwd",
    "s3://bucket/x",
    "arrowopaque.json",
    "tables/t/manifests/../../../manifest.json",
    "tables/u/manifests/1-" + "c" * 32 + ".json",
    "tables/%2e%2e/manifests/1-" + "c" * 32 + ".json",
    "",
]


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_that_a_link_names(tmp_path: Path, name: str) -> None:
    hostile = Hostile(tmp_path / "root")
    hostile.change(hostile.head, lambda body: body["tables"]["t"].update(manifest=name))
    with pytest.raises(ArrowOpaqueError) as caught:
        StoreRoot(str(hostile.folder), writeable=False).table("t").fetch_arrow()
    assert name[:20] in str(caught.value)


FILES = [
    "../../../../secret.parquet",
    "/secret.parquet",
    "s3://bucket/secret.parquet",
    "tables/t/partition=1/" + "a" * 32 + ".parquet",
    "tables/u/partition=0/" + "a" * 32 + ".parquet",
    "tables/t/partition=0/../partition=0/" + "a" * 32 + ".parquet",
    "tables/t/partition=00/" + "a" * 32 + ".parquet",
    "tables/%74/partition=0/" + "a" * 32 + ".parquet",
    "tables/t/partition=0/" + "a" * 32 + ".dv",
    "tables/t/partition=0/" + "A" * 32 + ".parquet",
    "tables/t/partition=0/" + "a" * 32 + ".parquet\n",
    "arrowopaque.json",
]


@pytest.mark.parametrize("part", ["data", "index", "vector"])
@pytest.mark.parametrize("path", FILES)
def test_files_that_a_manifest_names(tmp_path: Path, part: str, path: str) -> None:
    hostile = Hostile(tmp_path / "root")

    def point_elsewhere(body: dict[str, Any]) -> None:
        file = body["partitions"][0]["files"][0]
        if part == "data":
            file["path"] = path
        elif part == "index":
            file["indexes"][0]["path"] = path
        else:
            file["deletes"]["path"] = path if not path.endswith(".dv") else path[:-3] + ".parquet"

    hostile.change(hostile.manifest.name, point_elsewhere)
    with pytest.raises(CorruptStoreError, match="paths are ours"):
        StoreRoot(str(hostile.folder), writeable=False).table("t").fetch_arrow()
