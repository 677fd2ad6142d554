"""Stores with one thing wrong that all seals and digests agree on."""

from __future__ import annotations

__all__ = ["Store", "flip", "resealed"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from arrowopaque import StoreRoot
from arrowopaque.clock import new_id
from arrowopaque.format.document import digest, dump
from arrowopaque.format.manifest import DataFile, Partition, TableEntry, TableManifest
from arrowopaque.format.spec import Column, ColumnKind, TableSpec
from arrowopaque.store.apply import write_file

SPEC = TableSpec(
    columns=(
        Column(name="id", kind=ColumnKind.BIGINT, nullable=False),
        Column(name="name", kind=ColumnKind.STRING, nullable=False),
        Column(name="val", kind=ColumnKind.BIGINT),
    ),
    primary_key=("id",),
    unique=(("name",),),
)
FAR = 0x1122334455667788


def flip(data: bytes, at: int) -> bytes:
    """Return data with one bit changed."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def resealed(file: DataFile, data: bytes) -> DataFile:
    """Return what a manifest would say of a data file of these bytes."""
    facts = {"bytes": len(data), "digest": digest(data), "footer_digest": digest(data[-file.footer :])}
    return file.model_copy(update=facts)


class Store:
    """A root with a table ``t``, written below its own interface."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = StoreRoot(str(folder))
        self.root.register("t", SPEC)

    def rows(self, ids: list[int], names: list[str | None] | None = None) -> pa.Table:
        given = [f"n{i}" for i in ids] if names is None else names
        columns = [ids, given, [10 * i if i < FAR else None for i in ids]]
        return pa.table(
            [pa.array(values, field.type) for values, field in zip(columns, SPEC.arrow_schema, strict=True)],
            names=list(SPEC.names),
        )

    def file(self, *args: Any) -> DataFile:
        """Write a data file of some rows, in the order given."""
        return write_file(self.root.volume, SPEC, "t", 0, self.rows(*args))

    def commit(self, *files: DataFile, table: str = "t", **changes: Any) -> TableManifest:
        """Make some files the table's, whatever they hold."""
        manifest = TableManifest(
            table=table,
            version=self.root.version,
            commit=new_id(),
            parent=None,
            created=self.root.head.created,
            partitions=(Partition(number=0, lower=None, files=files),),
            next_partition=1,
        ).model_copy(update=changes)
        self.root.volume.store.put(manifest.name, dump(manifest))
        self.root.commit(lambda head, _: {**head.tables, "t": TableEntry(spec=SPEC, manifest=manifest.name)})
        return manifest

    def change(self, path: str, action: Callable[[bytes], bytes]) -> bytes:
        """Change a stored object, and return what it holds now."""
        target = self.folder / path
        data = action(target.read_bytes())
        target.write_bytes(data)
        return data

    def change_file(self, file: DataFile, action: Callable[[bytes], bytes]) -> DataFile:
        """Change a data file, and return what a manifest would say of it."""
        return resealed(file, self.change(file.path, action))
