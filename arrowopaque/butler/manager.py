"""`ArrowOpaqueTableStorageManager`: what a Butler repository is configured
with.

The class's public name, ``arrowopaque.ArrowOpaqueTableStorageManager``, is
stored in repositories and must never change.
"""

from __future__ import annotations

__all__ = ["ArrowOpaqueTableStorageManager", "registry_of"]

from typing import TYPE_CHECKING, Any, ClassVar, Self

from lsst.daf.butler import Butler, ddl
from lsst.daf.butler.registry.interfaces import (
    Database,
    OpaqueTableStorageManager,
    StaticTablesContext,
    VersionTuple,
)

from arrowopaque.butler.host import opaque_manager
from arrowopaque.butler.registry import RegistryBinding
from arrowopaque.butler.storage import ArrowOpaqueTableStorage
from arrowopaque.errors import ConfigurationError
from arrowopaque.maintain.progress import Doing, Progress, ignored, unwatched
from arrowopaque.options import Options

_VERSION = VersionTuple(1, 0, 0)

if TYPE_CHECKING:
    from arrowopaque.butler.rooted import RootBinding
    from arrowopaque.maintain.findings import VerifyReport
    from arrowopaque.maintain.recover import Recovery
    from arrowopaque.maintain.status import StoreStatus
    from arrowopaque.root import StoreRoot

    Binding = RegistryBinding | RootBinding


