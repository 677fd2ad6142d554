"""A datastore's records, locations and trash, without a datastore."""

from __future__ import annotations

__all__ = ["Scene", "ServedBy", "number_of"]

import enum
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lsst.daf.butler.datastore.stored_file_info import StoredFileInfo
from lsst.daf.butler.registry.interfaces import DatastoreRegistryBridge, FakeDatasetRef

from tests.support import specs
from tests.support.subjects import RegistrySubject

Found = list[tuple[int, str]]


class ServedBy(enum.Enum):
    """Whose bridge serves the records table."""

    UPSTREAM = "upstream"
    OURS = "ours"


def number_of(id: uuid.UUID) -> int:
    """Return the number that a dataset's id was made of."""
    return id.int


def ref(number: int) -> FakeDatasetRef:
    return FakeDatasetRef(uuid.UUID(int=number))


@dataclass
class Scene:
    """One client's bridge and records table; datasets are numbers."""

    subject: RegistrySubject
    table: Any
    bridge: DatastoreRegistryBridge
    manager: Any

    @classmethod
    def open(cls, subject: RegistrySubject, served_by: ServedBy) -> Scene:
        """Register the table and a datastore's bridge."""
        from arrowopaque import ArrowDatastoreRegistryBridgeManager

        manager: Any = subject.bridges
        assert manager is not None, "the repository was made without bridges"
        if served_by is ServedBy.OURS and not subject.is_arrow:
            # A repository whose records are still in a table of the SQL manager.
            manager = ArrowDatastoreRegistryBridgeManager(
                db=subject.database,
                tables=manager._tables,
                opaque=subject.manager,
                universe=manager.universe,
                registry_schema_version=None,
            )
        table = subject.manager.register("file_datastore_records", specs.records())
        return cls(subject, table, manager.register("datastore"), manager)

    def store(self, *numbers: int, path: str | None = None, to: str | None = None) -> None:
        """Record datasets, and their location in a datastore."""
        self.record(*numbers, path=path)
        self.locate(*numbers, to=to)
        self.subject.settle()

    def record(self, *numbers: int, path: str | None = None, component: str | None = None) -> None:
        """Record datasets of no datastore."""
        named: Any = {} if component is None else {"component": component}
        self.table.insert(*[specs.record(number, path=path or f"p{number}", **named) for number in numbers])
        self.subject.settle()

    def locate(self, *numbers: int, to: str | None = None) -> None:
        """Say that a datastore has datasets."""
        bridge = self.bridge if to is None else self.manager.register(to)
        bridge.insert([ref(number) for number in numbers])

    def trash(self, *numbers: int) -> None:
        """Move datasets to the trash."""
        self.bridge.moveToTrash([ref(number) for number in numbers], transaction=None)

    def emptying(self, *, record_column: str | None = "path", **kwargs: Any) -> Any:
        """Return the bridge's context manager."""
        return self.bridge.emptyTrash(
            self.table, record_class=StoredFileInfo, record_column=record_column, **kwargs
        )

    def empty(self, **kwargs: Any) -> tuple[Found, set[str] | None]:
        """Empty the trash, and return what was in it and what to keep."""
        with self.emptying(**kwargs) as (items, keep):
            return sorted((number_of(item.id), info.path) for item, info in items), keep

    @staticmethod
    def ids(numbers: Iterable[int]) -> list[uuid.UUID]:
        """Return dataset ids."""
        return [uuid.UUID(int=number) for number in numbers]

    @property
    def records(self) -> list[int]:
        """The datasets that are recorded, once for each record."""
        return sorted(number_of(row["dataset_id"]) for row in self.table.fetch())

    @property
    def located(self) -> list[int]:
        """The datasets that the datastore has."""
        return self._numbers("dataset_location", self.bridge.datastoreName)

    @property
    def trashed(self) -> list[int]:
        """The datasets in the trash."""
        return self._numbers("dataset_location_trash", self.bridge.datastoreName)

    def _numbers(self, name: str, datastore: str) -> list[int]:
        table = getattr(self.manager._tables, name)
        query = table.select().where(table.columns.datastore_name == datastore)
        with self.subject.database.query(query) as result:
            return sorted(number_of(row.dataset_id) for row in result)

    @property
    def state(self) -> tuple[list[int], list[int], list[int]]:
        """Records, locations and trash."""
        return self.records, self.located, self.trashed
