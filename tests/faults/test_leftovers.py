"""Temporary files of writes that crashed on local disk: vacuum frees them when they are old."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from arrowopaque.errors import StoreAccessError
from tests.faults.sweep import ours
from tests.opaque.suite_base import assert_holds
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import Site, Subject, open_repository

_OPTIONS = {"bulk_rows": 2, "flush_at_open": 0}


@pytest.fixture(params=["arrow-sqlite-local", "arrow-root-local"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with open_repository(request.param, Site(tmp_path), option_values=dict(_OPTIONS)) as client:
        yield client


def _crash(client: Subject, monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Let a bulk insert die between its data file's last byte and its name; return what it leaves."""

    def fail(*_: object) -> None:
        raise OSError("the process is dead")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        patch.setattr(os, "unlink", fail)
        with pytest.raises(StoreAccessError):
            client.manager["t"].insert(*rows([8, 9]))
    return _hidden(client)


def _hidden(client: Subject) -> set[Path]:
    return set(Path(str(client.repository.base)).rglob(".tmp-*"))


def test_vacuum_frees_old_leftovers(client: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    table = client.manager.register("t", specs.standard())
    table.insert(*rows([1, 2]))
    left = _crash(client, monkeypatch)
    assert len(left) == 1
    for file in left:
        os.utime(file, (file.stat().st_mtime - 7200, file.stat().st_mtime - 7200))
    young = _crash(client, monkeypatch) - left
    assert len(young) == 1
    # A longer retention protects the old one; no retention gives up what may still be written.
    ours(client).vacuum(retention=8000)
    assert _hidden(client) == left | young
    ours(client).vacuum(retention=0)
    assert _hidden(client) == young
    table.insert(row(3))
    assert_holds(client.second().manager.register("t", specs.standard()), [*rows([1, 2]), row(3)])
