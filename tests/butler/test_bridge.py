"""The bridge's contract: ours on our tables and on those of the SQL manager, and the host's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler.datastore import DatastoreTransaction
from lsst.daf.butler.datastore.stored_file_info import StoredFileInfo
from lsst.daf.butler.registry.interfaces import FakeDatasetRef, ReadOnlyDatabaseError
from sqlalchemy.exc import IntegrityError

from arrowopaque.store.parquet import ParquetObject
from tests.support import specs
from tests.support.subjects import KINDS, Placement, Site, UndoError, open_repository
from tests.support.trash import Scene, ServedBy

Case = tuple[str, ServedBy, Placement]

OURS: list[Case] = [
    (kind, ServedBy.OURS, placement)
    for kind in ("arrow-sqlite-local", "arrow-postgres-local")
    for placement in Placement
]
SERVED: list[Case] = [
    ("sql-sqlite", ServedBy.OURS, Placement.DELTA),
    ("sql-postgres", ServedBy.OURS, Placement.DELTA),
]
UPSTREAM: list[Case] = [("sql-sqlite", ServedBy.UPSTREAM, Placement.DELTA)]


def _name(case: Case) -> str:
    kind, served_by, placement = case
    return f"{kind}-{placement.value if KINDS[kind].is_arrow else served_by.value}"


def on(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Run a test on these tables and bridges only."""
    cases = list(cases)
    return pytest.mark.parametrize("scene", cases, indirect=True, ids=map(_name, cases))


