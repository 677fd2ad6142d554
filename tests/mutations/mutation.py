"""One step of the protocol taken out of the source."""

from __future__ import annotations

__all__ = ["Mutation"]

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutation:
    """A small edit of the source, and the tests of which one must then fail.

    ``step`` says what is taken away. ``old`` stands exactly once in ``file``,
    which is below ``arrowopaque/``; ``tests`` are node ids below ``tests/``,
    of which `pytest -k only` picks some. ``models`` are the names that the
    explored models have for the step.
    """

    step: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    only: str = ""
    models: tuple[str, ...] = ()

    def path(self, tree: Path) -> Path:
        return tree / "arrowopaque" / self.file

    def mutated(self, source: str) -> str:
        """Return the source without the step.

        Raises
        ------
        LookupError
            The edit does not apply: the source has changed since.
        """
        found = source.count(self.old)
        if found != 1:
            raise LookupError(f"{self.step}: {self.file} has the text to replace {found} times, not once")
        return source.replace(self.old, self.new)
