"""The command ``arrowopaque``."""

from __future__ import annotations

__all__ = ["main"]

import click

from arrowopaque.cli.command import Group

COMMANDS = {
    "verify": "arrowopaque.cli.verify:verify",
    "report": "arrowopaque.cli.report:report",
}
"""Where each command is, in the order in which people are told of them."""


@click.group(
    cls=Group,
    lazy=COMMANDS,
    name="arrowopaque",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="arrowopaque", prog_name="arrowopaque")
def main() -> None:
    """Look after the opaque tables of Butler repositories, and ask them."""
