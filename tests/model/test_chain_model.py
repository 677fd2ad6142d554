"""The chain has no violation, and none of its steps is spare."""

from __future__ import annotations

from functools import partial

import pytest

from tests.model.chain import STEPS, Link, Store, network, vacuum, writer
from tests.model.explorer import Explorer

_FIRST = Link("first", 0, (), frozenset({"old"}))


class _FoundError(Exception):
    """A state that must not be."""


def _check(store: Store) -> None:
    _, head = store.head()
    if head.stub or not head.files <= store.files:
        raise _FoundError(f"the head names what is not there: {sorted(head.files - store.files)}")
    versions = [version for version, _ in store.log]
    if versions != sorted(set(versions)):
        raise _FoundError(f"a name was taken again: {versions}")
    before: tuple[str, ...] = ()
    for _, link in store.log:
        added = link.content[len(before) :]
        if (
            link.content[: len(before)] != before
            or len(set(link.content)) < len(link.content)
            or len(added) > 1
        ):
            raise _FoundError(f"a commit was lost or done twice: {before}, then {link.content}")
        before = link.content


def _found(writers: int, vacuums: int, losses: int, without: frozenset[str]) -> str | None:
    """Return what goes wrong."""
    has = STEPS - without
    make = [partial(writer, f"w{number}", has) for number in range(writers)]
    make += [partial(vacuum, f"v{number}", has) for number in range(vacuums)]
    store = Store(frozenset({(1, _FIRST)}), frozenset({"old"}), losses=losses)
    explorer = Explorer([*make, network], store)
    try:
        for (last, _), told in explorer.ends(_check):
            for number in range(writers):
                landed = f"w{number}" in last.head()[1].content
                if landed != (told[number] == "committed"):
                    raise _FoundError(f"a writer was told {told[number]!r}, which is wrong")
    except _FoundError as found:
        return str(found)
    return None


@pytest.mark.parametrize(("writers", "vacuums", "losses"), [(2, 1, 1), (1, 2, 0), (3, 0, 1), (2, 0, 2)])
def test_chain_loses_nothing(writers: int, vacuums: int, losses: int) -> None:
    assert _found(writers, vacuums, losses, frozenset()) is None


@pytest.mark.parametrize("step", sorted(STEPS))
def test_step_is_needed(step: str) -> None:
    assert _found(2, 1, 1, frozenset({step})) is not None
