"""Values out of several pieces of a column, as one array."""

from __future__ import annotations

__all__ = ["gathered"]

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from arrowopaque.store.decoding import Getter, has_any_length, plain, unpacked
from arrowopaque.store.deletes import Positions
from arrowopaque.store.parallel import run_all

_SCATTERED = 16
"""Rows of a piece up to which they are taken one by one."""


def gathered(
    columns: Sequence[Sequence[pa.Array]],
    places: Sequence[Positions],
    getters: Callable[[], Sequence[Sequence[Getter]]],
) -> list[pa.Array]:
    """Return the values at ``places`` of each piece of some columns.

    Parameters
    ----------
    columns
        The pieces of each column.
    places
        Which values of each piece.
    getters
        Returns what returns single values of each piece, for each column.
    """
    if columns and sum(map(len, places)) > _SCATTERED * len(places):
        starts = itertools.accumulate(map(len, columns[0][:-1]), initial=0)
        joined = np.concatenate([near + start for near, start in zip(places, starts, strict=True)])
        return run_all([partial(_taken, pieces, places, joined) for pieces in columns], len(joined))
    # To call Arrow takes longer than these values one by one.
    near = [place.tolist() for place in places]
    return [_picked(*column, near) for column in zip(columns, zip(*getters(), strict=True), strict=True)]


def _picked(pieces: Sequence[pa.Array], getters: Sequence[Getter], places: Sequence[list[int]]) -> pa.Array:
    """Return the values at ``places`` of each piece of a column, as `_taken`
    does, one by one.
    """
    values: list[Any] = []
    for get, near in zip(getters, places, strict=True):
        values += map(get, near)
    kind = pieces[0].type
    return pa.array(values, kind.value_type if isinstance(pieces[0], pa.DictionaryArray) else kind)


def _taken(pieces: Sequence[pa.Array], places: Sequence[Positions], joined: Positions) -> pa.Array:
    """Return the values at ``places`` of each piece of a column, which are at
    ``joined`` of all, as one array without a dictionary.
    """
    if any(has_any_length(piece.type) for piece in pieces):
        parts = [unpacked(piece.take(pa.array(near))) for piece, near in zip(pieces, places, strict=True)]
        return pa.concat_arrays(parts) if len(parts) > 1 else parts[0]
    # Half the time that it takes piece by piece; of strings, Arrow would first copy the whole column.
    found = pa.chunked_array(pieces).take(pa.array(joined))
    return plain(pa.chunked_array(list(map(unpacked, found.chunks))))
