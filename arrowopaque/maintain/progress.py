"""Whom long work tells how far it has come."""

from __future__ import annotations

__all__ = ["Progress", "ignored"]

from collections.abc import Callable

Progress = Callable[[int], None]
"""Is told how much more has been done since it was last told."""


def ignored(done: int) -> None:
    """Tell nobody."""
