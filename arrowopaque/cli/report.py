"""``report``: one HTML file about a store."""

from __future__ import annotations

__all__ = ["report"]

from collections import Counter
from pathlib import Path

import click

from arrowopaque.cli.command import Command, pass_output
from arrowopaque.cli.output import Output
from arrowopaque.cli.target import RootTarget, Target, open_target, target_argument
from arrowopaque.errors import ConfigurationError
from arrowopaque.report.advice import Severity
from arrowopaque.report.figures import Figures, collect, steps
from arrowopaque.report.page import render
from arrowopaque.report.source import Source, of_root


@click.command(cls=Command)
@target_argument
@click.option(
    "--output",
    "-o",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: report.html, with --json none]",
)
@pass_output
def report(output: Output, place: str, file: Path | None) -> None:
    """Write one HTML file that shows what a store holds, and how it is.

    It needs nothing else, no network either. With --json the figures go to
    stdout.
    """
    if file is None and not output.as_json:
        file = Path("report.html")
    if file is not None and not file.parent.is_dir():
        raise ConfigurationError(f"there is no folder {str(file.parent)!r} for the report")
    with open_target(place) as target:
        source = _source(target)
        with output.progress("asking", steps(source)) as told:
            figures = collect(source, told)
    if file is not None:
        file.write_text(render(figures.to_json()), encoding="utf-8")
    output.show(figures.to_json(), str(file))
    _say(output, figures)


def _say(output: Output, figures: Figures) -> None:
    counts = Counter(advice.severity for advice in figures.advice)
    if counts:
        output.say(", ".join(f"{n} {name}{'s' * (n > 1)}" for name in Severity if (n := counts[name])))


def _source(target: Target) -> Source:
    """Return a repository or root as what a report is made from."""
    if isinstance(target, RootTarget):
        return of_root(target.root, target.place)
    from arrowopaque.butler.reporting import of_repository

    return of_repository(target.repository)
