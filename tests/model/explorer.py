"""Runs processes in every possible order over a shared, immutable world.

A process is a generator: it yields a statement and is sent its result. It
must be deterministic, so that what it has been sent so far is all its state.
"""

from __future__ import annotations

__all__ = ["BlockedError", "Explorer", "Process", "Result", "Statement", "World"]

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from typing import Any, Protocol, Self

Statement = tuple[Any, ...]
Result = Hashable
Process = Generator[Statement, Any, Hashable]


class BlockedError(Exception):
    """The statement must wait; `world` is how it waits there."""

    def __init__(self, world: Any) -> None:
        self.world = world


class World(Protocol):
    """What the processes share; equal worlds are the same state."""

    def __hash__(self) -> int: ...
    def step(self, process: int, statement: Statement) -> list[tuple[Self, Result]]:
        """Return every way that a statement may go."""

    def is_local(self, statement: Statement) -> bool:
        """Return whether a statement commutes with those of all others, so
        that it need be tried in one order only.
        """

    def crash(self, process: int) -> Self: ...
    def victims(self, process: int) -> Self | None:
        """Return the world with a waiting process's transaction aborted."""


_Place = tuple[Any, tuple[int, ...]]
"""A world and where each process is; a crashed one is at `_CRASHED`."""

_CRASHED = -1


class Explorer:
    """Explores every order of the processes' statements.

    Parameters
    ----------
    make
        Makes the processes anew.
    world
        Where they start.
    crashing
        Processes that may die before each of their statements.
    """

    def __init__(
        self, make: Sequence[Callable[[], Process]], world: Any, crashing: frozenset[int] = frozenset()
    ) -> None:
        self._make = make
        self._start = world
        self._crashing = crashing
        # Histories are numbered: each is its parent and one more result.
        self._histories: list[list[tuple[int, Any]]] = [[(0, None)] for _ in make]
        self._numbers: list[dict[tuple[int, Any], int]] = [{} for _ in make]
        self._next: list[dict[int, tuple[bool, Any]]] = [{} for _ in make]
        self.deadlocks = 0
        """States in which nobody could go on."""
        self.came_from: dict[_Place, tuple[_Place, str] | None] = {}

    def ends(self, check: Callable[[Any], None]) -> Iterator[tuple[_Place, tuple[Hashable, ...]]]:
        """Yield each final place, with what the processes returned.

        ``check`` is called with every world and raises if one is wrong.
        """
        first: _Place = (self._start, (0,) * len(self._make))
        self.came_from = {first: None}
        queue = deque([first])
        while queue:
            place = queue.popleft()
            following = list(self._following(place))
            if not following:
                yield place, tuple(self._returned(p, at) for p, at in enumerate(place[1]))
            for label, new in following:
                if new not in self.came_from:
                    self.came_from[new] = place, label
                    check(new[0])
                    queue.append(new)

    def trace(self, place: _Place) -> list[str]:
        """Return the statements that lead to a place."""
        labels = []
        while (origin := self.came_from[place]) is not None:
            place, label = origin
            labels.append(label)
        return labels[::-1]

    def _following(self, place: _Place) -> Iterator[tuple[str, _Place]]:
        world, positions = place
        going = [(process, *self._statement(process, at)) for process, at in enumerate(positions) if at >= 0]
        ahead = [(process, statement) for process, done, statement in going if not done]
        for process, statement in ahead:
            if world.is_local(statement):
                yield from self._steps(place, process, statement)
                return
        waiting, moved = [], False
        for process, statement in ahead:
            at = positions[process]
            if process in self._crashing:
                yield f"{process} crashes", (world.crash(process), _moved(positions, process, _CRASHED))
            steps = list(self._steps(place, process, statement))
            if not steps:
                waiting.append((process, at, statement))
            moved = moved or bool(steps)
            yield from steps
        if waiting and not moved:
            yield from self._deadlocked(place, waiting)

    def _steps(self, place: _Place, process: int, statement: Statement) -> Iterator[tuple[str, _Place]]:
        """Yield where one statement leads to; nowhere, if it waits."""
        world, positions = place
        try:
            outcomes = world.step(process, statement)
        except BlockedError as blocked:
            if blocked.world != world:
                yield f"{process} waits: {statement}", (blocked.world, positions)
            return
        for new, result in outcomes:
            after = _moved(positions, process, self._after(process, positions[process], result))
            yield f"{process}: {statement} -> {result}", (new, after)

    def _deadlocked(
        self, place: _Place, waiting: list[tuple[int, int, Statement]]
    ) -> Iterator[tuple[str, _Place]]:
        self.deadlocks += 1
        world, positions = place
        for process, at, statement in waiting:
            aborted = world.victims(process)
            if aborted is not None:
                after = _moved(positions, process, self._after(process, at, "deadlock"))
                yield f"{process}: {statement} is a deadlock's victim", (aborted, after)

    def _after(self, process: int, at: int, result: Any) -> int:
        numbers, key = self._numbers[process], (at, result)
        if key not in numbers:
            numbers[key] = len(self._histories[process])
            self._histories[process].append(key)
        return numbers[key]

    def _statement(self, process: int, at: int) -> tuple[bool, Any]:
        """Return whether a process is done, and its result or statement."""
        known = self._next[process]
        if at not in known:
            results, number = [], at
            while number:
                number, result = self._histories[process][number]
                results.append(result)
            known[at] = _replayed(self._make[process](), results[::-1])
        return known[at]

    def _returned(self, process: int, at: int) -> Hashable:
        return "crashed" if at == _CRASHED else self._statement(process, at)[1]


def _replayed(process: Process, results: list[Any]) -> tuple[bool, Any]:
    try:
        statement = next(process)
        for result in results:
            statement = process.send(result)
    except StopIteration as end:
        return True, end.value
    return False, statement


def _moved(positions: tuple[int, ...], process: int, to: int) -> tuple[int, ...]:
    return (*positions[:process], to, *positions[process + 1 :])
