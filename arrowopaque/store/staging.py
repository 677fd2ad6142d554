"""Staging without coordination, and the commit that takes what was staged."""

from __future__ import annotations

__all__ = ["TakenReport", "commit_staged", "stage_rows"]

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from arrowopaque import clock
from arrowopaque.errors import ConfigurationError, ConflictError, ConstraintError, ObjectMissingError
from arrowopaque.format import names
from arrowopaque.format.manifest import DataFile, IndexFile, MetaTable, Partition, TableEntry, TableManifest
from arrowopaque.format.receipt import Staged
from arrowopaque.format.spec import TableSpec
from arrowopaque.format.values import Values
from arrowopaque.objects.base import ObjectInfo
from arrowopaque.store.apply import Stage, StaleStageError, compose, placed, stage
from arrowopaque.store.base import Base, load_base
from arrowopaque.store.calls import Mode
from arrowopaque.store.disjoint import Duplicate, find_duplicate
from arrowopaque.store.draft import without
from arrowopaque.store.parquet import ParquetObject, stored_schema
from arrowopaque.store.plan import ClashError, plan_write
from arrowopaque.store.root import Root, Tables
from arrowopaque.store.rooted import RootedTable
from arrowopaque.store.volume import Volume

Stored = TypeVar("Stored", DataFile, IndexFile)


@dataclass(frozen=True, slots=True)
class TakenReport:
    """What a commit of receipts did, by their ids."""

    taken: tuple[str, ...] = ()
    """Committed by this call."""
    known: tuple[str, ...] = ()
    """Committed before, by this caller or by another."""


def stage_rows(root: Root, name: str, given: pa.Table) -> Staged:
    """Write rows to data files that are in no table yet; see `StoreRoot`."""
    root.check_writeable()
    head, spec = root.head, root.spec(name)
    values = Values(spec)
    columns = tuple(column for column in spec.names if column in given.column_names)
    rows = RootedTable(root, name, values).complete(values.arrow(given), columns)
    nothing = Base(root.volume, spec, None)
    try:
        rows = plan_write(nothing, rows, Mode.INSERT, [], []).rows
    except ClashError as clash:
        (row,) = values.python_rows(spec.names, [clash.row])
        raise ConstraintError(f"table {name!r}: two rows to stage clash, one is {row}") from clash
    layout = _layout(load_base(root.volume, spec, head.tables[name].manifest), name)
    return Staged(
        id=clock.new_id(),
        store=root.volume.id,
        table=name,
        at=head.version,
        created=clock.now(),
        rows=rows.num_rows,
        partitions=stage(root.volume, spec, name, layout, rows).partitions,
    )


def _layout(base: Base, table: str) -> TableManifest:
    """Return a manifest with a table's partitions; where there are none yet,
    with the one that all writers agree on.
    """
    if base.manifest is not None and base.manifest.partitions:
        return base.manifest
    return _pretend(table, [Partition(number=0, lower=None)])


def _pretend(table: str, partitions: Sequence[Partition]) -> TableManifest:
    """Return a manifest that is stored nowhere."""
    return TableManifest(
        table=table,
        version=0,
        commit="0" * 32,
        parent=None,
        created=clock.now(),
        partitions=tuple(partitions),
        next_partition=max(partition.number for partition in partitions) + 1 if partitions else 0,
    )


def commit_staged(root: Root, receipts: Iterable[Staged]) -> TakenReport:
    """Take the rows of receipts in one commit; see `StoreRoot`."""
    root.check_writeable()
    if root.in_transaction:
        raise ConflictError(f"{root.uri}: receipts are a commit of their own: end the transaction first")
    root.refresh()
    given = _unique(root, receipts)
    commit = _Commit(root, given)
    if commit.pending(root.head):
        try:
            root.commit(commit.build, receipts=lambda: commit.taken)
        except _NothingLeftError:
            root.refresh()
            commit.taken = ()
    return TakenReport(commit.taken, tuple(id for id in given if id not in commit.taken))


