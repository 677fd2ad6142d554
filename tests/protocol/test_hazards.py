"""What users of other table formats and of the default manager ran into, one test each.

- Emptying the trash scanned a table of a billion rows:
  ``butler/test_bridge.py::test_a_large_table_is_not_scanned``.
- Many writers wrote their data files again after each lost race:
  `test_lost_races_do_not_write_data_files_again`, `test_flush_beside_commits_writes_its_data_files_once`.
- A commit that was tried again lost its deletes: `test_commit_tried_again_keeps_its_deletes`.
- A small and a large delete of one row, and it came back: `test_small_and_large_delete_of_one_row`.
- Small deletes that nothing ever reclaimed: `test_small_deletes_are_reclaimed`.
- Vacuum took the files of an append under way: `test_vacuum_beside_an_append_that_is_not_committed`.
- A writer reported an error although its commit landed: the lost replies of
  ``test_root_counterexamples.py`` and ``test_registry_flush.py``,
  `test_flush_that_cannot_be_published_has_landed`.
- Two writers raced for a name that both could work out: `test_names_that_two_writers_could_work_out`.
- Vacuum compared the host's clock with the store's: `test_vacuum_uses_the_clock_of_the_store`.
- A reader's files went while it read: ``test_reader_whose_files_…``.
- A cache that was not told of a change: `test_stale_caches_of_other_clients`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage

from arrowopaque import clock
from arrowopaque.butler.ddl import tombstone_table
from arrowopaque.errors import CorruptStoreError, ObjectMissingError, StoreAccessError
from arrowopaque.format import names
from arrowopaque.objects.local import LocalStore
from tests.opaque.suite_base import assert_holds, undone
from tests.protocol.crew import Crew, Pause, age, ours, staged, storing, vacuum
from tests.protocol.tables import assert_sound, committed, ids, in_delta, in_files, table_of
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject, RootSubject, Site, Subject, open_repository


@pytest.fixture(params=["registry", "root"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A client of an empty repository of each binding, which keeps nothing in its cache."""
    kind = "arrow-sqlite-local" if request.param == "registry" else "arrow-root-local"
    values = {"bulk_rows": 2, "flush_at_open": 0, "lock_timeout": 20.0, "cache_bytes": 0}
    with open_repository(kind, Site(tmp_path), option_values=values) as client:
        yield client


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[names.Kind]:
    """What kinds of objects are put."""
    kinds: list[names.Kind] = []
    put = LocalStore.put

    def noted(store: LocalStore, path: str, data: bytes) -> None:
        name = names.parse(path)
        if name is not None:
            kinds.append(name.kind)
        put(store, path, data)

    monkeypatch.setattr(LocalStore, "put", noted)
    return kinds


# Many writers.


def test_lost_races_do_not_write_data_files_again(
    root: RootSubject, crew: Crew, written: list[names.Kind]
) -> None:
    writers = 4
    table = table_of(root)
    table.insert(*rows([1, 2]))
    clients = [root.second() for _ in range(writers)]
    tables = [table_of(client) for client in clients]
    written.clear()
    pauses = [Pause(storing("append")) for _ in clients]
    # All have built their commit on the same head; the last loses three races.
    futures = [
        crew.start(lambda t=t, n=n: t.insert(*rows([10 * n, 10 * n + 1])), pause)  # type: ignore[misc]  # bound early
        for n, (t, pause) in enumerate(zip(tables, pauses, strict=True), 1)
    ]
    for pause, future in zip(pauses, futures, strict=True):
        pause.let_go()
        future.result()
    assert written.count(names.Kind.DATA) == writers
    # Only the small manifests: one for each that was tried.
    assert written.count(names.Kind.TABLE_MANIFEST) == 2 * writers - 1
    assert_sound(root, rows([1, 2, *(10 * n + i for n in range(1, writers + 1) for i in (0, 1))]))


def test_flush_beside_commits_writes_its_data_files_once(
    subject: RegistrySubject, crew: Crew, written: list[names.Kind]
) -> None:
    table = table_of(subject)
    in_files(subject, table, *rows([1, 2]))
    in_delta(table, *rows([3, 4]))
    other = subject.second()
    written.clear()
    pause = Pause(staged)
    flushing = crew.start(lambda: other.flush("t"), pause)
    for number in (10, 20, 30):
        table.insert(*rows([number, number + 1]))
    pause.let_go()
    flushing.result()
    assert written.count(names.Kind.DATA) == 1 + 3
    assert subject.delta_rows("t") == 0
    assert_sound(subject, rows([1, 2, 3, 4, 10, 11, 20, 21, 30, 31]))


