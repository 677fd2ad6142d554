"""`ArrowDatastoreRegistryBridgeManager`: trash that is emptied without
joining SQL tables.

The class's public name, ``arrowopaque.ArrowDatastoreRegistryBridgeManager``,
is stored in repositories and must never change.
"""

from __future__ import annotations

__all__ = ["ArrowDatastoreRegistryBridgeManager"]

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from lsst.daf.butler import DatasetId
from lsst.daf.butler.datastore.stored_file_info import StoredDatastoreItemInfo
from lsst.daf.butler.registry.bridge.monolithic import (
    MonolithicDatastoreRegistryBridge,
    MonolithicDatastoreRegistryBridgeManager,
)
from lsst.daf.butler.registry.interfaces import (
    Database,
    DatasetIdRef,
    DatastoreRegistryBridge,
    DatastoreRegistryBridgeManager,
    FakeDatasetRef,
    OpaqueTableStorage,
    OpaqueTableStorageManager,
)
from sqlalchemy.dialects import postgresql

from arrowopaque.butler import host
from arrowopaque.butler.storage import ArrowOpaqueTableStorage

_MANY = 500
"""Datasets for which a statement of its own is worth more than the host's."""

# A value for each dataset, or a row of it, takes the host longer than the database.
_CHECK = {
    "sqlite": "SELECT dataset_id FROM {} WHERE datastore_name = ? AND dataset_id IN "
    "(SELECT value FROM json_each(?))",
    "postgresql": "SELECT encode(uuid_send(dataset_id), 'hex') FROM {} WHERE datastore_name = %s "
    "AND dataset_id = ANY(%s::uuid[])",
}
_LOCATE = {
    "sqlite": "INSERT INTO {} (datastore_name, dataset_id) SELECT ?, value FROM json_each(?)",
    "postgresql": "INSERT INTO {} (datastore_name, dataset_id) SELECT %s, unnest(%s::uuid[])",
}

TrashContent = tuple[Iterable[tuple[DatasetIdRef, StoredDatastoreItemInfo | None]], set[str] | None]


