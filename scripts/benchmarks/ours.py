"""Ours: bound to a registry, and to a bare root."""

from __future__ import annotations

__all__ = ["ArrowManager", "ArrowRoot"]

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyarrow as pa

from arrowopaque import ArrowDatastoreRegistryBridgeManager, ArrowOpaqueTableStorageManager, StoreRoot
from benchmarks.contenders import UnsupportedError
from benchmarks.managers import TABLE, InRegistry, Manager
from benchmarks.rows import folder_bytes


class ArrowManager(InRegistry):
    """Ours, bound to a registry."""

    manager_class = ArrowOpaqueTableStorageManager
    bridge_class = ArrowDatastoreRegistryBridgeManager

    def insert_arrow(self, rows: pa.Table) -> None:
        self.table.insert_arrow(rows)

    def scan_arrow(self) -> int:
        return int(self.table.fetch_arrow().num_rows)

    def group(self) -> dict[str, int]:
        query = f'SELECT storage_class, count(*) FROM "{self.table.name}" GROUP BY 1'
        return dict(self.manager.sql(query).fetchall())

    def flush(self) -> None:
        self.manager.flush(self.table.name)

    def compact(self) -> None:
        self.manager.compact(self.table.name)

    def verify(self) -> int:
        return self.manager.verify().tables[self.table.name].rows  # type: ignore[no-any-return]  # lsst's Any

    def settle(self) -> None:
        self.flush()
        super().settle()

    def bytes_on_disk(self) -> int:
        if self.place.s3:
            raise UnsupportedError
        if self.place.postgres is None:
            return folder_bytes(self.place.folder)
        return folder_bytes(self.place.folder) + self._database_bytes()


class ArrowRoot(Manager):
    """Ours, bound to a bare root."""

    def create(self) -> None:
        self.open()

    def open(self) -> None:
        self.root = StoreRoot(self.place.s3 or str(self.place.folder / "root"))
        self.manager = ArrowOpaqueTableStorageManager.initialize(self.root, None)
        self.use(TABLE)

    def transaction(self) -> AbstractContextManager[None]:
        return self.root.transaction()

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def clone(self) -> Any:
        return self.manager.clone(self.root)

    def insert_arrow(self, rows: pa.Table) -> None:
        self.table.insert_arrow(rows)

    def scan_arrow(self) -> int:
        return int(self.table.fetch_arrow().num_rows)

    def group(self) -> dict[str, int]:
        query = f'SELECT storage_class, count(*) FROM "{self.table.name}" GROUP BY 1'
        return dict(self.root.sql(query).fetchall())

    def compact(self) -> None:
        self.root.compact(self.table.name)

    def verify(self) -> int:
        return self.root.verify().tables[self.table.name].rows

    def bytes_on_disk(self) -> int:
        if self.place.s3:
            raise UnsupportedError
        return folder_bytes(self.place.folder)
