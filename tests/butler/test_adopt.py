"""Repositories of the SQL manager are adopted, used, and restored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from lsst.daf.butler import Butler
from lsst.daf.butler.registry.bridge.monolithic import MonolithicDatastoreRegistryBridgeManager
from lsst.daf.butler.registry.opaque import ByNameOpaqueTableStorageManager

from arrowopaque import ArrowOpaqueTableStorageManager, Options
from arrowopaque.butler import adopt as steps
from arrowopaque.butler import ranges
from arrowopaque.butler import restore as back
from arrowopaque.butler.either import OURS, SQL, open_either, other_clients
from arrowopaque.errors import ConfigurationError, ConflictError, CorruptStoreError
from tests.support.adopting import KINDS_TO_ADOPT, Adoptable, command
from tests.support.butlers import RECORDS, content, datastore_of, manager_of
from tests.support.s3server import S3Server
from tests.support.subjects import override_options


@pytest.fixture(params=KINDS_TO_ADOPT)
def adoptable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adoptable]:
    made = Adoptable(request.param, tmp_path, lambda: request.getfixturevalue("postgres_server"))
    yield made
    made.repository.close()


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Adoptable]:
    made = Adoptable("sql-sqlite", tmp_path, _no_server)
    yield made
    made.repository.close()


class StoppedError(Exception):
    """Raised by a test on the way."""


def _no_server() -> Any:
    raise AssertionError("SQLite needs no server")


def _switched(adoptable: Adoptable) -> None:
    """Adopt up to the switch."""
    with open_either(adoptable.place, writeable=True) as found:
        steps.prepare(found, adoptable.stores)
        steps.switch(found)


def _moved(adoptable: Adoptable, rows: int = 3) -> dict[str, int]:
    with open_either(adoptable.place, writeable=True) as found:
        steps.begin_moving(found)
        return steps.move(found, rows, lambda _: None)


def test_adopted_and_restored(adoptable: Adoptable) -> None:
    before, rows = adoptable.snapshot(), adoptable.rows()
    told = adoptable.adopt()
    assert told["moved"] == {RECORDS: len(rows)}
    assert told["findings"] == []
    assert told["tables"][RECORDS]["rows"] == len(rows)
    assert adoptable.sql_rows() == 0
    assert adoptable.rows() == rows
    told = adoptable.restore("--delete-store")
    assert told["moved"] == {RECORDS: len(rows)}
    assert adoptable.snapshot() == before
    assert adoptable.rows() == rows
    assert [path for path in Path(adoptable.stores).rglob("*") if path.is_file()] == []


def test_a_store_in_a_bucket(adoptable: Adoptable, s3_bucket: str, s3_server: S3Server) -> None:
    before, rows = adoptable.snapshot(), adoptable.rows()
    adoptable.stores = f"s3://{s3_bucket}/stores"
    assert adoptable.adopt()["moved"] == {RECORDS: len(rows)}
    assert adoptable.sql_rows() == 0
    assert adoptable.rows() == rows
    assert any(name.endswith(".parquet") for name in s3_server.contents(s3_bucket))
    adoptable.restore("--delete-store")
    assert adoptable.snapshot() == before
    assert adoptable.rows() == rows
    assert s3_server.contents(s3_bucket) == {}


def test_adopted_repository_is_one_like_any_other(adoptable: Adoptable) -> None:
    """Gets, queries, puts and the trash of before all work."""
    adoptable.adopt()
    repository = adoptable.repository
    repository.butler = butler = repository.open()
    manager = ArrowOpaqueTableStorageManager.of_butler(butler)
    assert not manager.verify().findings
    repository_files = repository.artifacts()
    datastore_of(butler).emptyTrash()
    # The file that a live dataset needs stays.
    assert len(repository_files - repository.artifacts()) == len(adoptable.trashed)
    stored = [*adoptable.live, *repository.store("two", (4, 5))]
    repository.assert_holds(stored)
    butler.pruneDatasets(stored[:1], unstore=True, disassociate=True, purge=True)
    repository.assert_holds(stored[1:])
    assert manager.names() == [RECORDS]


def test_restored_repository_keeps_what_was_written_meanwhile(adoptable: Adoptable) -> None:
    adoptable.adopt()
    repository = adoptable.repository
    repository.butler = butler = repository.open()
    datastore_of(butler).emptyTrash()
    kept = [*adoptable.live[1:], *repository.store("two", (4, 5))]
    butler.pruneDatasets(adoptable.live[:1], unstore=True, disassociate=True, purge=True)
    repository.close()
    adoptable.restore()
    repository.butler = butler = repository.open()
    assert type(manager_of(butler)) is ByNameOpaqueTableStorageManager
    private: Any = butler
    assert type(private._registry._managers.datastores) is MonolithicDatastoreRegistryBridgeManager
    repository.assert_holds(kept)


def test_old_and_new_clients_see_the_same_until_rows_move(adoptable: Adoptable) -> None:
    repository = adoptable.repository
    old = repository.open()
    _switched(adoptable)
    with override_options({"flush_at_open": 1, "bulk_rows": 2}):
        new = repository.open()
    manager: Any = manager_of(new)
    assert type(manager) is ArrowOpaqueTableStorageManager
    repository.butler = new
    stored = [*adoptable.live, *repository.ingest(repository.unstored("two", (4, 5)))]
    old.collections.register("x")
    stored.append(old.put(content(0, "x"), "thing", instrument="Cam", detector=0, run="x"))
    with pytest.raises(ConflictError, match="arrowopaque adopt"):
        manager.flush()
    for client in (old, new, repository.open()):
        assert repository.records(client).keys() >= {ref.id for ref in stored}
    assert manager.compact(RECORDS)[RECORDS].partitions == 0
    assert adoptable.sql_rows() == len(adoptable.rows())


def test_a_client_that_opens_meanwhile_flushes_nothing(adoptable: Adoptable) -> None:
    _switched(adoptable)
    with open_either(adoptable.place, writeable=True) as found:
        steps.begin_moving(found)
    with override_options({"flush_at_open": 1}):
        adoptable.repository.open()
        assert adoptable.sql_rows() == len(adoptable.rows())
        with open_either(adoptable.place, writeable=True) as found:
            steps.finish(found)
        adoptable.repository.open()
    assert adoptable.sql_rows() == 0


def test_others_read_and_write_while_rows_move(adoptable: Adoptable) -> None:
    """Before each range and after the last one."""
    _switched(adoptable)
    repository = adoptable.repository
    repository.butler = reader = repository.open()
    expected = repository.records()
    left: list[int] = []
    free = list(range(4, 6))

    def write(done: float) -> None:
        left.append(adoptable.sql_rows())
        assert repository.records(reader) == expected
        if free:
            (ref,) = repository.store("two", [free.pop()])
            expected.update({ref.id: repository.records()[ref.id]})

    with open_either(adoptable.place, writeable=True) as found:
        steps.begin_moving(found)
        steps.move(found, 3, write)
        steps.finish(found)
    assert len(left) >= 4, "it was moved range by range"
    assert left == sorted(left, reverse=True) or free == []
    assert repository.records(repository.open()) == expected


def test_ranges_are_bounded(on_sqlite: Adoptable, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more rows are in memory at once than were asked for."""
    _switched(on_sqlite)
    seen: list[int] = []
    plain = ranges._Range.read_at

    def read_at(self: Any, cursor: Any, limit: int) -> Any:
        state = plain(self, cursor, limit)
        seen.append(len(state.rows))
        return state

    monkeypatch.setattr(ranges._Range, "read_at", read_at)
    rows = len(on_sqlite.rows())
    assert _moved(on_sqlite) == {RECORDS: rows}
    assert max(seen) == 3
    assert sum(seen) >= 2 * rows


