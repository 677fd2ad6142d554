"""Every workload on every contender, side by side in one run.

Contenders run in processes of their own and take turns; figures are medians
over the repeats. ``--help`` names the contenders and the workloads.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.case import PIECE, Settings  # noqa: E402  after the path
from benchmarks.contenders import CONTENDERS, Place, interpreter  # noqa: E402
from benchmarks.plot import as_svg  # noqa: E402
from benchmarks.report import as_json, as_markdown, as_table  # noqa: E402
from benchmarks.runner import Result, run_all  # noqa: E402
from benchmarks.workloads import WORKLOADS  # noqa: E402

DEFAULT = tuple(name for name in CONTENDERS if "s3" not in name and name != "pyiceberg")


@dataclass(frozen=True)
class _Services:
    """The servers that contenders need, each of its own."""

    latency: float
    driver: str

    def __call__(self, stack: ExitStack, name: str, folder: Path) -> Place:
        """Start what a contender needs."""
        folder.mkdir(parents=True)
        if "postgres" in name:
            from tests.support.postgres import PostgresServer

            server = stack.enter_context(PostgresServer())
            return Place(folder, postgres=server.new_database().url(f"postgresql+{self.driver}"))
        if "s3" in name:
            return self._with_s3(stack, folder)
        return Place(folder)

    def _with_s3(self, stack: ExitStack, folder: Path) -> Place:
        from benchmarks.counting import CountingS3Server

        counts = folder / "requests"
        server = stack.enter_context(CountingS3Server(counts))
        server.latency = self.latency
        bucket = f"s3://{server.make_bucket()}/store"
        return Place(folder, s3=bucket, environment=server.environment, counts=counts)


@dataclass(frozen=True)
class _Files:
    """What a run leaves behind, where it is asked for."""

    json: Path | None
    markdown: Path | None
    plot: Path | None

    def write(self, by_size: dict[int, dict[str, Result]], workloads: list[str], settings: Settings) -> None:
        """Write everything that was measured so far."""
        if self.markdown:
            command = " ".join(["scripts/bench.py", *_told()])
            self.markdown.write_text(as_markdown(by_size, workloads, settings, command))
        if self.plot:
            self.plot.write_text(as_svg(by_size, workloads))
        if self.json:
            self.json.write_text(json.dumps(as_json(by_size, settings), indent=1) + "\n")


def _chosen(wanted: Sequence[str], skip: Sequence[str]) -> list[str]:
    found = [name for name in WORKLOADS if not wanted or any(part in name for part in wanted)]
    return [name for name in found if not any(part in name for part in skip)]


def _installed(asked: Sequence[str]) -> list[str]:
    """Return the contenders that are asked for, or all that can be had."""
    found = []
    for name in asked or DEFAULT:
        if interpreter(name).exists():
            found.append(name)
        elif asked:
            raise click.UsageError(f"{name} has packages of its own, which are not there: run make {name}")
        else:
            click.echo(f"{name} is left out: its packages are not there; make {name} installs them", err=True)
    return found


def _within(names: Sequence[str], size: int, limits: dict[str, int]) -> list[str]:
    """Return the contenders that are to have a table of this size."""
    found = []
    for name in names:
        if size <= limits.get(name, size):
            found.append(name)
        else:
            click.echo(f"{name} is left out of {size} rows: its limit is {limits[name]}", err=True)
    if not found:
        raise click.UsageError(f"no contender is left for {size} rows: name one, or raise its limit")
    return found


def _limits(_context: Any, _option: Any, values: Sequence[str]) -> dict[str, int]:
    limits = {}
    for value in values:
        name, _, rows = value.partition("=")
        if name not in CONTENDERS or not rows.isdigit():
            raise click.BadParameter(f"{value!r} is not the name of a contender, = and a number")
        limits[name] = int(rows)
    return limits


def _sizes(_context: Any, _option: Any, value: str | None) -> list[int]:
    try:
        return [int(part) for part in value.split(",")] if value else []
    except ValueError as err:
        raise click.BadParameter(f"{value!r} is not a list of numbers with commas between") from err


@click.command(epilog="Workloads: " + "; ".join(WORKLOADS))
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of the table.")
@click.option(
    "--sizes", callback=_sizes, help="Rows of several tables, with commas between; instead of --rows."
)
@click.option(
    "--limit", "limits", multiple=True, callback=_limits,
    help="A contender and the rows of its largest table, as in sqlite=1000000. Repeatable.",
)  # fmt: skip
@click.option("--repeats", default=3, show_default=True, help="Measurements of each workload.")
@click.option(
    "--turns", default=3, show_default=True, help="How often a repeat measures a workload of a second or two."
)
@click.option("--singles", default=200, show_default=True, help="Small operations of one measurement.")
@click.option("--piece", default=PIECE, show_default=True, help="Rows of one insert of the load.")
@click.option("--operations", default=200, show_default=True, help="Operations of a history.")
@click.option("--seed", default=1, show_default=True)
@click.option("--latency", default=0.03, show_default=True, help="Seconds that S3 takes for each request.")
@click.option(
    "--driver", type=click.Choice(["psycopg2", "psycopg"]), default="psycopg2", show_default=True,
    help="What PostgreSQL is spoken to with.",
)  # fmt: skip
@click.option("--ids", type=click.Choice(["v4", "v7", "mixed"]), default="v4", show_default=True)
@click.option("--contender", "names", multiple=True, type=click.Choice(list(CONTENDERS)), help="Repeatable.")
@click.option("--workload", "wanted", multiple=True, help="Part of a workload's name. Repeatable.")
@click.option("--skip", multiple=True, help="Part of a workload's name that is not run. Repeatable.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything here.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the document here.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write cost against table size here, as SVG.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where stores go for the run.")
def main(
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    skip: tuple[str, ...],
    folder: Path | None,
    **options: Any,
) -> None:
    """Measure arrowopaque beside its peers."""
    files = _Files(options.pop("json_file"), options.pop("markdown"), options.pop("plot"))
    sizes = options.pop("sizes") or [options["rows"]]
    limits, installed = options.pop("limits"), _installed(names)
    chosen = {size: _within(installed, size, limits) for size in sizes}
    settings, workloads = Settings(**options), _chosen(wanted, skip)
    by_size, console = {}, Console(stderr=True)
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as place, console.status("start") as status:
            run, services = replace(settings, rows=size), _Services(settings.latency, settings.driver)
            by_size[size] = run_all(Path(place), chosen[size], workloads, run, services, status.update)
        click.echo(
            ("" if len(sizes) == 1 else f"{size} rows\n") + as_table(by_size[size], workloads), nl=False
        )
        # The next size is larger, and may fail.
        files.write(by_size, workloads, settings)


def _told() -> list[str]:
    """Return the arguments of this run, but for the places of its files."""
    kept, arguments = [], iter(sys.argv[1:])
    for argument in arguments:
        if argument in ("--json", "--markdown", "--plot", "--folder"):
            next(arguments)
        else:
            kept.append(shlex.quote(argument))
    return kept


if __name__ == "__main__":
    main()
