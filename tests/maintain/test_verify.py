"""Each check of a verification, by a store with exactly that wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy
from lsst.daf.butler import ddl

from arrowopaque import ConfigurationError, CorruptStoreError, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.format import names
from arrowopaque.format.manifest import DataFile, Deletes
from arrowopaque.maintain import unique
from arrowopaque.store.datafile import SortedFile
from arrowopaque.store.parquet import ParquetObject
from tests.maintain.forge import FAR, Store, flip
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject, Site, open_repository


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


def checks(store: Store, level: str = "full") -> list[tuple[str, str]]:
    """Return what a new client finds, as check and last part of the object."""
    root = StoreRoot(str(store.folder), writeable=False)
    report = root.verify(level, raising=False)
    assert all(finding.problem and finding.advice for finding in report.findings)
    if report.findings:
        with pytest.raises(CorruptStoreError) as caught:
            root.verify(level)
        assert report.findings[0].object in str(caught.value)
    else:
        root.verify(level)
    return [(str(finding.check), finding.object.rpartition("/")[2]) for finding in report.findings]


def last(path: str) -> str:
    return path.rpartition("/")[2]


def deleted(store: Store, file: DataFile, *positions: int) -> DataFile:
    """Return a file with a deletion vector."""
    from pyroaring import BitMap

    from arrowopaque.store.deletes import encode_deletes

    data, facts = encode_deletes(BitMap(positions))
    path = names.deletion_vector("t", 0, "d" * 32)
    store.root.volume.store.put(path, data)
    return file.model_copy(update={"deletes": Deletes(path=path, **facts)})


@pytest.fixture
def full(store: Store) -> DataFile:
    """One sound file with an index and a deletion vector."""
    file = deleted(store, store.file([1, 2, 3]), 1)
    store.commit(file)
    assert checks(store) == checks(store, "quick") == []
    return file


def objects(file: DataFile) -> dict[str, str]:
    assert file.deletes is not None
    return {"data": file.path, "index": file.indexes[0].path, "deletes": file.deletes.path}


@pytest.mark.parametrize("level", ["quick", "full"])
@pytest.mark.parametrize("kind", ["data", "index", "deletes"])
def test_a_missing_object(store: Store, full: DataFile, kind: str, level: str) -> None:
    path = objects(full)[kind]
    (store.folder / path).unlink()
    assert checks(store, level) == [("existence", last(path))]


@pytest.mark.parametrize("level", ["quick", "full"])
@pytest.mark.parametrize("kind", ["data", "index", "deletes"])
def test_an_object_of_another_size(store: Store, full: DataFile, kind: str, level: str) -> None:
    path = objects(full)[kind]
    store.change(path, lambda data: data + b"\0")
    assert checks(store, level) == [("size", last(path))]


@pytest.mark.parametrize("level", ["quick", "full"])
@pytest.mark.parametrize("kind", ["data", "index"])
def test_an_altered_footer(store: Store, full: DataFile, kind: str, level: str) -> None:
    path = objects(full)[kind]
    store.change(path, lambda data: flip(data, -20))
    assert checks(store, level) == [("footer", last(path))]


@pytest.mark.parametrize(("kind", "check"), [("data", "digest"), ("index", "digest"), ("deletes", "deletes")])
def test_an_altered_page(store: Store, full: DataFile, kind: str, check: str) -> None:
    path = objects(full)[kind]
    store.change(path, lambda data: flip(data, 12))
    assert checks(store, "quick") == []
    assert checks(store) == [(check, last(path))]


def test_what_was_read_before_is_read_again(store: Store, full: DataFile) -> None:
    """Nothing that a cache holds is taken for proof."""
    assert len(list(store.root.table("t").fetch())) == 2
    store.root.verify()
    store.change(full.path, lambda data: flip(data, 12))
    with pytest.raises(CorruptStoreError, match=full.path):
        store.root.verify()
    store.change(full.path, lambda data: flip(flip(data, 12), -20))
    with pytest.raises(CorruptStoreError, match=full.path):
        store.root.verify("quick")


def test_quick_reads_no_rows(store: Store, full: DataFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(ParquetObject, "read", fail)
    monkeypatch.setattr(SortedFile, "deleted", fail)
    assert checks(store, "quick") == []
    with pytest.raises(AssertionError, match="rows were read"):
        checks(store)


def test_an_altered_manifest(store: Store, full: DataFile) -> None:
    manifest = store.root.entries()["t"].manifest
    assert manifest is not None
    store.change(manifest, lambda data: flip(data, 40))
    for level in ("quick", "full"):
        assert [check for check, _ in checks(store, level)] == ["manifest"]


def test_a_lost_manifest(store: Store, full: DataFile) -> None:
    manifest = store.root.entries()["t"].manifest
    assert manifest is not None
    (store.folder / manifest).unlink()
    for level in ("quick", "full"):
        assert [check for check, _ in checks(store, level)] == ["catalog"]


def test_a_broken_invariant(store: Store) -> None:
    store.commit(store.file([1, 2]), next_partition=0)
    for level in ("quick", "full"):
        assert [check for check, _ in checks(store, level)] == ["manifest"]


@pytest.mark.parametrize("level", ["quick", "full"])
def test_a_missing_link(store: Store, full: DataFile, level: str) -> None:
    (store.folder / names.chain_manifest(1)).unlink()
    assert checks(store, level) == [("chain", last(names.chain_manifest(1)))]


def test_an_altered_link(store: Store, full: DataFile) -> None:
    store.change(names.chain_manifest(2), lambda data: flip(data, 40))
    assert checks(store, "quick") == []
    assert checks(store) == [("chain", last(names.chain_manifest(2)))]


@pytest.mark.parametrize("level", ["quick", "full"])
def test_a_damaged_copy_of_the_meta_table(store: Store, full: DataFile, level: str) -> None:
    store.change(names.PUBLISHED, lambda data: flip(data, 40))
    assert checks(store, level) == [("published", names.PUBLISHED)]
    store.root.compact()
    StoreRoot(str(store.folder)).vacuum(0)
    assert checks(store, level) == []


# What only somebody who can seal can have written.


def forged_statistics(store: Store) -> DataFile:
    wrong = (FAR - 5).to_bytes(8, "little")
    file = store.file([1, 2, FAR])

    def lie(data: bytes) -> bytes:
        footer = len(data) - file.footer
        assert FAR.to_bytes(8, "little") in data[footer:]
        return data[:footer] + data[footer:].replace(FAR.to_bytes(8, "little"), wrong)

    return store.change_file(file, lie)


def indexed_otherwise(store: Store, other: DataFile) -> DataFile:
    return store.file([1, 2, 3]).model_copy(update={"indexes": other.indexes})


FORGED: dict[str, tuple[Callable[[Store], list[DataFile]], str]] = {
    "order": (lambda store: [store.file([1, 3, 2, 4])], "order"),
    "a key twice in a file": (lambda store: [store.file([1, 2, 2, 3], [*"abcd"])], "unique"),
    "a key in two files": (lambda store: [store.file([1, 2]), store.file([2, 3], [*"xy"])], "unique"),
    "a name in a file": (lambda store: [store.file([1, 2], ["a", "a"])], "unique"),
    "a name in two files": (lambda store: [store.file([1]), store.file([2], ["n1"])], "unique"),
    "least key": (lambda store: [store.file([1, 2]).model_copy(update={"min": (0,)})], "bounds"),
    "greatest key": (lambda store: [store.file([1, 2]).model_copy(update={"max": (3,)})], "bounds"),
    "statistics": (lambda store: [forged_statistics(store)], "statistics"),
    "index of other rows": (lambda store: [indexed_otherwise(store, store.file([1, 2, 4]))], "index"),
    "index of fewer rows": (lambda store: [indexed_otherwise(store, store.file([1, 2]))], "index"),
    "an empty deletion vector": (lambda store: [deleted(store, store.file([1, 2]))], "deletes"),
    "a deleted row that is none": (lambda store: [deleted(store, store.file([1, 2]), 2)], "deletes"),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forgery(store: Store, case: str) -> None:
    make, check = FORGED[case]
    store.commit(*make(store))
    assert checks(store, "quick") == []
    assert [found for found, _ in checks(store)][:1] == [check]


def test_keys_are_compared_in_windows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many row groups, two of them at once, find what lies in two files."""
    from arrowopaque import Options

    small = StoreRoot(str(store.folder), options=Options(row_group_rows=3))
    store.root = small
    parts: list[int] = []
    twins = unique._twins

    def counted(found: Any, columns: Any) -> Any:
        parts.append(found.num_rows)
        return twins(found, columns)

    monkeypatch.setattr(unique, "_WINDOW", 2)
    monkeypatch.setattr(unique, "_twins", counted)
    even, odd = list(range(0, 60, 2)), list(range(1, 60, 2))
    store.commit(store.file(even), store.file(odd))
    assert checks(store) == []
    assert max(parts) <= 12
    store.commit(store.file(even), store.file([*odd, 58], [*(f"n{i}" for i in odd), "last"]).model_copy())
    assert [check for check, _ in checks(store)] == ["order"]
    store.commit(store.file(even), store.file([*odd[:-1], 58], [*(f"n{i}" for i in odd[:-1]), "last"]))
    assert [check for check, _ in checks(store)] == ["unique"]


