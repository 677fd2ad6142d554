"""Rows staged without coordination, and the one commit that takes them."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from arrowopaque import (
    CommitUnknownError,
    ConfigurationError,
    ConflictError,
    ConstraintError,
    CorruptStoreError,
    FormatVersionError,
    ReadOnlyError,
    Staged,
    StoreRoot,
)
from arrowopaque.errors import ObjectMissingError
from arrowopaque.format import names
from arrowopaque.objects.local import LocalStore
from arrowopaque.store.catalog import FileChain
from arrowopaque.store.parquet import ParquetObject
from tests.opaque.suite_base import assert_holds
from tests.protocol.crew import Crew, Pause, ours, storing, vacuum
from tests.protocol.tables import assert_sound, table_of
from tests.protocol.test_root_counterexamples import lost_replies
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RootSubject


def arrow(given: Iterable[specs.Row]) -> pa.Table:
    return pa.Table.from_pylist(list(given))


def staged(client: RootSubject, *given: specs.Row, table: str = "t") -> Staged:
    """Stage rows as a job of its own, and send the receipt as JSON."""
    job = StoreRoot(str(client.repository.base))
    return Staged.from_json(job.stage(table, arrow(given)).to_json())


def receipts_of(client: RootSubject, count: int = 4) -> list[Staged]:
    """Stage rows whose keys lie between each other's."""
    return [staged(client, *rows(range(i, 10 * count, count))) for i in range(count)]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> list[names.Kind]:
    """The kinds of the objects that anybody writes."""
    written: list[names.Kind] = []
    original = LocalStore.put

    def noted(store: LocalStore, path: str, data: bytes) -> None:
        name = names.parse(path)
        written.extend([name.kind] if name else [])
        original(store, path, data)

    monkeypatch.setattr(LocalStore, "put", noted)
    return written


def test_all_receipts_in_one_commit(root: RootSubject, put: list[names.Kind]) -> None:
    table_of(root)
    receipts = receipts_of(root)
    assert_sound(root, [])
    before = root.second().root.version
    put.clear()
    report = root.root.commit_staged(receipts)
    assert report.taken == tuple(receipt.id for receipt in receipts)
    assert report.known == ()
    assert root.second().root.version == before + 1
    assert names.Kind.DATA not in put
    assert_sound(root, rows(range(40)))
    ours(root).compact()
    assert_sound(root, rows(range(40)))


def test_receipts_of_several_tables(root: RootSubject) -> None:
    for name in ("t", "u"):
        table_of(root, name)
    report = root.root.commit_staged([staged(root, row(1)), staged(root, row(1, "u"), table="u")])
    assert len(report.taken) == 2
    assert_holds(table_of(root.second(), "t"), [row(1)])
    assert_holds(table_of(root.second(), "u"), [row(1, "u")])


def test_receipt_is_small_and_holds_no_row(root: RootSubject) -> None:
    table_of(root)
    receipt = staged(root, *(row(i, "secret word") for i in range(3000)))
    assert receipt.rows == 3000
    assert len(receipt.to_json()) < 3000
    assert "secret" not in receipt.to_json()


def test_nothing_staged(root: RootSubject) -> None:
    table_of(root).insert(row(1))
    root.refresh()
    version = root.root.version
    assert root.root.commit_staged([]).taken == ()
    assert root.root.version == version
    assert len(root.root.commit_staged([staged(root, *[row(5)][:0], table="t")]).taken) == 1
    assert_sound(root, [row(1)])


# A receipt is taken once.


def _compacted(root: RootSubject) -> None:
    ours(root).compact()


def _emptied(root: RootSubject) -> None:
    """Vacuum makes a stub of the link that has taken the receipts."""
    table_of(root).insert(row(500))
    table_of(root).delete(["id"], {"id": 500})
    ours(root).compact()
    taken_at = root.root.version
    vacuum(root)
    ours(root).compact()
    vacuum(root)
    chain = FileChain(root.root.volume)
    links = [chain.read(version) for version in range(1, taken_at)]
    assert any(link is not None and link.stub and link.receipts for link in links)


def _followed(root: RootSubject) -> None:
    for i in range(4):
        root.root.commit_staged([staged(root, row(600 + i))])
    table_of(root).delete(["id"], *({"id": 600 + i} for i in range(4)))


LATER: list[Callable[[RootSubject], None]] = [lambda _: None, _compacted, _emptied, _followed]


@pytest.mark.parametrize("later", LATER)
def test_receipts_are_taken_once(root: RootSubject, later: Callable[[RootSubject], None]) -> None:
    table_of(root)
    receipts = receipts_of(root)[:3]
    root.root.commit_staged(receipts)
    later(root)
    receipts.append(staged(root, *rows(range(3, 40, 4))))
    other = root.second()
    report = other.root.commit_staged(receipts)
    assert (report.taken, report.known) == ((receipts[3].id,), tuple(r.id for r in receipts[:3]))
    version = other.root.version
    assert other.root.commit_staged([*receipts, receipts[0]]).taken == ()
    assert other.root.version == version
    assert_sound(root, rows(range(40)))


