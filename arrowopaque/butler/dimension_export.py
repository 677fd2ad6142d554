"""The dimension records that an export takes along."""

from __future__ import annotations

__all__ = ["RecordsTaken", "take_everything"]

from collections.abc import Iterable, Iterator

from lsst.daf.butler import Butler, DataCoordinate, DatasetRef, DimensionElement, DimensionRecord
from lsst.utils.iteration import chunk_iterable

from arrowopaque.butler.elements import elements_of, record_rows
from arrowopaque.root import StoreRoot
from arrowopaque.transfer.sync import Synced, TableSync
from arrowopaque.transfer.tables import dimension_table

_AT_ONCE = 20_000
_ASKED_AT_ONCE = 5_000

Key = tuple[object, ...]


class _Table:
    """The table of one dimension, as it fills."""

    def __init__(self, root: StoreRoot, element: DimensionElement) -> None:
        self.element = element
        self.keys: set[Key] = set()
        name = dimension_table(element.name)
        self._spec = root.spec(name)
        self._sync = TableSync(root, name)

    def add(self, records: Iterable[DimensionRecord]) -> None:
        self._sync.add(record_rows(self.element, self._spec, records))

    def add_new(self, records: Iterable[DimensionRecord]) -> None:
        """Add those of some records that were not added before."""
        new = {key: record for record in records if (key := _key(record)) not in self.keys}
        self.keys.update(new)
        self.add(new.values())

    def finish(self) -> Synced:
        self._sync.sweep()
        return self._sync.done


def _key(record: DimensionRecord) -> Key:
    return record.dataId.required_values


def take_everything(butler: Butler, root: StoreRoot) -> Iterator[tuple[str, Synced]]:
    """Export all records, and yield what that did to each table."""
    for element in elements_of(butler.dimensions):
        table = _Table(root, element)
        with butler.query() as query:
            for records in chunk_iterable(query.dimension_records(element.name), _AT_ONCE):
                table.add(records)
        yield dimension_table(element.name), table.finish()


class RecordsTaken:
    """The records that datasets refer to, and those that belong to them.

    Parameters
    ----------
    butler
        The repository.
    root
        The export.
    """

    def __init__(self, butler: Butler, root: StoreRoot) -> None:
        self._butler = butler
        self._tables = {element.name: _Table(root, element) for element in elements_of(butler.dimensions)}

    def note(self, refs: Iterable[DatasetRef]) -> None:
        """Take the records of some datasets, whose data IDs have them."""
        self._note(ref.dataId for ref in refs)

    def _note(self, data_ids: Iterable[DataCoordinate]) -> None:
        found: dict[str, list[DimensionRecord]] = {}
        for data_id in data_ids:
            for name in data_id.dimensions.elements:
                record = data_id.records[name] if name in self._tables else None
                if record is not None:
                    found.setdefault(name, []).append(record)
        for name, records in found.items():
            self._tables[name].add_new(records)

    def finish(self) -> Iterator[tuple[str, Synced]]:
        """Complete the records, and yield what that did to each table."""
        self._take_what_belongs()
        for name, table in self._tables.items():
            yield dimension_table(name), table.finish()

    def _take_what_belongs(self) -> None:
        """Take records that are made with others: which exposures a visit
        has, where its detectors point.

        If datasets refer to some of them, the others belong to datasets that
        were left out.
        """
        for table in [table for table in self._tables.values() if not table.keys]:
            owner = table.element.populated_by
            if owner is not None and owner.name != table.element.name and owner.name in self._tables:
                for records in self._of_owner(table.element, self._tables[owner.name]):
                    table.add_new(records)
                    self._take_missing(records)

    def _of_owner(self, element: DimensionElement, owner: _Table) -> Iterator[list[DimensionRecord]]:
        dimensions = owner.element.minimal_group
        for keys in chunk_iterable(sorted(owner.keys, key=repr), _ASKED_AT_ONCE):
            data_ids = [DataCoordinate.from_required_values(dimensions, key) for key in keys]
            with self._butler.query() as query:
                yield list(query.join_data_coordinates(data_ids).dimension_records(element.name))

    def _take_missing(self, records: Iterable[DimensionRecord]) -> None:
        missing: dict[str, set[DataCoordinate]] = {}
        for record in records:
            for name in record.dataId.dimensions.required:
                if name in self._tables:
                    part = record.dataId.subset(self._butler.dimensions[name].minimal_group)
                    if part.required_values not in self._tables[name].keys:
                        missing.setdefault(name, set()).add(part)
        for name, data_ids in missing.items():
            group = self._butler.dimensions[name].minimal_group
            with self._butler.query() as query:
                joined = query.join_data_coordinates(data_ids)
                self._note(joined.data_ids(group).with_dimension_records())
