"""Which sorted columns serve a question."""

from __future__ import annotations

__all__ = ["FEW", "choose_path", "point"]

from collections.abc import Sequence
from typing import Any

from arrowopaque.format.spec import ColumnKind, TableSpec
from arrowopaque.format.where import In, Term, Where

FEW = 8
"""Values that are cheaper to look up one by one than together."""


def choose_path(spec: TableSpec, where: Where) -> tuple[Term, tuple[str, ...]] | None:
    """Return the term to look up first and the sorted columns that serve it.

    `None` means that only a scan will do.
    """
    terms = {term.column: term for term in where}
    for columns in (spec.primary_key, *spec.lookups):
        term = terms.get(columns[0]) if columns else None
        # NULLs are in no index.
        if term is not None and not (isinstance(term, In) and term.null):
            return term, columns
    return None


def point(spec: TableSpec, where: Where) -> tuple[tuple[str, ...], Sequence[Any]] | None:
    """Return the sorted columns and the few values of the first of them that
    ``where`` asks for, if that is all it does.
    """
    if len(where) != 1 or not isinstance(where[0], In) or len(where[0].values) > FEW:
        return None
    columns = spec.sorted_by.get(where[0].column)
    # NULLs are in no index.
    if columns is None or where[0].null or spec.by_name[where[0].column].kind is ColumnKind.FLOAT:
        return None
    return columns, where[0].values
