"""The same random history on ours and on the SQL manager, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.exc import InternalError

from tests.support.histories import SHAPES, Outcome, Side, deletions, row_lists, wheres
from tests.support.subjects import KINDS, Repository, Site

_CLIENTS = st.integers(0, 1)
_SMALL_STORE = {"partition_rows": 4, "row_group_rows": 2}


class Histories(RuleBasedStateMachine):
    """Two sides, the SQL manager and ours, of which every outcome is equal."""

    def __init__(self, site: Site, kinds: tuple[str, str], shapes: Sequence[str]) -> None:
        super().__init__()
        self.site = site
        self.kinds = kinds
        self.shapes = {name: SHAPES[name] for name in shapes}
        self.sides: list[Side] = []
        self.savepoints: list[bool] = []  # of the open transactions, outermost first
        self.owner = 0  # the client that has them open
        self.poisoned = False  # PostgreSQL refuses everything until the rollback

    @initialize(
        data=st.data(),
        bulk=st.booleans(),
        small=st.booleans(),
        flushed=st.booleans(),
    )
    def start(self, data: st.DataObject, bulk: bool, small: bool, flushed: bool) -> None:
        options = ({"bulk_rows": 2} if bulk else {}) | (_SMALL_STORE if small else {})
        for kind in self.kinds:
            values = options if KINDS[kind].is_arrow else {}
            self.sides.append(Side(Repository(KINDS[kind], self.site, option_values=values), self.shapes))
        for name in self.shapes:
            self._write(0, name, "ensure", data.draw(row_lists(self.shapes[name]), label=name))
        if flushed:
            self.ours.flush()

    @property
    def ours(self) -> Any:
        return self.sides[1].clients[self.owner].manager

    def _both(self, step: Callable[[Side], Any]) -> Any:
        """Take a step on both sides and return their common outcome."""
        expected, found = (step(side) for side in self.sides)
        assert found == expected
        return expected

    def _client(self, drawn: int) -> int:
        return self.owner if self.savepoints else drawn

    def _table(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.shapes)), label="table")

    def _write(self, client: int, name: str, method: str, arguments: list[Any]) -> None:
        where = self._client(client)
        outcome: Outcome = self._both(lambda side: side.write(where, name, method, tuple(arguments)))
        if outcome[0] == "raised" and self._leaves_rows(arguments):
            while self.savepoints:
                self._end(commit=False)

    def _leaves_rows(self, arguments: list[Any]) -> bool:
        """Whether SQLite has kept rows of the failed call: then the history
        goes on as an application's would, by leaving the transaction.
        """
        plain = bool(self.savepoints) and not any(self.savepoints[1:])
        return plain and KINDS[self.kinds[0]].dialect == "sqlite" and len(arguments) > 1

    def _end(self, *, commit: bool) -> None:
        self.savepoints.pop()
        if commit:
            self._both(lambda side: side.commit())
        else:
            self._both(lambda side: side.roll_back())

    @precondition(lambda self: not self.poisoned)
    @rule(data=st.data(), client=_CLIENTS)
    def insert(self, data: st.DataObject, client: int) -> None:
        self._write_rows(data, client, "insert")

    @precondition(lambda self: not self.poisoned)
    @rule(data=st.data(), client=_CLIENTS)
    def ensure(self, data: st.DataObject, client: int) -> None:
        self._write_rows(data, client, "ensure")

    @precondition(lambda self: not self.poisoned)
    @rule(data=st.data(), client=_CLIENTS)
    def replace(self, data: st.DataObject, client: int) -> None:
        self._write_rows(data, client, "replace")

    def _write_rows(self, data: st.DataObject, client: int, method: str) -> None:
        name = self._table(data)
        self._write(client, name, method, data.draw(row_lists(self.shapes[name]), label="rows"))

    @precondition(lambda self: not self.poisoned)
    @rule(data=st.data(), client=_CLIENTS)
    def delete(self, data: st.DataObject, client: int) -> None:
        name = self._table(data)
        columns, rows = data.draw(deletions(self.shapes[name]), label="columns and rows")
        self._write(client, name, "delete", [columns, *rows])

    @precondition(lambda self: not self.poisoned)
    @rule(data=st.data(), client=_CLIENTS, beside=st.booleans())
    def fetch(self, data: st.DataObject, client: int, beside: bool) -> None:
        name = self._table(data)
        where = data.draw(wheres(self.shapes[name]), label="where")
        reader = self._client(client)
        if beside and self.savepoints and KINDS[self.kinds[0]].dialect == "postgresql":
            reader = 1 - self.owner
        self._both(lambda side: side.fetch(reader, name, where))

    @precondition(lambda self: len(self.savepoints) < 3 and not self.poisoned)
    @rule(client=_CLIENTS, savepoint=st.booleans())
    def begin(self, client: int, savepoint: bool) -> None:
        self.owner = self._client(client)
        self._both(lambda side: side.begin(self.owner, savepoint=savepoint))
        self.savepoints.append(savepoint)

    @precondition(lambda self: self.savepoints)
    @rule(commit=st.booleans())
    def end(self, commit: bool) -> None:
        self._end(commit=commit)

    @precondition(lambda self: not self.savepoints)
    @rule(
        client=_CLIENTS,
        step=st.sampled_from(["flush", "flush", "compact", "vacuum", "verify"]),
        full=st.booleans(),
    )
    def maintain(self, client: int, step: str, full: bool) -> None:
        self.owner = client
        options: dict[str, dict[str, Any]] = {"vacuum": {"retention": 0}, "compact": {"full": full}}
        getattr(self.ours, step)(**options.get(step, {}))

    @precondition(lambda self: not self.savepoints)
    @rule(client=_CLIENTS, step=st.sampled_from(["clone", "reopen"]))
    def renew(self, client: int, step: str) -> None:
        self._both(lambda side: getattr(side, step)(client))

    @invariant()
    def same_contents(self) -> None:
        if not self.sides:
            return
        clients = (self.owner,) if self.savepoints else (0, 1)
        self.poisoned = False
        for client in clients:
            for name in self.shapes:
                outcome = self._both(partial(Side.fetch, client=client, name=name, where={}))
                self.poisoned |= outcome == ("raised", InternalError)
                assert self.poisoned or outcome[0] == "returned"

    def teardown(self) -> None:
        for side in self.sides:
            side.close()


# Each history goes over two tables, in the same transactions.
over_shapes = pytest.mark.parametrize(
    "shapes", [("uniques", "standard"), ("records", "composite"), ("string_key", "keys_only")], ids="-".join
)


def _run(site: Site, kinds: tuple[str, str], shapes: Sequence[str]) -> None:
    machine: Any = partial(Histories, site, kinds, shapes)
    run_state_machine_as_test(machine, settings=settings())


@over_shapes
def test_on_sqlite(tmp_path: Path, shapes: Sequence[str]) -> None:
    _run(Site(tmp_path), ("sql-sqlite", "arrow-sqlite-local"), shapes)


@over_shapes
def test_on_postgres(tmp_path: Path, postgres_url: str, shapes: Sequence[str]) -> None:
    _run(Site(tmp_path, postgres=postgres_url), ("sql-postgres", "arrow-postgres-local"), shapes)


@over_shapes
def test_on_a_root(tmp_path: Path, shapes: Sequence[str]) -> None:
    _run(Site(tmp_path), ("sql-sqlite", "arrow-root-memory"), shapes)
