"""The public interface of one table, over whatever it is bound to."""

from __future__ import annotations

__all__ = ["Backend", "Records"]

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import pyarrow as pa

from arrowopaque.format.spec import STRINGS, Column
from arrowopaque.format.values import RejectedValueError, Values
from arrowopaque.format.where import In, Many, Prefix, Term
from arrowopaque.store.calls import Call, Mode, Selection
from arrowopaque.store.decoding import to_exact
from arrowopaque.store.order import distinct
from arrowopaque.store.rows import Row, to_few_rows, to_rows
from arrowopaque.store.table import Snapshot


class Backend(Protocol):
    """What a table is bound to."""

    values: Values

    def check_writeable(self, verb: str) -> None:
        """Raise if the binding is read-only."""

    def snapshot(self, where: Sequence[Term]) -> Snapshot:
        """Return a consistent state, at least as far as ``where`` goes."""

    def write(self, mode: Mode, call: Call) -> None:
        """Write rows."""

    def write_arrow(self, mode: Mode, rows: pa.Table, given: tuple[str, ...]) -> None:
        """Write whole rows of which ``given`` are the caller's columns."""

    def delete(self, selection: Selection) -> None:
        """Delete rows."""

    def unmatched(self, column: str, value: Any, error: RejectedValueError) -> None:
        """Raise what the backend says of a value that no row can have."""

    def refuse(self, mode: Mode, rows: Sequence[Any], error: RejectedValueError) -> NoReturn:
        """Raise what the backend says of rows that do not fit, or
        ``error``.
        """

    def undo(self, call: Call) -> Callable[[], None] | None:
        """Return what will take a write back, if the backend's own
        transactions cannot.
        """


