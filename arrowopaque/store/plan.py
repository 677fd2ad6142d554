"""What a bulk write displaces, worked out before anything is written."""

from __future__ import annotations

__all__ = ["ClashError", "WritePlan", "plan_and_stage", "plan_write"]

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.format.manifest import Key
from arrowopaque.store.apply import Stage, stage
from arrowopaque.store.base import Base
from arrowopaque.store.calls import Mode
from arrowopaque.store.matches import Match, rows_of
from arrowopaque.store.order import Sorted
from arrowopaque.store.parallel import LONG

Row = tuple[Any, ...]


class ClashError(Exception):
    """A row clashes; nothing of the call may stay."""

    def __init__(self, row: Row) -> None:
        self.row = row


@dataclass(slots=True)
class WritePlan:
    """What to write and what it displaces."""

    rows: pa.Table
    hits: list[Match] = field(default_factory=list)
    """Rows of data files that go."""
    delta: list[Key] = field(default_factory=list)
    """Delta rows that go."""
    tombstones: list[Key] = field(default_factory=list)
    """Tombstones that go, because what they hide goes."""


def without_repeats(given: pa.Table, key: Sequence[str], mode: Mode) -> Sorted:
    """Return rows with no key twice: an error, the first or the last one.

    Raises
    ------
    ClashError
        A key is inserted twice.
    """
    ordered = Sorted.of(given, key)
    if ordered.is_distinct:
        return ordered
    rows = ordered.rows
    same = np.ones(max(rows.num_rows - 1, 0), dtype=bool)
    for name in key:
        column = rows.column(name).combine_chunks()
        same &= pc.equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False).astype(bool)
    if not same.any():
        return ordered
    if mode is Mode.INSERT:
        at = int(np.flatnonzero(same)[0])
        raise ClashError(next(rows_of(rows.slice(at, 1))))
    return ordered.filter(np.append(~same, True) if mode is Mode.REPLACE else np.insert(~same, 0, True))


def plan_and_stage(
    base: Base, table: str, rows: pa.Table, mode: Mode, delta: Sequence[Row], gone: Collection[Key]
) -> tuple[WritePlan, Stage]:
    """Work out what rows displace and write them; see `plan_write`.

    Files of many rows are encoded meanwhile. Nothing is stored if a row
    clashes.
    """
    volume, spec, manifest = base.volume, base.spec, base.manifest
    ordered = without_repeats(rows, spec.primary_key, mode)
    if mode is Mode.ENSURE or rows.num_rows < LONG:
        plan = _displaced(base, ordered.rows, mode, delta, gone)
        # Only what is there already is left out.
        kept = ordered if plan.rows is ordered.rows else plan.rows
        return plan, stage(volume, spec, table, manifest, kept)
    with ThreadPoolExecutor(1) as pool:
        planned = pool.submit(_displaced, base, ordered.rows, mode, delta, gone)
        staged = stage(volume, spec, table, manifest, ordered, planned.result)
        return planned.result(), staged


def plan_write(
    base: Base, rows: pa.Table, mode: Mode, delta: Sequence[Row], gone: Collection[Key]
) -> WritePlan:
    """Work out which rows to write and what they displace.

    Parameters
    ----------
    base
        The data files.
    rows
        Whole rows.
    mode
        What to do with a row whose key exists.
    delta
        The delta rows, at least those with a key of ``rows``; all of them if
        there are other unique constraints.
    gone
        The tombstones, at least those with a key of ``rows``.

    Raises
    ------
    ClashError
        A row clashes and ``mode`` does not say what to do then.
    """
    return _displaced(base, without_repeats(rows, base.spec.primary_key, mode).rows, mode, delta, gone)


def _displaced(
    base: Base, rows: pa.Table, mode: Mode, delta: Sequence[Row], gone: Collection[Key]
) -> WritePlan:
    """Return the plan of rows that have no key twice."""
    spec = base.spec
    key = spec.primary_key
    in_delta = {tuple(row[i] for i in spec.key_positions) for row in delta}
    plan = WritePlan(rows, hits=list(base.matching(key, rows, key, is_rare=True)))
    in_base = {k for match in plan.hits for k in rows_of(match.rows.select(list(key)))}
    if not (in_delta or in_base or spec.unique):
        return plan
    keys = list(rows_of(rows.select(list(key))))
    taken = in_delta | (in_base - set(gone))
    clashing = {i for i, k in enumerate(keys) if k in taken}
    if mode is Mode.REPLACE:
        plan.delta = [keys[i] for i in sorted(clashing) if keys[i] in in_delta]
        clashing = set()
    clashing |= _unique_clashes(base, rows, keys, delta, gone)
    if clashing and mode is not Mode.ENSURE:
        raise ClashError(next(rows_of(rows.slice(min(clashing), 1))))
    if clashing:
        keep = np.ones(len(keys), dtype=bool)
        keep[list(clashing)] = False
        plan.rows = rows.filter(pa.array(keep))
        plan.hits = list(base.matching(key, plan.rows, key))
    written = {k for i, k in enumerate(keys) if i not in clashing}
    plan.tombstones = [k for k in gone if k in written]
    return plan


def _unique_clashes(
    base: Base, rows: pa.Table, keys: list[Row], delta: Sequence[Row], gone: Collection[Key]
) -> set[int]:
    """Return which rows break a unique constraint other than the key."""
    spec = base.spec
    clashing: set[int] = set()
    for columns in spec.unique:
        owner: dict[Row, Key] = {}
        at = [spec.positions[name] for name in columns]
        for row in delta:
            owner[tuple(row[i] for i in at)] = tuple(row[i] for i in spec.key_positions)
        names = list(dict.fromkeys([*spec.primary_key, *columns]))
        for match in base.matching(columns, rows, names, is_rare=True):
            held = zip(
                rows_of(match.rows.select(list(columns))),
                rows_of(match.rows.select(list(spec.primary_key))),
                strict=True,
            )
            owner.update({values: k for values, k in held if k not in gone})
        for i, values in enumerate(rows_of(rows.select(list(columns)))):
            if None in values:
                continue
            holder = owner.setdefault(values, keys[i])
            if holder != keys[i]:
                clashing.add(i)
    return clashing
