"""Documents that a stranger made: each is refused with its name and what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arrowopaque import ArrowOpaqueError, ConfigurationError, CorruptStoreError, FormatVersionError, StoreRoot
from arrowopaque.format import limits, names
from arrowopaque.format.document import dump, load
from arrowopaque.format.manifest import Marker, MetaTable, TableManifest
from arrowopaque.format.receipt import Staged
from tests.hostile.forge import Hostile, reseal, reseal_text

Body = dict[str, Any]


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    return Hostile(tmp_path / "root")


def refusal(hostile: Hostile) -> str:
    """Return why a new reader refuses the table."""
    with pytest.raises(ArrowOpaqueError) as caught:
        StoreRoot(str(hostile.folder), writeable=False).table("t").fetch_arrow()
    return str(caught.value)


def documents(hostile: Hostile) -> dict[str, str]:
    return {"marker": names.MARKER, "link": hostile.head, "manifest": hostile.manifest.name}


DOCUMENTS = pytest.mark.parametrize("document", ["marker", "link", "manifest"])


@DOCUMENTS
def test_what_is_too_long_is_not_read(
    hostile: Hostile, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse file: its bytes would fill the memory."""
    path = documents(hostile)[document]
    with open(hostile.folder / path, "r+b") as file:
        file.truncate(2**40)
    message = refusal(hostile)
    assert path in message
    assert str(2**40) in message


@DOCUMENTS
@pytest.mark.parametrize(
    ("junk", "reason"),
    [
        ("[" * 100_000, "nests 1000"),
        ('{"a":' * 40 + "1" + "}" * 40, "nests 41 deep"),
        ("[" * 40 + "]" * 40, "nests 41 deep"),
        ("9" * 5_000, "Exceeds the limit"),
        ("NaN", "NaN is no JSON value"),
        ("[-Infinity]", "-Infinity is no JSON value"),
        ('{"x": 1, "x": 1}', "'x' is in one object twice"),
        ("[1,]", "not a"),
        ("\x00", "not a"),
        ('"\ud800"', "not a"),
    ],
)
def test_json_that_is_none(hostile: Hostile, document: str, junk: str, reason: str) -> None:
    path = documents(hostile)[document]
    text = hostile.read(path).decode()
    hostile.put(path, ('{"junk": ' + junk + ", " + text[1:]).encode("utf-8", "surrogatepass"))
    message = refusal(hostile)
    assert path in message
    assert reason in message


def test_depth_is_that_of_brackets_outside_of_strings(hostile: Hostile) -> None:
    body = json.loads(hostile.read(hostile.head))
    odd = ["[" * 100, '\\"' + "[" * 100, "\\", '\\\\"{[', '"']
    body["junk"] = {text: text for text in odd}
    hostile.put(hostile.head, reseal(body))
    assert StoreRoot(str(hostile.folder), writeable=False).table("t").fetch_arrow().num_rows == 77


@DOCUMENTS
def test_a_name_twice(hostile: Hostile, document: str) -> None:
    """The seal fits what most parsers make of it: the last of the two."""
    path = documents(hostile)[document]
    body = json.loads(hostile.read(path))
    body.pop("seal")
    hostile.put(path, reseal_text('{"format": 1, ' + json.dumps(body)[1:], body))
    assert "'format' is in one object twice" in refusal(hostile)


@DOCUMENTS
@pytest.mark.parametrize("text", ["", "null", "[]", "1", '"x"', "{}", '{"format": true}', '{"format": "1"}'])
def test_no_document(hostile: Hostile, document: str, text: str) -> None:
    path = documents(hostile)[document]
    hostile.put(path, text.encode())
    assert path in refusal(hostile)


@DOCUMENTS
def test_a_newer_format(hostile: Hostile, document: str) -> None:
    path = documents(hostile)[document]
    for format in (2, 10**4000):
        hostile.change(path, lambda body, value=format: body.update(format=value))  # type: ignore[misc]
        with pytest.raises(FormatVersionError, match=re.escape(path)) as caught:
            StoreRoot(str(hostile.folder), writeable=False).table("t").fetch_arrow()
        assert len(str(caught.value)) < 1_000


def file_of(body: Body) -> Any:
    return body["partitions"][0]["files"][0]


