"""A client in a process of its own, which knows nothing of the table yet.

As a program: reads requests, one JSON object a line, and answers each with
another. `Fresh` is the other end.
"""

from __future__ import annotations

__all__ = ["Fresh", "environment"]

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks.contenders import Contender, UnsupportedError

if TYPE_CHECKING:
    import uuid


# Installed packages are compiled; a checkout would be anew for each process where nobody may write it.
_COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a new process that finds what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **_COMPILED, **settings}


class Fresh:
    """A new process with one contender, running while it is entered.

    Parameters
    ----------
    contender
        Whose table is to be opened.
    """

    def __init__(self, contender: Contender) -> None:
        place = contender.place
        settings = {"folder": str(place.folder), "postgres": place.postgres, "s3": place.s3}
        self._contender = contender
        self._command = [sys.executable, "-m", "benchmarks.fresh", contender.name, json.dumps(settings)]

    def __enter__(self) -> Self:
        self._contender.close()
        started = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self._answer()
        self.started = time.perf_counter() - started
        """Seconds until everything was imported."""
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)
        self._contender.open()
        if self._process.returncode:
            raise RuntimeError(f"the new process ended with code {self._process.returncode}")

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the new process ended with code {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Have something done: ``seconds``, ``peak_bytes`` and the ``count``
        of rows found.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"action": action, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "unsupported" in answer:
            raise UnsupportedError
        return answer

    def fetch(self, ids: Sequence[uuid.UUID]) -> dict[str, Any]:
        """Fetch rows one by one."""
        return self.ask("fetch", ids=[id.hex for id in ids])


def _serve(contender: Contender, stack: ExitStack) -> None:
    """Do what the other end asks for, and have it ended with ``stack``."""
    import uuid

    from benchmarks.rows import make_rows
    from benchmarks.watch import Watch

    for line in sys.stdin:
        asked, watch, count = json.loads(line), Watch(), 0
        match asked.pop("action"):
            case "open":
                with watch():
                    contender.open()
                stack.callback(contender.close)
            case "fetch":
                ids = [uuid.UUID(hex) for hex in asked["ids"]]
                # All in one measurement: to begin one searches the whole process for garbage, and what is
                # measured next would begin with the processor's caches full of that.
                with watch(len(ids)):
                    count = sum(len(contender.fetch([id])) for id in ids)
            case "insert":
                made = make_rows(**asked).python()
                with contender.transaction(), watch(len(made)):
                    for row in made:
                        contender.insert([row])
                count = len(made)
            case unknown:
                raise ValueError(f"unknown action {unknown!r}")
        print(
            json.dumps({"seconds": watch.seconds, "peak_bytes": watch.peak_bytes, "count": count}),
            flush=True,
        )


def _main(name: str, settings: str) -> None:
    from benchmarks.contenders import Place, contender_class

    place = json.loads(settings)
    contender = contender_class(name)(Place(**{**place, "folder": Path(place["folder"])}))
    print("{}", flush=True)
    with ExitStack() as stack:
        try:
            _serve(contender, stack)
        except UnsupportedError:
            print('{"unsupported": true}', flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
