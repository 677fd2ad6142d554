"""Commits to a root that race: rebase, clashes, many processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from arrowopaque import ArrowOpaqueTableStorageManager, Options, StoreRoot
from arrowopaque.errors import ConstraintError
from arrowopaque.format import names
from arrowopaque.format.manifest import MetaTable
from arrowopaque.objects.local import LocalStore
from arrowopaque.store.catalog import FileChain, Outcome
from tests.opaque.suite_base import assert_holds
from tests.protocol.crew import Crew, Pause, ours, storing, vacuum
from tests.protocol.tables import assert_sound, table_of
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RootSubject

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
    assert_sound(root, [*rows([1, 2, 3]), row(8), *rows([9, 10])])


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
    "bulk delete, replace": (
        lambda t: t.delete(["id"], {"id": 1}, {"id": 2}),
        lambda t: t.replace(row(1, "b")),
        rows([3]),
    ),
    "delete by value, replace by another value": (
        lambda t: t.delete(["val"], {"val": 10}),
        lambda t: t.replace(row(1, "b"), row(2, "a", 7)),
        [row(1, "b"), row(2, "a", 7), *rows([3])],
    ),
    "bulk delete by value, replace by another value": (
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
    assert_sound(root, [*expected, *([row(50)] if compacted else [])])


@pytest.mark.parametrize("kind", ["small", "bulk"])
def test_unique_clash_after_rebase_commits_nothing(root: RootSubject, crew: Crew, kind: str) -> None:
    table = root.manager.register("t", specs.uniques())
    first = {"id": 1, "name": "one", "label": "l", "x": 1, "y": 1}
    table.insert(first)
    other = root.second()
    theirs = other.manager.register("t", specs.uniques())
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
    assert_holds(root.second().manager.register("t", specs.uniques()), [first, rival])
    theirs.insert(mine[0])
    assert_holds(root.second().manager.register("t", specs.uniques()), [first, rival, mine[0]])


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
    assert_sound(root, [row(1, "new"), row(3, val=30), row(9), *rows([7, 8])])


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
