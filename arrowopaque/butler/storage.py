"""`ArrowOpaqueTableStorage`: one opaque table, as lsst's interface has it."""

from __future__ import annotations

__all__ = ["ArrowOpaqueTableStorage", "RegistryBackend"]

from collections.abc import Sequence
from typing import Any, NoReturn

import pyarrow as pa
from lsst.daf.butler.registry.interfaces import OpaqueTableStorage, ReadOnlyDatabaseError

from arrowopaque.butler import bulk, host, writes
from arrowopaque.butler.delta import RegistryTable
from arrowopaque.format.values import RejectedValueError, Values
from arrowopaque.format.where import Term
from arrowopaque.store.calls import Call, Mode, Selection
from arrowopaque.store.records import Backend, Records
from arrowopaque.store.table import Snapshot

_SMALL = {Mode.INSERT: writes.insert, Mode.ENSURE: writes.ensure, Mode.REPLACE: writes.replace}


class ArrowOpaqueTableStorage(Records, OpaqueTableStorage):
    """The records of one opaque table, in Parquet and the registry.

    Made by `ArrowOpaqueTableStorageManager`.

    Parameters
    ----------
    name
        The table's name.
    backend
        What it is bound to.
    """

    def __init__(self, name: str, backend: Backend) -> None:
        OpaqueTableStorage.__init__(self, name=name)
        Records.__init__(self, name, backend)


class RegistryBackend:
    """A table of a registry: small writes as SQL, large ones as files.

    Parameters
    ----------
    table
        The table.
    """

    def __init__(self, table: RegistryTable) -> None:
        self.table = table
        self.values: Values = table.handle.values

    def check_writeable(self, verb: str) -> None:
        """See `Backend`."""
        if not self.table.db.isWriteable():
            raise ReadOnlyDatabaseError(f"Cannot {verb} read-only table {self.table.name}.")

    def snapshot(self, where: Sequence[Term]) -> Snapshot:
        """See `Backend`."""
        return self.table.snapshot(where)

    def write(self, mode: Mode, call: Call) -> None:
        """See `Backend`."""
        table = self.table
        if not table.spec.primary_key:
            self._write_plain(mode, call)
            return
        with host.writing(table.db) as cursor:
            if self._is_bulk(mode, call.names, call.count):
                rows = call.table(table.spec.arrow_schema)
                if bulk.bulk_write(table, cursor, rows, mode):
                    return
            _SMALL[mode](table, cursor, call)

    def write_arrow(self, mode: Mode, rows: pa.Table, given: tuple[str, ...]) -> None:
        """See `Backend`."""
        table = self.table
        if self._is_bulk(mode, given, rows.num_rows):
            with host.writing(table.db) as cursor:
                if bulk.bulk_write(table, cursor, rows, mode):
                    return
        self.write(mode, Call.of_table(rows, given))

    def _is_bulk(self, mode: Mode, given: Sequence[str], count: int) -> bool:
        spec = self.table.spec
        if not spec.primary_key or count < self.table.volume.options.bulk_rows:
            return False
        if spec.unique and mode is not Mode.INSERT:
            # Row by row, what one row frees the next may take: SQL does that.
            return False
        made = [column for column in spec.columns if column.name not in given]
        return not any(
            column.default or column.autoincrement or column.name in spec.primary_key for column in made
        )

    def _write_plain(self, mode: Mode, call: Call) -> None:
        """Write to a table without a primary key, which is all delta."""
        python = self.values.python_rows(call.names, call.rows)
        getattr(self.table.db, mode.value)(self.table.handle.delta, *python)

    def delete(self, selection: Selection) -> None:
        """See `Backend`."""
        table = self.table
        with host.writing(table.db) as cursor:
            if not table.spec.primary_key:
                writes.delete_delta(table, cursor, selection)
            elif not (self._deletes_in_bulk(selection) and bulk.bulk_delete(table, cursor, selection)):
                writes.delete(table, cursor, selection)

    def _deletes_in_bulk(self, selection: Selection) -> bool:
        threshold = self.table.volume.options.bulk_rows
        named = max((len(term.values) for term in selection.where), default=0)
        if named >= threshold:
            return True
        leading = self.table.spec.primary_key[0]
        if any(term.column == leading for term in selection.where):
            return False
        # How many rows another column names is known only afterwards.
        return self.table.base_rows() >= threshold

    def unmatched(self, column: str, value: Any, error: RejectedValueError) -> None:
        """See `Backend`."""
        writes.probe_value(self.table, column, value)

    def refuse(self, mode: Mode, rows: Sequence[Any], error: RejectedValueError) -> NoReturn:
        """Raise the database's own error for rows that do not fit.

        What the database would take without a word is taken back.
        """
        db, operation = self.table.db, getattr(self.table.db, mode.value)
        with db.transaction():
            try:
                with db.transaction(savepoint=True):
                    operation(self.table.handle.delta, *rows)
                    raise error
            except RejectedValueError:
                raise
            except Exception:
                # Outside the savepoint now, so that the transaction ends up
                # as the plain table would leave it.
                operation(self.table.handle.delta, *rows)
                raise

    def undo(self, call: Call) -> None:
        """Return nothing: the database's transaction takes writes back."""