@pytest.fixture(params=[*OURS, *SERVED, *UPSTREAM], ids=_name)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A repository with an empty records table and one datastore."""
    kind, served_by, placement = request.param
    postgres = request.getfixturevalue("butler_database") if "postgres" in kind else None
    site = Site(tmp_path, postgres=postgres)
    with open_repository(kind, site, placement=placement, with_bridge=True) as subject:
        yield Scene.open(subject, served_by)


def is_ours(scene: Scene) -> bool:
    return bool(scene.subject.is_arrow)


def test_emptying_forgets_records_and_trash(scene: Scene) -> None:
    scene.store(0, 1, 2)
    scene.trash(1, 2)
    assert scene.state == ([0, 1, 2], [0], [1, 2])
    assert scene.empty() == ([(1, "p1"), (2, "p2")], set())
    assert scene.state == ([0], [0], [])
    assert scene.empty() == ([], set())


def test_trash_is_given_once_as_records(scene: Scene) -> None:
    scene.store(1, 2)
    scene.trash(1, 2)
    with scene.emptying() as (items, keep):
        assert isinstance(items, Iterator)
        assert isinstance(keep, set)
        found = list(items)
        assert {type(item) for item, _ in found} == {FakeDatasetRef}
        assert {type(info) for _, info in found} == {StoredFileInfo}
        assert {info.file_size for _, info in found} == {1, 2}
        assert list(items) == []


def test_records_are_made_while_iterating(scene: Scene) -> None:
    scene.store(1)
    scene.trash(1)
    made: list[dict[str, Any]] = []

    class Recorded(StoredFileInfo):
        @classmethod
        def from_record(cls, record: Any) -> Any:
            made.append(dict(record))
            return super().from_record(record)

    with scene.bridge.emptyTrash(scene.table, record_class=Recorded, record_column="path") as (items, _):
        assert made == []
        assert len(list(items)) == 1
    assert made == [{**specs.record(1, path="p1"), "datastore_name": "datastore"}]


def test_what_was_not_looked_at_is_forgotten_too(scene: Scene) -> None:
    scene.store(0, 1)
    scene.trash(1)
    with scene.emptying():
        pass
    assert scene.state == ([0], [0], [])


def test_arguments_are_checked_on_entering(scene: Scene) -> None:
    without_table = scene.bridge.emptyTrash(None, record_class=StoredFileInfo)
    with pytest.raises(ValueError, match="records table"):
        without_table.__enter__()
    without_class = scene.bridge.emptyTrash(scene.table)
    with pytest.raises(ValueError, match=r"[Rr]ecord class"):
        without_class.__enter__()


def test_without_a_column_nothing_is_said_of_artifacts(scene: Scene) -> None:
    scene.store(0, 1, path="shared")
    scene.trash(1)
    assert scene.empty(record_column=None) == ([(1, "shared")], None)
    assert scene.state == ([0], [0], [])


def test_artifact_of_a_live_dataset_is_kept(scene: Scene) -> None:
    scene.store(0, 1, path="shared")
    scene.store(2)
    scene.trash(1, 2)
    assert scene.empty() == ([(1, "shared"), (2, "p2")], {"shared"})
    assert scene.state == ([0], [0], [])


def test_artifact_of_trashed_datasets_is_not_kept(scene: Scene) -> None:
    scene.store(1, 2, path="shared")
    scene.trash(1, 2)
    assert scene.empty(selected_ids=scene.ids([1])) == ([(1, "shared")], set())
    assert scene.state == ([2], [], [2])
    assert scene.empty() == ([(2, "shared")], set())


@pytest.mark.parametrize("owner", ["nobody", "another datastore"])
def test_artifact_that_only_others_have_is_not_kept(scene: Scene, owner: str) -> None:
    scene.store(1, path="shared")
    scene.record(0, path="shared")
    if owner == "another datastore":
        scene.locate(0, to="another")
    scene.trash(1)
    assert scene.empty() == ([(1, "shared")], set())
    assert scene.state == ([0], [], [])


def test_members_of_an_archive_are_artifacts_of_their_own(scene: Scene) -> None:
    scene.store(0, path="z.zip#a")
    scene.store(1, path="z.zip#b")
    scene.trash(1)
    assert scene.empty() == ([(1, "z.zip#b")], set())


def test_all_records_of_a_dataset(scene: Scene) -> None:
    for component in ("c1", "c2"):
        scene.table.insert(*[specs.record(number, component, f"{component}/{number}") for number in (1, 2)])
    scene.subject.settle()
    scene.locate(1, 2)
    scene.trash(1)
    assert scene.empty() == ([(1, "c1/1"), (1, "c2/1")], set())
    assert scene.state == ([2, 2], [2], [])


def test_trash_without_a_record_stays(scene: Scene) -> None:
    scene.store(2)
    scene.locate(1)
    scene.trash(1, 2)
    assert scene.empty() == ([(2, "p2")], set())
    assert scene.state == ([], [], [1])


@pytest.mark.parametrize("collection", [list, set, frozenset, tuple, dict.fromkeys])
def test_selected_ids(scene: Scene, collection: Any) -> None:
    scene.store(0, 1, 2)
    scene.trash(1, 2)
    for unknown in ([9], [0], [0, 9]):
        assert scene.empty(selected_ids=collection(scene.ids(unknown))) == ([], set())
    assert scene.state == ([0, 1, 2], [0], [1, 2])
    assert scene.empty(selected_ids=collection(scene.ids([1, 0, 9]))) == ([(1, "p1")], set())
    assert scene.state == ([0, 2], [0], [2])


@on([*OURS, *SERVED])
@pytest.mark.parametrize("collection", [list, set, frozenset, tuple])
def test_empty_selection_selects_nothing(scene: Scene, collection: Any) -> None:
    scene.store(0, 1, 2)
    scene.trash(1, 2)
    assert scene.empty(selected_ids=collection()) == ([], set())
    assert scene.empty(selected_ids=collection(), dry_run=True) == ([], set())
    assert scene.empty(selected_ids=collection(), record_column=None) == ([], None)
    assert scene.state == ([0, 1, 2], [0], [1, 2])


def test_very_many_selected_ids(scene: Scene) -> None:
    scene.store(0, 1, 2)
    scene.trash(1, 2)
    assert scene.empty(selected_ids=scene.ids([1, *range(10, 50_010)])) == ([(1, "p1")], set())
    assert scene.state == ([0, 2], [0], [2])


def test_dry_run(scene: Scene) -> None:
    scene.store(0, 1, path="shared")
    scene.trash(1)
    for selection in (None, scene.ids([1])):
        assert scene.empty(dry_run=True, selected_ids=selection) == ([(1, "shared")], {"shared"})
    assert scene.state == ([0, 1], [0], [1])


def test_exception_in_the_block(scene: Scene) -> None:
    scene.store(1)
    scene.trash(1)
    with pytest.raises(UndoError), scene.emptying():
        raise UndoError
    assert scene.state == ([1], [], [1])
    assert scene.empty() == ([(1, "p1")], set())


def test_dataset_that_is_stored_again_before_its_trash_is_emptied(scene: Scene) -> None:
    scene.store(1)
    scene.trash(1)
    scene.locate(1)
    assert scene.empty() == ([(1, "p1")], {"p1"})
    assert scene.state == ([], [1], [])


def test_later_trash_is_left_alone(scene: Scene) -> None:
    scene.store(1, 2, 3)
    scene.trash(1)
    context = scene.emptying()
    scene.trash(2)
    with context as (items, _):
        scene.trash(3)
        assert len(list(items)) == 2
    assert scene.state == ([3], [], [3])


@on(OURS)
def test_records_and_trash_go_together(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.store(0, 1, 2, 3)
    scene.trash(1, 2)
    database = scene.subject.database
    delete = type(database).delete

    def fail(self: Any, table: Any, *args: Any, **kwargs: Any) -> int:
        if table.name == "dataset_location_trash":
            raise UndoError
        return delete(self, table, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(type(database), "delete", fail)
        with pytest.raises(UndoError):
            scene.empty()
    assert scene.state == ([0, 1, 2, 3], [0, 3], [1, 2])
    assert scene.empty() == ([(1, "p1"), (2, "p2")], set())
    assert scene.state == ([0, 3], [0, 3], [])


def test_rolled_back_with_the_callers_transaction(scene: Scene) -> None:
    scene.store(0, 1, 2)
    scene.trash(1, 2)
    with suppress(UndoError), scene.subject.transaction():
        assert scene.empty() == ([(1, "p1"), (2, "p2")], set())
        assert scene.state == ([0], [0], [])
        raise UndoError
    assert scene.state == ([0, 1, 2], [0], [1, 2])


def _second(scene: Scene, **kwargs: Any) -> Scene:
    """Return another client's scene, served by the same bridge."""
    return Scene.open(scene.subject.second(**kwargs), ServedBy.OURS if is_ours(scene) else ServedBy.UPSTREAM)


