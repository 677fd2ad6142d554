"""One table of a `StoreRoot`, behind the public interface of tables."""

from __future__ import annotations

__all__ = ["RootedFiles", "RootedTable"]

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque import clock
from arrowopaque.errors import ConfigurationError, ConstraintError, ReadOnlyError
from arrowopaque.format.manifest import MetaTable, TableEntry, TableManifest
from arrowopaque.format.spec import Column, ColumnKind
from arrowopaque.format.values import RejectedValueError, Values
from arrowopaque.format.where import In, Term
from arrowopaque.options import Options
from arrowopaque.store.apply import Stage, StaleStageError
from arrowopaque.store.base import Base, load_base
from arrowopaque.store.calls import Call, Mode, Selection
from arrowopaque.store.matches import rows_of
from arrowopaque.store.root import Root
from arrowopaque.store.table import Current, Snapshot
from arrowopaque.store.volume import Volume


class RootedFiles:
    """A table of a root, as a compaction sees it.

    Parameters
    ----------
    root
        The root.
    name
        The table.
    """

    def __init__(self, root: Root, name: str) -> None:
        self._root = root
        self.name = name
        self.spec = root.spec(name)

    @property
    def volume(self) -> Volume:
        """The store that it lies in."""
        return self._root.volume

    def current(self) -> Current:
        """Return the newest manifest; the chain has a fence of its own."""
        self._root.refresh()
        return Current(self._root.entries()[self.name].manifest, 0)

    def base(self, manifest: str | None) -> Base:
        """Return the data files at a manifest."""
        return load_base(self.volume, self.spec, manifest)

    def transform(self, change: Callable[[Base, str], TableManifest], staged: Stage, fence: int) -> None:
        """Commit a change of data files that changes no row."""

        def build(head: MetaTable, commit: str) -> dict[str, TableEntry]:
            # Its name must be new in every attempt, as in every other commit.
            manifest = change(self.base(head.tables[self.name].manifest), clock.new_id())
            entry = TableEntry(spec=self.spec, manifest=self.volume.put_manifest(manifest, self.spec))
            return {**head.tables, self.name: entry}

        def restage() -> None:
            raise StaleStageError

        self._root.commit(build, restage)


