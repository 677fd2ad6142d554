"""A vacuum tells first what it would delete, and then deletes that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arrowopaque.format import names
from arrowopaque.objects.local import LocalStore
from tests.support import specs
from tests.support.specs import rows
from tests.support.subjects import Site, open_repository


@pytest.fixture(params=["arrow-sqlite-local", "arrow-root-local"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with open_repository(request.param, Site(tmp_path), option_values={"bulk_rows": 2}) as found:
        table = found.table(specs.uniques(), name="t")
        for i in range(3):
            table.insert(*[{"id": 2 * i + k, "name": f"{i}{k}"} for k in (0, 1)])
        table.delete(["id"], {"id": 0}, {"id": 2})
        found.flush()
        found.manager.compact()
        yield found


def everything(client: Any) -> dict[str, bytes]:
    folder = Path(str(client.repository.base))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_plan_deletes_nothing_and_tells_all(client: Any) -> None:
    before = everything(client)
    (plan,) = client.manager.vacuum(retention=0, dry_run=True).values()
    assert plan.dry_run
    assert everything(client) == before
    (done,) = client.manager.vacuum(retention=0).values()
    assert not done.dry_run
    planned, gone = {item.path for item in plan.garbage}, {item.path for item in done.garbage}
    assert planned == gone
    assert len(plan.garbage) == plan.objects == done.objects > 0
    assert plan.bytes == done.bytes == sum(item.bytes for item in plan.garbage)
    after = everything(client)
    lost = {path[path.index("tables/") :] for path in before.keys() - after.keys()}
    assert lost == planned
    kinds = {names.parse(item.path).kind: item.reason for item in plan.garbage}  # type: ignore[union-attr]
    assert kinds[names.Kind.DATA] == kinds[names.Kind.INDEX] == "no retained manifest names it"
    assert "superseded" in kinds[names.Kind.TABLE_MANIFEST]
    (nothing,) = client.manager.vacuum(retention=0, dry_run=True).values()
    assert (nothing.objects, nothing.garbage) == (0, ())
    client.manager.verify()


def test_plan_heeds_the_retention(client: Any) -> None:
    (plan,) = client.manager.vacuum(retention=3600, dry_run=True).values()
    assert plan.garbage == ()


def test_what_is_needed_again_is_not_deleted(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan is no licence: it is made anew while nobody can commit."""
    (plan,) = client.manager.vacuum(retention=0, dry_run=True).values()
    table = client.manager.get("t")
    table.insert({"id": 50, "name": "x"}, {"id": 51, "name": "y"})
    kept = {path for path in everything(client) if path.endswith(".parquet")}
    deleted: list[str] = []
    delete = LocalStore.delete

    def spy(store: LocalStore, paths: Any) -> None:
        doomed = list(paths)
        deleted.extend(doomed)
        delete(store, doomed)

    monkeypatch.setattr(LocalStore, "delete", spy)
    client.manager.vacuum(retention=0)
    assert {item.path for item in plan.garbage} <= set(deleted)
    named = [path for path in everything(client) if path.endswith(".parquet")]
    assert named
    assert set(named) < kept
    assert len(list(table.fetch())) == 6
    client.manager.verify()


def test_a_chain_keeps_every_name(tmp_path: Path) -> None:
    with open_repository("arrow-root-local", Site(tmp_path)) as found:
        table = found.table(specs.standard(), *rows([1]), name="t")
        table.insert(specs.row(2))
        version = found.root.version
        plan = found.root.vacuum(0, dry_run=True)
        assert (found.root.version, plan.stubs) == (version, version - 1)
        done = found.root.vacuum(0)
        assert done.stubs == version - 1
        links = sorted((Path(found.repository.base) / names.CHAIN).iterdir())
        assert [link.stem for link in links] == [f"{number:020d}" for number in range(1, version + 2)]