def test_deleted_rows_stay_deleted(root: RootSubject) -> None:
    """Taking a receipt again would bring its rows back."""
    table_of(root)
    receipts = receipts_of(root)
    root.root.commit_staged(receipts)
    table_of(root).delete([])
    assert root.root.commit_staged(receipts).taken == ()
    assert_sound(root, [])


@pytest.mark.parametrize("landed", [False, True])
def test_lost_reply(root: RootSubject, landed: bool) -> None:
    table_of(root)
    receipts = receipts_of(root)
    with lost_replies(2, landed=landed):
        assert len(root.root.commit_staged(receipts).taken) == 4
    assert_sound(root, rows(range(40)))


@pytest.mark.parametrize("landed", [False, True])
def test_unknown_outcome_is_settled_by_the_next_call(root: RootSubject, landed: bool) -> None:
    table_of(root)
    receipts = receipts_of(root)
    with lost_replies(8, landed=landed), pytest.raises(CommitUnknownError):
        root.root.commit_staged(receipts)
    report = root.second().root.commit_staged(receipts)
    assert len(report.known) == (4 if landed else 0)
    assert len(report.taken) == (0 if landed else 4)
    assert_sound(root, rows(range(40)))


@pytest.mark.parametrize("theirs", [slice(0, 2), slice(0, 4), slice(1, 3)])
def test_two_commit_the_same_receipts_at_once(root: RootSubject, crew: Crew, theirs: slice) -> None:
    table_of(root)
    receipts, other = receipts_of(root), root.second()
    pause = Pause(storing("append"))
    committing = crew.start(lambda: other.root.commit_staged(receipts), pause)
    root.root.commit_staged(receipts[theirs])
    pause.let_go()
    report = committing.result()
    assert set(report.known) == {receipt.id for receipt in receipts[theirs]}
    assert len(report.taken) == 4 - len(report.known)
    assert_sound(root, rows(range(40)))


# What clashes is refused, and named.


def _refused(root: RootSubject, receipts: list[Staged], *words: str) -> None:
    version = root.second().root.version
    with pytest.raises(ConstraintError) as caught:
        root.root.commit_staged(receipts)
    for word in words:
        assert word in str(caught.value)
    assert root.second().root.version == version


def test_key_in_two_receipts(root: RootSubject) -> None:
    table_of(root)
    one, two = staged(root, row(1), row(5)), staged(root, row(3), row(5, "b"))
    third = staged(root, row(4))
    _refused(root, [one, third, two], "'t'", "'id': 5", one.id, two.id)
    root.root.commit_staged([one, third])
    _refused(root, [two], "'id': 5", two.id, "already")
    assert_sound(root, [row(1), row(5), row(4)])


@pytest.mark.parametrize("in_table", [False, True])
@pytest.mark.parametrize(
    "keys", [([1, 5], [5, 9]), ([0, 50, 100], [1, 2], [50, 60]), ([50, 60], [0, 50, 100], [1, 2])]
)
def test_key_in_ranges_that_touch_or_hold_each_other(
    root: RootSubject, keys: tuple[list[int], ...], in_table: bool
) -> None:
    table = table_of(root)
    shared = str(max(set(keys[0]) & {key for others in keys[1:] for key in others}))
    if in_table:
        table.insert(*rows(keys[0]))
        keys = keys[1:]
    _refused(root, [staged(root, *rows(some)) for some in keys], shared)


def test_key_that_the_table_has(root: RootSubject) -> None:
    table = table_of(root)
    table.insert(*rows([2, 4, 6]))
    receipt = staged(root, row(3), row(4))
    _refused(root, [receipt], "'t'", "'id': 4", receipt.id, "already")
    table.delete(["id"], {"id": 4})
    root.root.commit_staged([receipt])
    assert_sound(root, [*rows([2, 6]), row(3), row(4)])


def test_key_that_another_commits_meanwhile(root: RootSubject, crew: Crew) -> None:
    table, other = table_of(root), root.second()
    receipt = staged(root, *rows([1, 2, 3]))
    pause = Pause(storing("append"))
    committing = crew.start(lambda: other.root.commit_staged([receipt]), pause)
    table.insert(row(2, "first"))
    pause.let_go()
    assert isinstance(committing.exception(), ConstraintError)
    assert receipt.id in str(committing.exception())
    assert_sound(root, [row(2, "first")])


def _unique(number: int, **values: Any) -> specs.Row:
    return {"id": number, "name": f"n{number}", "label": None, "x": number, "y": 0, **values}


