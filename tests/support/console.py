"""Run what a document shows: its console sessions and its Python.

A fence of ``console`` holds commands after ``$``, lines that go on after a
backslash, and perhaps what they print, in which ``...`` stands for anything.
A fence of ``python`` is a program of its own. Others are not run.
"""

from __future__ import annotations

__all__ = ["Step", "run_steps", "steps_of"]

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LIMIT = 240
"""Seconds of one step."""


@dataclass(frozen=True)
class Step:
    """One command, or one program, and where the document shows it."""

    line: int
    command: str
    output: str = ""
    is_python: bool = False


def steps_of(text: str) -> Iterator[Step]:
    """Yield what a document has its readers run, in its order."""
    for fence in _FENCE.finditer(text):
        line = text.count("\n", 0, fence.start()) + 2
        if fence[1] == "python":
            yield Step(line, fence[2], is_python=True)
        elif fence[1] == "console":
            yield from _commands(line, fence[2])


def _commands(line: int, body: str) -> Iterator[Step]:
    assert body.startswith("$ "), f"line {line}: a console session begins with its first command"
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:.*\\\n)*.*\n", part)
        assert command is not None
        yield Step(line, command[0], part[command.end() :])
        line += part.count("\n")


def run_steps(steps: Iterable[Step], folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Run steps one after the other in a folder, and return what went wrong.

    Parameters
    ----------
    steps
        What to run; the variables that a command exports are there for all
        that follow.
    folder
        Where.
    environment
        Variables besides those of this process.
    """
    scripts = Path(sys.executable).parent
    known = {**os.environ, "COLUMNS": "100", "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    known |= environment
    problems = []
    for step in steps:
        ran, known = _run(step, folder, known)
        if ran.returncode:
            problems.append(f"line {step.line}: {step.command} ended with {ran.returncode}: {ran.stderr}")
        elif not _is_as_shown(step.output, ran.stdout):
            problems.append(f"line {step.line}: {step.command} printed\n{ran.stdout}")
    return problems


def _run(
    step: Step, folder: Path, environment: dict[str, str]
) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    after = folder / ".variables"
    command = [sys.executable, "-c", step.command]
    if not step.is_python:
        command = ["bash", "-c", f"set -eo pipefail\n{step.command}\nenv -0 > '{after}'"]
    ran = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        stdin=subprocess.DEVNULL,
    )
    if step.is_python or ran.returncode:
        return ran, environment
    exported = after.read_text().split("\0")
    after.unlink()
    return ran, dict(variable.split("=", 1) for variable in exported if "=" in variable)


def _is_as_shown(shown: str, printed: str) -> bool:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return not shown.strip() or doctest.OutputChecker().check_output(shown, printed, flags)