def _unique(root: Root, receipts: Iterable[Staged]) -> dict[str, Staged]:
    given: dict[str, Staged] = {}
    for receipt in receipts:
        if receipt.store != root.volume.id:
            raise ConfigurationError(
                f"receipt {receipt.id} is for store {receipt.store}, not for {root.volume.id} at {root.uri}"
            )
        root.spec(receipt.table)
        if given.setdefault(receipt.id, receipt) != receipt:
            raise ConfigurationError(f"two different receipts have the id {receipt.id}: one was altered")
    return given


class _NothingLeftError(Exception):
    """Others have taken all receipts meanwhile."""


@dataclass(slots=True)
class _Table:
    """What is known of one table while its commit is tried."""

    spec: TableSpec
    floor: int = -1
    """Of the head that the listing is for."""
    listing: dict[str, ObjectInfo] = field(default_factory=dict)
    proven: set[str] = field(default_factory=set)
    """Files of the table that share no row with the receipts."""
    among: bool = True
    """Whether the receipts have yet to be compared with each other."""


class _Commit:
    """One commit of receipts, tried on one head after the other."""

    def __init__(self, root: Root, given: dict[str, Staged]) -> None:
        self._root = root
        # As staged, or as they were staged again.
        self._receipts = dict(given)
        self._owner = {path: id for id, receipt in given.items() for path in receipt.paths()}
        self._tables: dict[str, _Table] = {}
        self.taken: tuple[str, ...] = ()

    @property
    def _volume(self) -> Volume:
        return self._root.volume

    def pending(self, head: MetaTable) -> list[Staged]:
        """Return the receipts that no commit has taken.

        A receipt can only be in a link above the version it was staged at.
        """
        if not self._receipts:
            return []
        known = self._root.chain.receipts(head, min(receipt.at for receipt in self._receipts.values()))
        return [receipt for receipt in self._receipts.values() if receipt.id not in known]

    def build(self, head: MetaTable, commit: str) -> Tables:
        """Return the tables with the rows of all pending receipts."""
        pending = self.pending(head)
        if not pending:
            raise _NothingLeftError
        self.taken = tuple(receipt.id for receipt in pending)
        by_table: dict[str, list[Staged]] = defaultdict(list)
        for receipt in pending:
            by_table[receipt.table].append(receipt)
        tables = dict(head.tables)
        for name, receipts in by_table.items():
            manifest = self._manifest(name, receipts, head)
            if manifest is not None:
                spec = tables[name].spec
                tables[name] = TableEntry(spec=spec, manifest=self._volume.put_manifest(manifest, spec))
        return tables

    def _manifest(self, name: str, receipts: list[Staged], head: MetaTable) -> TableManifest | None:
        table = self._table(name, receipts, head)
        base = load_base(self._volume, table.spec, head.tables[name].manifest)
        layout = _layout(base, name)
        parts: dict[int, list[DataFile]] = defaultdict(list)
        for receipt in receipts:
            for partition in self._fitting(table, self._safe(table, receipt, head), layout):
                parts[partition.number] += partition.files
        if not parts:
            return None
        lower = {partition.number: partition.lower for partition in layout.partitions}
        staged = [
            Partition(number=n, lower=lower[n], files=tuple(files)) for n, files in sorted(parts.items())
        ]
        self._check_disjoint(name, table, base, staged)
        # Its name must be new in every attempt, as in every other commit.
        return compose(base, name, Stage(tuple(staged)), {}, clock.new_id())

    def _table(self, name: str, receipts: list[Staged], head: MetaTable) -> _Table:
        table = self._tables.setdefault(name, _Table(self._root.spec(name)))
        if table.floor != head.floor:
            listing = {info.path: info for info in self._volume.store.list(names.table_folder(name))}
            for receipt in receipts:
                for path in receipt.paths():
                    if path not in listing:
                        raise self._gone(receipt, path)
            table.floor, table.listing = head.floor, listing
        return table

    def _gone(self, receipt: Staged, path: str) -> ObjectMissingError:
        return ObjectMissingError(
            f"receipt {receipt.id} of table {receipt.table!r}: its file {self._root.uri}/{path} is gone; "
            "vacuum takes what was staged longer ago than the retention: stage these rows again"
        )

    def _safe(self, table: _Table, receipt: Staged, head: MetaTable) -> Staged:
        """Return a receipt whose files no vacuum can still be deleting.

        A vacuum that has put its fence may be deleting what is older than
        the fence says; one that has not will see this commit.
        """
        if head.floor <= receipt.at:
            return receipt
        infos = [table.listing.get(path) for path in receipt.paths()]
        if head.swept is not None and all(info is not None and info.modified >= head.swept for info in infos):
            return receipt
        partitions = tuple(
            partition.model_copy(
                update={
                    "files": tuple(self._copied(receipt, partition.number, file) for file in partition.files)
                }
            )
            for partition in receipt.partitions
        )
        return self._replaced(receipt, partitions, head.version)

    def _replaced(self, receipt: Staged, partitions: tuple[Partition, ...], at: int) -> Staged:
        again = receipt.model_copy(update={"partitions": partitions, "at": at})
        self._receipts[receipt.id] = again
        self._owner.update(dict.fromkeys(again.paths(), receipt.id))
        return again

    def _copied(self, receipt: Staged, partition: int, file: DataFile) -> DataFile:
        """Store a staged file and its indexes again under new names."""
        id = clock.new_id()
        indexes = [
            self._copy(receipt, index, names.index_file(receipt.table, partition, id, number))
            for number, index in enumerate(file.indexes)
        ]
        path = names.data_file(receipt.table, partition, id)
        return self._copy(receipt, file, path).model_copy(update={"indexes": tuple(indexes)})

    def _copy(self, receipt: Staged, entry: Stored, path: str) -> Stored:
        try:
            data = self._stored(receipt, entry).whole()
        except ObjectMissingError as err:
            raise self._gone(receipt, entry.path) from err
        self._volume.store.put(path, data)
        return entry.model_copy(update={"path": path})

    def _stored(self, receipt: Staged, entry: DataFile | IndexFile) -> ParquetObject:
        schema = stored_schema(self._root.spec(receipt.table), entry)
        return ParquetObject(self._volume.store, entry, schema, self._volume.cache)

    def _fitting(self, table: _Table, receipt: Staged, layout: TableManifest) -> tuple[Partition, ...]:
        """Return a receipt's files by today's partitions; those that a
        compaction has split meanwhile are written again, file by file.
        """
        fitting: list[Partition] = []
        for partition in receipt.partitions:
            try:
                placed(table.spec, layout, Stage((partition,)))
            except StaleStageError:
                for file in partition.files:
                    stored = self._stored(receipt, file)
                    rows = stored.read(range(stored.groups), table.spec.names)
                    fitting += stage(self._volume, table.spec, receipt.table, layout, rows).partitions
            else:
                fitting.append(partition)
        if fitting != list(receipt.partitions):
            receipt = self._replaced(receipt, tuple(fitting), receipt.at)
        return receipt.partitions

    def _check_disjoint(self, name: str, table: _Table, base: Base, staged: list[Partition]) -> None:
        """Check that the receipts share no row with each other or with what
        others have committed since the last look.
        """
        mine = Base(self._volume, table.spec, _pretend(name, staged))
        others = Base(self._volume, table.spec, without(base.manifest, table.proven))
        found = find_duplicate(mine, others, among=table.among)
        if found is not None:
            raise self._clash(name, table.spec, found)
        table.proven.update(file.path for file in base.files)
        table.among = False

    def _clash(self, name: str, spec: TableSpec, found: Duplicate) -> ConstraintError:
        (row,) = Values(spec).python_rows(found.columns, [found.values])
        ids = [f"receipt {self._owner[path]}" for path in found.paths]
        places = " and in ".join(ids if len(ids) > 1 else [*ids, "the table already"])
        return ConstraintError(f"table {name!r}: a row with {row} is in {places}; nothing was committed")
