"""`StoreRoot`: a store under one root, without any database."""

from __future__ import annotations

__all__ = ["StoreRoot"]

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from arrowopaque.format.receipt import Staged
from arrowopaque.format.values import NO_CODECS, Codecs, Values
from arrowopaque.maintain.findings import Level, VerifyReport
from arrowopaque.maintain.progress import Doing, Progress, ignored, unwatched
from arrowopaque.objects.opening import open_store
from arrowopaque.store.base import load_base
from arrowopaque.store.history import ChainHistory, TableHistories, Version, moment_of
from arrowopaque.store.records import Records
from arrowopaque.store.root import Root
from arrowopaque.store.rooted import RootedFiles, RootedTable
from arrowopaque.store.staging import TakenReport, commit_staged, stage_rows
from arrowopaque.store.table import Snapshot
from arrowopaque.store.volume import open_volume

if TYPE_CHECKING:
    from arrowopaque.difference import Difference
    from arrowopaque.maintain.compact import CompactReport
    from arrowopaque.maintain.recover import Recovery
    from arrowopaque.maintain.status import StoreStatus
    from arrowopaque.maintain.vacuum import VacuumReport
    from arrowopaque.query import Relation


class StoreRoot(Root):
    """A store under one root: files alone, no SQL.

    Parameters
    ----------
    uri
        A folder, ``file://``, ``memory://`` or ``s3://bucket/prefix``.
    writeable
        Whether to make the store if there is none, and to allow writes.
    options
        Used instead of the stored ones; saved if the store is made.

    Raises
    ------
    ObjectMissingError
        There is no store, and it may not be made.
    ConfigurationError
        The root cannot hold a store.

    Notes
    -----
    Reads see the state of one moment until `refresh`, the start of a
    transaction, or a commit of one's own.

    The store of a Butler repository can be opened too, read-only, as its
    registry last published it.
    """

    def table(self, name: str, codecs: Codecs = NO_CODECS) -> Records:
        """Return a table.

        Parameters
        ----------
        name
            The table.
        codecs
            How regions and times are rebuilt; without them they come as
            stored.

        Raises
        ------
        LookupError
            There is no such table.
        """
        return Records(name, RootedTable(self, name, Values(self.spec(name), codecs)))

    def stage(self, name: str, rows: pa.Table) -> Staged:
        """Write rows to data files, for `commit_staged` to take.

        Asks nobody and changes nothing that readers see, so that any number
        of jobs may do it at once.

        Parameters
        ----------
        name
            The table.
        rows
            Whole rows of it; absent columns get their default, or NULL.

        Returns
        -------
        receipt
            What `commit_staged` is to be given, by any process, before the
            store's retention is over: then vacuum takes the files.

        Raises
        ------
        ConstraintError
            Two of the rows clash, or one has a NULL that must not be.
        RejectedValueError
            A column is unknown or does not fit.
        """
        return stage_rows(self, name, rows)

    def commit_staged(self, receipts: Iterable[Staged]) -> TakenReport:
        """Add the rows of all receipts to their tables, in one commit.

        Receipts that a commit has taken before, whoever made it, are left
        alone: to call this again after an error or a lost reply is safe.

        Parameters
        ----------
        receipts
            What `stage` has returned, of any tables of this store.

        Returns
        -------
        report
            The ids of the receipts that this call has committed, and of
            those that were committed before.

        Raises
        ------
        ConstraintError
            A row is in two receipts, or in one and in the table already.
            Nothing was committed.
        ObjectMissingError
            Staged files are gone. Nothing was committed.
        ConfigurationError
            A receipt is for another store. Nothing was committed.
        ConflictError, CommitUnknownError
            See those classes.
        """
        return commit_staged(self, receipts)

    def status(self) -> StoreStatus:
        """Tell what the tables consist of, and which maintenance is due.

        Of a registry's store it is what was last published: rows that are
        only in the database do not show. An earlier version is past all
        maintenance.
        """
        from arrowopaque.maintain.status import TableState, status_of

        recent = 0 if self.is_owned else None
        tables = {
            name: TableState(entry.spec, entry.manifest, recent, recent)
            for name, entry in sorted(self.entries().items())
        }
        return status_of(
            self.volume, tables, "root" if self.is_owned else "registry", is_past=self._is_pinned
        )

    def compact(
        self, *names: str, full: bool = False, progress: Progress = ignored
    ) -> dict[str, CompactReport]:
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
        from arrowopaque.maintain.compact import compact

        self.check_writeable()
        return {
            name: compact(RootedFiles(self, name), full=full, progress=progress)
            for name in names or self.names()
        }

    def vacuum(
        self, retention: float | None = None, *, dry_run: bool = False, progress: Progress = ignored
    ) -> VacuumReport:
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
        from arrowopaque.maintain.vacuum import vacuum_root

        self.check_writeable()
        seconds = self.volume.options.retention if retention is None else retention
        return vacuum_root(self, seconds, dry_run=dry_run, progress=progress)

    @staticmethod
    def recover(uri: str, *, dry_run: bool = True) -> Recovery:
        """Go back to the newest sound manifest of a root that cannot be read.

        Parameters
        ----------
        uri
            The root; nobody should write to it meanwhile.
        dry_run
            Whether to change nothing, but tell what would be dropped.

        Returns
        -------
        recovery
            The manifest kept and the commits dropped.

        Raises
        ------
        CorruptStoreError
            No sound manifest is left.
        ConfigurationError
            The store belongs to a registry: recover through its manager.
        """
        from arrowopaque.maintain.recover import recover_root

        return recover_root(
            open_volume(open_store(uri, writeable=not dry_run), binding="root"), dry_run=dry_run
        )

    def verify(
        self, level: str = Level.FULL, *, raising: bool = True, doing: Doing = unwatched
    ) -> VerifyReport:
        """Prove the store sound, as far as reads see it.

        Parameters
        ----------
        level
            ``full`` reads every byte; ``quick`` reads the chain, manifests,
            listings and footers.
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
        from arrowopaque.maintain.verify import check_chain, check_published, verify_tables

        wanted = Level.of(level)
        owned = self.is_owned
        of_store = check_chain(self.volume, self.head, wanted) if owned else check_published(self.volume)
        tables = {name: partial(self._snapshot, name) for name in self.names()}
        return verify_tables(self.volume, tables, of_store, wanted, raising=raising, doing=doing)

    def _snapshot(self, name: str) -> Snapshot:
        return self.seen(name).snapshot()

    def sql(self, query: str) -> Relation:
        """Ask DuckDB.

        Parameters
        ----------
        query
            A SELECT over one view a table, as reads see it now. Statements
            before it may set ``threads`` or ``arrow_lossless_conversion``.

        Returns
        -------
        relation
            It runs when its rows are asked for, and each time they are.

        Raises
        ------
        CorruptStoreError
            A data file is missing or altered.
        ConfigurationError
            The query returns no rows, or DuckDB cannot tell two names apart.
        duckdb.Error
            The query is at fault.
        """
        # Imported late: it takes a tenth of a second.
        from arrowopaque.query import mentioned, run

        return run({name: self.seen(name).snapshot() for name in mentioned(query, self.names())}, query)

    def _versions(self) -> ChainHistory | TableHistories:
        kind = ChainHistory if self.is_owned else TableHistories
        return kind(self.volume, self.head)

    def at(self, moment: int | str | datetime, *names: str) -> Self:
        """Return the store as it was, for reading.

        Parameters
        ----------
        moment
            A version, or a time, for the newest version that is not younger;
            as text a time is in ISO 8601, and in UTC if it names no zone.
        *names
            The tables to return. A version of a registry's store is one of a
            single table, which must be named if there are several.

        Returns
        -------
        root
            It stays at that moment. Of a registry's store it has the data
            files alone: what is in the database only has no versions.

        Raises
        ------
        ConfigurationError
            There was no such version, or a vacuum has taken it.
        LookupError
            There is no such table.
        """
        for name in names:
            self.spec(name)
        head = self._versions().at(moment_of(moment), names)
        return type(self).pinned(self.volume, head, owned=self.is_owned)

    def history(self, name: str | None = None) -> Iterator[Version]:
        """Return the versions that are still there, newest first.

        Parameters
        ----------
        name
            Leave out versions that did not change the data files of this
            table.

        Returns
        -------
        versions
            Each is read when it is asked for.

        Raises
        ------
        LookupError
            There is no such table.
        """
        if name is not None:
            self.spec(name)
        return self._versions().versions(name)

    def diff(
        self, one: int | str | datetime, other: int | str | datetime, *names: str
    ) -> dict[str, Difference]:
        """Return what differs between two versions.

        Parameters
        ----------
        one, other
            The versions, as for `at`.
        *names
            The tables; by default all.

        Returns
        -------
        differences
            By table. Each is computed when it is asked.

        Raises
        ------
        ConfigurationError, LookupError
            As for `at`.
        """
        # Imported late: it takes a tenth of a second.
        from arrowopaque.difference import Difference

        before, after = self.at(one, *names).entries(), self.at(other, *names).entries()
        found = {}
        for name in names or sorted({*before, *after}):
            spec = (after.get(name) or before[name]).spec
            bases = [
                load_base(self.volume, spec, entries[name].manifest if name in entries else None)
                for entries in (before, after)
            ]
            if spec.primary_key:
                found[name] = Difference(*bases)
        return found
