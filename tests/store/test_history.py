"""Earlier versions of a root, and of the tables of a registry's store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from arrowopaque import ConfigurationError, Options, ReadOnlyError, StoreRoot, clock
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.format.manifest import MetaTable
from arrowopaque.store.catalog import FileChain
from arrowopaque.store.history import moment_of
from tests.support import specs
from tests.support.postgres import PostgresServer
from tests.support.subjects import KINDS, Site, open_repository

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an hour pass whenever somebody looks at this host's clock."""
    now = BEGINNING

    def tell() -> datetime:
        nonlocal now
        now += HOUR
        return now

    monkeypatch.setattr(clock, "now", tell)


@pytest.fixture
def root(tmp_path: Path) -> StoreRoot:
    """A root whose versions 4 to 7 change a table: see `test_root`."""
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2))
    for name in ("here", "other"):
        root.register(name, from_lsst(name, specs.standard()))
    root.table("here").insert(*specs.rows(range(10)))
    root.table("here").delete(["id"], {"id": 5})
    root.table("here").replace(specs.row(7, "b", 7))
    root.compact("here", full=True)
    root.table("other").insert(specs.row(1))
    return root


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stores that are opened from now on know nothing, as in another process."""
    monkeypatch.setattr("arrowopaque.store.volume._caches", {})


def ids(root: StoreRoot, table: str = "here") -> list[int]:
    return [row["id"] for row in root.table(table).fetch()]


def changes(root: StoreRoot, table: str | None = None) -> list[Any]:
    """Return the version, table and counts of all changes."""
    return [
        (
            version.version,
            *map(vars_of(change).get, ("table", "rows_added", "rows_removed", "rows_rewritten")),
        )
        for version in root.history(table)
        for change in version.changes
    ]


def vars_of(change: Any) -> dict[str, Any]:
    return {name: getattr(change, name) for name in change.__slots__}


def test_root(root: StoreRoot) -> None:
    versions = list(root.history())
    assert [version.version for version in versions] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert changes(root) == [
        (8, "other", 1, 0, 0),
        (7, "here", 0, 0, 9),
        (6, "here", 1, 1, 0),
        (5, "here", 0, 1, 0),
        (4, "here", 10, 0, 0),
    ]
    assert [(c.rows, c.files, c.files_added, c.files_removed) for v in versions for c in v.changes] == [
        (1, 1, 1, 0),
        (9, 1, 1, 2),
        (9, 2, 1, 0),
        (9, 1, 0, 0),
        (10, 1, 1, 0),
    ]
    assert not any(version.is_oldest for version in versions)
    assert versions[0].writer
    assert versions[0].commit == root.head.commit


def test_of_one_table(root: StoreRoot) -> None:
    assert changes(root, "other") == [(8, "other", 1, 0, 0)]
    with pytest.raises(LookupError, match="nowhere"):
        root.history("nowhere")


def test_on_an_object_store(s3_bucket: str) -> None:
    root = StoreRoot(f"s3://{s3_bucket}/root")
    root.register("here", from_lsst("here", specs.standard()))
    for id in range(20):
        root.table("here").insert(specs.row(id))
    assert [version.version for version in root.history()] == list(range(22, 0, -1))
    # One that is not read to its end leaves nothing behind.
    assert next(iter(root.history("here"))).version == 22
    assert ids(root.at(12)) == list(range(10))
    assert root.diff(12, 22)["here"].counts().added == 10


def test_it_is_lazy(root: StoreRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = FileChain.read

    def note(self: FileChain, version: int) -> MetaTable | None:
        read.append(version)
        return real(self, version)

    monkeypatch.setattr(FileChain, "read", note)
    assert next(root.history()).version == 8
    assert read == [7]


def test_at_a_version(root: StoreRoot) -> None:
    assert root.at(1).names() == []
    assert root.at(3).names() == ["here", "other"]
    assert ids(root.at(3)) == []
    assert ids(root.at(4)) == list(range(10))
    assert 5 not in ids(root.at("5"))
    assert root.at(5).sql("SELECT name FROM here WHERE id = 7").fetchall() == [("a",)]
    assert root.at(6).sql("SELECT name FROM here WHERE id = 7").fetchall() == [("b",)]
    assert root.at(8).version == root.version


def test_at_a_time(root: StoreRoot) -> None:
    for version in root.history():
        assert root.at(version.created).version == version.version
        assert root.at((version.created + HOUR / 2).isoformat()).version >= version.version
    link = root.chain.read(5)
    assert isinstance(link, MetaTable)
    assert root.at(link.created - timedelta(microseconds=1)).version == 4
    assert root.at(f"{link.created:%Y-%m-%dT%H:%M:%S}").version == 5
    assert root.at("2100-01-01").version == 8
    with pytest.raises(ConfigurationError, match="its first is of 2026-01-01"):
        root.at("2025-01-01")


def test_it_stays_there(root: StoreRoot) -> None:
    past = root.at(5)
    root.table("here").insert(specs.row(100))
    past.refresh()
    assert (past.version, past.clone().version) == (5, 5)
    with past.transaction():
        assert 100 not in ids(past)
    with pytest.raises(ReadOnlyError, match="read-only"):
        past.table("here").insert(specs.row(1000))
    assert changes(past)[0][0] == 5
    with pytest.raises(ConfigurationError, match="no version 6: they are 1 to 5"):
        past.at(6)


@pytest.mark.parametrize("version", [0, 9, -1])
def test_no_such_version(root: StoreRoot, version: int) -> None:
    with pytest.raises(ConfigurationError, match=f"no version {version}: they are 1 to 8"):
        root.at(version)


def test_no_such_table(root: StoreRoot) -> None:
    with pytest.raises(LookupError, match="nowhere"):
        root.at(4, "nowhere")


def test_vacuum_takes_versions(root: StoreRoot) -> None:
    root.vacuum(0)
    # The fence and what it superseded stay.
    (newest, oldest) = root.history()
    assert (newest.version, oldest.version) == (9, 8)
    assert oldest.is_oldest
    assert not newest.is_oldest
    assert newest.changes == ()
    assert [(c.table, c.rows, c.rows_added) for c in oldest.changes] == [
        ("here", 9, None),
        ("other", 1, None),
    ]
    assert 5 not in ids(root.at(8))
    with pytest.raises(ConfigurationError, match=r"version 4 of .* is not there any more.* is 8, of 2026"):
        root.at(4)
    link = root.chain.read(6)
    assert isinstance(link, MetaTable)
    with pytest.raises(ConfigurationError, match=r"version 6, the newest at 2026.*is not there any more"):
        root.at(link.created)


def test_vacuum_that_died_before_it_emptied_links(root: StoreRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arrowopaque.maintain.vacuum._stub", lambda *_: None)
    root.vacuum(0)
    forget(monkeypatch)
    fresh = StoreRoot(root.uri)
    # All that the seventh names is current.
    assert [version.version for version in fresh.history()] == [9, 8, 7]
    with pytest.raises(ConfigurationError, match=r"version 4 of .* is 7, of"):
        fresh.at(4)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("12", 12),
        (" 7 ", 7),
        ("2026-11-28", datetime(2026, 11, 28, tzinfo=UTC)),
        ("2026-11-28T20:00:00Z", datetime(2026, 11, 28, 20, tzinfo=UTC)),
        ("2026-11-28 20:00", datetime(2026, 11, 28, 20, tzinfo=UTC)),
        ("2026-11-28T20:00+02:00", datetime(2026, 11, 28, 18, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: Any) -> None:
    assert moment_of(text) == moment


@pytest.mark.parametrize("text", ["yesterday", "", "-1", "1.5", "2026-13-01"])
def test_no_moments(text: str) -> None:
    with pytest.raises(ConfigurationError, match="neither a version"):
        moment_of(text)


# A registry.


@pytest.fixture(params=["arrow-sqlite-local", "arrow-postgres-local"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A client of a repository with three versions of a table, and one of
    another.
    """
    postgres = None
    if KINDS[request.param].dialect == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        postgres = server.new_database().url("postgresql+psycopg2")
    with open_repository(request.param, Site(tmp_path, postgres=postgres)) as client:
        table = client.table(specs.standard(), name="here")
        client.table(specs.standard(), name="other").insert(specs.row(1))
        table.insert(*specs.rows(range(10)))
        client.flush()
        table.delete(["id"], {"id": 5})
        table.replace(specs.row(7, "b", 7))
        client.flush()
        client.manager.compact("here", full=True)
        table.insert(specs.row(50))
        yield client