class ArrowOpaqueTableStorageManager(OpaqueTableStorageManager):
    """Keeps opaque tables as Parquet.

    Made by `initialize` or `clone`.

    Parameters
    ----------
    binding
        Where the tables are.
    registry_schema_version
        Schema version of this extension as stored in the registry.
    """

    options: ClassVar[Options | None] = None
    """Overrides the stored options for managers initialised afterwards."""

    def __init__(self, binding: Binding, registry_schema_version: VersionTuple | None = None) -> None:
        super().__init__(registry_schema_version=registry_schema_version)
        self._binding = binding

    @classmethod
    def initialize(
        cls,
        db: Database | StoreRoot,
        context: StaticTablesContext | None = None,
        registry_schema_version: VersionTuple | None = None,
    ) -> Self:
        """Make a manager.

        Parameters
        ----------
        db
            A registry's database, or the root of a store that has none.
        context
            Declares the static tables; not needed for a root.
        registry_schema_version
            Schema version of this extension as stored in the registry.

        Raises
        ------
        ConfigurationError
            A new repository has no place for its data files.
        """
        if not isinstance(db, Database):
            # What a registry's clients never need is not loaded for them, here and below.
            from arrowopaque.butler.rooted import RootBinding

            return cls(RootBinding(db), registry_schema_version)
        assert context is not None, "a database needs the context of declareStaticTables"
        return cls(RegistryBinding.initialize(db, context, cls.options), registry_schema_version)

    @classmethod
    def of_butler(cls, butler: Butler) -> Self:
        """Return the manager of an open repository, for maintenance and bulk
        questions.

        Parameters
        ----------
        butler
            The repository; maintenance needs a writeable one.

        Raises
        ------
        ConfigurationError
            The repository has another manager, or is behind a server.
        """
        manager = opaque_manager(butler)
        if isinstance(manager, cls):
            return manager
        keeper = "no manager of opaque tables" if manager is None else manager.extensionName()
        raise ConfigurationError(f"{butler} has {keeper}: it was not created with {cls.extensionName()}")

    def clone(self, db: Database | StoreRoot) -> Self:
        """Return an independent manager bound to another database or root.

        It knows the same tables. What the other place lacks of them is made
        there, empty.
        """
        binding: Binding
        if not isinstance(db, Database):
            from arrowopaque.butler.rooted import RootBinding

            if isinstance(self._binding, RootBinding) and self._binding.is_same(db):
                binding = self._binding.clone(db)
            else:
                binding = RootBinding(db)
                binding.adopt(self._binding.specs())
        elif isinstance(self._binding, RegistryBinding) and self._binding.is_same(db):
            binding = self._binding.clone(db)
        else:
            binding = RegistryBinding.attach(db, type(self).options)
            binding.adopt(self._binding.specs())
        return type(self)(binding, self._registry_schema_version)

    def get(self, name: str) -> ArrowOpaqueTableStorage | None:
        """Return a table that was registered here, or `None`."""
        return self._binding.get(name)

    def register(self, name: str, spec: ddl.TableSpec) -> ArrowOpaqueTableStorage:
        """Make sure that a table exists, and return it.

        Parameters
        ----------
        name
            The table.
        spec
            Its definition; not looked at if the table is known already.

        Raises
        ------
        ReadOnlyDatabaseError
            The table does not exist and cannot be made.
        ConfigurationError
            The definition asks for something that is not supported.

        Notes
        -----
        Not to be called in a transaction unless the table is known already.
        """
        return self._binding.register(name, spec)

    @classmethod
    def extensionName(cls) -> str:
        """Return the name that repositories store."""
        return "arrowopaque.ArrowOpaqueTableStorageManager"

    @classmethod
    def currentVersions(cls) -> list[VersionTuple]:
        """Return the schema versions that this release makes and reads."""
        return [_VERSION]

    def names(self) -> list[str]:
        """Return every table of the store, registered here or not."""
        return self._binding.names()

    def status(self) -> StoreStatus:
        """Tell what the tables consist of, and which maintenance is due.

        Takes some statements and a listing of manifests for each table;
        no data file is read.

        Raises
        ------
        CorruptStoreError
            A manifest is lost or damaged.
        """
        return self._binding.status()

    def flush(self, *names: str, progress: Progress = ignored) -> dict[str, Any]:
        """Move the deltas of all or some tables into data files.

        Parameters
        ----------
        *names
            The tables; by default all.
        progress
            Is told of rows and tombstones that were moved.

        Returns
        -------
        reports
            What was moved, by table.

        Raises
        ------
        ConflictError
            A table was in use all the time, or this connection is in a
            transaction.
        """
        return self._binding.flush(*names, progress=progress)

    def compact(self, *names: str, full: bool = False, progress: Progress = ignored) -> dict[str, Any]:
        """Merge the data files of all or some tables.

        Parameters
        ----------
        *names
            The tables; by default all.
        full
            Whether to leave one file in each partition, and no deleted row,
            instead of merging what is worth its cost.
        progress
            Is told of rows that were written.

        Returns
        -------
        reports
            What was done, by table.
        """
        return self._binding.compact(*names, full=full, progress=progress)

    def vacuum(
        self, retention: float | None = None, *, dry_run: bool = False, progress: Progress = ignored
    ) -> dict[str, Any]:
        """Delete files that nothing needs any more.

        Parameters
        ----------
        retention
            Seconds for which unneeded files are kept, by the store's clock;
            by default the store's option.
        dry_run
            Whether to delete nothing, but tell what would be, and why.
        progress
            Is told of objects that were deleted.
        """
        return self._binding.vacuum(retention, dry_run=dry_run, progress=progress)

    def recover(self, *, dry_run: bool = True) -> dict[str, Recovery]:
        """Go back to the newest sound manifest of each table.

        What is in the delta stays, and takes the place of rows that come
        back.

        Parameters
        ----------
        dry_run
            Whether to change nothing, but tell what would be dropped.

        Returns
        -------
        recoveries
            The manifest kept and the commits dropped, by table.

        Raises
        ------
        CorruptStoreError
            No sound manifest of a table is left.
        """
        return self._binding.recover(dry_run=dry_run)

    def verify(self, level: str = "full", *, raising: bool = True, doing: Doing = unwatched) -> VerifyReport:
        """Prove the store sound.

        Parameters
        ----------
        level
            ``full`` reads every byte; ``quick`` reads the catalog,
            manifests, listings and footers.
        raising
            Whether to raise the first finding; else all are returned.
        doing
            Is told of each reading of a table, and of the rows that are read.

        Returns
        -------
        report
            What was looked at, and what was found.

        Raises
        ------
        CorruptStoreError
            The first unsound thing, by name.
        """
        from arrowopaque.maintain.findings import Level

        return self._binding.verify(Level.of(level), raising=raising, doing=doing)

    def sql(self, query: str) -> Any:
        """Ask DuckDB.

        Parameters
        ----------
        query
            A SELECT over one view a table, all of one moment.

        Returns
        -------
        relation
            A ``duckdb.DuckDBPyRelation``.
        """
        return self._binding.sql(query)

    def data_files(self) -> StoreRoot:
        """Return the data files as they are now, for reading.

        Returns
        -------
        root
            What `StoreRoot` would return of the same store, without waiting
            for it to be published. It has no recent rows, and rows that were
            deleted recently; but it has a history.
        """
        return self._binding.data_files()


def registry_of(butler: Butler) -> RegistryBinding:
    """Return the tables of an open repository, as its registry has them.

    Raises
    ------
    ConfigurationError
        The repository has another manager, or is behind a server.
    """
    binding = ArrowOpaqueTableStorageManager.of_butler(butler)._binding
    assert isinstance(binding, RegistryBinding), "the manager of a Butler is bound to its database"
    return binding
