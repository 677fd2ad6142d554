"""The operations that are made to fail, and the states they start from."""

from __future__ import annotations

__all__ = ["REGISTRY", "ROOT"]

from tests.faults.sweep import Operation, State, ours
from tests.opaque.suite_base import _order
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import Subject

BULK_ROWS = 3
"""Calls of fewer rows are small."""


def state(t: list[specs.Row], u: list[specs.Row] | None = None) -> State:
    return {"t": sorted(t, key=_order), "u": sorted(u or [], key=_order)}


def _prepare(client: Subject) -> None:
    """Rows 1, 2 and 3 in a file, 2 deleted and 3 replaced since, and 4 new."""
    table = client.manager["t"]
    table.insert(*rows([1, 2, 3]))
    table.delete(["id"], {"id": 2})
    table.replace(row(3, "new"))
    table.insert(row(4))


_BEFORE = [row(1, val=10), row(3, "new"), row(4)]


def _prepare_compact(client: Subject) -> None:
    _prepare(client)
    client.flush()
    client.manager["t"].insert(*rows([5, 6, 7]))


def _prepare_vacuum(client: Subject) -> None:
    _prepare_compact(client)
    ours(client).compact()
    client.manager["t"].insert(row(8))


_COMPACT = [*_BEFORE, *rows([5, 6, 7])]


def _several(client: Subject) -> None:
    """Change two tables in one transaction, small and bulk."""
    t, u = client.manager["t"], client.manager["u"]
    with client.transaction():
        t.replace(row(1, "new"))
        u.replace(*rows([1, 2, 3]))
        t.delete(["id"], {"id": 4})
        t.replace(*rows([10, 11, 12]))


def _move(client: Subject) -> None:
    """Take all rows of one table into the other, as an adoption does."""
    t, u = client.manager["t"], client.manager["u"]
    with client.transaction():
        found = [dict(found) for found in t.fetch()]
        u.insert(*found)
        t.delete(["id"], *({"id": each["id"]} for each in found))


_WRITES = {
    "insert": Operation(
        _prepare, lambda c: c.manager["t"].insert(row(10)), state([*_BEFORE, row(10)]), repeatable=False
    ),
    "ensure": Operation(
        _prepare, lambda c: c.manager["t"].ensure(row(1, "no"), row(10)), state([*_BEFORE, row(10)])
    ),
    "replace": Operation(
        _prepare,
        lambda c: c.manager["t"].replace(row(1, "n"), row(4, "n")),
        state([row(1, "n"), row(3, "new"), row(4, "n")]),
    ),
    "delete": Operation(
        _prepare, lambda c: c.manager["t"].delete(["id"], {"id": 1}, {"id": 4}), state([row(3, "new")])
    ),
    "bulk insert": Operation(
        _prepare,
        lambda c: c.manager["t"].insert(*rows([10, 11, 12])),
        state([*_BEFORE, *rows([10, 11, 12])]),
        repeatable=False,
    ),
    "bulk replace": Operation(
        _prepare,
        lambda c: c.manager["t"].replace(row(1, "n"), row(2, "n"), row(4, "n")),
        state([row(1, "n"), row(2, "n"), row(3, "new"), row(4, "n")]),
    ),
    "bulk delete": Operation(
        _prepare,
        lambda c: c.manager["t"].delete(["id"], {"id": 1}, {"id": 2}, {"id": 4}),
        state([row(3, "new")]),
    ),
    "two tables": Operation(
        _prepare, _several, state([row(1, "new"), row(3, "new"), *rows([10, 11, 12])], rows([1, 2, 3]))
    ),
    "move": Operation(_prepare, _move, state([], _BEFORE)),
    "compact": Operation(_prepare_compact, lambda c: ours(c).compact(), state(_COMPACT)),
    "vacuum": Operation(
        _prepare_vacuum, lambda c: ours(c).vacuum(retention=600), state([*_COMPACT, row(8)]), later=True
    ),
}

REGISTRY = {**_WRITES, "flush": Operation(_prepare, lambda c: c.flush(), state(_BEFORE))}
ROOT = dict(_WRITES)
