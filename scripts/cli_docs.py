"""Write docs/CLI.md from the commands themselves; ``--check`` only compares."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from arrowopaque.cli import exits
from arrowopaque.cli.command import Command
from arrowopaque.cli.main import COMMANDS, main

TARGET = Path(__file__).resolve().parents[1] / "docs" / "CLI.md"

HEAD = """\
# The command line

<!-- Written by scripts/cli_docs.py from the commands themselves: edit those, then run `make cli-docs`. -->

`arrowopaque COMMAND …`, or `butler arrowopaque COMMAND …`, which is the same.

REPO is a Butler repository: a folder, a URI, or an alias of the Butler repository index. ROOT is the root of
a store: a folder, `file://` or `s3://` URI. At the root of a registry's store commands read what was last
published there; it is written through its repository alone.

Answers go to stdout; questions, progress and errors to stderr. `--json` writes the answer as one JSON
document, whose fields stay what they are: later releases add to them. In their paths, TABLE stands for each
table's name, and `[]` for each item of a list. Progress is shown at a terminal only. What cannot be undone is
shown first and asked for, unless `--yes` is given; with nobody there to answer, the answer is no.

| command | what it does |
|---|---|
"""

COMPLETION = """\
## Completion in the shell

```console
$ eval "$(_ARROWOPAQUE_COMPLETE=bash_source arrowopaque)"     # bash: in ~/.bashrc
$ eval "$(_ARROWOPAQUE_COMPLETE=zsh_source arrowopaque)"      # zsh: in ~/.zshrc
$ _ARROWOPAQUE_COMPLETE=fish_source arrowopaque | source      # fish: in ~/.config/fish/config.fish
```
"""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _meanings() -> Iterator[tuple[int, str, str]]:
    """Yield each exit code, its name, and the text below it in the source."""
    (enum,) = ast.parse(inspect.getsource(exits.Exit)).body
    assert isinstance(enum, ast.ClassDef)
    for member, text in zip(enum.body[:-1], enum.body[1:], strict=True):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            (name,) = member.targets
            assert isinstance(name, ast.Name)
            assert isinstance(text.value, ast.Constant)
            yield exits.Exit[name.id].value, name.id, str(text.value.value)


def _usage(name: str, command: click.Command) -> str:
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    words = [parameter.metavar or parameter.human_readable_name for parameter in arguments]
    return " ".join(["arrowopaque", name, "[OPTIONS]", *words])


def _value(option: click.Option) -> str:
    """Return what an option takes, nothing for a flag."""
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return option.metavar or option.type.name.upper()


def _option_row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    default = f" Default: `{option.default}`." if option.show_default else ""
    value = _value(option)
    takes = f" {_cell(value)}" if value else ""
    return f"| {names}{takes} | {_cell(option.help or '')}{default} |"


def _help(command: click.Command) -> str:
    """Return the help as Markdown: paragraphs, each on one line."""
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _section(name: str, command: click.Command) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"```text\n{_usage(name, command)}\n```\n"
    yield f"{_help(command)}\n"
    yield "| option | |\n|---|---|"
    yield from (_option_row(param) for param in command.params if isinstance(param, click.Option))
    fields = command.json_fields if isinstance(command, Command) else {}
    if fields:
        yield "\n| field of the JSON | |\n|---|---|"
        yield from (f"| `{path}` | {_cell(meaning)} |" for path, meaning in fields.items())
    yield ""


def document() -> str:
    """Return what docs/CLI.md has to say."""
    context = click.Context(main)
    commands = {name: main.get_command(context, name) for name in COMMANDS}
    lines = []
    for name, command in commands.items():
        assert command is not None, "it is in the table"
        lines.append(f"| [`{name}`](#{name}) | {_cell(command.get_short_help_str(200))} |")
    lines.append("")
    for name, command in commands.items():
        assert command is not None, "it is in the table"
        lines += _section(name, command)
    lines += ["## Exit codes\n", "| code | name | when, and what to do |", "|--:|---|---|"]
    lines += [f"| {code} | {name} | {_cell(meaning)} |" for code, name, meaning in _meanings()]
    return HEAD + "\n".join([*lines, "", COMPLETION])


@click.command()
@click.option("--check", is_flag=True, help="Only tell whether the file is what it should be.")
def write(check: bool) -> None:
    """Write docs/CLI.md."""
    text = document()
    if not check:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        raise click.ClickException(f"{TARGET} is stale: run make cli-docs")


if __name__ == "__main__":
    write()
