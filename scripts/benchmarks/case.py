"""What a workload is, and the table that it works on."""

from __future__ import annotations

__all__ = [
    "LOCATED", "PIECE", "Case", "Figures", "Loaded", "Settings", "Workload", "Workloads", "WrongAnswerError",
    "expect", "must_hold", "must_lack", "new_table",
]  # fmt: skip

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.rows import Rows, class_counts, make_rows, rows_at
from benchmarks.watch import Watch

PIECE = 5_000_000
"""Rows that are in memory at once, at most: about 300 bytes each."""

LOCATED = 10_000_000
"""Rows of a larger table that a datastore has as datasets: locations are rows of SQL, of which a hundred
million take an hour.
"""


@dataclass(frozen=True)
class Settings:
    """What a run is of."""

    rows: int
    repeats: int
    seed: int
    ids: str
    singles: int
    latency: float
    turns: int = 3
    """Measurements, in each repeat, of what is short: a machine that is shared
    is slower for seconds.
    """
    driver: str = "psycopg2"
    """What PostgreSQL is spoken to with."""
    piece: int = PIECE
    """Rows of one insert of the load."""
    operations: int = 200
    """Operations of a history."""


class WrongAnswerError(Exception):
    """A contender did not do what it was asked."""


def expect(got: Any, wanted: Any) -> None:
    """Check an answer."""
    if got != wanted:
        raise WrongAnswerError(f"got {got!r} instead of {wanted!r}")


@dataclass(frozen=True)
class Loaded:
    """What it took to load the table."""

    watch: Watch
    bytes: int | None
    """What the table took on disk then, beyond the empty one, if that can be
    told.
    """


@dataclass(frozen=True)
class Figures:
    """What a history has come to; see `history`."""

    amplification: float
    """Bytes written for each byte of the data files and indexes that are left."""
    rewritten: float
    files: int
    """Data files that are left."""


@dataclass
class Case:
    """The table that all contenders hold, and what may be added to it.

    Its rows are made when they are needed: it may be larger than the memory.
    """

    settings: Settings
    watch: Watch = field(default_factory=Watch)
    """Measures the part of a workload that counts; cleared before each."""
    loaded: Loaded | None = None
    history: Figures | None = None
    share: float = 1.0
    """Of the settings' single operations, those that are measured."""
    is_located: bool = False
    """Whether the datastore is known to have the datasets."""
    started: float = 0.0
    """Seconds in which a new process has imported everything; 0 if they were told."""
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.settings.seed)
        self._fresh = itertools.count(1_000_000_000, 10_000_000)

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return self.settings.rows

    @property
    def singles(self) -> int:
        """Operations of one measurement of something small."""
        return max(1, round(self.settings.singles * self.share))

    @property
    def classes(self) -> dict[str, int]:
        """The rows of each storage class."""
        return class_counts(self.rows)

    def at(self, numbers: Any) -> Rows:
        """Return the rows with these numbers, whether a table has them or not."""
        return rows_at(numbers, seed=self.settings.seed, ids=self.settings.ids)

    def pieces(self, size: int, most: int | None = None) -> Iterator[Rows]:
        """Make the rows of the table, all or the first ones, so many at a time."""
        count = self.rows if most is None else min(self.rows, most)
        for start in range(0, count, size):
            yield self.at(range(start, min(start + size, count)))

    def fresh(self, count: int) -> Rows:
        """Return rows that no table has."""
        return make_rows(**self.recipe(count))

    def recipe(self, count: int) -> dict[str, Any]:
        """Return what `make_rows` makes rows of that no table has."""
        ids, seed = self.settings.ids, self.settings.seed
        return {"count": count, "start": next(self._fresh), "seed": seed, "ids": ids}

    def some(self, count: int) -> Rows:
        """Return random rows that every table has, at most so many."""
        return self._some(count, self.rows)

    def some_located(self, count: int) -> Rows:
        """Return random rows of those that a datastore is told of."""
        return self._some(count, min(self.rows, LOCATED))

    def _some(self, count: int, among: int) -> Rows:
        return self.at(sorted(self.random.sample(range(among), min(count, among))))


Measure = Callable[[Contender, Case], float]


@dataclass(frozen=True)
class Workload:
    """A measurement: seconds for one operation, or rows or bytes."""

    name: str
    unit: str
    run: Measure
    more_is_better: bool = False
    is_once: bool = False
    """Whether a second time would not be the same."""


class Workloads(dict[str, Workload]):
    """Workloads by name, in the order in which they are run."""

    def add(
        self, name: str, unit: str, *, more_is_better: bool = False, is_once: bool = False
    ) -> Callable[[Measure], Measure]:
        """Return a decorator that makes a function a workload."""

        def added(run: Measure) -> Measure:
            self[name] = Workload(name, unit, run, more_is_better, is_once)
            return run

        return added


_tables = itertools.count()


@contextmanager
def new_table(contender: Contender) -> Iterator[None]:
    """Go on with a table of one's own."""
    contender.use(f"other_{next(_tables)}")
    try:
        yield
    finally:
        contender.use("file_datastore_records")


def must_hold(contender: Contender, rows: Rows) -> None:
    """Check that rows are there, by some of them."""
    ids = rows.ids[:: max(1, len(rows) // 100)]
    expect(len(contender.fetch(ids)), len(ids))


def must_lack(contender: Contender, rows: Rows) -> None:
    """Check that rows are not there, by some of them."""
    expect(len(contender.fetch(rows.ids[:: max(1, len(rows) // 100)])), 0)
