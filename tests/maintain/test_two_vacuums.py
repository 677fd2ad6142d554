"""Two hosts vacuum at once: the later cutoff of one is no loss to the other."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from arrowopaque.errors import ObjectMissingError
from arrowopaque.maintain import vacuum
from arrowopaque.objects.base import ObjectInfo
from tests.support import specs
from tests.support.subjects import Site, Subject, open_repository

_MINUTE = 60.0


def _age(client: Subject, minutes: float) -> None:
    for path in Path(str(client.repository.base)).rglob("*.*"):
        at = path.stat().st_mtime - minutes * _MINUTE
        os.utime(path, (at, at))


@pytest.fixture(params=["arrow-sqlite-local", "arrow-root-local"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A table whose manifests were written 180, 120, 50, 30 and 0 minutes ago."""
    values = {"bulk_rows": 2, "cache_bytes": 0, "flush_at_open": 0}
    with open_repository(request.param, Site(tmp_path), option_values=values) as found:
        table = found.table(specs.standard(), name="t")
        for number, minutes in enumerate((60, 70, 20, 30, 0)):
            table.insert(specs.row(2 * number), specs.row(2 * number + 1))
            _age(found, minutes)
        yield found


def _manifests(client: Subject) -> list[Path]:
    found = Path(str(client.repository.base)).rglob("tables/t/manifests/*.json")
    return sorted(found, key=lambda path: int(path.name.partition("-")[0]))


def test_what_another_vacuum_deletes_meanwhile(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other, ours, listed = client.second(), vacuum._ours, []
    other.manager.register("t", specs.standard())

    def listing(infos: Iterable[ObjectInfo]) -> dict[str, ObjectInfo]:
        found = ours(infos)
        listed.append(found)
        if len(listed) == 1:
            other.manager.vacuum(retention=10 * _MINUTE)
        return found

    monkeypatch.setattr(vacuum, "_ours", listing)
    assert len(_manifests(client)) == 5
    client.manager.vacuum(retention=60 * _MINUTE)
    assert len(listed) == 2
    assert len(_manifests(client)) == 2
    client.refresh()
    assert client.manager.verify().tables["t"].rows == 10


def test_the_current_manifest_must_be_there(client: Any) -> None:
    _manifests(client)[-1].unlink()
    before = len(_manifests(client))
    with pytest.raises(ObjectMissingError):
        client.manager.vacuum(retention=10 * _MINUTE)
    assert len(_manifests(client)) == before
