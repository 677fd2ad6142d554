"""The same commands as sub-commands of ``butler``."""

from __future__ import annotations

__all__ = ["commands"]

import click

from arrowopaque.cli.main import main


def commands() -> list[click.Command]:
    """Return what ``butler`` gets: the group ``arrowopaque``, whose commands
    are imported when they are run.

    The entry point of the group ``butler.cli``.
    """
    return [main]
