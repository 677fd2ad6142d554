"""Writers that have a root to themselves, one commit or one receipt a turn."""

from __future__ import annotations

__all__ = ["ROWS", "Farm", "Harvest", "assert_there_once", "farm_jobs", "one_commit_each"]

import traceback
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from arrowopaque import Staged, StoreRoot
from arrowopaque.store.catalog import FileChain
from tests.load.crowd import PATIENCE, Crowd, Deed, counted_conflicts
from tests.support import specs
from tests.support.specs import row, rows

ROWS = 25
"""Rows of one receipt."""


@dataclass(frozen=True)
class Farm(Crowd):
    """Jobs that stage, ``turns`` receipts each."""


@dataclass
class Harvest(Deed):
    """What one job has staged."""

    receipts: list[Staged] = field(default_factory=list)


def one_commit_each(crowd: Crowd, number: int, barrier: Any, results: Any) -> None:
    """Commit ``turns`` single rows."""
    deed = Deed(number)
    try:
        table = crowd.open().manager.register("u", specs.standard())
        barrier.wait(PATIENCE)
        with counted_conflicts(deed):
            for n in range(crowd.turns):
                table.insert(row(number * crowd.turns + n))
                deed.commits += 1
    except BaseException:  # noqa: BLE001  # the parent fails with it
        deed.error = traceback.format_exc()
        barrier.abort()
    results.put(deed)


def assert_there_once(crowd: Crowd, before: int) -> None:
    """Each commit after version ``before`` has its row, and a link of its own."""
    root = StoreRoot(str(crowd.repository.base), writeable=False)
    found = sorted(root.table("u").fetch_arrow().column("id").to_pylist())
    assert found == list(range(crowd.writers * crowd.turns))
    links = list(FileChain(root.volume).after(before))
    assert len({link.commit for link in links}) == len(links)
    # Maintenance has links of its own.
    assert len(links) >= found[-1] + 1 if crowd.maintenance else len(links) == found[-1] + 1


def farm_jobs(crowd: Crowd, number: int, barrier: Any, results: Any) -> None:
    """Stage ``turns`` times, rows between those of the other jobs."""
    harvest = Harvest(number)
    try:
        root = StoreRoot(str(crowd.repository.base))
        barrier.wait(PATIENCE)
        jobs = crowd.writers * crowd.turns
        for n in range(crowd.turns):
            first = number * crowd.turns + n
            table = pa.Table.from_pylist(rows(range(first, jobs * ROWS, jobs)))
            harvest.receipts.append(root.stage("u", table))
    except BaseException:  # noqa: BLE001  # the parent fails with it
        harvest.error = traceback.format_exc()
        barrier.abort()
    results.put(harvest)