@pytest.mark.parametrize("values", [{"name": "n1"}, {"label": "l"}, {"x": 1}])
@pytest.mark.parametrize("where", ["receipt", "table"])
def test_other_unique_values(root: RootSubject, values: dict[str, Any], where: str) -> None:
    table = root.manager.register("t", specs.uniques())
    first, second = _unique(1, label="l"), _unique(50, **values)
    receipts = [staged(root, _unique(70)), staged(root, second)]
    if where == "table":
        table.insert(first)
    else:
        receipts.append(staged(root, first))
    _refused(root, receipts, "'t'", str(next(iter(values.values()))), receipts[1].id)
    root.root.commit_staged([receipts[0], staged(root, _unique(51)), staged(root, _unique(52))])


def test_rows_that_clash_before_they_are_staged(root: RootSubject) -> None:
    table_of(root)
    root.manager.register("u", specs.uniques())
    root.manager.register("a", specs.autoincrement())
    with pytest.raises(ConstraintError, match=r"'t'.*'id': 1"):
        staged(root, row(1), row(1, "b"))
    with pytest.raises(ConstraintError, match="'u'"):
        staged(root, _unique(1), _unique(2, name="n1"), table="u")
    with pytest.raises(ConstraintError, match="'name' must not be NULL"):
        staged(root, row(1, None))
    with pytest.raises(ConfigurationError, match="need their own 'id'"):
        staged(root, {"val": 1}, table="a")


def test_columns_with_defaults(root: RootSubject) -> None:
    table_of(root)
    root.root.commit_staged([staged(root, {"id": 1, "name": "a"})])
    assert_sound(root, [row(1)])


@pytest.mark.parametrize("seed", range(6))
def test_random_receipts(root: RootSubject, seed: int) -> None:
    """Windows of few keys find what a look at all rows finds."""
    rng = random.Random(seed)
    root.repository.option_values.update(partition_rows=7, row_group_rows=3)
    client = root.second()
    table = table_of(client)
    keys = rng.sample(range(1000), 120)
    if seed % 2:
        keys[100] = keys[rng.randrange(100)]
    table.insert(*rows(sorted(set(keys[:20]))))
    receipts = [staged(client, *rows(keys[start : start + 10])) for start in range(20, 120, 10)]
    if seed % 2:
        _refused(client, receipts, str(keys[100]), receipts[8].id)
        receipts.pop(8)
        keys = keys[:100] + keys[110:]
    client.root.commit_staged(receipts)
    assert_sound(client, rows(keys))


