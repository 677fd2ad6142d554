"""The root binding's counterexamples and the rules of the chain.

Numbers are those of "Counterexamples" in ``docs/DESIGN.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage

from arrowopaque.errors import CommitUnknownError, StoreAccessError
from arrowopaque.format import names
from arrowopaque.format.manifest import MetaTable
from arrowopaque.objects.base import Put
from arrowopaque.objects.local import LocalStore
from arrowopaque.store.catalog import FileChain, Outcome
from tests.opaque.suite_base import assert_holds
from tests.protocol.crew import Crew, Pause, age, ours, storing, vacuum
from tests.protocol.tables import assert_sound, table_of
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RootSubject

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
    assert_sound(root, expected)


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
    assert_sound(root, expected)
    vacuum(root.second())
    assert_sound(root, expected)


def test_11_compaction_stalls_while_vacuum_runs(root: RootSubject, crew: Crew) -> None:
    table = table_of(root)
    table.insert(*rows([1, 2]))
    table.insert(*rows([3, 4]))
    other = root.second()
    pause = Pause(storing("append"))
    compacting = crew.start(lambda: ours(other).compact(), pause)
    assert vacuum(root)[""].objects > 0
    pause.let_go()
    compacting.result()
    assert_sound(root, rows([1, 2, 3, 4]))


@pytest.mark.parametrize("write", WRITES)
def test_11_writer_stages_after_the_fence(root: RootSubject, crew: Crew, write: str) -> None:
    """It need not stage again, for the vacuum has listed before."""
    table = table_of(root)
    table.insert(*rows([1, 2, 3]))
    table.replace(row(1, val=10))
    other, third = root.second(), root.second()
    theirs = table_of(other)
    action, expected = WRITES[write]
    append, pause, writing = FileChain.append, Pause(storing("append")), []

    def then_write(chain: FileChain, meta: MetaTable) -> Outcome:
        outcome = append(chain, meta)
        if meta.floor == meta.version:
            writing.append(crew.start(lambda: action(theirs), pause))
            age(root)
        return outcome

    crew.patch.setattr(FileChain, "append", then_write)
    assert vacuum(third)[""].objects > 0
    pause.let_go()
    writing[0].result()
    assert_sound(root, expected)


def test_11_vacuum_after_vacuum_changes_nothing(root: RootSubject) -> None:
    table = table_of(root)
    table.insert(*rows([1, 2, 3]))
    table.replace(row(1, "new"))
    vacuum(root)
    version = root.root.version
    assert ours(root).vacuum(retention=600)[""].objects == 0
    assert root.root.version == version
    assert_sound(root, [row(1, "new"), *rows([2, 3])])


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
    assert_sound(root, expected)


@pytest.mark.parametrize("landed", [False, True])
def test_append_whose_reply_was_lost_is_ours(root: RootSubject, landed: bool) -> None:
    head = root.root.head
    following = {"version": head.version + 1, "parent": head.version}
    chain = FileChain(root.root.volume)
    mine, theirs = (head.model_copy(update={**following, "commit": letter * 32}) for letter in "ab")
    with lost_replies(1, landed=landed):
        assert chain.append(mine) is Outcome.COMMITTED
    assert chain.append(mine) is Outcome.COMMITTED
    assert chain.append(theirs) is Outcome.CONFLICT
    assert chain.read(head.version + 1) == mine


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
    assert_sound(root, [row(1, "theirs"), row(2, "theirs"), *left])


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
    assert_sound(root, [*rows([1, 2]), *([row(3)] if landed else [])])
    table.ensure(row(3))
    assert_sound(root, [*rows([1, 2]), row(3)])


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
        assert_sound(root, [*rows([1, 2]), row(3)])
    table.insert(row(4))
    assert_sound(root, [*rows([1, 2]), row(3), row(4)])
