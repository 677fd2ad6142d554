"""What reads cost on S3: the data files' requests, nothing else."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arrowopaque.store.parquet import ParquetObject
from tests.support import specs
from tests.support.s3server import Request, S3Server
from tests.support.subjects import Site, open_repository

FILES, ROWS = 5, 400
TABLE = "here"


@pytest.fixture(params=["arrow-sqlite-s3", "arrow-root-s3"])
def client(request: pytest.FixtureRequest, tmp_path: Path, s3_bucket: str) -> Iterator[Any]:
    """A client that knows the manifest, and nothing of the files: one for
    each range of ids.
    """
    site = Site(tmp_path, s3=f"s3://{s3_bucket}")
    options = {"bulk_rows": 2, "row_group_rows": 100}
    with open_repository(request.param, site, option_values=options) as found:
        table = found.table(specs.standard(), name=TABLE)
        for start in range(0, FILES * ROWS, ROWS):
            table.insert(*[specs.row(id, f"name {id}", id) for id in range(start, start + ROWS)])
        repository = found.repository
        found.close()
        repository.clients.clear()
        del found, table
        # The last client takes the cache of the root with it.
        gc.collect()
        opened = repository.open()
        assert fetch(opened, [-1]) == []
        yield opened


def fetch(client: Any, ids: list[int]) -> list[int]:
    table = client.manager.register(TABLE, specs.standard())
    wanted: Any = ids if len(ids) > 1 else ids[0]
    found = [(row["id"], row["name"], row["val"]) for row in table.fetch(id=wanted)]
    assert found == [(id, f"name {id}", id) for id, _, _ in found]
    return [id for id, _, _ in found]


def asked(requests: list[Request]) -> int:
    """Return the number of requests, all of which fetch parts of data files."""
    assert {request.method for request in requests} <= {"GET"}
    assert [request.key for request in requests if request.is_list or not request.range] == []
    assert all(request.key.endswith(".parquet") for request in requests)
    return len(requests)


def test_a_row(client: Any, s3_server: S3Server) -> None:
    """A footer and a row group; then nothing for their neighbours."""
    with s3_server.recording() as cold:
        assert fetch(client, [3]) == [3]
    with s3_server.recording() as warm:
        assert fetch(client, [4]) == [4]
    assert (asked(cold), asked(warm)) == (2, 0)
    with s3_server.recording() as other_group:
        assert fetch(client, [ROWS - 1]) == [ROWS - 1]
    assert asked(other_group) == 1


def test_a_row_that_is_not_there(client: Any, s3_server: S3Server) -> None:
    assert fetch(client, [3]) == [3]
    with s3_server.recording() as outside:
        assert fetch(client, [FILES * ROWS]) == []
    assert asked(outside) == 0


def test_many_rows(client: Any, s3_server: S3Server) -> None:
    """A footer and one range of each file; with footers at hand, the range."""
    wanted = list(range(FILES * ROWS))
    for place in range(FILES):
        assert fetch(client, [place * ROWS]) == [place * ROWS]
    with s3_server.recording() as known:
        assert fetch(client, wanted) == wanted
    assert asked(known) == FILES
    with s3_server.recording() as warm:
        assert fetch(client, wanted) == wanted
    assert asked(warm) == 0


def test_many_rows_of_unknown_files(client: Any, s3_server: S3Server) -> None:
    wanted = list(range(ROWS // 2, FILES * ROWS - ROWS // 2))
    with s3_server.recording() as cold:
        assert fetch(client, wanted) == wanted
    assert asked(cold) == 2 * FILES
    assert set(Counter(request.key for request in cold).values()) == {2}


def test_files_are_asked_at_once(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file waits for the reply of another."""
    meeting = threading.Barrier(FILES, timeout=20)
    load = ParquetObject._load_footer

    def wait(self: ParquetObject) -> Any:
        meeting.wait()
        return load(self)

    monkeypatch.setattr(ParquetObject, "_load_footer", wait)
    wanted = list(range(FILES * ROWS))
    assert fetch(client, wanted) == wanted


def test_a_scan_reads_ahead(client: Any, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arrowopaque.store.datafile.BLOCK_GROUPS", 1)
    with s3_server.recording() as requests:
        assert len(client.manager.register(TABLE, specs.standard()).fetch_arrow()) == FILES * ROWS
    assert asked(requests) == FILES * (1 + ROWS // 100)
