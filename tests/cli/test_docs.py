"""docs/CLI.md is what the commands are."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from arrowopaque.cli.command import Command
from arrowopaque.cli.exits import Exit
from arrowopaque.cli.main import COMMANDS, main
from tests.cli.conftest import Run
from tests.cli.documented import paths_of
from tests.cli.places import COMMAND
from tests.report.stores import records_root
from tests.support import specs
from tests.support.butlers import RECORDS, ButlerRepository

TREE = Path(__file__).resolve().parents[2]
TEXT = (TREE / "docs" / "CLI.md").read_text(encoding="utf-8")
OPERATIONS = (TREE / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")


def command_of(name: str) -> Command:
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, Command)
    return command


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(TREE / "scripts" / "cli_docs.py"))


def test_it_is_not_stale(script: dict[str, Any]) -> None:
    assert script["document"]() == TEXT, "run make cli-docs"


def test_a_stale_one_is_told(script: dict[str, Any], tmp_path: Path) -> None:
    stale = tmp_path / "CLI.md"
    script["write"].callback.__globals__["TARGET"] = stale
    with pytest.raises(click.ClickException, match="stale"):
        script["write"].callback(check=True)
    script["write"].callback(check=False)
    script["write"].callback(check=True)
    assert stale.read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_told_of(name: str) -> None:
    section = TEXT.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    command = command_of(name)
    assert command.help
    for option in (param for param in command.params if isinstance(param, click.Option)):
        assert option.help, option.name
        assert f"`{option.opts[0]}`" in section
    assert command.json_fields, "say what its JSON holds: @click.command(cls=Command, json_fields=...)"
    for path in command.json_fields:
        assert f"| `{path}` |" in section


def test_every_exit_code_is_told_of() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert [(int(code), name) for code, name, _ in rows] == [(code.value, code.name) for code in Exit]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert f"_ARROWOPAQUE_COMPLETE={shell}_source arrowopaque" in TEXT
    environment = {**os.environ, "_ARROWOPAQUE_COMPLETE": f"{shell}_source"}
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"_ARROWOPAQUE_COMPLETE={shell}_complete" in done.stdout
    environment |= {
        "_ARROWOPAQUE_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "arrowopaque vac",
        "COMP_CWORD": "vac" if shell == "fish" else "1",
    }
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    assert "vacuum" in done.stdout
    assert "verify" not in done.stdout


def test_commands_of_the_operators_guide(run: Run, new_repository: Callable[..., ButlerRepository]) -> None:
    repository = str(new_repository().root)
    told = re.findall(r"^(?:\$ |[\d*]+ [\d*]+ [\d* ]+ )arrowopaque (.+?)(?: >.*)?$", OPERATIONS, re.MULTILINE)
    assert {line.split()[0] for line in told} == {"maintain", "verify", "status", "recover"}
    for line in told:
        ran = run(*(repository if word == "REPO" else word for word in line.split()))
        assert (ran.code, ran.err) == (0, ""), line
    for name in re.findall(r"^\| `(\w+)[^`]*` \|", OPERATIONS.partition("## Options")[0], re.MULTILINE):
        assert name in COMMANDS


def _shell(text: str) -> list[list[str]]:
    """Return the commands of a part of a document, as words after ours."""
    fences = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [shlex.split(line)[1:] for fence in fences for line in fence.splitlines()]


def test_earlier_versions_in_the_operators_guide(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = records_root(tmp_path, [specs.record(0)])
    while root.version < 15:
        root.table(RECORDS).insert(specs.record(root.version))
    commands = _shell(OPERATIONS.partition("## Earlier versions")[2].partition("\n## ")[0])
    assert [words[0] for words in commands] == ["history", "diff", "query", "status", "verify", "report"]
    then = root.at(12).head.created.isoformat()
    for words in commands:
        known = {"ROOT": "root", "2026-11-28T20:00Z": then}
        ran = run(*(known.get(word, word) for word in words))
        # Versions that differ are a finding.
        assert ran.code == (Exit.FOUND if words[0] == "diff" else 0), ran.err
    assert (tmp_path / "then.html").exists()


def test_adoption_in_the_operators_guide(run: Run, new_repository: Callable[..., ButlerRepository]) -> None:
    repository = new_repository("sql-sqlite")
    repository.store()
    look, adopt, restore = _shell(OPERATIONS.partition("## Adopting a production")[2].partition("\n## ")[0])
    known = {"REPO": str(repository.root), "STORES": str(repository.root.parent / "stores")}
    for words, answer in ((look, ""), (adopt, "y\ny\n"), (restore, "y\ny\n")):
        ran = run(*(known.get(word, word) for word in words), answer=answer)
        assert ran.code == 0, ran.err
        if words is adopt:
            assert run("status", known["REPO"], "--json").json["tables"][RECORDS]["rows"] == 8
    assert run("status", known["REPO"]).code == 2


def test_paths_of_an_answer() -> None:
    answer = {"a": {"b": 1, "c": [{"d": None}, {"d": 2}], "e": [], "f": {}}, "g": [[1]]}
    assert list(paths_of(answer)) == ["a.b", "a.c[].d", "a.c[].d", "g[][]"]
