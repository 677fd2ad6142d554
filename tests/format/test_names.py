"""Every stored name is parsed back to what it was built from."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arrowopaque.errors import ConfigurationError, CorruptStoreError
from arrowopaque.format import names
from arrowopaque.format.names import Kind, Name, check_path, parse

# Up to 240 bytes encoded, which is what fits a folder name.
TABLES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
IDS = st.uuids().map(lambda id: id.hex)
NUMBERS = st.integers(0, 10**20 - 1)
ID = "0123456789abcdef" * 2


@given(TABLES, NUMBERS, NUMBERS, IDS)
def test_parse_undoes_build(table: str, version: int, index: int, id: str) -> None:
    built = {
        names.MARKER: Name(Kind.MARKER),
        names.PUBLISHED: Name(Kind.PUBLISHED),
        names.probe_object(id): Name(Kind.PROBE, id=id),
        names.chain_manifest(version): Name(Kind.CHAIN, version=version),
        names.table_manifest(table, version, id): Name(
            Kind.TABLE_MANIFEST, table=table, version=version, commit=id
        ),
        names.data_file(table, version, id): Name(Kind.DATA, table=table, partition=version, id=id),
        names.index_file(table, version, id, index): Name(
            Kind.INDEX, table=table, partition=version, id=id, index=index
        ),
        names.deletion_vector(table, version, id): Name(Kind.DELETES, table=table, partition=version, id=id),
    }
    assert {path: parse(path) for path in built} == built
    assert {name.kind for name in built.values()} == set(Kind)
    for path in built:
        assert check_path(path) == path
        assert path.isascii()


@given(TABLES, TABLES)
def test_two_tables_never_share_a_folder(first: str, second: str) -> None:
    assume(first != second)
    folders = [names.table_folder(first), names.table_folder(second)]
    # Some file systems fold case.
    assert folders[0].lower() != folders[1].lower()
    assert not folders[0].startswith(f"{folders[1]}/")


@given(st.text())
def test_a_name_that_parses_is_the_one_that_would_be_built(path: str) -> None:
    name = parse(path)
    if name is not None and name.kind is Kind.CHAIN:
        assert name.version is not None
        assert names.chain_manifest(name.version) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "x",
        "arrowopaque.json/",
        "/arrowopaque.json",
        "Manifest.json",
        "manifests/1.json",
        f"manifests/{1:021d}.json",
        f"manifests/{1:020d}.json.bak",
        f"manifests/{1:020d}.json\n",
        f"manifests/{'٣' * 20}.json",
        f"tables//partition=0/{ID}.parquet",
        f"tables/T/partition=0/{ID}.parquet",
        f"tables/%74/partition=0/{ID}.parquet",
        f"tables/%c3%a4/partition=0/{ID}.parquet",
        f"tables/%FF/partition=0/{ID}.parquet",
        f"tables/%2/partition=0/{ID}.parquet",
        f"tables/a/b/partition=0/{ID}.parquet",
        f"tables/t/partition=-1/{ID}.parquet",
        f"tables/t/partition=/{ID}.parquet",
        f"tables/t/partition=00/{ID}.parquet",
        f"tables/t/partition=٣/{ID}.parquet",
        f"tables/t/partition=0/{ID.upper()}.parquet",
        f"tables/t/partition=0/{ID[1:]}.parquet",
        f"tables/t/partition=0/{ID}.index.parquet",
        f"tables/t/partition=0/{ID}.index00.parquet",
        f"tables/t/partition=0/{ID}.dv.tmp",
        f"tables/t/partition=0/.tmp-{ID}",
        f"tables/t/manifests/1-{ID}.json.gz",
        f"tables/t/manifests/01-{ID}.json",
        f"tables/t/manifests/{ID}.json",
        f"probe-{ID}/x",
        "probe-x",
    ],
)
def test_an_unknown_name_is_nothing_of_ours(path: str) -> None:
    assert parse(path) is None


@pytest.mark.parametrize(
    "path", ["a", "a/b.c/d", ".hidden", "..a/b..", "a b", "a/b:c", "ü", "x" * 1024, "%2e%2e/x"]
)
def test_check_path_passes_what_stays_inside(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "/", "/a", "a/", "a//b", ".", "./a", "a/./b", "..", "../a", "a/../b", "a/..", "a\\b", "a\0", "s3://b/x",
     "file:/x", "C:/x", "x" * 1025],
)  # fmt: skip
def test_check_path_refuses_what_leaves(path: str) -> None:
    with pytest.raises(CorruptStoreError, match="leaves the store's root or is malformed") as caught:
        check_path(path)
    assert repr(path[:200]) in str(caught.value)


@given(st.text())
def test_a_path_that_passes_stays_inside(path: str) -> None:
    try:
        check_path(path)
    except CorruptStoreError:
        return
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else 1
        assert depth > 0
    assert not path.startswith("/")


@pytest.mark.parametrize("table", ["", "x" * 241, "ü" * 41])
def test_a_table_name_that_cannot_be_stored_is_refused(table: str) -> None:
    with pytest.raises(ConfigurationError, match="empty or too long"):
        names.data_file(table, 0, ID)
