"""Ours: bound to a registry, and to a bare root."""

from __future__ import annotations

__all__ = ["ArrowManager", "ArrowRoot"]

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrowopaque import ArrowDatastoreRegistryBridgeManager, ArrowOpaqueTableStorageManager, StoreRoot
from arrowopaque.format import names
from benchmarks.contenders import UnsupportedError
from benchmarks.managers import TABLE, InRegistry, Manager
from benchmarks.rows import folder_bytes


class Ours(Manager):
    """What both have in common."""

    @property
    def folder(self) -> Path:
        """Where the store is."""
        raise UnsupportedError

    def insert_arrow(self, rows: pa.Table) -> None:
        self.table.insert_arrow(rows)

    def scan_arrow(self) -> int:
        return int(self.table.fetch_arrow().num_rows)

    def group(self) -> dict[str, int]:
        query = f'SELECT storage_class, count(*) FROM "{self.table.name}" GROUP BY 1'
        return dict(self.manager.sql(query).fetchall())

    def compact(self) -> None:
        self.manager.compact(self.table.name)

    def tidy(self) -> None:
        self.settle()
        self.compact()

    def verify(self) -> int:
        return int(self.manager.verify().tables[self.table.name].rows)

    def files(self) -> dict[str, tuple[int, int]]:
        places = [(place, place.stat()) for place in self.folder.rglob("*") if place.is_file()]
        return {
            place.relative_to(self.folder).as_posix(): (state.st_size, state.st_mtime_ns)
            for place, state in places
        }

    def rows_of(self, name: str) -> int:
        parsed = names.parse(name)
        if parsed is None or parsed.kind is not names.Kind.DATA:
            return 0
        return int(pq.read_metadata(self.folder / name).num_rows)

    def kept(self) -> tuple[int, int]:
        found = self.manager.verify("quick").tables[self.table.name]
        return found.files, found.bytes


class ArrowManager(Ours, InRegistry):
    """Ours, bound to a registry."""

    manager_class = ArrowOpaqueTableStorageManager
    bridge_class = ArrowDatastoreRegistryBridgeManager
    seed = "resource://arrowopaque/butler/config/registry.yaml"

    @property
    def folder(self) -> Path:
        if self.place.s3:
            raise UnsupportedError
        (found,) = (self.place.folder / "opaque").iterdir()
        return found

    def flush(self) -> None:
        self.manager.flush(self.table.name)

    def settle(self) -> None:
        self.flush()
        super().settle()

    def bytes_on_disk(self) -> int:
        if self.place.s3:
            raise UnsupportedError
        if self.place.postgres is None:
            return folder_bytes(self.place.folder)
        return folder_bytes(self.place.folder) + self._database_bytes()


class ArrowRoot(Ours):
    """Ours, bound to a bare root."""

    @property
    def folder(self) -> Path:
        if self.place.s3:
            raise UnsupportedError
        return self.place.folder / "root"

    def create(self) -> None:
        self.open()

    def open(self) -> None:
        self.root = StoreRoot(self.place.s3 or str(self.folder))
        self.manager = ArrowOpaqueTableStorageManager.initialize(self.root, None)
        self.use(TABLE)

    def transaction(self) -> AbstractContextManager[None]:
        return self.root.transaction()

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def clone(self) -> Any:
        return self.manager.clone(self.root)

    def bytes_on_disk(self) -> int:
        if self.place.s3:
            raise UnsupportedError
        return folder_bytes(self.place.folder)
