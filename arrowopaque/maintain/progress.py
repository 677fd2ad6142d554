"""Whom long work tells how far it has come."""

from __future__ import annotations

__all__ = ["Doing", "Progress", "ignored", "unwatched"]

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Progress = Callable[[int], None]
"""Is told how much more has been done since it was last told."""

Doing = Callable[[str, int | None], AbstractContextManager[Progress]]
"""Is told what is begun and how much there is to do, and gives whom to tell
of progress.
"""


def ignored(done: int) -> None:
    """Tell nobody."""


def unwatched(what: str, total: int | None) -> AbstractContextManager[Progress]:
    """Begin what nobody watches."""
    return nullcontext(ignored)
