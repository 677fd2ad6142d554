"""Writers that are killed, for a few seconds; `make torture` goes on for longer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arrowopaque import CorruptStoreError
from tests.load.torture import Change, Plan, changes_of, differences, events, prepare
from tests.load.twins import call, open_twins
from tests.support.specs import row
from tests.support.subjects import KINDS, Repository, Site

TORTURE = Path(__file__).resolve().parents[2] / "scripts" / "torture.py"


def test_torture_finds_nothing(tmp_path: Path) -> None:
    """Every kind of repository, for a few seconds."""
    command = [
        sys.executable,
        str(TORTURE),
        "--seconds",
        "4",
        "--seed",
        "1",
        "--keep",
        str(tmp_path / "kept"),
    ]
    environment = {**os.environ, "COLUMNS": "160"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.replace("│", " ").split() for line in done.stdout.splitlines()]
    killed = {line[0]: [int(word) for word in line[1:]] for line in lines if line and line[0] in KIND_NAMES}
    assert killed.keys() == KIND_NAMES
    for rounds, kills, *_ in killed.values():
        assert rounds > 0
        assert kills >= 4 * rounds


KIND_NAMES = {"sqlite", "postgres", "root"}


@pytest.fixture
def plan(request: pytest.FixtureRequest, tmp_path: Path) -> Plan:
    plan = Plan(Repository(KINDS[request.param], Site(tmp_path)), seed=1, writers=1)
    prepare(plan)
    return plan


@pytest.mark.parametrize("plan", ["arrow-sqlite-local"], indirect=True)
@pytest.mark.parametrize("side", [0, 1])
def test_a_row_without_its_twin_is_found(plan: Plan, side: int) -> None:
    client = plan.client()
    twins = open_twins(client)["plain"]
    for table in twins:
        call(table, "insert", [row(1), row(2)])
    assert differences(plan, {}) == []
    call(twins[side], "replace", [row(2, "else")])
    (difference,) = differences(plan, {})
    assert "table plain, key 2" in difference
    client.close()


def _change(**rows: Any) -> Change:
    return {"plain": {key.removeprefix("k"): value for key, value in rows.items()}, "unique": {}}


WHOLE: list[tuple[list[dict[str, Any]], list[dict[str, Any]], bool]] = [
    ([row(1), row(2)], [{"event": "begin"}, {"event": "done"}], True),
    ([row(1), row(2)], [{"event": "begin"}], True),
    ([], [{"event": "begin"}], True),
    ([], [{"event": "begin"}, {"event": "refused"}], True),
    ([], [{"event": "begin"}, {"event": "done"}], False),
    ([row(1)], [{"event": "begin"}], False),
    ([row(1), row(2)], [{"event": "begin"}, {"event": "refused"}], False),
    ([row(1), row(2), row(3)], [{"event": "begin"}, {"event": "done"}], False),
]
"""What a root holds, what its writer has noted, and whether the two agree."""


@pytest.mark.parametrize("plan", ["arrow-root-local"], indirect=True)
@pytest.mark.parametrize("case", range(len(WHOLE)))
def test_a_root_holds_what_was_acknowledged(plan: Plan, case: int) -> None:
    held, found, agrees = WHOLE[case]
    client = plan.client()
    table, _ = open_twins(client)["plain"]
    table.insert(*held)
    change = _change(k1=row(1), k2=row(2))
    noted = [{**event, "change": change} if event["event"] == "begin" else event for event in found]
    assert (differences(plan, changes_of([("0", noted)])) == []) is agrees


def test_a_torn_line_is_no_event(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert events(log) == []
    log.write_text(json.dumps({"event": "done"}) + '\n{"event": "be')
    assert events(log) == [{"event": "done"}]


@pytest.mark.parametrize("plan", ["arrow-sqlite-local"], indirect=True)
def test_damage_is_found(plan: Plan) -> None:
    client = plan.client()
    for table in open_twins(client)["plain"]:
        call(table, "insert", [row(1), row(2)])
    client.flush()
    files = list(Path(str(plan.repository.base)).rglob("*.parquet"))
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptStoreError, match="parquet"):
        differences(plan, {})
    client.close()