class RootedTable:
    """A table of a root.

    Parameters
    ----------
    root
        The root.
    name
        The table.
    values
        Its values' stored form.
    """

    def __init__(self, root: Root, name: str, values: Values) -> None:
        self._root = root
        self._name = name
        self.values = values

    @property
    def _options(self) -> Options:
        return self._root.volume.options

    def check_writeable(self, verb: str) -> None:
        """Raise if the root is read-only."""
        try:
            self._root.check_writeable()
        except ReadOnlyError as err:
            raise ReadOnlyError(f"cannot {verb} table {self._name!r}: {err}") from err

    def snapshot(self, where: Sequence[Term]) -> Snapshot:
        """Return what the root sees."""
        return self._root.seen(self._name).snapshot()

    def write(self, mode: Mode, call: Call) -> None:
        """Write rows, in a transaction of their own if none is open."""
        with self._root.transaction():
            draft = self._root.draft(self._name)
            if call.count < self._options.bulk_rows or not self._in_any_order(mode):
                draft.write(mode, self._completed(call))
            else:
                draft.write_bulk(mode, self._completed_table(call))

    def write_arrow(self, mode: Mode, rows: pa.Table, given: tuple[str, ...]) -> None:
        """Write whole rows."""
        self.write(mode, Call.of_table(rows, given))

    def complete(self, rows: pa.Table, given: tuple[str, ...]) -> pa.Table:
        """Return whole rows in the engine's schema, none of which needs to
        know the others of its table.

        Raises
        ------
        ConfigurationError
            The table would have to make a row's key.
        ConstraintError
            A value is NULL that must not be.
        """
        for column in self.values.spec.columns:
            if column.autoincrement and (column.name not in given or rows.column(column.name).null_count):
                raise ConfigurationError(
                    f"table {self._name!r}: rows that are staged need their own {column.name!r}"
                )
        return self._completed_table(Call.of_table(rows, given))

    def _completed_table(self, call: Call) -> pa.Table:
        spec, schema = self.values.spec, self.values.spec.arrow_schema
        if len(call.names) < len(spec.columns) or any(column.autoincrement for column in spec.columns):
            return self._completed(call).table(schema)
        return self._checked(call.table(schema))

    def _checked(self, rows: pa.Table) -> pa.Table:
        for column in self.values.spec.columns:
            values = rows.column(column.name)
            if not column.nullable and values.null_count:
                raise self._not_null(column.name)
            if self._is_real_key(column) and pc.any(pc.is_nan(values)).as_py():
                raise self._nan(column.name)
        return rows

    def _is_real_key(self, column: Column) -> bool:
        return column.kind is ColumnKind.FLOAT and column.name in self.values.spec.primary_key

    def _nan(self, name: str) -> ConstraintError:
        # As on SQLite, which takes it for NULL. It is equal to nothing, so that no key would name the row.
        return ConstraintError(f"table {self._name!r}: column {name!r} of the primary key must not be NaN")

    def _in_any_order(self, mode: Mode) -> bool:
        """Return whether no row of a call depends on those before it."""
        return mode is Mode.INSERT or not self.values.spec.unique

    def _not_null(self, name: str) -> ConstraintError:
        return ConstraintError(f"table {self._name!r}: column {name!r} must not be NULL")

    def _completed(self, call: Call) -> Call:
        """Return whole rows: defaults filled in, ids made, NULLs checked."""
        spec = self.values.spec
        columns: list[Sequence[Any]] = []
        for column in spec.columns:
            values = call.column(column.name)
            if column.autoincrement:
                values = self._numbered(values, column.name)
            elif column.name not in call.names and column.default is not None:
                values = (self._default(column.name),) * call.count
            if not column.nullable and None in values:
                raise self._not_null(column.name)
            if self._is_real_key(column) and any(value != value for value in values):
                raise self._nan(column.name)
            columns.append(values)
        return Call(spec.names, columns, call.count)

    def _default(self, name: str) -> Any:
        column = self.values.spec.by_name[name]
        assert column.default is not None, "the caller looked"
        if column.default.expression:
            raise ConfigurationError(
                f"table {self._name!r}, column {name!r}: its default {column.default.text!r} is SQL, "
                "which a store without a database cannot evaluate: give a value"
            )
        text = column.default.text
        parsed: Any = float(text) if column.kind is ColumnKind.FLOAT else text
        return self.values.sought(column, parsed)

    def _numbered(self, values: Sequence[Any], name: str) -> Sequence[Any]:
        """Return ids, above all that are in use where none is given."""
        if None not in values:
            return values
        used = [v for batch in self.snapshot([]).batches([], [name]) for v in batch.column(name).to_pylist()]
        following = itertools.count(max([0, *used, *(value for value in values if value is not None)]) + 1)
        return [next(following) if value is None else value for value in values]

    def delete(self, selection: Selection) -> None:
        """Delete rows, in a transaction of their own if none is open."""
        with self._root.transaction():
            self._root.draft(self._name).delete(selection)

    def unmatched(self, column: str, value: Any, error: RejectedValueError) -> None:
        """Raise the error."""
        raise error

    def refuse(self, mode: Mode, rows: Sequence[Any], error: RejectedValueError) -> NoReturn:
        """Raise the error."""
        raise error

    def undo(self, call: Call) -> Callable[[], None]:
        """Return what restores the rows that a write is about to change."""
        spec = self.values.spec
        keys = frozenset(call.keys(spec.primary_key))
        leading = In(spec.primary_key[0], tuple({key[0] for key in keys}))
        before = [
            row
            for batch in self.snapshot([leading]).batches([leading], spec.names)
            for row in rows_of(batch)
            if tuple(row[i] for i in spec.key_positions) in keys
        ]

        def restore() -> None:
            with self._root.transaction():
                self.delete(Selection((leading,), spec.primary_key, keys))
                if before:
                    self.write(Mode.REPLACE, Call.of_rows(spec.names, before))

        return restore