def test_rows_that_files_hold_otherwise_stay(adoptable: Adoptable, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = adoptable.rows()
    _switched(adoptable)
    from arrowopaque.maintain import flush

    plain = flush._stage

    def stage(table: Any, state: Any) -> Any:
        at = table.spec.positions["file_size"]
        key, row = next(iter(state.rows.items()))
        return plain(
            table, type(state)({**state.rows, key: (*row[:at], 1, *row[at + 1 :])}, {}, state.manifest)
        )

    with monkeypatch.context() as patch:
        patch.setattr(flush, "_stage", stage)
        with pytest.raises(CorruptStoreError, match=f"{RECORDS!r}.*nothing was moved"):
            _moved(adoptable)
    assert adoptable.sql_rows() == len(rows)
    assert adoptable.rows() == rows
    adoptable.adopt("--clients-closed")
    assert adoptable.rows() == rows


def test_rows_that_sql_holds_otherwise_stay(adoptable: Adoptable, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = adoptable.rows()
    adoptable.adopt()
    plain = ranges._put_back

    def put_back(table: Any, manifest: Any, batch: Any) -> Any:
        insert = type(table.sql).insert
        at = table.spec.positions["file_size"]

        def spoilt(self: Any, cursor: Any, names: Any, rows: Any, conflict: str = "") -> None:
            insert(self, cursor, names, [(*row[:at], 1, *row[at + 1 :]) for row in rows], conflict)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(table.sql), "insert", spoilt)
            return plain(table, manifest, batch)

    with monkeypatch.context() as patch:
        patch.setattr(ranges, "_put_back", put_back)
        code, _, err = command("restore", adoptable.place, "--yes")
    assert code == 3
    assert "nothing was moved" in err
    assert adoptable.sql_rows() == 0
    assert adoptable.rows() == rows


def test_restoring_beside_a_compaction_and_a_delete(adoptable: Adoptable) -> None:
    """Files that change meanwhile are looked at again."""
    adoptable.adopt()
    repository = adoptable.repository
    repository.butler = butler = repository.open()
    manager: Any = manager_of(butler)
    expected = {row["dataset_id"] for row in adoptable.rows()}
    steps_done: list[float] = []

    def disturb(done: float) -> None:
        steps_done.append(done)
        if len(steps_done) == 1:
            manager.compact(full=True)
        if len(steps_done) == 2:
            doomed = max(expected, key=str)
            manager[RECORDS].delete(["dataset_id"], {"dataset_id": doomed})
            expected.remove(doomed)

    with open_either(adoptable.place, writeable=True) as found:
        back.begin_returning(found)
        back.put_back(found, 3, disturb)
    assert sum(steps_done) == len(expected)
    assert adoptable.sql_rows() == len(expected)
    assert {row["dataset_id"] for row in adoptable.rows()} == expected


def test_clients_that_stay_open_over_a_restoration_fail(adoptable: Adoptable) -> None:
    """They would write where nobody looks any more."""
    adoptable.adopt()
    client = adoptable.repository.open()
    ref = adoptable.live[0]
    assert client.get(ref) == content(0, "one") or client.stored(ref)
    adoptable.restore()
    with pytest.raises(sqlalchemy.exc.DBAPIError, match="arrowopaque_"):
        client.get(ref)
    with pytest.raises(sqlalchemy.exc.DBAPIError, match="arrowopaque_"):
        client.put(content(5, "two"), "thing", instrument="Cam", detector=5, run="two")
    adoptable.repository.close()
    assert adoptable.repository.open().stored(ref)


def test_restoring_a_repository_that_was_made_with_ours(tmp_path: Path) -> None:
    from tests.support.butlers import SEED

    place = str(tmp_path / "repo")
    Butler.makeRepo(place, config=SEED)
    Butler.makeRepo(str(tmp_path / "plain"))
    assert command("restore", place, "--yes")[0] == 0
    found = []
    for path in (place, str(tmp_path / "plain")):
        with open_either(path, writeable=False) as opened:
            assert opened.attributes.classes() == SQL
            found.append((opened.attributes.all(), (Path(path) / "butler.yaml").read_text()))
    assert found[0] == found[1]


def test_adopted_a_second_time(adoptable: Adoptable) -> None:
    before, rows = adoptable.snapshot(), adoptable.rows()
    for _ in range(2):
        adoptable.adopt()
        assert adoptable.rows() == rows
        adoptable.restore()
        assert adoptable.snapshot() == before


def test_turned_round_on_the_way(adoptable: Adoptable) -> None:
    """Half adopted it can be restored, half restored it can be adopted."""
    before, rows = adoptable.snapshot(), adoptable.rows()

    def stop(_: float) -> None:
        raise StoppedError

    _switched(adoptable)
    with open_either(adoptable.place, writeable=True) as found:
        steps.begin_moving(found)
        with pytest.raises(StoppedError):
            steps.move(found, 3, stop)
        back.begin_returning(found)
    assert 0 < adoptable.sql_rows() < len(rows)
    adoptable.adopt("--clients-closed")
    with open_either(adoptable.place, writeable=True) as found:
        back.begin_returning(found)
        with pytest.raises(StoppedError):
            back.put_back(found, 3, stop)
    assert adoptable.rows() == rows
    adoptable.restore()
    assert adoptable.snapshot() == before


def test_managers_of_somebody_else_are_left_alone(
    on_sqlite: Adoptable, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "tests.support.adopting.OtherManager"
    with open_either(on_sqlite.place, writeable=True) as found:
        found.db.replace(found.attributes.table, {"name": "config:registry.managers.opaque", "value": other})
    code, _, err = command("adopt", *on_sqlite.arguments)
    assert code == 2
    assert other in err


def test_attributes_of_ours_are_those_of_a_new_repository(on_sqlite: Adoptable, tmp_path: Path) -> None:
    from tests.support.butlers import SEED

    Butler.makeRepo(str(tmp_path / "new"), config=SEED)
    on_sqlite.adopt()
    found = []
    for place in (on_sqlite.place, str(tmp_path / "new")):
        with open_either(place, writeable=False) as opened:
            assert opened.attributes.classes() == OURS
            found.append(opened.attributes.all())
    assert found[0] == found[1]


def test_sessions_of_before_are_told(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    made = Adoptable("sql-postgres", tmp_path, lambda: request.getfixturevalue("postgres_server"))
    old = made.repository.open()
    assert old.stored(made.live[0])
    code, _, err = command("adopt", *made.arguments)
    assert code == 5
    assert "maybe still open: session" in err
    assert "--clients-closed" in err
    assert made.sql_rows() == len(made.rows())
    made.repository.close()
    # Nobody is left, apart from those that have come since.
    new = made.repository.open()
    assert new.stored(made.live[0])
    assert made.adopt()["moved"] == {RECORDS: len(made.rows())}
    made.repository.close()


def test_flush_rows_bound_the_rows_of_a_range(on_sqlite: Adoptable) -> None:
    with override_options({"flush_rows": 2}):
        code, _, err = command("adopt", *on_sqlite.arguments)
    assert code == 2
    assert "flush_rows, 2" in err
    assert Options().flush_rows > 2


def test_other_clients_of_a_database_in_memory() -> None:
    from lsst.daf.butler.registry.databases.sqlite import SqliteDatabase

    engine = SqliteDatabase.makeEngine()
    database = SqliteDatabase.fromEngine(engine=engine, origin=0)
    assert other_clients(database, "") == []
    database.dispose()


def test_no_place_for_the_store(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    made = Adoptable("sql-postgres", tmp_path, lambda: request.getfixturevalue("postgres_server"))
    before = made.snapshot()
    with open_either(made.place, writeable=True) as found, pytest.raises(ConfigurationError, match="ROOT"):
        steps.plan_adoption(found, None)
    assert made.snapshot() == before