def test_an_index_without_rows_is_a_parquet_file(tmp_path: Path) -> None:
    with open_repository("arrow-root-local", Site(tmp_path)) as client:
        rows_without_label = [{"id": i, "name": f"n{i}"} for i in range(3)]
        client.table(specs.uniques(), *rows_without_label, name="t")
        (path,) = Path(client.repository.base).rglob("*.index0.parquet")
        assert pq.read_table(path).num_rows == 0
        assert client.root.verify().findings == client.root.verify("quick").findings == ()


def test_deleted_rows_share_nothing(store: Store) -> None:
    store.commit(deleted(store, store.file([1, 2]), 1), store.file([2, 3]))
    assert checks(store) == []


def test_unknown_level(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="'some'"):
        store.root.verify("some")


# The registry's own tables.


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[RegistrySubject]:
    with open_repository("arrow-sqlite-local", Site(tmp_path)) as client:
        yield client


def found(client: RegistrySubject, level: str = "full") -> list[str]:
    fresh: Any = client.second()
    return [str(finding.check) for finding in fresh.manager.verify(level, raising=False).findings]


def execute(client: RegistrySubject, statement: str) -> None:
    with client.database._engine.begin() as connection:
        connection.exec_driver_sql(statement)


@pytest.fixture
def filled(subject: RegistrySubject) -> RegistrySubject:
    table = subject.table(specs.standard(), *rows([1, 2, 3]), name="t")
    subject.flush()
    table.delete(["id"], {"id": 1})
    table.replace(row(2, "new"))
    table.insert(row(4))
    report = subject.manager.verify()  # type: ignore[attr-defined]  # ours alone has it
    assert (report.tables["t"].rows, report.tables["t"].tombstones, report.tables["t"].delta) == (3, 2, 2)
    assert found(subject, "quick") == []
    return subject


