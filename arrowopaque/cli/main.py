"""The command ``arrowopaque``."""

from __future__ import annotations

__all__ = ["main"]

import click

from arrowopaque.cli.command import Group

COMMANDS = {
    "query": "arrowopaque.cli.query:query",
    "history": "arrowopaque.cli.history:history",
    "diff": "arrowopaque.cli.diff:diff",
    "status": "arrowopaque.cli.status:status",
    "maintain": "arrowopaque.cli.maintain:maintain",
    "flush": "arrowopaque.cli.upkeep:flush",
    "compact": "arrowopaque.cli.upkeep:compact",
    "vacuum": "arrowopaque.cli.vacuum:vacuum",
    "adopt": "arrowopaque.cli.adopt:adopt",
    "restore": "arrowopaque.cli.restore:restore",
    "verify": "arrowopaque.cli.verify:verify",
    "recover": "arrowopaque.cli.recover:recover",
    "report": "arrowopaque.cli.report:report",
    "export": "arrowopaque.cli.transfer:export",
    "import": "arrowopaque.cli.transfer:import_",
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
