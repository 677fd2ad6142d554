"""``arrowopaque verify``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize("level", ["full", "quick"])
def test_sound(run: Run, place: str, level: str) -> None:
    told = run("verify", place, "--level", level)
    assert told.code == 0
    assert "here" in told.out
    assert told.err == ""
    found = run("verify", place, "--json").json
    assert found["findings"] == []
    assert found["tables"]["here"]["rows"] == 60


def test_damaged(run: Run, place: str) -> None:
    (file,) = (path for path in Path(place).rglob("*.parquet") if "index" not in path.name)
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    told = run("verify", place)
    assert told.code == 1
    assert file.name in told.out
    found = run("verify", place, "--json")
    assert found.code == 1
    assert file.name in found.json["findings"][0]["object"]
    assert found.json["findings"][0]["advice"]


def test_no_such_place(run: Run, tmp_path: Path) -> None:
    told = run("verify", str(tmp_path / "nowhere"))
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert "nowhere" in told.err


def test_no_such_command(run: Run) -> None:
    told = run("nonsense")
    assert told.code == 2
    assert "nonsense" in told.err


def test_help_lists_all_commands(run: Run) -> None:
    from arrowopaque.cli.main import COMMANDS, main

    told = run("--help")
    assert told.code == 0
    for name in COMMANDS:
        assert name in told.out
        command = main.get_command(None, name)  # type: ignore[arg-type]  # the context is not looked at
        assert command is not None
        assert command.name == name
        assert run(name, "--help").code == 0
