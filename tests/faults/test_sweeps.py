"""Every operation fails at every call of the storage and of the database, in every way."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.faults.operations import BULK_ROWS, REGISTRY, ROOT
from tests.faults.sweep import Operation, Sweep, replayed
from tests.support.faults import Fault, Faults, Mode
from tests.support.subjects import Site, open_repository

_OPTIONS = {"bulk_rows": BULK_ROWS, "flush_at_open": 0, "lock_timeout": 0.5}


_HALVED = ("put tables/", "put manifest.json", "delete ")
"""What can be left half done; what replaces a link of the chain is whole, as every store has it."""

_READS = ("get", "size", "list", "now", "sql SELECT", "sql PRAGMA")
"""What has no effect, so that it can go wrong in one way only."""


def _applies(mode: Mode, step: str, dialect: str | None) -> bool:
    if dialect == "postgresql" and not step.startswith("sql"):
        # The store does not know which database asks.
        return False
    if mode is Mode.TRUNCATED:
        return step.startswith(_HALVED)
    if not step.startswith(_READS):
        return True
    # On PostgreSQL a lost reply is a lost connection.
    return mode is (Mode.LOST if dialect == "postgresql" else Mode.ERROR)


def _sweep(kind: str, site: Site, faults: Faults, operation: Operation, modes: Iterable[Mode]) -> None:
    with open_repository(kind, site, option_values=dict(_OPTIONS)) as first:
        sweep = Sweep(first.repository, faults, operation)
        steps = sweep.record()
        tried = [Fault(number, mode) for mode in modes for number in range(1, len(steps) + 1)]
        for fault in replayed(tried):
            step = steps[fault.step - 1]
            if _applies(fault.mode, step, first.dialect):
                sweep.run(fault, step)


_ALL = (Mode.ERROR, Mode.LOST, Mode.GONE, Mode.TRUNCATED)


@pytest.mark.parametrize("name", REGISTRY)
def test_sqlite(tmp_path: Path, faults: Faults, name: str) -> None:
    _sweep("arrow-sqlite-local", Site(tmp_path), faults, REGISTRY[name], _ALL)


@pytest.mark.parametrize("name", ROOT)
def test_root(tmp_path: Path, faults: Faults, name: str) -> None:
    _sweep("arrow-root-memory", Site(tmp_path), faults, ROOT[name], _ALL)


@pytest.mark.parametrize("name", REGISTRY)
def test_postgres(tmp_path: Path, postgres_url: str, faults: Faults, name: str) -> None:
    site = Site(tmp_path, postgres=postgres_url)
    _sweep("arrow-postgres-local", site, faults, REGISTRY[name], (Mode.ERROR, Mode.LOST))
