"""What a command writes is what it says that it writes."""

from __future__ import annotations

__all__ = ["assert_documented", "paths_of"]

import re
from collections.abc import Iterator
from typing import Any

import click

from arrowopaque.cli.command import Command
from arrowopaque.cli.main import main


def assert_documented(name: str, answer: Any) -> None:
    """Assert that the fields of a command's JSON are documented.

    TABLE in a documented path stands for any name.
    """
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, Command)
    known = [_pattern(path) for path in command.json_fields]
    unknown = [path for path in paths_of(answer) if not any(form.fullmatch(path) for form in known)]
    assert unknown == []


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace("TABLE", r"[^.\[\]]+"))


def paths_of(answer: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every value that is neither an object nor a list."""
    if isinstance(answer, dict):
        for name, value in answer.items():
            yield from paths_of(value, f"{path}.{name}" if path else name)
    elif isinstance(answer, list):
        for value in answer:
            yield from paths_of(value, f"{path}[]")
    else:
        yield path
