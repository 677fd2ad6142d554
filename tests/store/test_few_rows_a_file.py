"""Bulk calls that would write a file for each few rows go through SQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import specs
from tests.support.postgres import PostgresServer
from tests.support.subjects import Site, open_repository

PARTITIONS, ROWS, BULK = 50, 40, 80
ALL = PARTITIONS * ROWS
SCATTERED = {BULK: range(0, ALL, ALL // BULK), BULK + 45: range(0, ALL, ALL // (BULK + 45))}
NEAR = range(BULK)


@pytest.fixture(params=["arrow-sqlite-local", "arrow-postgres-local"])
def client(request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Any]:
    """A table of many partitions, and nothing in its delta."""
    site = Site(tmp_path, postgres=postgres_server.new_database().url("postgresql+psycopg2"))
    options = {"bulk_rows": BULK, "partition_rows": ROWS}
    with open_repository(request.param, site, option_values=options) as found:
        table = found.manager.register("t", specs.standard())
        table.insert(*[specs.row(2 * n) for n in range(ALL)])
        assert found.delta_rows("t") == 0
        yield found


@pytest.mark.parametrize(
    ("numbers", "is_bulk"),
    [(SCATTERED[BULK], False), (SCATTERED[BULK + 45], True), (NEAR, True)],
    ids=["scattered", "more of them", "near each other"],
)
def test_rows_for_each_file(client: Any, numbers: range, is_bulk: bool) -> None:
    table = client.manager.register("t", specs.standard())
    table.insert(*[specs.row(2 * n + 1) for n in numbers])
    assert (client.delta_rows("t") == 0) == is_bulk
    assert len(list(table.fetch())) == ALL + len(numbers)
    tombstones = client.manager.verify("quick").tables["t"].tombstones
    table.delete(["id"], *[{"id": 2 * n} for n in numbers])
    assert (client.manager.verify("quick").tables["t"].tombstones == tombstones) == is_bulk
    assert sorted(row["id"] % 2 for row in table.fetch()).count(1) == len(numbers)
    assert len(list(table.fetch())) == ALL
    client.flush("t")
    client.manager.verify()
    assert len(list(table.fetch())) == ALL
