"""Races for conditional writes; it imports little, for every racing process imports it."""

from __future__ import annotations

__all__ = ["race_in_processes", "race_in_threads"]

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from arrowopaque.objects.base import Put
from arrowopaque.objects.opening import open_store


def race_in_threads(count: int, rounds: int, attempt: Callable[[int, int], Put]) -> list[list[Put]]:
    """Call ``attempt(round, racer)`` from all threads at once, and return each round's outcomes."""
    barrier = threading.Barrier(count)

    def run(racer: int) -> list[Put]:
        outcomes = []
        for number in range(rounds):
            barrier.wait()
            outcomes.append(attempt(number, racer))
        return outcomes

    with ThreadPoolExecutor(count) as pool:
        per_racer = list(pool.map(run, range(count)))
    return [list(outcomes) for outcomes in zip(*per_racer, strict=True)]


def race_in_processes(count: int, rounds: int, uri: str) -> list[list[tuple[Put, bytes]]]:
    """Race on ``round-<n>`` from new processes; return each round's outcomes and what each tried to write."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    results: Any = context.Queue()
    racers = [
        context.Process(target=_race, args=(uri, number, rounds, barrier, results)) for number in range(count)
    ]
    for racer in racers:
        racer.start()
    per_racer = [results.get(timeout=120) for _ in racers]
    for racer in racers:
        racer.join()
    results.close()
    results.join_thread()
    return [list(outcomes) for outcomes in zip(*per_racer, strict=True)]


def _race(uri: str, racer: int, rounds: int, barrier: Any, results: Any) -> None:
    store = open_store(uri)
    data = f"racer {racer}".encode()
    outcomes = []
    for number in range(rounds):
        barrier.wait(timeout=120)
        outcomes.append((store.put_if_absent(f"round-{number}", data), data))
    results.put(outcomes)
