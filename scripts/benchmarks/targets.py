"""What the design asks for, and whether a run has met it."""

from __future__ import annotations

__all__ = ["BASELINES", "TARGETS", "Target", "Verdict", "judge"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.runner import Result
from benchmarks.workloads import WORKLOADS

Results = dict[str, Result]
Limit = Callable[[Results, str], float | None]

BASELINES = {
    "ours-sqlite": "sql-sqlite",
    "ours-sqlite-s3": "sql-sqlite",
    "ours-postgres": "sql-postgres",
    "ours-root": "sql-sqlite",
    "ours-root-s3": "sql-sqlite",
}
"""The SQL manager that each of ours is compared with."""

_LOCAL = ("ours-sqlite", "ours-postgres", "ours-root")
_S3 = ("ours-sqlite-s3", "ours-root-s3")
_START = "start a Butler and find a dataset, new process"
_PEERS = ("delta-rs", "pyiceberg", "ducklake")


@dataclass(frozen=True)
class Target:
    """A limit of one workload, for some contenders."""

    workload: str
    words: str
    limit: Limit
    of: tuple[str, ...] = _LOCAL
    value: Limit | None = None
    """What is compared; the workload's median by default."""

    @property
    def more_is_better(self) -> bool:
        """Whether the limit is the least that is asked for."""
        return WORKLOADS[self.workload].more_is_better


@dataclass(frozen=True)
class Verdict:
    """One contender's figure beside its limit."""

    target: Target
    contender: str
    value: float
    limit: float

    @property
    def is_met(self) -> bool:
        """Whether the figure is on the right side of the limit."""
        return self.value >= self.limit if self.target.more_is_better else self.value <= self.limit


def _up(factor: float, workload: str) -> Limit:
    """The SQL manager's figure times a factor."""

    def limit(results: Results, name: str) -> float | None:
        found = _median(results, BASELINES[name], workload)
        return None if found is None else factor * found

    return limit


def _fixed(value: float) -> Limit:
    return lambda _results, _name: value


def _scaled(value: float, sqlite: float, postgres: float | None = None) -> Callable[[str], Limit]:
    """Return a limit of seconds as a share of what the SQL manager takes,
    which took these seconds where the limit was set.
    """

    def of(workload: str) -> Limit:
        def limit(results: Results, name: str) -> float | None:
            there = postgres if postgres and "postgres" in name else sqlite
            found = _median(results, BASELINES[name], workload)
            return None if found is None else value * found / there

        return limit

    return of


def _best_peer(workload: str) -> Limit:
    def limit(results: Results, _: str) -> float | None:
        return max((found for name in _PEERS if (found := _median(results, name, workload))), default=None)

    return limit


def _ducklake(workload: str) -> Limit:
    return lambda results, _: _median(results, "ducklake", workload)


def _median(results: Results, name: str, workload: str) -> float | None:
    return results[name].median(workload) if name in results else None


def _start_limit(results: Results, name: str) -> float | None:
    found = _median(results, BASELINES[name], _START)
    return None if found is None else found + 0.150


def _gets(workload: str) -> Limit:
    return lambda results, name: results[name].requests.get(workload, {}).get("GET")


def _against_up(workload: str, words: str, factor: float, postgres: float | None = None) -> Iterator[Target]:
    """Yield the targets of a workload whose factor differs by database."""
    other = factor if postgres is None else postgres
    yield Target(workload, words, _up(factor, workload), ("ours-sqlite",))
    yield Target(workload, words, _up(other, workload), ("ours-postgres",))


_PYTHON, _ARROW = "insert many Python rows", "insert many Arrow rows"
_ROWS, _DICTS = "look at every row", "every row as a dict"
_INSIDE, _AUTO = "insert one row in a transaction", "insert one row, autocommit"
_SESSION, _COLD = "fetch one row, warm, in a session", "fetch one row, cold, new process"
_GROUP, _DELETE = "GROUP BY storage_class", "delete 50000"
_FETCH, _PREFIX = "fetch 50000 ids", "path prefix"

TARGETS = [
    *_against_up(_PYTHON, "at least 10x SQL", 10),
    Target(_ARROW, "at least the best peer", _best_peer(_ARROW)),
    *_against_up(_INSIDE, "at most 0.6x SQL on SQLite, 1x on PostgreSQL", 0.6, 1.0),
    *_against_up(_AUTO, "at most 1.1x SQL", 1.1),
    *_against_up(_SESSION, "at most 0.35x SQL on SQLite, 0.7x on PostgreSQL", 0.35, 0.7),
    Target(_COLD, "at most 6 ms", _fixed(0.006)),
    Target(_COLD, "at most 2 GETs", _fixed(2), _S3, _gets(_COLD)),
    Target(_FETCH, "at most 0.1 s where SQL takes 1.4 s", _scaled(0.1, 1.44, 1.39)(_FETCH)),
    *_against_up(_ROWS, "at most a quarter of SQL", 0.25),
    *_against_up(_DICTS, "at most a quarter of SQL", 0.25),
    Target("whole table as Arrow", "at most 1/40 of SQL's rows", _up(1 / 40, _ROWS), _LOCAL),
    Target(_GROUP, "at most DuckLake's", _ducklake(_GROUP)),
    *_against_up("path equality", "at most 1x SQL", 1.0),
    Target(_PREFIX, "at most 3 ms where SQL takes 363 or 220 ms", _scaled(0.003, 0.363, 0.220)(_PREFIX)),
    Target(_DELETE, "at most 0.25 s where SQL takes 3.5 or 1.6 s", _scaled(0.25, 3.5, 1.6)(_DELETE)),
    Target(_DELETE, "then at most DuckLake's", _ducklake(_DELETE)),
    Target("bytes a row", "at most 40", _fixed(40)),
    Target("clone", "at most 100 µs", _fixed(100e-6)),
    Target(_START, "at most SQL and 150 ms", _start_limit, _LOCAL[:2]),
]


def judge(results: Results) -> list[Verdict]:
    """Return the targets that a run has anything to say about."""
    found = []
    for target in TARGETS:
        for name in target.of:
            if name not in results:
                continue
            value = (target.value or (lambda r, n: _median(r, n, target.workload)))(results, name)  # noqa: B023  # called at once
            limit = target.limit(results, name)
            if value is not None and limit is not None:
                found.append(Verdict(target, name, value, limit))
    return found
