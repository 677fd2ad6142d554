"""From a URI to a store."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from arrowopaque.errors import ConfigurationError
from arrowopaque.objects.local import LocalStore
from arrowopaque.objects.memory import MemoryStore
from arrowopaque.objects.opening import canonical_uri, open_store
from arrowopaque.objects.s3 import S3Store

SECRET = "wJalrXUtnFEMI"


@pytest.mark.parametrize(
    ("uri", "canonical"),
    [
        ("/data/store", "file:///data/store"),
        ("/data/./x/../store/", "file:///data/store"),
        ("//data/store", "file:///data/store"),
        ("/with space/100%/ü", "file:///with%20space/100%25/%C3%BC"),
        ("/not%20decoded", "file:///not%2520decoded"),
        ("file:///data/store/", "file:///data/store"),
        ("FILE://localhost/data", "file:///data"),
        ("file:///with%20space/a%23b", "file:///with%20space/a%23b"),
        ("/", "file:///"),
        ("memory://name", "memory://name"),
        ("memory://name/below/", "memory://name/below"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/some/prefix/", "s3://bucket/some/prefix"),
        ("S3://bucket/a%20b", "s3://bucket/a%20b"),
    ],
)
def test_a_root_has_one_spelling(uri: str, canonical: str) -> None:
    assert canonical_uri(uri) == canonical
    assert canonical_uri(canonical) == canonical


def test_each_scheme_has_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = {uri: type(open_store(uri)) for uri in ("some/folder", "file:///x", "memory://x", "s3://bucket")}
    assert list(kinds.values()) == [LocalStore, LocalStore, MemoryStore, S3Store]
    assert canonical_uri("some/folder") == (tmp_path / "some" / "folder").as_uri()


def test_percent_escapes_of_file_uris_are_decoded(tmp_path: Path) -> None:
    open_store(f"{tmp_path.as_uri()}/a%20b%23").put("x", b"1")
    assert (tmp_path / "a b#" / "x").read_bytes() == b"1"


def test_opening_touches_nothing(tmp_path: Path) -> None:
    open_store(str(tmp_path / "new"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "  ",
        "a\0b",
        "file:///a%00b",
        "file://",
        "file://elsewhere/path",
        "file:/one-slash",
        "memory://",
        "memory:///",
        "memory://a/../b",
        "s3://",
        "s3:///prefix",
        "s3://b",
        "s3://bad bucket/x",
        "s3://bucket/a/../../other",
        "s3://bucket/a//b",
        "s3://bucket/x?versionId=1",
        "s3://bucket/x#y",
        "s3:bucket",
        "gs://bucket/x",
        "https://host/x",
        "postgresql://host/db",
        "C:\\data",
    ],
)
def test_what_is_no_root_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="give"):
        open_store(uri)
    with pytest.raises(ConfigurationError):
        canonical_uri(uri)


def test_an_unknown_scheme_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"gs:.*file:///.*memory://.*s3://"):
        open_store("gs://bucket/x")


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://AKIA:{SECRET}@bucket/prefix",
        f"s3://AKIA:{SECRET}/with/slash@bucket/prefix",
        f"s3://{SECRET}@bucket",
        f"s3://bucket/prefix?X-Amz-Signature={SECRET}",
        f"https://user:{SECRET}@host/bucket",
        f"http:{SECRET}",
        f"file://user:{SECRET}@host/path",
        f"memory://{SECRET}@x",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(uri)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
