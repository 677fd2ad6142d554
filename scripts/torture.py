"""Kill real processes at random moments, reopen what they leave, and compare.

    python scripts/torture.py --seconds 600 --database sqlite --database postgres --database root

With a registry (SQLite, or a PostgreSQL server that is started for it) every transaction writes the same rows
to opaque tables and to ordinary SQL tables of the same database: small and in bulk, in savepoints, some
undone. The two must always be equal. With a bare root every writer notes what it is about to commit, and what
was acknowledged must be there, and the last transaction of a writer wholly or not at all.
Processes that flush, compact and vacuum are killed like the others, all with SIGKILL.

The seed replays the choices of every process, and the moments at which they are killed as far as those can be
replayed. Exits with 1, after printing the difference, as soon as anything is wrong.
"""

from __future__ import annotations

import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

# The servers and repositories of the tests serve here too; installed, neither is there.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.load.torture import (
    Plan,
    changes_of,
    differences,
    events,
    maintain,
    prepare,
    settle,
    write,
)
from tests.support.fleet import CONTEXT
from tests.support.postgres import PostgresServer
from tests.support.subjects import KINDS, Repository, Site

KIND_OF = {
    "sqlite": "arrow-sqlite-local",
    "postgres": "arrow-postgres-local",
    "root": "arrow-root-local",
}
OPTIONS = {
    "bulk_rows": 8,
    "flush_at_open": 0,
    "partition_rows": 150,
    "row_group_rows": 16,
    "lock_timeout": 1.0,
}
# What starts before a process has opened the repository; longer than a slow machine needs.
PATIENCE = 300.0


class TortureError(Exception):
    """What was found is not what must be."""


@dataclass
class Tally:
    """What a run has done."""

    counts: Counter[str] = field(default_factory=Counter)
    rounds: int = 0

    def row(self) -> list[str]:
        """Return the figures in the order of `HEADINGS`."""
        return [str(self.rounds), *(str(self.counts[name]) for name in HEADINGS[1:])]


HEADINGS = (
    "rounds",
    "kills",
    "transactions",
    "rows",
    "undone",
    "refused",
    "flush",
    "compact",
    "vacuum",
    "retry",
)


@dataclass
class Victim:
    """A process that is going to be killed."""

    process: Any
    ready: Connection
    log: Path
    delay: float
    at_once: bool
    due: float = float("inf")

    def poll(self) -> bool:
        """Kill the process if it is time; return whether it is dead."""
        if self.due == float("inf") and (self.at_once or self.ready.poll()):
            self.due = time.monotonic() + self.delay
        if self.process.exitcode is not None:
            raise TortureError(f"a process ended by itself:\n{self.log.read_text()[-4000:]}")
        if time.monotonic() < self.due:
            return False
        self.process.kill()
        self.process.join()
        return True


def start_round(plan: Plan, folder: Path, number: int, limit: float) -> list[Victim]:
    """Start the writers and the maintenance of one round."""
    rng = random.Random(f"{plan.seed} {number}")
    length = min(limit, rng.choice((0.3, 1.0, 3.0)))
    # Maintenance lives for longer: it takes longer.
    roles: list[tuple[Any, str, float]] = [(write, str(i), length) for i in range(plan.writers)]
    roles += [(maintain, verb, 2 * length) for verb in plan.verbs if rng.random() < 0.8]
    victims = []
    for target, role, longest in roles:
        log = folder / f"{number}-{role}.log"
        receiving, sending = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=target, args=(plan, role, number, log, sending), daemon=True)
        process.start()
        sending.close()
        victims.append(Victim(process, receiving, log, rng.uniform(0.0, longest), rng.random() < 0.1))
    return victims


def kill_all(victims: list[Victim]) -> None:
    """Let the processes of a round work, each until it is killed."""
    left, end = list(victims), time.monotonic() + PATIENCE
    try:
        while left:
            wait([victim.process.sentinel for victim in left], timeout=0.003)
            left = [victim for victim in left if not victim.poll()]
            if time.monotonic() > end:
                raise TortureError(f"processes did not open the repository in {PATIENCE:.0f} s")
    finally:
        for victim in left:
            victim.process.kill()
            victim.process.join()


