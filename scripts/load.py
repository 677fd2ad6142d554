"""Let many processes write at once, check that nothing is lost, and measure.

    python scripts/load.py --part crowd --store local

The parts, all by default:

- crowd: processes insert, replace and delete, small and in bulk, some on the same keys, beside a flush, a
  compaction and a vacuum that never end; afterwards each row must be there once, and each contested key must
  belong to the writer that was told so;
- rates: commits a second of 1, 4 and 16 writers beside the SQL manager's, and the deadlocks of writers that
  change the same rows in any order;
- waits: the longest time that a small write waited for each large piece of work;
- chain: many commits to one root without a database, each there once;
- farm: jobs that stage without coordination, and the one commit that takes all.

A PostgreSQL server and an S3 server are started for it. Exits with an error if a check fails.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

# The servers and repositories of the tests serve here too; installed, neither is there.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from arrowopaque import StoreRoot
from tests.load.crowd import OPTIONS, Crowd, assert_true_of, gather, prepare
from tests.load.fleets import ROWS, Farm, assert_there_once, farm_jobs, one_commit_each
from tests.load.measure import HOT_KEYS, Rush, deadlocks, rush, waits
from tests.support.postgres import PostgresServer
from tests.support.s3server import S3Server
from tests.support.subjects import KINDS, Repository, Site

DAY = 86_400.0
WIDE: dict[str, Any] = {"flush_at_open": 0, "lock_timeout": 60.0}
"""Options for large pieces of work: the defaults, and patience."""


@dataclass(frozen=True)
class Settings:
    """How much of everything."""

    processes: int
    turns: int
    seconds: float
    rows: int
    commits: int
    s3_commits: int
    receipts: int
    stores: tuple[str, ...]


@dataclass(frozen=True)
class Servers:
    """Where repositories go."""

    folder: Path
    postgres: PostgresServer
    s3: str

    def repository(self, kind: str, options: dict[str, Any] | None = None) -> Repository:
        url = None
        if KINDS[kind].dialect == "postgresql":
            url = self.postgres.new_database().url("postgresql+psycopg2")
        chosen = dict(options or {}) if KINDS[kind].is_arrow else {}
        return Repository(KINDS[kind], Site(self.folder, postgres=url, s3=self.s3), option_values=chosen)


@contextmanager
def servers(latency: float) -> Iterator[Servers]:
    """Start both servers, and let everything started from here find them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arrowopaque-load-")))
        postgres = stack.enter_context(PostgresServer())
        s3 = stack.enter_context(S3Server())
        s3.latency = latency
        os.environ.update(s3.environment)
        yield Servers(folder, postgres, f"s3://{s3.make_bucket()}/load")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", min_width=len(title))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def crowd(settings: Settings, places: Servers) -> Iterator[Table]:
    """Everybody at once, and then the truth."""
    table = _table(
        f"{settings.processes} processes of {settings.turns} turns, with maintenance: all rows right",
        "registry and store", "commits", "commits/s", "longest small write, s",
        "flushes", "compactions", "vacuums", "gave up", "deadlocks",
    )  # fmt: skip
    for store in settings.stores:
        repository = places.repository(f"arrow-postgres-{store}", OPTIONS)
        those = Crowd(repository, settings.processes, settings.turns, patience=DAY)
        prepare(those)
        done = gather(those)
        assert_true_of(those, done.deeds)
        kept = [str(done.maintained[verb]) for verb in those.maintenance]
        table.add_row(
            f"PostgreSQL, {store}", str(done.commits), f"{done.commits / done.seconds:.1f}",
            f"{done.longest:.2f}", *kept, str(done.in_use), str(_deadlocks(repository)),
        )  # fmt: skip
    yield table


def _deadlocks(repository: Repository) -> int:
    client = repository.open()
    try:
        return deadlocks(client)  # type: ignore[arg-type]  # a registry's
    finally:
        client.close()
        repository.clients.clear()


def rates(settings: Settings, places: Servers) -> Iterator[Table]:
    """Commits a second, and deadlocks."""
    contenders: list[tuple[str, str, tuple[str, ...]]] = [("SQL manager", "sql-postgres", ())]
    contenders += [(f"ours, {store}", f"arrow-postgres-{store}", ()) for store in settings.stores]
    every = ("flush", "compact", "vacuum")
    contenders += [("ours, local, with maintenance", "arrow-postgres-local", every)]
    counts = sorted({1, min(4, settings.processes), settings.processes})
    fast = _table(
        "small transactions (2 inserts, 1 replace, 1 delete) on PostgreSQL, commits/s",
        "writers", *map(str, counts),
    )  # fmt: skip
    hot = _table(
        f"{settings.processes} writers that replace 2 of {HOT_KEYS} rows in any order",
        "writers", "commits/s", "deadlocks", "commits a deadlock",
    )  # fmt: skip
    for name, kind, maintenance in contenders:
        done = [_rush(settings, places, kind, count, maintenance, hot=False)[0] for count in counts]
        fast.add_row(name, *(f"{gathering.commits / gathering.seconds:.0f}" for gathering in done))
        gathering, broken = _rush(settings, places, kind, settings.processes, maintenance, hot=True)
        share = f"{gathering.commits / broken:.0f}" if broken else "-"
        hot.add_row(name, f"{gathering.commits / gathering.seconds:.0f}", str(broken), share)
    yield fast
    yield hot


