"""What commands say: data on stdout, words and progress on stderr."""

from __future__ import annotations

__all__ = ["Output", "bytes_text", "print_whole"]

import dataclasses
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

bytes_text = decimal

_ENDLESS = 100_000
"""More columns than any line has."""


class Output:
    """Where one command writes.

    Parameters
    ----------
    as_json
        Whether a program reads what is written.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.stdout = Console(file=sys.stdout, soft_wrap=False, highlight=False)
        self.stderr = Console(file=sys.stderr, highlight=False, soft_wrap=True)

    def show(self, data: Any, *renderables: RenderableType) -> None:
        """Write a command's answer.

        Parameters
        ----------
        data
            The answer for programs: dicts, lists and plain values.
        *renderables
            The same for people.
        """
        if self.as_json:
            click.echo(json.dumps(data, indent=2, default=_plain))
        else:
            for renderable in renderables:
                # Lines are not broken where a path is: whoever reads it copies it.
                if isinstance(renderable, str):
                    self.stdout.print(renderable, soft_wrap=True, markup=False)
                else:
                    print_whole(self.stdout, renderable)

    def say(self, words: str) -> None:
        """Tell people something that is no answer."""
        self.stderr.print(words, markup=False)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something that cannot be undone; a no ends the command.

        Parameters
        ----------
        question
            What is to be done, as a question.
        yes
            Whether the answer was given in advance.
        """
        if not yes:
            click.confirm(question, abort=True, err=True)

    @contextmanager
    def progress(self, what: str, total: float | None) -> Iterator[Callable[[float], None]]:
        """Give what tells how much more is done; shown to people at terminals.

        Parameters
        ----------
        what
            What is being done.
        total
            How much there is to do; `None` if nobody knows.
        """
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(show_speed=True),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.stderr,
            transient=True,
            disable=not self.stderr.is_terminal,
        )
        with bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.advance(task, done)


def print_whole(console: Console, renderable: RenderableType) -> None:
    """Print something, as wide as it is where no terminal would break it."""
    if not console.is_terminal:
        endless = console.options.update(max_width=_ENDLESS)
        console.width = max(console.width, console.measure(renderable, options=endless).maximum)
    console.print(renderable)


def _plain(value: Any) -> Any:
    """Return what JSON has for a value that it does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, uuid.UUID | Path):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"no JSON for {value!r}")
