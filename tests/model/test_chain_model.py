"""The chain has no violation, and none of its steps is spare."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.model.chain import STEPS, Store, network, rows_of, started, vacuum, writer
from tests.model.explorer import Explorer

INSERT, OTHER, DELETE, COMPACT = ("insert", 3), ("insert", 4), ("delete", 1), ("compact",)


class _FoundError(Exception):
    """A state that must not be."""


def _check(work: dict[str, Any], store: Store) -> None:
    _, head = store.head()
    files = store.files(head)
    if head.stub or files is None:
        raise _FoundError("the head names what is not there")
    versions = [version for version, _, _ in store.log]
    if versions != sorted(set(versions)):
        raise _FoundError(f"a name was taken again: {versions}")
    rows: tuple[int, ...] | None = (1, 2)
    for _, commit, after in store.log:
        expected = _applied(work.get(str(commit), ("nothing",)), rows or ())
        if after != expected or len(set(after)) < len(after):
            raise _FoundError(f"{commit} makes {after} of {rows}")
        rows = after
    if rows_of(files) != rows:
        raise _FoundError(f"the head has {rows_of(files)}, not {rows}")


def _applied(operation: tuple[Any, ...], rows: tuple[int, ...]) -> tuple[int, ...]:
    if operation[0] == "insert":
        return tuple(sorted((*rows, operation[1])))
    return tuple(row for row in rows if operation[0] != "delete" or row != operation[1])


def _check_told(work: dict[str, Any], last: Store, told: tuple[Any, ...]) -> None:
    for name, answer in zip(work, told, strict=False):
        landed = [commit for _, commit, _ in last.log].count(name)
        if landed > 1 or (answer != "crashed" and landed != (answer == "committed")):
            raise _FoundError(f"{name} was told {answer!r}, and landed {landed} times")


def found(
    *operations: tuple[Any, ...],
    vacuums: int = 0,
    losses: int = 0,
    without: frozenset[str] = frozenset(),
    crashing: frozenset[int] = frozenset(),
    fates: tuple[str, ...] = ("landed", "lost", "late"),
) -> tuple[str | None, int]:
    """Return what goes wrong, and the number of states."""
    has = STEPS - without
    work = {f"w{number}": operation for number, operation in enumerate(operations)}
    make: list[Any] = [partial(writer, name, operation, has) for name, operation in work.items()]
    make += [partial(vacuum, f"v{number}", has) for number in range(vacuums)]
    if losses and "late" in fates:
        make.append(network)
    store = replace(started(losses, has, fates), unlisted=not vacuums)
    explorer = Explorer(make, store, crashing)
    wrong = None
    try:
        for (last, _), told in explorer.ends(partial(_check, work)):
            _check_told(work, last, told)
    except _FoundError as error:
        wrong = str(error)
    return wrong, len(explorer.came_from)


RUNS: dict[str, tuple[tuple[tuple[Any, ...], ...], dict[str, Any]]] = {
    "an insert beside a delete": ((INSERT, DELETE), {"vacuums": 1}),
    "a lost reply beside a vacuum": ((INSERT,), {"vacuums": 1, "losses": 2}),
    "an insert of one key by two": ((INSERT, INSERT), {"vacuums": 1}),
    "a delete beside a compaction": ((DELETE, COMPACT), {"vacuums": 1}),
    "a compaction beside two": ((INSERT, DELETE, COMPACT), {}),
    "two vacuums": ((INSERT,), {"vacuums": 2}),
    "three writers": ((INSERT, OTHER, DELETE), {"losses": 1}),
    "two lost replies": ((INSERT, DELETE), {"losses": 2}),
    "clients that die": ((INSERT, DELETE), {"vacuums": 1, "crashing": frozenset({0, 2})}),
}
LARGE: dict[str, tuple[tuple[tuple[Any, ...], ...], dict[str, Any]]] = {
    "two writers, a vacuum and a lost reply": ((INSERT, DELETE), {"vacuums": 1, "losses": 1}),
    "three writers and a vacuum": ((INSERT, OTHER, DELETE), {"vacuums": 1}),
    "three writers, a vacuum and a lost reply": ((INSERT, DELETE, COMPACT), {"vacuums": 1, "losses": 1}),
    "two vacuums and two lost replies": ((INSERT, DELETE), {"vacuums": 2, "losses": 2}),
}


@pytest.mark.parametrize("run", RUNS)
def test_chain_loses_nothing(run: str) -> None:
    operations, rest = RUNS[run]
    assert found(*operations, **rest)[0] is None


_LANDED: dict[str, Any] = {"losses": 1, "fates": ("landed",)}
NEEDED: dict[str, tuple[tuple[tuple[Any, ...], ...], dict[str, Any]]] = {
    "put if absent": ((INSERT, OTHER), {}),
    "lost replies are settled": ((INSERT,), {"losses": 1}),
    "commit ids are compared": ((INSERT,), {"losses": 1}),
    "stubs keep the commit id": ((INSERT,), {"vacuums": 2, **_LANDED}),
    "names are never freed": ((INSERT,), {"vacuums": 2, **_LANDED}),
    "vacuum puts a fence": ((INSERT,), {"vacuums": 1}),
    "the floor is carried": ((INSERT, DELETE), {"vacuums": 1}),
    "writers heed the floor": ((INSERT,), {"vacuums": 1}),
    "listed before the fence": ((INSERT,), {"vacuums": 1}),
    "manifests are named anew": ((INSERT,), {"vacuums": 1}),
    "a rebase builds on the head": ((INSERT, OTHER), {}),
    "a rebase checks keys again": ((INSERT, INSERT), {}),
    "positions are found anew": ((DELETE, COMPACT), {}),
    "a compaction starts over": ((COMPACT,), {"vacuums": 1}),
}
"""A run that goes wrong without the step."""


@pytest.mark.parametrize("step", sorted(STEPS))
def test_step_is_needed(step: str) -> None:
    operations, rest = NEEDED[step]
    assert found(*operations, **rest)[0] is None
    assert found(*operations, **rest, without=frozenset({step}))[0] is not None