def _rush(
    settings: Settings, places: Servers, kind: str, writers: int, maintenance: tuple[str, ...], *, hot: bool
) -> tuple[Any, int]:
    repository = places.repository(kind, WIDE)
    those = Rush(repository, writers, 1, maintenance, patience=DAY, seconds=settings.seconds, hot=hot)
    prepare(those)
    done = gather(those, rush)
    # The server may count one that its victim has not been told of in time, never fewer.
    assert _deadlocks(repository) >= done.conflicts
    return done, done.conflicts


def wait_times(settings: Settings, places: Servers) -> Iterator[Table]:
    """One small writer beside large pieces of work."""
    for store in settings.stores:
        table = _table(
            f"a writer of single rows beside each large piece of work of {settings.rows} rows, {store}",
            "beside", "it took, s", "small writes meanwhile", "longest of them, s",
        )  # fmt: skip
        objects = settings.rows // 100
        repository = places.repository(f"arrow-postgres-{store}", WIDE)
        for wait in waits(repository, settings.rows, objects, settings.seconds):
            table.add_row(wait.work, f"{wait.seconds:.2f}", str(wait.writes), f"{wait.longest:.3f}")
        yield table


def chain(settings: Settings, places: Servers) -> Iterator[Table]:
    """One commit after the other."""
    table = _table(
        f"{settings.processes} processes that commit to one root: each commit there once",
        "root", "commits", "commits/s", "retries", "retries a commit", "compactions",
    )  # fmt: skip
    for store in settings.stores:
        commits = settings.commits if store == "local" else settings.s3_commits
        # Without a compaction every commit would be a file more for the next to reckon with.
        repository = places.repository(f"arrow-root-{store}", WIDE)
        those = Crowd(repository, settings.processes, commits, ("compact",), patience=DAY)
        prepare(those)
        before = StoreRoot(str(those.repository.base), writeable=False).version
        done = gather(those, one_commit_each)
        assert_there_once(those, before)
        table.add_row(
            store, str(done.commits), f"{done.commits / done.seconds:.1f}", str(done.conflicts),
            f"{done.conflicts / done.commits:.1f}", str(done.maintained["compact"]),
        )  # fmt: skip
    yield table


def farm(settings: Settings, places: Servers) -> Iterator[Table]:
    """Many stages, one commit."""
    table = _table(
        f"{settings.processes} jobs that stage {ROWS} rows a receipt, and one commit of all receipts",
        "root", "receipts", "stages/s", "commit, s", "receipts/s of the commit", "the same again, s",
    )  # fmt: skip
    for store in settings.stores:
        repository = places.repository(f"arrow-root-{store}", WIDE)
        those = Farm(repository, settings.processes, settings.receipts, (), patience=DAY)
        prepare(those)
        done = gather(those, farm_jobs)
        receipts = [receipt for deed in done.deeds for receipt in deed.receipts]
        root = StoreRoot(str(repository.base))
        first, taken = _timed(lambda: root.commit_staged(receipts))  # noqa: B023  called at once
        again, known = _timed(lambda: root.commit_staged(receipts))  # noqa: B023  called at once
        assert len(taken.taken) == len(known.known) == len(receipts)
        found = root.table("u").fetch_arrow().column("id").to_pylist()
        assert sorted(found) == list(range(len(receipts) * ROWS))
        table.add_row(
            store, str(len(receipts)), f"{len(receipts) / done.seconds:.1f}", f"{first:.2f}",
            f"{len(receipts) / first:.0f}", f"{again:.2f}",
        )  # fmt: skip
    yield table


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


PARTS = {"crowd": crowd, "rates": rates, "waits": wait_times, "chain": chain, "farm": farm}


@click.command()
@click.option("--part", "parts", type=click.Choice(list(PARTS)), multiple=True, help="All by default.")
@click.option("--store", "stores", type=click.Choice(["local", "s3"]), multiple=True, help="Both by default.")
@click.option("--processes", default=16, show_default=True, help="Writers.")
@click.option("--turns", default=3, show_default=True, help="Of each writer in a crowd.")
@click.option("--seconds", default=5.0, show_default=True, help="Of each measurement of commits a second.")
@click.option("--rows", default=200_000, show_default=True, help="Of a large piece of work.")
@click.option("--commits", default=100, show_default=True, help="Of each writer to a local root.")
@click.option("--s3-commits", default=25, show_default=True, help="Of each writer to a root on S3.")
@click.option("--receipts", default=50, show_default=True, help="Of each job.")
@click.option("--latency", default=0.02, show_default=True, help="Seconds added to each S3 request.")
def main(parts: tuple[str, ...], stores: tuple[str, ...], latency: float, **amounts: Any) -> None:
    """Let many processes write at once, and print how fast they were."""
    console = Console()
    settings = Settings(stores=stores or ("local", "s3"), **amounts)
    console.print(f"{os.cpu_count()} processors; load before the run: {os.getloadavg()[0]:.1f}")
    with servers(latency) as places:
        for part in parts or tuple(PARTS):
            start = time.monotonic()
            for table in PARTS[part](settings, places):
                console.print(table)
            console.print(f"{part}: {time.monotonic() - start:.0f} s\n")


if __name__ == "__main__":
    main()