class ArrowDatastoreRegistryBridge(MonolithicDatastoreRegistryBridge):
    """The bridge of one datastore.

    Our records tables are asked by dataset id and by artifact, which they
    are sorted by; tables of the SQL manager are served as upstream does.
    """

    def check(self, datasets: Iterable[DatasetId]) -> set[DatasetId]:
        """Return those of some datasets that the datastore has."""
        asked = {id.hex: id for id in datasets}
        if len(asked) < _MANY:
            return super().check(asked.values())
        with host.reading(self._db) as cursor:
            rows = cursor.execute(*self._statement(_CHECK, [*asked])).rows()
        return {asked[hex] for (hex,) in rows}

    def insert(self, refs: Iterable[DatasetIdRef]) -> None:
        """Record that the datastore has some datasets."""
        refs = list(refs)
        if len(refs) < _MANY:
            super().insert(refs)
        else:
            self.locate([ref.id.hex for ref in refs])

    def locate(self, hexes: Sequence[str]) -> None:
        """Do the same for ids of 32 hexadecimal digits."""
        location = self._tables.dataset_location
        self._db.assertTableWriteable(location, f"Cannot insert into read-only table {location}.")
        with host.writing(self._db) as cursor:
            # In one statement, so that one that fails leaves nothing behind.
            cursor.execute(*self._statement(_LOCATE, hexes))

    def _statement(self, by_dialect: dict[str, str], hexes: Sequence[str]) -> tuple[str, tuple[str, Any]]:
        dialect = host.dialect_name(self._db)
        statement = by_dialect[dialect].format(host.render_table(self._db, self._tables.dataset_location))
        return statement, (self.datastoreName, json.dumps(hexes) if dialect == "sqlite" else list(hexes))

    @contextmanager
    def emptyTrash(
        self,
        records_table: OpaqueTableStorage | None = None,
        record_class: type[StoredDatastoreItemInfo] | None = None,
        record_column: str | None = None,
        selected_ids: Collection[DatasetId] | None = None,
        dry_run: bool = False,
    ) -> Iterator[TrashContent]:
        """Give what is in the trash; on exit forget it.

        Parameters
        ----------
        records_table
            The records of the datastore.
        record_class
            Makes a record's object.
        record_column
            The column that names the artifact.
        selected_ids
            The datasets to consider: all in the trash by default, none if
            empty.
        dry_run
            Whether to forget nothing.

        Returns
        -------
        trash
            Pairs of a dataset and its record, and the artifacts that other
            datasets still need.

        Notes
        -----
        Record rows and trash rows go in one transaction. Trash rows of
        datasets without a record stay, as upstream.
        """
        if not isinstance(records_table, ArrowOpaqueTableStorage):
            # Upstream takes an empty selection for none at all.
            chosen = None if selected_ids is None else set(selected_ids)
            if chosen is None or chosen:
                with super().emptyTrash(records_table, record_class, record_column, chosen, dry_run) as trash:
                    yield trash
                return
        if records_table is None:
            raise ValueError("This implementation requires a records table.")
        if record_class is None:
            raise ValueError("Record class must be provided if records table is given.")
        rows = self._trashed_records(records_table, selected_ids)
        preserved = (
            None if record_column is None else self._shared_artifacts(records_table, record_column, rows)
        )
        found = ((FakeDatasetRef(row["dataset_id"]), record_class.from_record(row)) for row in rows)
        yield found, preserved
        if rows and not dry_run:
            self._forget(records_table, sorted({row["dataset_id"] for row in rows}))

    def _trashed_records(
        self, records: OpaqueTableStorage, selected: Collection[DatasetId] | None
    ) -> list[dict[str, Any]]:
        """Return the records of the trash, each with its datastore's name."""
        ids = self._trashed_ids(selected)
        if not ids:
            return []
        return [{**row, "datastore_name": self.datastoreName} for row in records.fetch(dataset_id=ids)]

    def _trashed_ids(self, selected: Collection[DatasetId] | None) -> list[DatasetId]:
        """Return what is in the trash, leaving out what another client is
        emptying in a transaction of its own.
        """
        trash = self._tables.dataset_location_trash
        query = sqlalchemy.select(trash.columns.dataset_id).where(
            trash.columns.datastore_name == self.datastoreName
        )
        if selected is not None:
            wanted = list(set(selected))
            if not wanted:
                return []
            query = query.where(self._is_one_of(trash.columns.dataset_id, wanted))
        with self._db.query(query.with_for_update(skip_locked=True)) as result:
            return sorted(result.scalars())

    def _is_one_of(
        self, column: sqlalchemy.ColumnElement[DatasetId], ids: list[DatasetId]
    ) -> sqlalchemy.ColumnElement[bool]:
        """Return what the host's ``make_in_array_constraint`` does, which not
        all its supported releases have.
        """
        if host.dialect_name(self._db) != "postgresql":
            return column.in_(ids)
        return column == sqlalchemy.any_(sqlalchemy.literal(ids, postgresql.ARRAY(column.type)))

    def _shared_artifacts(
        self, records: OpaqueTableStorage, column: str, rows: list[dict[str, Any]]
    ) -> set[str]:
        """Return the artifacts of the trash that live datasets need too."""
        artifacts = {row[column] for row in rows}
        if not artifacts:
            return set()
        users = [(row[column], row["dataset_id"]) for row in records.fetch(**{column: artifacts})]
        alive = self.check({id for _, id in users})
        return {artifact for artifact, id in users if id in alive}

    def _forget(self, records: OpaqueTableStorage, ids: list[DatasetId]) -> None:
        with self._db.transaction():
            records.delete(["dataset_id"], *[{"dataset_id": id} for id in ids])
            trash = self._tables.dataset_location_trash
            self._db.delete(
                trash,
                ["dataset_id", "datastore_name"],
                *[{"dataset_id": id, "datastore_name": self.datastoreName} for id in ids],
            )


class ArrowDatastoreRegistryBridgeManager(MonolithicDatastoreRegistryBridgeManager):
    """Keeps which datasets a datastore has, in the tables that the default
    manager has for it.
    """

    @classmethod
    def extensionName(cls) -> str:
        """Return the name that repositories store."""
        return "arrowopaque.ArrowDatastoreRegistryBridgeManager"

    def clone(self, *, db: Database, opaque: OpaqueTableStorageManager) -> DatastoreRegistryBridgeManager:
        """Return an independent manager bound to another database."""
        return type(self)(
            db=db,
            tables=self._tables,
            opaque=opaque,
            universe=self.universe,
            registry_schema_version=self._registry_schema_version,
        )

    def register(self, name: str, *, ephemeral: bool = False) -> DatastoreRegistryBridge:
        """Return the bridge of a datastore."""
        if ephemeral:
            return super().register(name, ephemeral=True)
        return ArrowDatastoreRegistryBridge(name, db=self._db, tables=self._tables)