class Records:
    """The records of one opaque table.

    Parameters
    ----------
    name
        The table's name.
    backend
        What it is bound to.
    """

    def __init__(self, name: str, backend: Backend) -> None:
        self.name = name
        self._backend = backend
        self._values = backend.values

    def insert(self, *data: Any, transaction: Any = None) -> None:
        """Insert rows.

        Parameters
        ----------
        *data
            Mappings of column names to values, all with the same keys.
        transaction
            A ``DatastoreTransaction`` that takes the rows back if it fails;
            needed only where there is no database to do so.

        Raises
        ------
        ConstraintError
            A row clashes (``sqlalchemy.exc.IntegrityError`` on the lsst
            side). Nothing was written.
        RejectedValueError
            A value does not fit its column. Nothing was written.
        """
        self._write(Mode.INSERT, "insert into", data, transaction)

    def ensure(self, *data: Any, transaction: Any = None) -> None:
        """Insert the rows that clash with none; see `insert`."""
        self._write(Mode.ENSURE, "ensure into", data, transaction)

    def replace(self, *data: Any, transaction: Any = None) -> None:
        """Insert rows in place of those with the same key; see `insert`."""
        self._write(Mode.REPLACE, "replace into", data, transaction)

    def _write(self, mode: Mode, verb: str, data: Sequence[Any], transaction: Any) -> None:
        self._backend.check_writeable(verb)
        if not data:
            return
        try:
            call = self._call(data)
        except RejectedValueError as err:
            self._backend.refuse(mode, data, err)
        undo = None if transaction is None else self._backend.undo(call)
        self._backend.write(mode, call)
        if undo is not None:
            transaction.registerUndo(f"{mode.value} {len(data)} rows of {self.name}", undo)

    def _call(self, data: Sequence[Any]) -> Call:
        names = self._values.columns_of(data)
        if len(data) == 1:
            return Call.of_rows(names, [self._values.stored_row(data[0], names)])
        return Call(names, self._values.stored_columns(data, names), len(data))

    def insert_arrow(self, table: pa.Table) -> None:
        """Insert the rows of an Arrow table; absent columns are NULL.

        Raises
        ------
        ConstraintError
            A row clashes (``sqlalchemy.exc.IntegrityError`` on the lsst
            side). Nothing was written.
        RejectedValueError
            A column is unknown or does not fit. Nothing was written.
        """
        self._write_arrow(Mode.INSERT, "insert into", table)

    def ensure_arrow(self, table: pa.Table) -> None:
        """Insert the rows of an Arrow table that clash with none."""
        self._write_arrow(Mode.ENSURE, "ensure into", table)

    def replace_arrow(self, table: pa.Table) -> None:
        """Insert an Arrow table's rows in place of those with the same
        key.
        """
        self._write_arrow(Mode.REPLACE, "replace into", table)

    def _write_arrow(self, mode: Mode, verb: str, table: pa.Table) -> None:
        self._backend.check_writeable(verb)
        rows = self._values.arrow(table)
        if rows.num_rows:
            given = tuple(name for name in self._values.spec.names if name in table.column_names)
            self._backend.write_arrow(mode, rows, given)

    def delete(self, columns: Iterable[str], *rows: Mapping[str, Any]) -> None:
        """Delete rows.

        Parameters
        ----------
        columns
            The columns that say which rows; with none, all rows are deleted.
        *rows
            Values of those columns. No row need exist.

        Raises
        ------
        KeyError
            A column is unknown or missing in a row.
        """
        self._backend.check_writeable("delete from")
        if columns and not rows:
            return
        selection = self._selection(list(columns), rows)
        if selection is not None:
            self._backend.delete(selection)

    def _selection(self, names: list[str], rows: Sequence[Mapping[str, Any]]) -> Selection | None:
        columns = [self._values.spec.by_name[name] for name in names]
        if not columns:
            return Selection()
        if len(columns) == 1:
            values = self._sought_values(columns[0], [row[names[0]] for row in rows])
            return Selection((In(names[0], values),)) if values else None
        wanted = []
        for row in rows:
            found = tuple(self._one(column, row[column.name]) for column in columns)
            if _NOWHERE not in found:
                wanted.append(found)
        return self._joint_selection(names, wanted)

    def _sought_values(self, column: Column, values: list[Any]) -> tuple[Any, ...] | Many:
        plain = self._values.sought_plainly(column, values)
        if plain is not None:
            return Many(distinct(plain))
        return tuple({self._one(column, value) for value in values} - {None, _NOWHERE})

    def _one(self, column: Column, value: Any) -> Any:
        if isinstance(value, list | set | dict):
            raise TypeError(f"column {column.name!r}: a delete needs one value a row, got {value!r}")
        return None if value is None else self._sought(column, value)

    @staticmethod
    def _joint_selection(names: list[str], wanted: list[tuple[Any, ...]]) -> Selection | None:
        """Return what several columns select.

        As the SQL manager has it: NULL is matched by a column that is the
        same in all rows while exactly one other varies, and nowhere else.
        """
        if not wanted:
            return None
        by_column = [set(values) for values in zip(*wanted, strict=True)]
        varying = [i for i, values in enumerate(by_column) if len(values) > 1]
        if len(varying) == 1:
            terms = []
            for i, (name, values) in enumerate(zip(names, by_column, strict=True)):
                constant_null = None in values and i not in varying
                terms.append(
                    In(name, tuple(value for value in values if value is not None), null=constant_null)
                )
            return Selection(tuple(terms))
        tuples = frozenset(row for row in wanted if None not in row)
        if not tuples:
            return None
        where = tuple(
            In(name, tuple(set(values)))
            for name, values in zip(names, zip(*tuples, strict=True), strict=True)
        )
        return Selection(where, tuple(names), tuples)

    def _can_match(self, column: Column, values: Iterable[Any]) -> bool:
        """Return whether all values have a stored form."""
        try:
            for value in values:
                self._values.sought(column, value)
        except RejectedValueError:
            return False
        return True

    def _sought(self, column: Column, value: Any) -> Any:
        try:
            return self._values.sought(column, value)
        except RejectedValueError as err:
            self._backend.unmatched(column.name, value, err)
            return _NOWHERE

    def _terms(self, where: Mapping[str, Any]) -> list[Term] | None:
        """Return a call's constraints; `None` if no row can satisfy them."""
        columns = [self._values.spec.by_name[name] for name in where]
        terms: list[Term] = []
        for column, value in zip(columns, where.values(), strict=True):
            term = self._term(column, value)
            if term is None:
                return None
            terms.append(term)
        return terms

    def _term(self, column: Column, value: Any) -> Term | None:
        if isinstance(value, str) and value.endswith("%") and column.kind in STRINGS:
            return Prefix(column.name, str(value[:-1]))
        if isinstance(value, _SEVERAL):
            return self._one_of(column, list(value))
        if value is None:
            return In(column.name, (), null=True)
        found = self._sought(column, value)
        return None if found is _NOWHERE else In(column.name, (found,))

    def _one_of(self, column: Column, given: list[Any]) -> Term | None:
        plain = self._values.sought_plainly(column, given)
        if plain is not None:
            return In(column.name, Many(distinct(plain)), null=plain.null_count > 0)
        present = [one for one in given if one is not None]
        if not self._can_match(column, present):
            # What has no common order the SQL manager refuses, like this.
            sorted({*present})
        found = {self._sought(column, one) for one in present} - {_NOWHERE}
        # NULL among the values of a list matches NULL.
        term = In(column.name, tuple(found), null=len(present) < len(given))
        return term if term.values or term.null else None

    def fetch(self, **where: Any) -> Iterator[Row]:
        """Yield the rows that satisfy all constraints.

        Parameters
        ----------
        **where
            For each column a value; a list, tuple or set of values of which
            one must match; or, for strings, a prefix followed by ``%``.
            `None` matches NULL.

        Raises
        ------
        KeyError
            A column is unknown.

        Notes
        -----
        Nothing happens before the first row is asked for. All rows are of
        that moment, whatever is written later.
        """
        # One by one: who keeps none of them leaves nothing behind that Python would search for garbage.
        for batch in self._batches(where):
            yield from batch

    def fetch_batches(self, **where: Any) -> Iterator[Sequence[Row]]:
        """Yield batches of rows, some perhaps empty; see `fetch`."""
        yield from map(list, self._batches(where))

    def _batches(self, where: Mapping[str, Any]) -> Iterator[Iterable[Row]]:
        terms = self._terms(where)
        if terms is None:
            return
        snapshot = self._backend.snapshot(terms)
        few = snapshot.few(terms)
        if few is not None:
            yield to_few_rows(self._values, few)
            return
        empty = True
        for table in snapshot.batches(terms, self._values.spec.names):
            empty = False
            yield to_rows(self._values, table)
        if empty:
            yield []

    def fetch_arrow(self, columns: Sequence[str] | None = None, **where: Any) -> pa.Table:
        """Return the rows that satisfy all constraints as an Arrow table.

        Parameters
        ----------
        columns
            The columns to return, all by default.
        **where
            As for `fetch`.

        Returns
        -------
        table
            UUIDs have Arrow's UUID type; times are nanoseconds TAI since
            1970; regions and hashes are binary.
        """
        spec = self._values.spec
        names = list(spec.names if columns is None else columns)
        schema = pa.schema([spec.exact_schema.field(spec.positions[name]) for name in names])
        terms = self._terms(where)
        tables = [] if terms is None else list(self._backend.snapshot(terms).batches(terms, names))
        if not tables:
            return schema.empty_table()
        return to_exact(pa.concat_tables(tables), schema)


_NOWHERE = object()
_SEVERAL = (list, tuple, set)