def test_registry(client: Any) -> None:
    files = client.manager.data_files()
    assert not files.is_owned
    assert changes(files, "here") == [
        (3, "here", 0, 0, 9),
        (2, "here", 1, 2, 0),
        (1, "here", 10, 0, 0),
    ]
    assert {(version, table) for version, table, *_ in changes(files)} == {
        (3, "here"),
        (2, "here"),
        (1, "here"),
        (1, "other"),
    }
    times = [version.created for version in files.history()]
    assert times == sorted(times, reverse=True)
    assert all(version.writer is None for version in files.history())


def test_registry_at_a_version(client: Any) -> None:
    files = client.manager.data_files()
    assert ids(files.at(1, "here")) == list(range(10))
    assert files.at(1, "here").names() == ["here"]
    assert files.at(2, "here").sql("SELECT count(*) FROM here").fetchall() == [(9,)]
    # Recent rows have no versions.
    assert 50 not in ids(files)
    with pytest.raises(ConfigurationError, match=r"name the one that version 1 is of \(here, other\)"):
        files.at(1)
    with pytest.raises(ConfigurationError, match="no version 4 of the data files of table 'here'"):
        files.at(4, "here")
    with pytest.raises(ConfigurationError, match="no version 0"):
        files.at(0, "here")
    with pytest.raises(ReadOnlyError, match="belongs to a Butler registry"):
        files.at(1, "here").table("here").insert(specs.row(1000))


