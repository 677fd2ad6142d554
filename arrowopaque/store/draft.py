"""What a transaction of the root binding has changed in one table."""

from __future__ import annotations

__all__ = ["TableDraft"]

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from arrowopaque.errors import ConstraintError
from arrowopaque.format.manifest import Key, TableManifest
from arrowopaque.format.spec import TableSpec
from arrowopaque.format.values import Values
from arrowopaque.store.apply import Stage, StaleStageError, compose, next_manifest, stage
from arrowopaque.store.base import Base, load_base
from arrowopaque.store.calls import Call, Mode, Selection
from arrowopaque.store.datafile import NONE
from arrowopaque.store.matches import Hits, Match, hits_of, live_only, rows_of
from arrowopaque.store.plan import ClashError, plan_and_stage, plan_write
from arrowopaque.store.table import Snapshot, key_table
from arrowopaque.store.volume import Volume

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """One change to data files, in a form that can be done again on top of
    what others have committed meanwhile.
    """

    drop: pa.Table
    """Primary keys whose rows go."""
    rows: pa.Table
    """Rows that come."""
    staged: Stage
    mode: Mode
    asked: Selection | None = None
    """The delete by value that ``drop`` comes from: what others have written
    meanwhile goes only if it is still asked for.
    """


class TableDraft:
    """A table as one transaction sees it: committed files, its own changes.

    Parameters
    ----------
    volume
        The store.
    name, spec
        The table.
    manifest
        Name of the manifest that the transaction started from.
    """

    def __init__(self, volume: Volume, name: str, spec: TableSpec, manifest: str | None) -> None:
        self.name = name
        self.spec = spec
        self._volume = volume
        self._values = Values(spec)
        # Kept, because vacuum may take it while the transaction is open.
        self._before = self._base = load_base(volume, spec, manifest)
        self._started = manifest
        self._restaged = False
        self._rows: dict[Key, tuple[Row, Mode]] = {}
        self._gone: frozenset[Key] = frozenset()
        self._asked: dict[Key, Selection] = {}
        self._steps: tuple[_Step, ...] = ()

    def copy(self) -> TableDraft:
        """Return an independent copy, for a savepoint."""
        other = copy.copy(self)
        other._rows, other._asked = dict(self._rows), dict(self._asked)
        return other

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self._rows or self._gone or self._steps)

    def snapshot(self) -> Snapshot:
        """Return what the transaction sees."""
        return Snapshot(self._base, [row for row, _ in self._rows.values()], self._gone)

    # Small writes stay in memory until the commit.

    def write(self, mode: Mode, call: Call) -> None:
        """Write some rows.

        Raises
        ------
        ConstraintError
            A row clashes; nothing was written.
        """
        rows, gone = dict(self._rows), set(self._gone)
        in_base = self._visible(self.spec.primary_key, call)
        owners = [(columns, self._owners(columns, call)) for columns in self.spec.unique]
        for row in call.keys(self.spec.names):
            key = self._key(row)
            exists = key in rows or (key in in_base and key not in gone)
            clash = self._unique_clash(row, key, rows, gone, owners)
            if mode is Mode.ENSURE and (exists or clash):
                continue
            if clash or (exists and mode is Mode.INSERT):
                raise self._clash(row)
            if key in in_base:
                gone.add(key)
            rows[key] = (row, mode)
        self._rows, self._gone = rows, frozenset(gone)

    def _key(self, row: Row) -> Key:
        return tuple(row[i] for i in self.spec.key_positions)

    def _clash(self, row: Row) -> ConstraintError:
        (key,) = self._values.python_rows(self.spec.primary_key, [self._key(row)])
        return ConstraintError(f"table {self.name!r}: the row with {key} clashes with one that exists")

    def _visible(self, columns: tuple[str, ...], call: Call) -> set[Key]:
        """Return the keys of visible rows of data files that equal the
        call's rows in ``columns``.
        """
        return {key for keys in self._owners(columns, call).values() for key in keys}

    def _owners(self, columns: tuple[str, ...], call: Call) -> dict[Row, set[Key]]:
        """Return who has the values of ``columns`` that the call gives."""
        schema = self.spec.arrow_schema
        given = zip(*call.keys(columns), strict=True)
        wanted = pa.table(
            [pa.array(v, schema.field(n).type) for n, v in zip(columns, given, strict=True)], list(columns)
        )
        key = self.spec.primary_key
        names = list(dict.fromkeys([*key, *columns]))
        gone = key_table(self.spec, list(self._gone)) if self._gone else None
        found: dict[Row, set[Key]] = {}
        matches = self._base.matching(columns, wanted, names, is_rare=True)
        for match in live_only(matches, gone, key):
            owners = rows_of(match.rows.select(list(key)))
            for owner, values in zip(owners, rows_of(match.rows.select(list(columns))), strict=True):
                found.setdefault(values, set()).add(owner)
        return found

    def _unique_clash(
        self,
        row: Row,
        key: Key,
        rows: dict[Key, tuple[Row, Mode]],
        gone: set[Key],
        owners: list[tuple[tuple[str, ...], dict[Row, set[Key]]]],
    ) -> bool:
        for columns, held in owners:
            at = [self.spec.positions[name] for name in columns]
            values = tuple(row[i] for i in at)
            if None in values:
                continue
            if held.get(values, set()) - gone - {key}:
                return True
            if any(other != key and tuple(r[i] for i in at) == values for other, (r, _) in rows.items()):
                return True
        return False

    def delete(self, selection: Selection) -> None:
        """Delete what ``selection`` names."""
        key = list(self.spec.primary_key)
        matches = selection.matches(self._base, key)
        asked_by = {*selection.columns, *(term.column for term in selection.where)}
        asked = None if asked_by <= set(key) else selection
        if sum(match.rows.num_rows for match in matches) >= self._volume.options.bulk_rows:
            self._drop(matches, asked)
        else:
            found = {k for match in matches for k in rows_of(match.rows.select(key))}
            if asked is not None:
                self._asked.update(dict.fromkeys(found - self._gone, asked))
            self._gone |= found
        self._forget(selection)

    def _forget(self, selection: Selection) -> None:
        """Delete what ``selection`` names of the rows in memory."""
        key = list(self.spec.primary_key)
        snapshot = Snapshot(load_base(self._volume, self.spec, None), self.snapshot().rows)
        names = list(dict.fromkeys([*key, *selection.columns]))
        mine: set[Key] = set()
        for batch in snapshot.batches(selection.where, names):
            keys = rows_of(batch.select(key))
            if selection.tuples is None:
                mine.update(keys)
            else:
                values = rows_of(batch.select(list(selection.columns)))
                mine.update(k for k, v in zip(keys, values, strict=True) if v in selection.tuples)
        self._rows = {k: entry for k, entry in self._rows.items() if k not in mine}

    # Large writes go to data files at once, uncommitted.

    def write_bulk(self, mode: Mode, rows: pa.Table) -> None:
        """Write many rows.

        Raises
        ------
        ConstraintError
            A row clashes; nothing was written.
        """
        try:
            delta = [row for row, _ in self._rows.values()]
            plan, staged = plan_and_stage(self._base, self.name, rows, mode, delta, self._gone)
        except ClashError as clash:
            raise self._clash(clash.row) from clash
        self._do(plan.hits, plan.rows, staged, mode)
        for k in plan.delta:
            del self._rows[k]
        self._gone -= set(plan.tombstones)
        for k in plan.tombstones:
            self._asked.pop(k, None)

    def _do(
        self,
        drop: Sequence[Match],
        rows: pa.Table,
        staged: Stage,
        mode: Mode,
        asked: Selection | None = None,
    ) -> None:
        """Let ``rows``, which are staged, take the place of those found."""
        manifest = compose(self._base, self.name, staged, hits_of(iter(drop)), _UNCOMMITTED)
        self._base = Base(self._volume, self.spec, manifest)
        keys = [match.rows.select(list(self.spec.primary_key)) for match in drop]
        dropped = pa.concat_tables(keys) if keys else self.spec.key_schema.empty_table()
        self._steps += (_Step(dropped, rows, staged, mode, asked),)

    def _drop(self, found: Sequence[Match], asked: Selection | None) -> None:
        self._do(found, self.spec.arrow_schema.empty_table(), Stage(), Mode.REPLACE, asked)

    def settle(self) -> None:
        """Put what is still in memory into files."""
        groups: dict[Selection | None, list[Key]] = {}
        for k in self._gone:
            groups.setdefault(self._asked.get(k), []).append(k)
        for asked, keys in groups.items():
            wanted = key_table(self.spec, keys)
            self._drop(list(self._base.matching(self.spec.primary_key, wanted, self.spec.primary_key)), asked)
        for mode in Mode:
            kept = [row for row, how in self._rows.values() if how is mode]
            if kept:
                rows = self._values.table(kept)
                staged = stage(self._volume, self.spec, self.name, self._base.manifest, rows)
                self._do([], rows, staged, mode)
        self._rows, self._gone, self._asked = {}, frozenset(), {}

    def restage(self) -> None:
        """Write the files again: a vacuum may have taken them."""
        before = self._before.manifest
        steps = [
            replace(s, staged=stage(self._volume, self.spec, self.name, before, s.rows)) for s in self._steps
        ]
        self._steps = tuple(steps)
        self._restaged = True

    def commit_onto(self, current: str | None, commit: str) -> TableManifest:
        """Return the manifest of this transaction's steps done on top of
        what is current.

        Requires: `settle` was called.

        Raises
        ------
        ConstraintError
            What others have committed meanwhile clashes with a row.
        """
        parent = base = load_base(self._volume, self.spec, current)
        if current == self._started and not self._restaged:
            # Nobody else wrote, and no vacuum took a file: the steps have made it already.
            base = self._base
        else:
            known = {file.path for file in self._before.files}
            for step in self._steps:
                base = self._redo(base, step, known, commit)
        partitions = list(base.manifest.partitions) if base.manifest else []
        return next_manifest(parent, self.name, partitions, commit)

    def _redo(self, base: Base, step: _Step, known: set[str], commit: str) -> Base:
        """Do one step again; only what others brought is checked again."""
        if step.drop.num_rows:
            base = self._composed(base, Stage(), self._dropped(base, step, known), commit)
        if not step.rows.num_rows:
            return base
        rivals = Base(self._volume, self.spec, without(base.manifest, known))
        try:
            plan = plan_write(rivals, step.rows, step.mode, [], [])
        except ClashError as clash:
            raise self._clash(clash.row) from clash
        hits, staged = hits_of(iter(plan.hits)), step.staged
        try:
            if plan.rows.num_rows < step.rows.num_rows:
                raise StaleStageError
            result = self._composed(base, staged, hits, commit)
        except StaleStageError:
            staged = stage(self._volume, self.spec, self.name, base.manifest, plan.rows)
            result = self._composed(base, staged, hits, commit)
        known |= {file.path for file in staged.files}
        return result

    def _dropped(self, base: Base, step: _Step, known: set[str]) -> Hits:
        """Return where the rows are that a step drops."""
        key = self.spec.primary_key
        hits = hits_of(base.matching(key, step.drop, key))
        if step.asked is None or hits.keys() <= known:
            return hits
        rivals = Base(self._volume, self.spec, without(base.manifest, known))
        still = hits_of(iter(step.asked.matches(rivals, key)))
        return {
            path: at if path in known else np.intersect1d(at, still.get(path, NONE))
            for path, at in hits.items()
        }

    def _composed(self, base: Base, staged: Stage, hits: Hits, commit: str) -> Base:
        return Base(self._volume, self.spec, compose(base, self.name, staged, hits, commit))


_UNCOMMITTED = "0" * 32


def without(manifest: TableManifest | None, known: set[str]) -> TableManifest | None:
    """Return a manifest, stored nowhere, of the files that are not known."""
    if manifest is None:
        return None
    partitions = tuple(
        partition.model_copy(
            update={"files": tuple(file for file in partition.files if file.path not in known)}
        )
        for partition in manifest.partitions
    )
    return manifest.model_copy(update={"partitions": partitions})