def test_commit_tried_again_keeps_its_deletes(root: RootSubject, crew: Crew) -> None:
    table = table_of(root)
    table.insert(*rows(range(1, 7)))
    other = root.second()
    theirs = table_of(other)

    def transaction() -> None:
        with other.transaction():
            theirs.delete(["id"], {"id": 1})
            theirs.delete(*ids(2, 3))
            theirs.insert(row(9, val=90))

    rivals: list[Callable[[], Any]] = [
        lambda: table.insert(row(7, val=70)),
        lambda: table.replace(row(2, "theirs")),
        lambda: ours(root).compact(),
    ]
    pauses = [Pause(storing("append"), skip=0) for _ in rivals]
    writing = crew.start(transaction, *pauses)
    for pause, rival in zip(pauses, rivals, strict=True):
        pause.wait()
        rival()
        pause.let_go()
    writing.result()
    assert_sound(root, rows([4, 5, 6, 7, 9]))


# Deletes.


@pytest.mark.parametrize("first", ["small", "large"])
@pytest.mark.parametrize("flushed", [False, True])
def test_small_and_large_delete_of_one_row(
    postgres: RegistrySubject, crew: Crew, first: str, flushed: bool
) -> None:
    table = table_of(postgres)
    in_files(postgres, table, *rows([1, 2, 3]))
    other = postgres.second()
    theirs = table_of(other)
    deletes: dict[str, Callable[[OpaqueTableStorage], None]] = {
        "small": lambda t: t.delete(["id"], {"id": 1}),
        "large": lambda t: t.delete(*ids(1, 2)),
    }
    second = "large" if first == "small" else "small"
    with other.transaction():
        deletes[first](theirs)
        deleting = crew.start(lambda: deletes[second](table))
        crew.blocked(deleting, postgres.second())
    deleting.result()
    if flushed:
        postgres.flush("t")
    assert_sound(postgres, rows([3]))
    # Nor does either leave what would hide the rows when they come again.
    in_delta(table, row(1, "again"))
    table.insert(row(2, "again"), row(4, "again"))
    postgres.flush("t")
    assert_sound(postgres, [*rows([3]), *(row(i, "again") for i in (1, 2, 4))])


def _objects(client: Subject) -> list[Path]:
    return [p for p in Path(str(client.repository.base)).rglob("partition=*/*") if p.is_file()]


def test_small_deletes_are_reclaimed(either: Any) -> None:
    table = table_of(either)
    table.insert(*rows(range(10)))
    either.flush("t")
    size = sum(path.stat().st_size for path in _objects(either))
    assert size > 0
    for number in range(10):
        table.delete(["id"], {"id": number})
        either.flush("t")
    ours(either).compact()
    vacuum(either)
    vacuum(either)
    assert_sound(either, [])
    assert _objects(either) == []
    if either.dialect is not None:
        assert either.delta_rows(tombstone_table("t")) == 0


# Vacuum.


def test_vacuum_beside_an_append_that_is_not_committed(either: Any, crew: Crew) -> None:
    """The retention alone spares what it has written so far, in both bindings."""
    table = table_of(either)
    table.insert(*rows([1, 2]))
    age(either)
    other = either.second()
    theirs = table_of(other)
    if either.dialect is None:
        pause = Pause(storing("put_manifest"))
        writing = crew.start(lambda: theirs.insert(*rows([3, 4])), pause)
    else:
        in_delta(table, *rows([3, 4]))
        pause = Pause(staged)
        writing = crew.start(lambda: other.flush("t"), pause)
    known = set(_objects(either))
    vacuum(either, aged=False)
    assert set(_objects(either)) == known
    pause.let_go()
    writing.result()
    assert_sound(either, rows([1, 2, 3, 4]))


