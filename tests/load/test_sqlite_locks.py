"""Several clients of one SQLite file: nobody is told that it is locked whom the SQL manager would let."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import OperationalError

from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import KINDS, RegistrySubject, Repository, Site

Outcome = str


class Client:
    """One client, whose every step is noted: done or locked out."""

    def __init__(self, subject: RegistrySubject, outcomes: list[Outcome]) -> None:
        self._subject = subject
        self._outcomes = outcomes
        self.table: OpaqueTableStorage = subject.manager.register("t", specs.standard())
        self.database = subject.database
        self.stack = ExitStack()

    def step(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Do something that may meet a lock; SQLite is given no time to wait."""
        try:
            result = action(*args, **kwargs)
        except OperationalError as err:
            if "database is locked" not in str(err):
                raise
            self._outcomes.append("locked")
            return None
        self._outcomes.append("done")
        return result

    def enter(self, context: Callable[[], Any]) -> None:
        self.step(self.stack.enter_context, context())

    def leave(self) -> None:
        self.step(self.stack.close)

    def insert(self, *keys: int) -> None:
        self.step(self.table.insert, *rows(keys))

    def replace(self, *keys: int) -> None:
        self.step(self.table.replace, *rows(keys, "new"))

    def delete(self, *keys: int) -> None:
        self.step(self.table.delete, ["id"], *({"id": key} for key in keys))

    def fetch(self, **where: Any) -> None:
        self.step(lambda: list(self.table.fetch(**where)))


def reads_in_a_session(one: Client, other: Client) -> None:
    one.enter(one.database.session)
    one.fetch(id=1)
    other.insert(10)
    one.fetch()
    one.insert(11)
    other.replace(1)
    one.delete(2)
    one.leave()


def reads_halfway(one: Client, other: Client) -> None:
    found = iter(one.table.fetch())
    one.step(next, found)
    other.insert(10)
    other.delete(1)
    one.insert(11)
    one.step(list, found)


def reads_beside_an_open_transaction(one: Client, other: Client) -> None:
    one.enter(one.database.transaction)
    one.insert(10)
    one.replace(1)
    other.fetch()
    other.fetch(id=1)
    one.delete(2)
    one.leave()
    other.fetch()
    other.insert(11)


def writes_beside_an_open_transaction(one: Client, other: Client) -> None:
    one.enter(one.database.transaction)
    one.fetch(id=1)
    other.insert(10)
    one.insert(11)
    other.delete(1)
    one.leave()
    other.insert(12)
    other.delete(1)


def large_writes_beside_an_open_transaction(one: Client, other: Client) -> None:
    one.enter(one.database.transaction)
    one.insert(*range(20, 40))
    other.fetch()
    other.insert(*range(40, 60))
    one.delete(*range(20, 30))
    one.leave()
    other.insert(*range(60, 80))
    other.fetch(id=25)


SCENARIOS = [
    reads_in_a_session,
    reads_halfway,
    reads_beside_an_open_transaction,
    writes_beside_an_open_transaction,
    large_writes_beside_an_open_transaction,
]


@contextmanager
def clients(kind: str, folder: Path, flushed: bool) -> Iterator[tuple[Client, Client, list[Outcome]]]:
    """Give two impatient clients of a table with some rows."""
    options = {"bulk_rows": 8, "flush_at_open": 0, "lock_timeout": 0} if KINDS[kind].is_arrow else {}
    folder.mkdir()
    repository = Repository(KINDS[kind], Site(folder), option_values=options)
    try:
        first = repository.create()
        first.manager.register("t", specs.standard()).insert(row(1), row(2), row(3))
        if flushed:
            first.flush()
        outcomes: list[Outcome] = []
        one, other = (Client(repository.open(patience=0.0), outcomes) for _ in range(2))  # type: ignore[arg-type]  # a registry's
        yield one, other, outcomes
    finally:
        repository.close()


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_locked_only_where_the_sql_manager_is(
    scenario: Callable[[Client, Client], None], flushed: bool, tmp_path: Path
) -> None:
    found: dict[str, list[Outcome]] = {}
    for kind in ("sql-sqlite", "arrow-sqlite-local"):
        with clients(kind, tmp_path / kind, flushed) as (one, other, outcomes):
            scenario(one, other)
            found[kind] = outcomes
    theirs, ours = found.values()
    assert len(ours) == len(theirs)
    worse = [n for n, pair in enumerate(zip(ours, theirs, strict=True)) if pair == ("locked", "done")]
    assert worse == [], f"ours: {ours}, the SQL manager's: {theirs}"


def test_a_lock_is_noticed(tmp_path: Path) -> None:
    with clients("arrow-sqlite-local", tmp_path / "r", False) as (one, other, outcomes):
        writes_beside_an_open_transaction(one, other)
        assert outcomes == ["done", "done", "locked", "done", "locked", "done", "done", "done"]