MANIFESTS: dict[str, tuple[Callable[[Body], object], str]] = {
    "version": (lambda body: body.update(version=-1), "version"),
    "version as text": (lambda body: body.update(version="1"), "version"),
    "naive time": (lambda body: body.update(created="2020-01-01T00:00:00"), "created"),
    "no partitions": (lambda body: body.pop("partitions"), "partitions"),
    "rows": (lambda body: file_of(body).update(rows=2**63), "rows"),
    "rows beyond a file": (lambda body: file_of(body).update(rows=2**40), str(2**40)),
    "rows as a fraction": (lambda body: file_of(body).update(rows=1.5), "rows"),
    "rows as a truth": (lambda body: file_of(body).update(rows=True), "rows"),
    "bytes": (lambda body: file_of(body).update(bytes=2**50), str(2**50)),
    "negative bytes": (lambda body: file_of(body).update(bytes=-1), "bytes"),
    "footer": (lambda body: file_of(body).update(footer=2**30), str(2**30)),
    "digest": (lambda body: file_of(body).update(digest=None), "digest"),
    "key of another type": (lambda body: file_of(body).update(min=[5]), "[5]|(5,)"),
    "short key": (lambda body: file_of(body).update(min=["00"]), "00"),
    "key that is no hexadecimal": (lambda body: file_of(body).update(max=["x" * 32]), "malformed"),
    "no key": (lambda body: file_of(body).update(min=[]), "no key of"),
    "key of two": (lambda body: file_of(body).update(min=["0" * 32] * 2), "no key of"),
    "null key": (lambda body: file_of(body).update(min=[None]), "no key of"),
    "least above greatest": (lambda body: file_of(body).update(min=["f" * 32]), "least key is above"),
    "bound of another type": (lambda body: body["partitions"][0].update(lower=5), "lower bound"),
    "vector": (lambda body: file_of(body)["deletes"].update(bytes=2**30), str(2**30)),
    "more deleted than rows": (lambda body: file_of(body)["deletes"].update(count=41), "-1 live"),
    "other index": (lambda body: file_of(body)["indexes"][0].update(columns=["kind"]), "indexes are not"),
    "no index": (lambda body: file_of(body).update(indexes=[]), "indexes are not"),
    "another table's": (lambda body: body.update(table="u"), "copy of"),
    "climbing table": (lambda body: body.update(table="../../t"), "copy of"),
    "endless table": (lambda body: body.update(table="t" * 2_000), "too long"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests(hostile: Hostile, case: str) -> None:
    action, reason = MANIFESTS[case]
    hostile.change(hostile.manifest.name, action)
    message = refusal(hostile)
    assert any(part in message for part in reason.split("|")), message
    assert len(message) < 2_000


LINKS: dict[str, tuple[Callable[[Body], object], str]] = {
    "version": (lambda body: body.update(version=10**30), "version"),
    "store": (lambda body: body.update(store="x"), "copied from elsewhere"),
    "no spec": (lambda body: body["tables"]["t"].pop("spec"), "spec"),
    "no columns": (lambda body: body["tables"]["t"]["spec"].update(columns=[]), "0 columns"),
    "too many columns": (
        lambda body: body["tables"]["t"]["spec"].update(
            columns=[{"name": f"c{i}", "kind": "bool"} for i in range(limits.COLUMNS + 1)]
        ),
        f"{limits.COLUMNS + 1} columns",
    ),
    "kind": (lambda body: body["tables"]["t"]["spec"]["columns"][0].update(kind="blob"), "kind"),
    "other kind": (lambda body: body["tables"]["t"]["spec"]["columns"][3].update(kind="text"), "its columns"),
    "key twice": (lambda body: body["tables"]["t"]["spec"].update(primary_key=["id", "id"]), "twice"),
    "no key": (lambda body: body["tables"]["t"]["spec"].update(primary_key=[]), "without a primary key"),
    "unknown key": (lambda body: body["tables"]["t"]["spec"].update(primary_key=["x"]), "unknown column"),
    "other key": (lambda body: body["tables"]["t"]["spec"].update(primary_key=["size"]), "no key of"),
    "length": (lambda body: body["tables"]["t"]["spec"]["columns"][1].update(length=-1), "length"),
    "manifest": (lambda body: body["tables"]["t"].update(manifest=5), "manifest"),
}


@pytest.mark.parametrize("case", LINKS)
def test_links(hostile: Hostile, case: str) -> None:
    action, reason = LINKS[case]
    hostile.change(hostile.head, action)
    message = refusal(hostile)
    assert reason in message, message
    assert len(message) < 2_000


@pytest.mark.parametrize(
    "options",
    [
        {"cache_bytes": "x"},
        {"retention": None},
        {"bulk_rows": -5},
        {"retention": 1e308},
        {"bulk_rows": 10**30},
        {"row_group_rows": 1.5},
        {"partition_rows": [1]},
    ],
)
def test_options(hostile: Hostile, options: Body) -> None:
    hostile.change(names.MARKER, lambda body: body.update(options=options))
    assert f"option {next(iter(options))}" in refusal(hostile)


def test_receipts_that_never_end(hostile: Hostile) -> None:
    """The link that a link says has receipts is itself, or is not there."""
    rows = hostile.root.table("t").fetch_arrow().slice(0, 1)
    receipt = hostile.root.stage("t", rows).model_copy(update={"at": 0})
    for taken in (hostile.root.version, 10**6):
        hostile.change(hostile.head, lambda body, value=taken: body.update(taken=value))  # type: ignore[misc]
        with pytest.raises(CorruptStoreError, match=r"is lost, or names|taken"):
            StoreRoot(str(hostile.folder)).commit_staged([receipt])


def test_a_receipt(hostile: Hostile) -> None:
    receipt = hostile.root.stage("t", hostile.root.table("t").fetch_arrow().slice(0, 1))
    for text in ("{}", "[" * 1_000, receipt.to_json().replace(receipt.id, "0" * 32)):
        with pytest.raises(CorruptStoreError, match="receipt"):
            Staged.from_json(text)
    assert Staged.from_json(receipt.to_json()) == receipt


def test_no_writer_makes_what_readers_refuse(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Marker, MetaTable, TableManifest):
        monkeypatch.setattr(kind, "max_bytes", 100)
    with pytest.raises(ConfigurationError, match=r"TableManifest document of \d+ bytes is more than the 100"):
        dump(hostile.manifest)
    with pytest.raises(CorruptStoreError, match="more than 100"):
        load(TableManifest, hostile.read(hostile.manifest.name), "here")