def check(plan: Plan, victims: list[Victim], tally: Tally) -> None:
    """Reopen the repository and compare."""
    logs = [(victim.log.stem.partition("-")[2], events(victim.log)) for victim in victims]
    for _, found in logs:
        tally.counts.update(event["event"] for event in found)
        tally.counts["rows"] += sum(event.get("rows", 0) for event in found)
        errors = [event["text"] for event in found if event["event"] == "error"]
        if errors:
            raise TortureError(errors[0])
    tally.counts["transactions"] = tally.counts["done"]
    tally.counts["kills"] += len(victims)
    settle(plan)
    wrong = differences(plan, changes_of(logs))
    if wrong:
        raise TortureError("\n".join(wrong))


def torture(plan: Plan, folder: Path, seconds: float, progress: Progress) -> Tally:
    """Kill and compare until the time is over."""
    task = progress.add_task(plan.repository.kind.name, total=seconds)
    prepare(plan)
    warm = CONTEXT.Process(target=len, args=((),))
    warm.start()
    warm.join()
    tally, start = Tally(), time.monotonic()
    while (spent := time.monotonic() - start) < seconds:
        progress.update(
            task, completed=spent, description=f"{plan.repository.kind.name} {tally.counts['kills']} kills"
        )
        victims = start_round(plan, folder, tally.rounds, max(0.5, seconds - spent))
        kill_all(victims)
        try:
            check(plan, victims, tally)
        except Exception as err:
            raise TortureError(
                f"{plan.repository.kind.name}, seed {plan.seed}, round {tally.rounds}: {err}"
            ) from err
        for victim in victims:
            victim.log.unlink(missing_ok=True)
        tally.rounds += 1
    progress.remove_task(task)
    return tally


@contextmanager
def site_of(database: str, folder: Path) -> Iterator[Site]:
    """Give the place of a repository, with a server if it needs one."""
    with ExitStack() as stack:
        url = None
        if database == "postgres":
            url = stack.enter_context(PostgresServer()).new_database().url("postgresql+psycopg2")
        yield Site(folder, postgres=url)


def run(database: str, seed: int, seconds: float, writers: int, folder: Path, progress: Progress) -> Tally:
    """Torture one kind of repository."""
    place = folder / database
    place.mkdir()
    with site_of(database, place) as site:
        repository = Repository(KINDS[KIND_OF[database]], site, option_values=dict(OPTIONS), name="torture")
        return torture(Plan(repository, seed, writers), place, seconds, progress)


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long, for each kind of repository.")
@click.option(
    "--database", "databases", type=click.Choice(list(KIND_OF)), multiple=True, help="All by default."
)
@click.option("--seed", type=int, help="Replay these choices.")
@click.option(
    "--writers", default=4, show_default=True, help="Writing processes; maintenance is beside them."
)
@click.option("--keep", type=click.Path(path_type=Path), help="Work in this new folder and leave it.")
def main(
    seconds: float, databases: tuple[str, ...], seed: int | None, writers: int, keep: Path | None
) -> None:
    """Kill writers and maintenance of a repository, and compare what is left."""
    console = Console()
    seed = secrets.randbelow(2**31) if seed is None else seed
    console.print(f"seed {seed}")
    folder = keep or Path(tempfile.mkdtemp(prefix="arrowopaque-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    table = Table("", *HEADINGS, title=f"Killed, reopened and equal, seed {seed}")
    kept = keep is not None
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            for database in databases or tuple(KIND_OF):
                tally = run(database, seed, seconds, writers, folder, progress)
                table.add_row(database, *tally.row())
    except TortureError as err:
        kept = True
        console.print(str(err), markup=False, soft_wrap=True)
        console.print(f"what is left is in {folder}", soft_wrap=True)
        sys.exit(1)
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    console.print(table)


if __name__ == "__main__":
    main()
