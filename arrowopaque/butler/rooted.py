"""The root binding, as the manager uses it."""

from __future__ import annotations

__all__ = ["RootBinding"]

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy
from lsst.daf.butler import ddl
from lsst.daf.butler.registry.interfaces import DatabaseConflictError, ReadOnlyDatabaseError

from arrowopaque.butler.ddl import CODECS, from_lsst
from arrowopaque.butler.storage import ArrowOpaqueTableStorage
from arrowopaque.errors import ConfigurationError, ConstraintError, ReadOnlyError
from arrowopaque.format.spec import TableSpec
from arrowopaque.format.values import Values
from arrowopaque.root import StoreRoot
from arrowopaque.store.calls import Call, Mode, Selection
from arrowopaque.store.rooted import RootedTable

if TYPE_CHECKING:
    from arrowopaque.maintain.compact import CompactReport
    from arrowopaque.maintain.findings import Level, VerifyReport
    from arrowopaque.maintain.flush import FlushReport
    from arrowopaque.maintain.progress import Doing, Progress
    from arrowopaque.maintain.recover import Recovery
    from arrowopaque.maintain.status import StoreStatus
    from arrowopaque.maintain.vacuum import VacuumReport
    from arrowopaque.query import Relation


@contextmanager
def _as_sql_raises() -> Iterator[None]:
    """Raise the classes that callers of the SQL manager expect."""
    try:
        yield
    except ReadOnlyError as err:
        raise ReadOnlyDatabaseError(str(err)) from err
    except ConstraintError as err:
        raise sqlalchemy.exc.IntegrityError(None, None, err) from err


class _Backend(RootedTable):
    def check_writeable(self, verb: str) -> None:
        with _as_sql_raises():
            super().check_writeable(verb)

    def write(self, mode: Mode, call: Call) -> None:
        with _as_sql_raises():
            super().write(mode, call)

    def write_arrow(self, mode: Mode, rows: Any, given: tuple[str, ...]) -> None:
        with _as_sql_raises():
            super().write_arrow(mode, rows, given)

    def delete(self, selection: Selection) -> None:
        with _as_sql_raises():
            super().delete(selection)


class RootBinding:
    """Tables of one `StoreRoot`.

    Parameters
    ----------
    root
        The root.
    registered
        The tables that clones have registered, shared with them.
    """

    def __init__(self, root: StoreRoot, registered: set[str] | None = None) -> None:
        self._root = root
        self._registered = set() if registered is None else registered

    def clone(self, root: StoreRoot) -> RootBinding:
        """Bind to another object of the same store."""
        return RootBinding(root, self._registered)

    def is_same(self, root: StoreRoot) -> bool:
        """Return whether ``root`` is the same store."""
        return root.volume.id == self._root.volume.id

    def get(self, name: str) -> ArrowOpaqueTableStorage | None:
        """Return a table that was registered here."""
        if name not in self._registered or name not in self._root.entries():
            return None
        return ArrowOpaqueTableStorage(
            name, _Backend(self._root, name, Values(self._root.spec(name), CODECS))
        )

    def register(self, name: str, spec: ddl.TableSpec) -> ArrowOpaqueTableStorage:
        """Make sure that a table exists; see the manager."""
        if self.get(name) is None:
            self._register(name, from_lsst(name, spec))
        known = self.get(name)
        assert known is not None, "it was just added"
        return known

    def _register(self, name: str, spec: TableSpec) -> None:
        try:
            self._root.register(name, spec)
        except ReadOnlyError as err:
            raise ReadOnlyDatabaseError(f"Table {name} does not exist, and cannot be created: {err}") from err
        except ConfigurationError as err:
            if name in self._root.entries():
                raise DatabaseConflictError(str(err)) from err
            raise
        self._registered.add(name)

    def adopt(self, specs: Mapping[str, TableSpec]) -> None:
        """Register the tables of another binding."""
        for name, spec in specs.items():
            self._register(name, spec)

    def specs(self) -> dict[str, TableSpec]:
        """Return the tables that were registered here."""
        return {name: self._root.spec(name) for name in self._registered}

    def names(self) -> list[str]:
        """Return every table of the store."""
        return self._root.names()

    def status(self) -> StoreStatus:
        """Tell what the tables consist of; see the manager."""
        return self._root.status()

    def flush(self, *names: str, progress: Progress) -> dict[str, FlushReport]:
        """Do nothing: there is no delta between commits."""
        from arrowopaque.maintain.flush import FlushReport

        with _as_sql_raises():
            self._root.check_writeable()
        for name in names:
            self._root.spec(name)
        return {name: FlushReport() for name in names or self.names()}

    def compact(self, *names: str, full: bool, progress: Progress) -> dict[str, CompactReport]:
        """Merge the data files of all or some tables."""
        with _as_sql_raises():
            return self._root.compact(*names, full=full, progress=progress)

    def vacuum(
        self, retention: float | None, *, dry_run: bool, progress: Progress
    ) -> dict[str, VacuumReport]:
        """Delete files that nothing needs any more."""
        with _as_sql_raises():
            return {"": self._root.vacuum(retention, dry_run=dry_run, progress=progress)}

    def recover(self, *, dry_run: bool) -> dict[str, Recovery]:
        """Go back to a sound manifest; see the manager."""
        with _as_sql_raises():
            return {"": type(self._root).recover(self._root.uri, dry_run=dry_run)}

    def verify(self, level: Level, *, raising: bool, doing: Doing) -> VerifyReport:
        """Prove the store sound; see the manager."""
        return self._root.verify(level, raising=raising, doing=doing)

    def sql(self, query: str) -> Relation:
        """Ask DuckDB; see the manager."""
        return self._root.sql(query)

    def data_files(self) -> StoreRoot:
        """Return the data files alone; see the manager."""
        return StoreRoot.pinned(self._root.volume, self._root.head, owned=self._root.is_owned)