def test_registry_at_a_time(client: Any) -> None:
    files = client.manager.data_files()
    first = [version.created for version in files.history("here")][-1]
    assert ids(files.at(first)) == list(range(10))
    before = files.at(first - timedelta(microseconds=1))
    assert before.names() == ["here", "other"]
    assert ids(before) == []


def test_registry_that_is_opened_by_its_root(client: Any) -> None:
    files = client.manager.data_files()
    root = StoreRoot(files.uri, writeable=False)
    assert changes(root, "here") == changes(files, "here")
    assert ids(root.at(1, "here")) == list(range(10))


def test_registry_whose_versions_vacuum_has_taken(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client.manager.vacuum(0)
    forget(monkeypatch)
    files = client.second().manager.data_files()
    (kept,) = files.history("here")
    assert (kept.version, kept.is_oldest, kept.changes[0].rows_added) == (3, True, None)
    with pytest.raises(
        ConfigurationError, match=r"version 1 of table 'here'.*is not there any more.* is 3, of"
    ):
        files.at(1, "here")
    with pytest.raises(ConfigurationError, match=r"the state at 2025.* is not there any more.* is 3, of"):
        files.at("2025-01-01")
    assert len(ids(files.at(3, "here"))) == 9


def test_versions_after_a_recovery_follow_what_was_kept(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = client.manager.data_files()
    files.volume.store.delete([files.entries()["here"].manifest])
    forget(monkeypatch)
    other = client.second()
    other.manager.recover(dry_run=False)
    again = other.manager.data_files()
    assert [version.version for version in again.history("here")] == [4, 2, 1]
    with pytest.raises(ConfigurationError, match="no version 3"):
        again.at(3, "here")