def test_a_delta_row_whose_key_a_file_has(filled: RegistrySubject) -> None:
    execute(filled, "INSERT INTO t (id, name) VALUES (3, 'twice')")
    assert found(filled) == ["unique"]


def test_a_tombstone_that_was_lost(filled: RegistrySubject) -> None:
    execute(filled, "DELETE FROM arrowopaque_t_t WHERE id = 2")
    assert found(filled) == ["unique"]


def test_a_tombstone_that_hides_nothing(filled: RegistrySubject) -> None:
    execute(filled, "INSERT INTO arrowopaque_t_t (id, arrowopaque_stamp) VALUES (99, 1)")
    assert found(filled) == ["tombstones"]
    filled.flush()
    assert found(filled) == []


@pytest.mark.parametrize("level", ["quick", "full"])
def test_a_catalog_row_that_names_nothing(filled: RegistrySubject, level: str) -> None:
    name = names.table_manifest("t", 7, "0" * 32)
    execute(filled, f"UPDATE arrowopaque_catalog SET manifest = '{name}'")
    assert found(filled, level) == ["catalog"]


@pytest.mark.parametrize("level", ["quick", "full"])
def test_a_catalog_row_that_names_another_table(filled: RegistrySubject, level: str) -> None:
    filled.table(specs.standard(), *rows([7]), name="other")
    filled.flush()
    execute(
        filled,
        "UPDATE arrowopaque_catalog SET manifest = (SELECT manifest FROM arrowopaque_catalog "
        "WHERE table_name = 'other') WHERE table_name = 't'",
    )
    assert found(filled, level) == ["catalog"]


def test_a_missing_sql_table(filled: RegistrySubject) -> None:
    execute(filled, "DROP TABLE arrowopaque_t_t")
    assert found(filled, "quick") == ["manifest"]


def test_a_flush_mends_a_damaged_copy(filled: RegistrySubject) -> None:
    volume = filled.manager._binding.volume  # type: ignore[attr-defined]  # ours alone has it
    volume.store.put(names.PUBLISHED, b"{}")
    assert found(filled, "quick") == ["published"]
    filled.flush()
    assert found(filled) == []


@pytest.mark.parametrize("name", ["file", "position", "_position"])
@pytest.mark.parametrize("is_key", [True, False])
def test_columns_of_any_name_are_compared(name: str, is_key: bool, tmp_path: Path) -> None:
    root = StoreRoot(str(tmp_path / "root"))
    fields = [ddl.FieldSpec(name, dtype=sqlalchemy.BigInteger, primaryKey=is_key)]
    if not is_key:
        fields.append(ddl.FieldSpec("id", dtype=sqlalchemy.BigInteger, primaryKey=True))
    unique = {(name,)} if not is_key else set()
    root.register("t", from_lsst("t", ddl.TableSpec(fields=fields, unique=unique)))
    names = [field.name for field in fields]
    for start in (0, 10):
        root.table("t").insert(*[dict.fromkeys(names, n) for n in range(start, start + 10)])
    assert [row[name] for row in root.table("t").fetch(**{name: [3, 17]})] == [3, 17]
    assert root.verify().tables["t"].rows == 20
