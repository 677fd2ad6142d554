"""What every part of the conformance suite builds on."""

from __future__ import annotations

__all__ = ["ArrowFailure", "SuiteBase", "assert_holds", "contents", "needs", "once", "raises", "undone"]

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ClassVar, TypeVar

import pytest
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage

from tests.support.subjects import Subject, UndoError

F = TypeVar("F", bound=Callable[..., Any])

# How ours refuses what the SQL manager would take silently.
ArrowFailure = (ValueError, TypeError)


class SuiteBase:
    """Tests that take a ``subject`` and run on every kind in ``kinds``.

    A class redefining an inherited test fails at import: what holds for one
    kind holds for all, and differences are told from the subject's
    properties, inside the test.
    """

    kinds: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        seen: dict[str, type] = {}
        for base in reversed(cls.__mro__):
            for name in vars(base):
                if name.startswith("test_") and seen.setdefault(name, base) is not base:
                    raise TypeError(f"{base.__name__} redefines {name} of {seen[name].__name__}")


def needs(*traits: str) -> Callable[[F], F]:
    """Run a test only on kinds of repository that have all of ``traits``."""

    def mark(function: F) -> F:
        function.needs = frozenset(traits)  # type: ignore[attr-defined]  # read at collection
        return function

    return mark


def once(function: F) -> F:
    """Run a test in one placement: it writes no earlier rows."""
    function.once = True  # type: ignore[attr-defined]  # read at collection
    return function


def _order(row: Mapping[str, Any]) -> str:
    return repr(sorted((name, repr(value)) for name, value in row.items()))


def contents(table: OpaqueTableStorage, **where: Any) -> list[dict[str, Any]]:
    """Return rows as dicts in an order of their own, for comparing."""
    return sorted((dict(row) for row in table.fetch(**where)), key=_order)


def assert_holds(table: OpaqueTableStorage, expected: Iterable[Mapping[str, Any]]) -> None:
    """Assert that the table holds exactly these rows, each once."""
    assert contents(table) == sorted(map(dict, expected), key=_order)


def raises(
    subject: Subject, *, sqlite: type[BaseException], postgresql: type[BaseException] | None = None
) -> AbstractContextManager[pytest.ExceptionInfo[BaseException]]:
    """Expect exactly the error class that the SQL manager raises on this
    dialect; a bare root has no dialect and refuses values as its own errors.
    """
    if subject.dialect is None:
        return pytest.raises((sqlite, *ArrowFailure))
    expected = postgresql if subject.dialect == "postgresql" and postgresql is not None else sqlite
    return pytest.raises(
        expected, check=lambda error: type(error) is expected or expected in _OURS_MAY_DERIVE
    )


# Built-in classes, of which a more telling subclass is as good.
_OURS_MAY_DERIVE = (ValueError, TypeError, KeyError, LookupError)


@contextmanager
def undone(subject: Subject, *, savepoint: bool = False) -> Iterator[None]:
    """Run a block in a transaction that an exception then rolls back."""
    with suppress(UndoError), subject.transaction(savepoint=savepoint):
        yield
        raise UndoError