def test_read_only_client(scene: Scene) -> None:
    scene.store(0, 1)
    reader = _second(scene, writeable=False)
    assert reader.empty() == ([], set())
    scene.trash(1)
    assert reader.empty(dry_run=True) == ([(1, "p1")], set())
    with pytest.raises(ReadOnlyDatabaseError):
        reader.empty()
    assert scene.state == ([0, 1], [0], [1])


def test_two_clients_at_once(scene: Scene) -> None:
    """Without an outer transaction both are given everything."""
    scene.store(0, 1, 2)
    scene.trash(1, 2)
    other = _second(scene)
    with scene.emptying() as (items, _):
        assert other.empty() == ([(1, "p1"), (2, "p2")], set())
        assert len(list(items)) == 2
    assert scene.state == ([0], [0], [])


@on(case for case in OURS if "postgres" in case[0])
def test_two_clients_in_transactions_share_the_work(scene: Scene) -> None:
    scene.store(0, 1, 2)
    scene.trash(1, 2)
    other = _second(scene)
    with scene.subject.transaction(), scene.emptying(selected_ids=scene.ids([1])) as (items, _):
        assert len(list(items)) == 1
        assert other.empty() == ([(2, "p2")], set())
    assert scene.state == ([0], [0], [])


def test_moving_to_the_trash(scene: Scene) -> None:
    scene.store(1)
    scene.trash(9)
    assert scene.state == ([1], [1], [])
    scene.trash(1, 1)
    assert scene.state == ([1], [], [1])
    scene.locate(1)
    with pytest.raises(IntegrityError):
        scene.trash(1)
    assert scene.state == ([1], [1], [1])


def test_locations(scene: Scene) -> None:
    scene.store(1, 2, 3)
    assert scene.bridge.check(scene.ids([1, 9])) == set(scene.ids([1]))
    refs = [FakeDatasetRef(id) for id in scene.ids([1, 4])]
    with pytest.raises(IntegrityError):
        scene.bridge.insert(refs[:1])
    scene.bridge.ensure(refs)
    scene.bridge.forget(refs[:1])
    assert scene.state == ([1, 2, 3], [2, 3, 4], [])


@on(OURS[:3])
def test_ephemeral_bridge(scene: Scene) -> None:
    """It asks a records table nothing but what every one offers."""
    scene.record(0, 1, 2)
    bridge = scene.manager.register("passing", ephemeral=True)
    refs = [FakeDatasetRef(id) for id in scene.ids([0, 1, 2])]
    bridge.insert(refs)
    bridge.moveToTrash(refs[1:], transaction=DatastoreTransaction())
    with bridge.emptyTrash(scene.table, record_class=StoredFileInfo, record_column="path") as (items, keep):
        assert sorted(info.path for _, info in items) == ["p1", "p2"]
        assert keep is None
    assert scene.records == [0]


@pytest.mark.parametrize("kind", ["arrow-sqlite-local", "arrow-postgres-local"])
def test_a_large_table_is_not_scanned(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, group, trashed = 12_800, 64, (5, 6_400, 12_799)
    postgres = request.getfixturevalue("butler_database") if "postgres" in kind else None
    options = {"row_group_rows": group}
    site = Site(tmp_path, postgres=postgres)
    with open_repository(kind, site, option_values=options, with_bridge=True) as subject:
        scene = Scene.open(subject, ServedBy.OURS)
        scene.table.insert(*[specs.record(number) for number in range(rows)])
        subject.flush()
        scene.table.insert(specs.record(rows, path=specs.record(5)["path"]))
        scene.locate(*trashed, rows)
        scene.trash(*trashed)
        read: set[tuple[str, int]] = set()
        everything = ParquetObject._decoded

        def recorded(self: ParquetObject, groups: Any, names: Any) -> Any:
            read.update((self.entry.path, number) for number in groups)
            return everything(self, groups, names)

        monkeypatch.setattr(ParquetObject, "_decoded", recorded)
        monkeypatch.setattr(ParquetObject, "whole", None)
        found, keep = scene.empty()
        assert [number for number, _ in found] == list(trashed)
        assert keep == {specs.record(5)["path"]}
        # A group of keys, one of the path index, and one of rows for each.
        assert 0 < len(read) <= 3 * len(trashed)
        monkeypatch.undo()
        assert len(scene.records) == rows + 1 - len(trashed)
