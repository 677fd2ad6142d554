"""Every call of a store that needs the storage, for tests of what may go wrong with each."""

from __future__ import annotations

__all__ = ["each_call"]

from collections.abc import Callable

import pytest

from arrowopaque.objects.base import ObjectStore

CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "get": lambda store: store.get("a"),
    "get_range": lambda store: store.get_range("a", 0, 1),
    "get_ranges": lambda store: store.get_ranges("a", [(0, 1), (1, 1)]),
    "put": lambda store: store.put("a", b"x"),
    "put_if_absent": lambda store: store.put_if_absent("b", b"x"),
    "size": lambda store: store.size("a"),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete(["a"]),
    "now": lambda store: store.now(),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
