"""The root binding's counterexamples and the rules of the chain.

Numbers are those of "Counterexamples" in ``docs/DESIGN.md``.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import IntegrityError

from arrowopaque import ArrowOpaqueTableStorageManager, Options, StoreRoot
from arrowopaque.errors import CommitUnknownError, ConstraintError, StoreAccessError
from arrowopaque.format import names
from arrowopaque.format.manifest import MetaTable
from arrowopaque.objects.base import Put
from arrowopaque.objects.local import LocalStore
from arrowopaque.store.catalog import FileChain, Outcome
from tests.opaque.suite_base import assert_holds
from tests.protocol.crew import Crew, Pause, ours, storing, vacuum
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RootSubject


def table_of(client: RootSubject, spec: Any = None) -> OpaqueTableStorage:
    return client.manager.register("t", spec or specs.standard())


def _sound(client: RootSubject, expected: list[specs.Row]) -> None:
    """Check a root with the eyes of a new client."""
    fresh = client.second()
    assert_holds(table_of(fresh), expected)
    ours(fresh).verify()


# 11: a fence, remembered by every later link.

WRITES: dict[str, tuple[Callable[[OpaqueTableStorage], None], list[specs.Row]]] = {
    "insert": (lambda table: table.insert(row(9)), [*rows([1, 2, 3]), row(9)]),
    "bulk insert": (lambda table: table.insert(*rows([8, 9])), rows([1, 2, 3, 8, 9])),
    "replace": (lambda table: table.replace(row(1, "new")), [row(1, "new"), *rows([2, 3])]),
    "delete": (lambda table: table.delete(["id"], {"id": 2}), rows([1, 3])),
}


@pytest.mark.parametrize("then", ["nothing", "a commit", "a second vacuum"])
@pytest.mark.parametrize("write", WRITES)
def test_11_writer_stalls_while_vacuum_runs(root: RootSubject, crew: Crew, write: str, then: str) -> None:
    table = table_of(root)
    table.insert(*rows([1, 2, 3]))
    other = root.second()
    theirs = table_of(other)
    action, expected = WRITES[write]
    pause = Pause(storing("append"))
    writing = crew.start(lambda: action(theirs), pause)
    assert vacuum(root)[""].objects > 0
    if then != "nothing":
        table.insert(row(20))
        expected = [*expected, row(20)]
    if then == "a second vacuum":
        vacuum(root)
    pause.let_go()
    writing.result()
    _sound(root, expected)


@pytest.mark.parametrize("step", ["append", "delete"])
@pytest.mark.parametrize("write", WRITES)
def test_11_vacuum_stalls_while_a_writer_commits(
    root: RootSubject, crew: Crew, write: str, step: str
) -> None:
    table = table_of(root)
    table.insert(*rows([1, 2, 3]))
    other = root.second()
    theirs = table_of(other)
    action, expected = WRITES[write]
    at_append = Pause(storing("append"))
    writing = crew.start(lambda: action(theirs), at_append)
    # The vacuum has listed what the writer has staged.
    pause = Pause(storing(step))
    cleaning = crew.start(lambda: vacuum(root), pause)
    at_append.let_go()
    writing.result()
    pause.let_go()
    cleaning.result()
    _sound(root, expected)
    vacuum(root.second())
    _sound(root, expected)


def test_11_vacuum_after_vacuum_changes_nothing(root: RootSubject) -> None:
    table = table_of(root)
    table.insert(*rows([1, 2, 3]))
    table.replace(row(1, "new"))
    vacuum(root)
    version = root.root.version
    assert ours(root).vacuum(retention=600)[""].objects == 0
    assert root.root.version == version
    _sound(root, [row(1, "new"), *rows([2, 3])])


# 12: a lost reply is settled by reading, whatever has happened meanwhile.


@contextmanager
def lost_replies(
    count: int, *, landed: bool, meanwhile: Callable[[], None] | None = None
) -> Iterator[list[Put | None]]:
    """Lose the replies to the next puts of the chain."""
    original = LocalStore.put_if_absent
    outcomes: list[Put | None] = []

    def put_if_absent(store: LocalStore, path: str, data: bytes) -> Put:
        if len(outcomes) >= count:
            return original(store, path, data)
        outcomes.append(original(store, path, data) if landed else None)
        if meanwhile is not None:
            meanwhile()
        raise StoreAccessError("the reply is lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalStore, "put_if_absent", put_if_absent)
        yield outcomes
    assert len(outcomes) == count


@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize("write", WRITES)
def test_lost_reply(root: RootSubject, write: str, landed: bool) -> None:
    table = table_of(root)
    table.insert(*rows([1, 2, 3]))
    before = root.root.version
    action, expected = WRITES[write]
    with lost_replies(2, landed=landed):
        action(table)
    assert root.root.version == before + 1
    assert_holds(table, expected)
    _sound(root, expected)


@pytest.mark.parametrize("vacuumed", [False, True])
@pytest.mark.parametrize("write", WRITES)
def test_12_lost_reply_and_others_go_on(root: RootSubject, write: str, vacuumed: bool) -> None:
    table = table_of(root)
    table.insert(*rows([1, 2, 3]))
    other = root.second()
    theirs = table_of(other)
    action, expected = WRITES[write]
    landed = root.root.version + 1

    def go_on() -> None:
        # All of it undoes what the writer did: doing it again would show.
        theirs.delete(["id"], {"id": 9})
        theirs.replace(row(1, "theirs"), row(2, "theirs"))
        if vacuumed:
            vacuum(other)
            chain = FileChain(other.root.volume)
            assert (link := chain.read(landed)) is not None
            assert link.stub

    with lost_replies(1, landed=True, meanwhile=go_on):
        action(table)
    left = [one for one in expected if one["id"] in (3, 8)]
    _sound(root, [row(1, "theirs"), row(2, "theirs"), *left])


@pytest.mark.parametrize("landed", [False, True])
def test_reply_that_stays_lost_is_reported_as_unknown(
    root: RootSubject, landed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arrowopaque.clock.pause", lambda _: None)
    table = table_of(root)
    table.insert(*rows([1, 2]))
    with pytest.raises(CommitUnknownError, match=names.chain_manifest(root.root.version + 1)):
        with lost_replies(8, landed=landed):
            table.insert(row(3))
    root.refresh()
    _sound(root, [*rows([1, 2]), *([row(3)] if landed else [])])
    table.ensure(row(3))
    _sound(root, [*rows([1, 2]), row(3)])


def test_commit_that_cannot_be_published_has_landed(
    root: RootSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``manifest.json`` is a copy: a caller that is told of a failure would do it again."""
    table = table_of(root)
    table.insert(*rows([1, 2]))
    put = LocalStore.put

    def fail(store: LocalStore, path: str, data: bytes) -> None:
        if path == names.PUBLISHED:
            raise StoreAccessError("no space")
        put(store, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put", fail)
        table.insert(row(3))
        assert_holds(table, [*rows([1, 2]), row(3)])
        _sound(root, [*rows([1, 2]), row(3)])
    table.insert(row(4))
    _sound(root, [*rows([1, 2]), row(3), row(4)])


# A commit that lost the race is done again on top of the winner's.


def _beside(
    client: RootSubject, crew: Crew, mine: Callable[[], None], meanwhile: Callable[[], None]
) -> BaseException | None:
    """Do ``mine`` up to its commit, then ``meanwhile``, then commit; return
    the error.
    """
    pause = Pause(storing("append"))
    future = crew.start(mine, pause)
    meanwhile()
    pause.let_go()
    return future.exception()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[MetaTable]:
    """Every link that anybody tries to append."""
    tried: list[MetaTable] = []
    append = FileChain.append

    def noted(chain: FileChain, meta: MetaTable) -> Outcome:
        tried.append(meta)
        return append(chain, meta)

    monkeypatch.setattr(FileChain, "append", noted)
    return tried


def test_rebase_keeps_its_commit_id_and_its_files(
    attempts: list[MetaTable], root: RootSubject, crew: Crew
) -> None:
    table = table_of(root)
    table.insert(*rows([1, 2, 3]))
    theirs = table_of(root.second())
    attempts.clear()
    written: list[str] = []

    def rival() -> None:
        table.insert(row(8))
        put = LocalStore.put

        def noted(store: LocalStore, path: str, data: bytes) -> None:
            written.append(path)
            put(store, path, data)

        crew.patch.setattr(LocalStore, "put", noted)

    assert _beside(root, crew, lambda: theirs.insert(*rows([9, 10])), rival) is None
    _, first, last = attempts
    assert first.commit == last.commit
    assert (first.version, last.version) == (last.version - 1, last.parent + 1 if last.parent else None)
    parsed = [names.parse(path) for path in written]
    kinds = [name.kind for name in parsed if name is not None]
    assert names.Kind.DATA not in kinds
    assert names.Kind.TABLE_MANIFEST in kinds
    _sound(root, [*rows([1, 2, 3]), row(8), *rows([9, 10])])


OUTCOMES: dict[str, tuple[Callable[[Any], None], Callable[[Any], None], list[specs.Row] | None]] = {
    "insert, insert": (lambda t: t.insert(row(9)), lambda t: t.insert(row(9, "b")), None),
    "insert, bulk insert": (lambda t: t.insert(row(9)), lambda t: t.insert(*rows([9, 10], "b")), None),
    "bulk insert, insert": (lambda t: t.insert(*rows([8, 9])), lambda t: t.insert(row(9, "b")), None),
    "ensure, insert": (
        lambda t: t.ensure(row(9)),
        lambda t: t.insert(row(9, "b")),
        [*rows([1, 2, 3]), row(9, "b")],
    ),
    "bulk ensure, insert": (
        lambda t: t.ensure(*rows([8, 9])),
        lambda t: t.insert(row(9, "b")),
        [*rows([1, 2, 3, 8]), row(9, "b")],
    ),
    "replace, replace": (
        lambda t: t.replace(row(1, "a")),
        lambda t: t.replace(row(1, "b")),
        [row(1, "a"), *rows([2, 3])],
    ),
    "replace of a new row, insert": (
        lambda t: t.replace(row(9, "a")),
        lambda t: t.insert(row(9, "b")),
        [*rows([1, 2, 3]), row(9, "a")],
    ),
    "replace, delete": (
        lambda t: t.replace(row(1, "a")),
        lambda t: t.delete(["id"], {"id": 1}),
        [row(1, "a"), *rows([2, 3])],
    ),
    "delete, replace": (
        lambda t: t.delete(["id"], {"id": 1}),
        lambda t: t.replace(row(1, "b")),
        rows([2, 3]),
    ),
    "delete, delete of another": (
        lambda t: t.delete(["id"], {"id": 3}),
        lambda t: t.delete(["id"], {"id": 1}),
        rows([2]),
    ),
    "delete, delete of all": (lambda t: t.delete(["id"], {"id": 3}), lambda t: t.delete([]), []),
    "delete, delete of the same": (
        lambda t: t.delete(["id"], {"id": 1}),
        lambda t: t.delete(["id"], {"id": 1}, {"id": 2}),
        rows([3]),
    ),
    "delete by value, replace by another value": (
        lambda t: t.delete(["name"], {"name": "a"}),
        lambda t: t.replace(row(1, "b"), row(2, "a", 7)),
        [row(1, "b")],
    ),
}
"""What one commits after the other has: what is left, `None` if it clashes."""


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("case", OUTCOMES)
def test_rebase(root: RootSubject, crew: Crew, case: str, compacted: bool) -> None:
    table = table_of(root)
    table.insert(*rows([1, 2, 3]))
    theirs = table_of(root.second())
    mine, rival, expected = OUTCOMES[case]

    def meanwhile() -> None:
        rival(table)
        if compacted:
            # What the writer deletes from is another file by then.
            table.insert(row(50))
            ours(root).compact()

    error = _beside(root, crew, lambda: mine(theirs), meanwhile)
    assert type(error) is (IntegrityError if expected is None else type(None))
    if expected is None:
        root.refresh()
        expected = [dict(one) for one in table.fetch() if one["id"] != 50]
        assert {one["name"] for one in expected if one["id"] > 8} == {"b"}
    _sound(root, [*expected, *([row(50)] if compacted else [])])


@pytest.mark.parametrize("kind", ["small", "bulk"])
def test_unique_clash_after_rebase_commits_nothing(root: RootSubject, crew: Crew, kind: str) -> None:
    table = table_of(root, specs.uniques())
    first = {"id": 1, "name": "one", "label": "l", "x": 1, "y": 1}
    table.insert(first)
    other = root.second()
    theirs = table_of(other, specs.uniques())
    mine = [{**first, "id": i, "name": f"n{i}", "label": f"l{i}", "x": i} for i in (2, 3)]

    def transaction() -> None:
        with other.transaction():
            if kind == "small":
                theirs.delete(["id"], {"id": 1})
                theirs.insert(mine[0])
                theirs.insert(mine[1])
            else:
                theirs.insert(*mine)

    rival = {**first, "id": 7, "name": "n3", "label": "l7", "x": 7}
    error = _beside(root, crew, transaction, lambda: table.insert(rival))
    assert isinstance(error, ConstraintError)
    assert_holds(table_of(root.second(), specs.uniques()), [first, rival])
    theirs.insert(mine[0])
    assert_holds(table_of(root.second(), specs.uniques()), [first, rival, mine[0]])


def test_writer_whose_start_is_gone(root: RootSubject, crew: Crew) -> None:
    """Vacuum took the very state that the transaction began with."""
    root.repository.option_values["cache_bytes"] = 0
    table = table_of(root)
    table.insert(*rows([1, 2, 3]))
    other = root.second()
    theirs = table_of(other)

    def rivals() -> None:
        table.replace(row(1, "new"), row(9))
        table.delete(["id"], {"id": 2})
        ours(root).compact()
        vacuum(root)

    assert _beside(root, crew, lambda: theirs.insert(*rows([7, 8])), rivals) is None
    _sound(root, [row(1, "new"), row(3, val=30), row(9), *rows([7, 8])])


# Many at once.

_WRITERS = 4
_COMMITS = 6


def _write(uri: str, number: int, barrier: Any, results: Any) -> None:
    """Be one of the processes that make a root and write to it at once."""
    barrier.wait(timeout=120)
    try:
        manager = ArrowOpaqueTableStorageManager.initialize(
            StoreRoot(uri, options=Options(bulk_rows=2)), None
        )
        table = manager.register("t", specs.standard())
        for i in range(_COMMITS):
            table.insert(*rows([100 * number + 2 * i, 100 * number + 2 * i + 1]))
            table.ensure(row(10_000 + i))
        results.put(None)
    except BaseException as error:  # noqa: BLE001  # the parent fails with it
        results.put(repr(error))


def test_many_processes_commit_to_a_root_they_make(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(_WRITERS), context.Queue()
    uri = str(tmp_path / "root")
    workers = [
        context.Process(target=_write, args=(uri, number, barrier, results)) for number in range(_WRITERS)
    ]
    for worker in workers:
        worker.start()
    errors = [results.get(timeout=200) for _ in workers]
    for worker in workers:
        worker.join()
    results.close()
    results.join_thread()
    assert errors == [None] * _WRITERS
    root = StoreRoot(uri, writeable=False)
    wanted = [100 * number + i for number in range(_WRITERS) for i in range(2 * _COMMITS)]
    wanted += [10_000 + i for i in range(_COMMITS)]
    assert sorted(found["id"] for found in root.table("t").fetch()) == sorted(wanted)
    chain = FileChain(root.volume)
    links = list(chain.after(0))
    assert [link.version for link in links] == list(range(1, root.version + 1))
    assert len({link.commit for link in links}) == len(links)
    root.verify()


def test_root_whose_maker_died_is_made_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "root")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FileChain, "append", die)
        with pytest.raises(KeyboardInterrupt):
            StoreRoot(uri)
    root = StoreRoot(uri)
    table = ArrowOpaqueTableStorageManager.initialize(root, None).register("t", specs.standard())
    table.insert(row(1))
    assert [found["id"] for found in StoreRoot(uri, writeable=False).table("t").fetch()] == [1]
