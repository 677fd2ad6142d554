"""What all commands have in common: ``--json``, errors of one line, exit codes."""

from __future__ import annotations

__all__ = ["Command", "Group", "dry_run_option", "pass_output", "tables_argument", "yes_option"]

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any, TypeVar

import click

from arrowopaque.cli.exits import Exit, exit_of, message_of
from arrowopaque.cli.output import Output

Function = TypeVar("Function", bound=Callable[..., Any])


class Command(click.Command):
    """One command; ``--json`` decides what its `Output` writes.

    Parameters
    ----------
    json_fields
        What each field of its JSON means, by path, as in
        ``tables.TABLE.rows`` and ``findings[].check``; for the documents.
    """

    def __init__(self, *args: Any, json_fields: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.json_fields = dict(json_fields or {})
        self.params.append(
            click.Option(["--json", "as_json"], is_flag=True, help="Write JSON, for programs, to stdout.")
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; see `click.Command`."""
        ctx.obj = Output(as_json=ctx.params.pop("as_json"))
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            # Whoever read stdout has seen enough: click ends quietly.
            raise
        except (KeyboardInterrupt, click.Abort):
            ctx.obj.say("stopped")
            ctx.exit(Exit.INTERRUPTED)
        except Exception as err:
            code = exit_of(err)
            if code is None:
                raise
            ctx.obj.say(f"error: {message_of(err)}")
            ctx.exit(code)


class Group(click.Group):
    """Commands that are imported when they are run: lsst takes seconds.

    Parameters
    ----------
    lazy
        Where each command is, as ``module:attribute``, by name.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names; see `click.Group`."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; see `click.Group`."""
        place = self._lazy.get(cmd_name)
        if place is None:
            return None
        command: click.Command = resolve_name(place)
        return command


pass_output = click.make_pass_decorator(Output)


tables_argument = click.argument("tables", metavar="[TABLE]...", nargs=-1)
"""Some tables; all if none is given."""


def dry_run_option(function: Function) -> Function:
    """Add ``--dry-run`` to a command that changes something."""
    return click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")(function)


def yes_option(function: Function) -> Function:
    """Add ``--yes`` to a command that asks."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(function)