@pytest.mark.parametrize("hours", [-24, 24])
def test_vacuum_uses_the_clock_of_the_store(either: Any, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(either)
    table.insert(*rows([1, 2]))
    table.insert(*rows([3, 4]))
    ours(either).compact()
    known = set(_objects(either))
    now = clock.now
    monkeypatch.setattr(clock, "now", lambda: now() + timedelta(hours=hours))
    vacuum(either, aged=False)
    assert set(_objects(either)) == known
    vacuum(either)
    vacuum(either)
    assert len(_objects(either)) == len(known) - 2
    assert_sound(either, rows([1, 2, 3, 4]))


# Readers.


def _half_read(client: Subject, table: OpaqueTableStorage) -> Iterator[Any]:
    """Return a reader of ``table`` that has seen one file of two."""
    table.insert(*rows([1, 2]))
    table.insert(*rows([3, 4]))
    reading = iter(table_of(client.second()).fetch())
    assert dict(next(reading))["id"] in (1, 3)
    return reading


def test_reader_whose_files_were_superseded_a_moment_ago(either: Any) -> None:
    table = table_of(either)
    reading = _half_read(either, table)
    age(either)
    ours(either).compact()
    table.delete(*ids(1, 2))
    ours(either).vacuum(retention=1800)
    assert len([dict(found) for found in reading]) == 3
    assert_sound(either, rows([3, 4]))


def test_reader_whose_files_are_gone_is_told(either: Any) -> None:
    """It gets the rows of its moment or an error that names a file, never others."""
    table = table_of(either)
    reading = _half_read(either, table)
    table.replace(*rows([1, 3], "new"))
    ours(either).compact()
    vacuum(either)
    vacuum(either)
    seen: list[Any] = []
    with pytest.raises(ObjectMissingError, match=r"tables/t/partition=\d+/[0-9a-f]{32}\.parquet"):
        seen.extend(dict(found) for found in reading)
    assert all(found in rows([1, 2, 3, 4]) for found in seen)
    assert_sound(either, [*rows([1, 3], "new"), *rows([2, 4])])


# Names and caches.


def test_names_that_two_writers_could_work_out(postgres: RegistrySubject, crew: Crew) -> None:
    """An undone commit and its rival are the same version; neither gets the other's content."""
    table = table_of(postgres)
    in_files(postgres, table, *rows([1, 2]))
    other = postgres.second()
    theirs = table_of(other)
    with undone(other):
        theirs.insert(*rows([3, 4], "undone"))
        assert_holds(theirs, [*rows([1, 2]), *rows([3, 4], "undone")])
    table.insert(*rows([5, 6]))
    manifests = sorted(Path(str(postgres.repository.base)).rglob("manifests/*.json"))
    versions = [path.name.partition("-")[0] for path in manifests]
    assert len(set(versions)) == len(versions) - 1
    for client in (postgres, other, postgres.second()):
        assert_holds(table_of(client), rows([1, 2, 5, 6]))
    committed(other, lambda: theirs.insert(*rows([3, 4])))()
    assert_sound(postgres, rows([1, 2, 3, 4, 5, 6]))


CHANGES: dict[str, tuple[Callable[[Any, Any], Any], list[Any]]] = {
    "insert": (lambda _, table: table.insert(row(9)), [*rows([1, 2, 3]), row(9)]),
    "bulk replace": (
        lambda _, table: table.replace(*rows([1, 2], "new")),
        [*rows([1, 2], "new"), *rows([3])],
    ),
    "bulk delete": (lambda _, table: table.delete(*ids(1, 2)), rows([3])),
    "delete": (lambda _, table: table.delete(["id"], {"id": 1}), rows([2, 3])),
    "delete, flush": (
        lambda client, table: (table.delete(["id"], {"id": 1}), client.flush("t")),
        rows([2, 3]),
    ),
    "compact, vacuum": (
        lambda client, table: (table.insert(row(9)), client.flush("t"), ours(client).compact()),
        [*rows([1, 2, 3]), row(9)],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-root-local"])
def test_stale_caches_of_other_clients(kind: str, change: str, tmp_path: Path) -> None:
    """Clients whose caches are warm, of one process and of clones, see each commit at once."""
    with open_repository(kind, Site(tmp_path), option_values={"bulk_rows": 2, "flush_at_open": 0}) as client:
        table = table_of(client)
        table.insert(*rows([1, 2, 3]))
        client.flush("t")
        readers = [client.second(), client.clone(), client]
        for reader in readers:
            reader.refresh()
            assert_holds(table_of(reader), rows([1, 2, 3]))
        action, expected = CHANGES[change]
        action(client, table)
        vacuum(client)
        for reader in readers:
            reader.refresh()
            assert_holds(table_of(reader), expected)
            assert [dict(found) for found in table_of(reader).fetch(id=3)] == rows([3])
        readers[0].manager.register("t", None).replace(row(3, "last"))
        assert_sound(client, [*(one for one in expected if one["id"] != 3), row(3, "last")])


def test_manifest_copied_over_another_is_refused(either: Any) -> None:
    table = table_of(either)
    table.insert(*rows([1, 2]))
    (old,) = Path(str(either.repository.base)).rglob("tables/t/manifests/*.json")
    table.insert(*rows([3, 4]))
    (new,) = set(Path(str(either.repository.base)).rglob("tables/t/manifests/*.json")) - {old}
    new.write_bytes(old.read_bytes())
    with pytest.raises(CorruptStoreError, match="is a copy of"):
        list(table_of(either.second()).fetch())


# Errors although it is done.


def test_flush_that_cannot_be_published_has_landed(
    sqlite: RegistrySubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the copy says so; the rows have moved, and the next flush publishes them."""
    table = table_of(sqlite)
    in_delta(table, *rows([1, 2]))
    put = LocalStore.put

    def fail(store: LocalStore, path: str, data: bytes) -> None:
        if path == names.PUBLISHED:
            raise StoreAccessError("no space")
        put(store, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put", fail)
        with pytest.raises(StoreAccessError, match="no space"):
            sqlite.flush("t")
    assert sqlite.delta_rows("t") == 0
    assert_sound(sqlite, rows([1, 2]))
    (copy,) = Path(str(sqlite.repository.base)).rglob(names.PUBLISHED)
    assert json.loads(copy.read_bytes())["tables"] == {}
    sqlite.flush("t")
    assert json.loads(copy.read_bytes())["tables"]["t"]["manifest"] is not None