def test_keys_are_not_read_where_ranges_are_proof(root: RootSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    table_of(root).insert(*rows([1000, 1001]))
    receipts = [staged(root, *rows(range(start, start + 10))) for start in (0, 10, 20, 2000)]

    def read(*_: object) -> None:
        raise AssertionError("a data file was read")

    with monkeypatch.context() as patch:
        patch.setattr(ParquetObject, "read", read)
        root.root.commit_staged(receipts)
    assert_sound(root, rows([1000, 1001, *range(30), *range(2000, 2010)]))


# Partitions that change, and vacuums.


def test_partitions_split_meanwhile(root: RootSubject) -> None:
    root.repository.option_values.update(partition_rows=5)
    client = root.second()
    table = table_of(client)
    early = receipts_of(client)
    table.insert(*rows(range(100, 130)))
    ours(client).compact()
    late = [staged(client, *rows(range(200 + i, 240, 4))) for i in range(4)]
    client.root.commit_staged([*early, *late])
    ours(client).compact()
    assert_sound(client, rows([*range(40), *range(100, 130), *range(200, 240)]))


def test_vacuum_spares_what_is_within_the_retention(root: RootSubject, put: list[names.Kind]) -> None:
    """And what it has spared is not written again."""
    table = table_of(root)
    table.insert(*rows([100, 101]))
    table.replace(*rows([100, 101], "new"))
    ours(root).compact()
    vacuum(root)
    table.replace(*rows([100, 101], "newer"))
    ours(root).compact()
    receipts = receipts_of(root)
    before = root.second().root.head.floor
    assert ours(root).vacuum()[""].objects == 0
    _age_all_but(root, receipts)
    assert ours(root).vacuum(retention=600)[""].objects > 0
    assert root.second().root.head.floor > before
    table.insert(row(102))
    put.clear()
    root.root.commit_staged(receipts)
    assert names.Kind.DATA not in put
    assert_sound(root, [*rows(range(40)), *rows([100, 101], "newer"), row(102)])


def _age_all_but(root: RootSubject, receipts: list[Staged]) -> None:
    spared = {path for receipt in receipts for path in receipt.paths()}
    base = Path(str(root.repository.base))
    for path in base.rglob("*.*"):
        if str(path.relative_to(base)) not in spared:
            os.utime(path, (path.stat().st_mtime - 3600,) * 2)


def test_files_that_vacuum_has_taken(root: RootSubject) -> None:
    table_of(root).insert(row(100))
    kept, lost = staged(root, row(1)), staged(root, row(2))
    vacuum(root)
    again = staged(root, row(1))
    with pytest.raises(ObjectMissingError, match=rf"receipt {lost.id} of table 't'.*stage these rows again"):
        root.root.commit_staged([again, lost])
    assert_sound(root, [row(100)])
    assert root.root.commit_staged([again]).taken == (again.id,)
    assert kept.id not in root.root.commit_staged([again]).known
    assert_sound(root, [row(1), row(100)])


@pytest.mark.parametrize("step", ["append", "delete"])
@pytest.mark.parametrize("then", ["nothing", "a commit"])
def test_vacuum_stalls_while_receipts_are_committed(
    root: RootSubject, crew: Crew, step: str, then: str
) -> None:
    """It has listed the staged files, and finds them old."""
    root.manager.register("t", specs.uniques())
    receipts = [staged(root, *(_unique(i) for i in range(start, 20, 2))) for start in (0, 1)]
    pause = Pause(storing(step))
    cleaning = crew.start(lambda: vacuum(root.second()), pause)
    if then == "a commit":
        root.root.table("t").insert(_unique(100))
    root.second().root.commit_staged(receipts)
    pause.let_go()
    cleaning.result()
    expected = [_unique(i) for i in (*range(20), *([100] if then == "a commit" else []))]
    fresh = root.second()
    assert_holds(fresh.manager.register("t", specs.uniques()), expected)
    fresh.root.verify()


def test_vacuum_that_takes_more_than_one_after_it(root: RootSubject, crew: Crew) -> None:
    """What the first is still deleting the second would have spared."""
    table = table_of(root)
    table.insert(row(100))
    table.replace(row(100, "new"))
    receipts = receipts_of(root)
    pause = Pause(storing("delete"))
    cleaning = crew.start(lambda: vacuum(root.second()), pause)
    cleaner = root.second()
    table_of(cleaner).replace(row(100, "newer"))
    ours(cleaner).compact()
    _age_all_but(root, receipts)
    assert ours(cleaner).vacuum(retention=5400)[""].objects > 0
    root.second().root.commit_staged(receipts)
    pause.let_go()
    cleaning.result()
    assert_sound(root, [*rows(range(40)), row(100, "newer")])


def test_receipts_stall_at_the_commit_while_vacuum_runs(root: RootSubject, crew: Crew) -> None:
    table_of(root).insert(row(100))
    receipts, other = receipts_of(root), root.second()
    pause = Pause(storing("append"))
    committing = crew.start(lambda: other.root.commit_staged(receipts), pause)
    assert vacuum(root)[""].objects > 0
    pause.let_go()
    assert isinstance(committing.exception(), ObjectMissingError)
    assert_sound(root, [row(100)])


# Receipts that are not for this store, or not receipts.


def test_receipt_of_another_store(root: RootSubject, tmp_path: Path) -> None:
    table_of(root)
    receipt = staged(root, row(1))
    stranger = StoreRoot(str(tmp_path / "stranger"))
    with pytest.raises(ConfigurationError, match=f"receipt {receipt.id} is for store {receipt.store}"):
        stranger.commit_staged([receipt])


def test_altered_receipts(root: RootSubject) -> None:
    table_of(root)
    receipt = staged(root, row(1))
    document = json.loads(receipt.to_json())
    for change in ({"rows": 2}, {"table": "u"}, {"seal": "0"}):
        with pytest.raises(CorruptStoreError, match="receipt"):
            Staged.from_json(json.dumps({**document, **change}))
    with pytest.raises(FormatVersionError):
        Staged.from_json(json.dumps({**document, "format": 2}))
    with pytest.raises(ConfigurationError, match=f"two different receipts have the id {receipt.id}"):
        root.root.commit_staged([receipt, receipt.model_copy(update={"rows": 2})])
    stolen = staged(root, row(2)).model_copy(update={"table": "u"})
    with pytest.raises(LookupError, match="'u'"):
        root.root.commit_staged([stolen])
    table_of(root, "u")
    with pytest.raises(CorruptStoreError):
        root.root.commit_staged([stolen])
    assert_sound(root, [])


def test_staging_needs_a_root_of_its_own(root: RootSubject) -> None:
    table_of(root)
    receipt = staged(root, row(1))
    reader = StoreRoot(str(root.repository.base), writeable=False)
    with pytest.raises(ReadOnlyError):
        reader.stage("t", arrow([row(1)]))
    with pytest.raises(ReadOnlyError):
        reader.commit_staged([receipt])
    with suppress(ConflictError), root.root.transaction():
        root.root.commit_staged([receipt])
        pytest.fail("a transaction has no commit inside")
    assert_sound(root, [])
