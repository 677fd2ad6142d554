"""Several things at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from arrowopaque.store.parallel import ahead


@pytest.mark.parametrize("workers", [0, 1, 2, 7])
def test_results_come_in_order(workers: int) -> None:
    assert list(ahead(lambda n: n * n, range(20), workers)) == [n * n for n in range(20)]


def test_it_is_no_further_ahead_than_it_is_told() -> None:
    begun: list[int] = []
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(20):
            begun.append(n)
            yield n

    for n in ahead(lambda n: n, items(), 3):
        taken.append(n)
        assert len(begun) - len(taken) <= 2


def test_nobody_is_idle_behind_one_that_takes_long() -> None:
    others = threading.Semaphore(0)

    def work(n: int) -> int:
        if n:
            others.release()
            return n
        for _ in range(4):
            assert others.acquire(timeout=20)
        return n

    assert list(ahead(work, range(9), 2, further=3)) == [*range(9)]


def test_they_are_done_at_once() -> None:
    meeting = threading.Barrier(3, timeout=20)
    assert len(list(ahead(lambda _: meeting.wait(), range(3), 3))) == 3


def test_an_error_is_raised_in_its_place() -> None:
    def check(n: int) -> int:
        if n == 2:
            raise ValueError(n)
        return n

    results = ahead(check, range(9), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="2"):
        next(results)
