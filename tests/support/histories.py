"""Random histories of opaque tables: what to do, and one side that does it."""

from __future__ import annotations

__all__ = ["SHAPES", "Outcome", "Shape", "Side", "attempt", "deletions", "row_lists", "wheres"]

import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from lsst.daf.butler import ddl
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage
from sqlalchemy.exc import SQLAlchemyError

from tests.support import specs
from tests.support.subjects import Repository, Subject, UndoError

Row = dict[str, Any]
Outcome = tuple[str, Any]

# What both managers may raise; anything else is a failure of its own.
_EXPECTED = (SQLAlchemyError, KeyError, TypeError)

_WORDS = ("a", "ab", "abc", "b", "ba")
_UUIDS = tuple(uuid.UUID(int=n << 120) for n in range(3))
_SMALL = (0, 1, 2, 3)
# Rows of a call: mostly few, since one bad row makes the rest of a call moot.
_COUNTS = st.sampled_from((1, 1, 1, 2, 2, 3, 5, 0))


@dataclass(frozen=True)
class Shape:
    """A table spec and few values for each column, so that rows clash often.

    Strings are lower-case and free of wildcards, since prefixes differ on
    purpose; ``prefixed`` are the columns that prefixes are asked of.
    """

    spec: Callable[[], ddl.TableSpec]
    values: Mapping[str, tuple[Any, ...]]
    prefixed: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.spec().fields if field.primaryKey)

    @property
    def nullable(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.spec().fields if field.nullable)


SHAPES = {
    "standard": Shape(specs.standard, {"id": tuple(range(5)), "name": _WORDS, "val": _SMALL}, ("name",)),
    "records": Shape(
        specs.records,
        {
            "dataset_id": _UUIDS,
            "path": ("x.zip#a", "x.zip#b", "x.zip", "y.fits"),
            "formatter": ("f",),
            "storage_class": ("s", "t"),
            "component": ("c", "d"),
            "checksum": ("k",),
            "file_size": _SMALL,
        },
        ("path", "component"),
    ),
    "composite": Shape(
        specs.composite,
        {
            "before": (0.5, -1.25),
            "run": (1, 2),
            "kind": ("a", "b"),
            "between": _WORDS,
            "uid": _UUIDS[:2],
            "flag": (True, False),
            "after": _SMALL,
        },
        ("kind", "between"),
    ),
    "uniques": Shape(
        specs.uniques,
        {"id": tuple(range(4)), "name": _WORDS, "label": ("l", "la", "m"), "x": (0, 1, 2), "y": (0, 1, 2)},
        ("name", "label"),
    ),
    "keys_only": Shape(specs.keys_only, {"a": _SMALL, "b": _SMALL}),
    "string_key": Shape(specs.string_key, {"key": _WORDS, "val": _SMALL}, ("key",)),
}


@st.composite
def row_lists(draw: st.DrawFn, shape: Shape) -> list[Row]:
    """Rows for one call: the same columns in each, now and then a bad NULL."""
    absent = draw(st.sets(st.sampled_from(shape.nullable))) if shape.nullable else set()
    columns = [name for name in shape.values if name not in absent]
    bad_null = draw(st.sampled_from([None, None, None, *columns]))
    result = []
    for _ in range(draw(_COUNTS)):
        item = {name: draw(st.sampled_from(shape.values[name])) for name in columns}
        for name in columns:
            if (name in shape.nullable or name == bad_null) and draw(st.integers(0, 3)) == 0:
                item[name] = None
        result.append(item)
    return result


@st.composite
def wheres(draw: st.DrawFn, shape: Shape) -> Row:
    """Constraints of one fetch, on up to three columns."""
    columns = draw(st.lists(st.sampled_from(list(shape.values)), max_size=3, unique=True))
    return {name: draw(_constraint(shape, name)) for name in columns}


def _constraint(shape: Shape, name: str) -> st.SearchStrategy[Any]:
    one = st.sampled_from(shape.values[name])
    kinds = [one, st.none(), st.lists(one, max_size=4), st.sets(one, max_size=4), st.lists(one).map(tuple)]
    if name in shape.prefixed:
        kinds.append(one.map(lambda word: word[: max(1, len(word) - 1)] + "%"))
        kinds.append(st.just("%"))
    return st.one_of(kinds)


@st.composite
def deletions(draw: st.DrawFn, shape: Shape) -> tuple[list[str], list[Row]]:
    """Columns and rows of one delete; seldom no columns, which empties."""
    if draw(st.integers(0, 19)) == 0:
        return [], []
    some = st.lists(st.sampled_from(list(shape.values)), min_size=1, max_size=3, unique=True)
    columns = draw(st.one_of(st.just(list(shape.key)), st.just(list(shape.key[:1])), some))
    found = []
    for _ in range(draw(_COUNTS)):
        found.append(
            {name: draw(st.sampled_from((*shape.values[name], *_null(shape, name)))) for name in columns}
        )
    return columns, found


def _null(shape: Shape, name: str) -> Iterable[None]:
    return (None,) if name in shape.nullable else ()


def attempt(call: Callable[[], Any]) -> Outcome:
    """Run a call; return its result, or the class of its error."""
    try:
        return "returned", call()
    except _EXPECTED as error:
        return "raised", type(error)


class Side:
    """One manager's part in a history: two clients and the same tables."""

    def __init__(self, repository: Repository, shapes: Mapping[str, Shape]) -> None:
        self.repository = repository
        self.shapes = shapes
        self.clients: list[Subject] = [repository.create()]
        self.clients.append(repository.open())
        for client in self.clients:
            self._register(client)
        self._transactions: list[AbstractContextManager[None]] = []

    def _register(self, client: Subject) -> None:
        for name, shape in self.shapes.items():
            client.manager.register(name, shape.spec())

    def table(self, client: int, name: str) -> OpaqueTableStorage:
        return self.clients[client].manager[name]

    def write(self, client: int, name: str, method: str, arguments: tuple[Any, ...]) -> Outcome:
        return attempt(lambda: getattr(self.table(client, name), method)(*arguments))

    def fetch(self, client: int, name: str, where: Row) -> Outcome:
        """Return the rows in an order of their own."""
        if not self._transactions:
            self.clients[client].refresh()
        rows = attempt(lambda: [dict(row) for row in self.table(client, name).fetch(**where)])
        return (rows[0], sorted(rows[1], key=repr)) if rows[0] == "returned" else rows

    def begin(self, client: int, *, savepoint: bool) -> None:
        transaction = self.clients[client].transaction(savepoint=savepoint)
        transaction.__enter__()
        self._transactions.append(transaction)

    def commit(self) -> Outcome:
        transaction = self._transactions.pop()
        return attempt(lambda: transaction.__exit__(None, None, None))

    def roll_back(self) -> None:
        error = UndoError()
        assert not self._transactions.pop().__exit__(UndoError, error, error.__traceback__)

    def clone(self, client: int) -> None:
        self.clients[client] = self.clients[client].clone()

    def reopen(self, client: int) -> None:
        self.clients[client] = self.clients[client].reopen()
        self._register(self.clients[client])

    def close(self) -> None:
        while self._transactions:
            self.roll_back()
        self.repository.close()
