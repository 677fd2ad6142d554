"""A store whose author wishes its readers ill, and what asks it everything.

All seals, sizes and digests are made to agree, unless a test says otherwise.
"""

from __future__ import annotations

__all__ = ["NAMES", "Hostile", "ask_everything", "reseal", "reseal_text"]

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyroaring import BitMap

from arrowopaque import ArrowOpaqueError, StoreRoot
from arrowopaque.format import names
from arrowopaque.format.document import digest, dump
from arrowopaque.format.manifest import DataFile, Deletes, Partition, TableEntry, TableManifest
from arrowopaque.format.spec import Column, ColumnKind, TableSpec
from arrowopaque.store.apply import write_file

SPEC = TableSpec(
    columns=(
        Column(name="id", kind=ColumnKind.UUID, nullable=False),
        Column(name="path", kind=ColumnKind.STRING, length=64, nullable=False),
        Column(name="kind", kind=ColumnKind.STRING, length=64),
        Column(name="size", kind=ColumnKind.BIGINT),
        Column(name="real", kind=ColumnKind.FLOAT),
        Column(name="flag", kind=ColumnKind.BOOLEAN),
    ),
    primary_key=("id",),
    unique=(("path",),),
)
NAMES = SPEC.names
ROWS = 40


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def path_of(number: int) -> str:
    return f"run/{number:04d}"


def reseal(body: dict[str, Any]) -> bytes:
    """Return a document with a seal that is right, whatever it holds."""
    body.pop("seal", None)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return json.dumps({**body, "seal": digest(text.encode())}).encode()


def reseal_text(text: str, parsed: dict[str, Any]) -> bytes:
    """Return JSON text, which says less plainly what ``parsed`` says, with a
    seal of its own.
    """
    seal = json.loads(reseal(dict(parsed)))["seal"]
    assert text.startswith("{")
    return f'{{"seal": "{seal}", {text[1:]}'.encode()


class Hostile:
    """A root with a table ``t`` of two files, one with deleted rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = StoreRoot(str(folder))
        self.root.register("t", SPEC)
        first, second = self.write(range(ROWS)), self.write(range(ROWS, 2 * ROWS))
        self.manifest = self.commit(self.deleting(first, BitMap([1, 5, 6])), second)
        self.head = names.chain_manifest(self.root.version)

    @property
    def files(self) -> tuple[DataFile, ...]:
        return self.manifest.partitions[0].files

    @staticmethod
    def rows(numbers: range) -> pa.Table:
        columns = [
            [key(i) for i in numbers],
            [path_of(i) for i in numbers],
            ["even" if i % 2 == 0 else None for i in numbers],
            [10 * i for i in numbers],
            [i / 2 for i in numbers],
            [i % 2 == 0 for i in numbers],
        ]
        return pa.table([pa.array(v, f.type) for v, f in zip(columns, SPEC.arrow_schema, strict=True)], NAMES)

    def write(self, numbers: range) -> DataFile:
        return write_file(self.root.volume, SPEC, "t", 0, self.rows(numbers))

    def put(self, path: str, data: bytes) -> None:
        """Store an object around the store, and forget what was read."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def deleting(self, file: DataFile, data: BitMap | bytes, **facts: Any) -> DataFile:
        """Return a file with a deletion vector of these bytes."""
        encoded = data.serialize() if isinstance(data, BitMap) else data
        path = names.deletion_vector("t", 0, "d" * 32)
        self.put(path, encoded)
        count = len(data) if isinstance(data, BitMap) else 3
        said: dict[str, Any] = {
            "path": path,
            "bytes": len(encoded),
            "digest": digest(encoded),
            "count": count,
        }
        return file.model_copy(update={"deletes": Deletes(**(said | facts))})

    def replaced(self, file: DataFile, data: bytes, **facts: Any) -> DataFile:
        """Store other bytes as a data file, and return what a manifest would
        say of them.
        """
        self.put(file.path, data)
        footer = int.from_bytes(data[-8:-4], "little") + 8
        if not 8 < footer <= len(data):
            footer = file.footer
        said = {
            "bytes": len(data),
            "digest": digest(data),
            "footer": footer,
            "footer_digest": digest(data[-footer:]),
        }
        return file.model_copy(update=said | facts)

    def commit(self, *files: DataFile, **changes: Any) -> TableManifest:
        """Make files the table's."""
        manifest = TableManifest(
            table="t",
            version=1,
            commit="c" * 32,
            parent=None,
            created=self.root.head.created,
            partitions=(Partition(number=0, lower=None, files=files),),
            next_partition=1,
        ).model_copy(update=changes)
        self.root.volume.store.put(manifest.name, dump(manifest))
        self.root.commit(lambda head, _: {**head.tables, "t": TableEntry(spec=SPEC, manifest=manifest.name)})
        return manifest

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def change(self, path: str, action: Callable[[dict[str, Any]], object]) -> None:
        """Change a stored document, and seal it again."""
        body = json.loads(self.read(path))
        action(body)
        self.put(path, reseal(body))


def ask_everything(folder: Path) -> list[BaseException]:
    """Ask a store in each way there is, and return the errors of our tree.

    Whatever else is raised passes through.
    """
    errors: list[BaseException] = []

    def ask(question: Callable[[], object]) -> None:
        try:
            question()
        except ArrowOpaqueError as err:
            errors.append(err)

    try:
        root = StoreRoot(str(folder), writeable=False)
    except ArrowOpaqueError as err:
        return [err]
    ask(lambda: root.verify("quick"))
    ask(lambda: root.verify(raising=False))
    for name in root.names():
        for question in _questions(root, name):
            ask(question)
    return errors


def _questions(root: StoreRoot, name: str) -> list[Callable[[], object]]:
    spec = root.spec(name)
    table = root.table(name)
    asked: list[Callable[[], object]] = [
        lambda: table.fetch_arrow(),
        lambda: [dict(row) for row in table.fetch()],
        lambda: _through_duckdb(root, name),
    ]
    if "id" in spec.names:
        few, many = [key(3)], [key(i) for i in range(0, 80, 2)]
        asked += [lambda: list(table.fetch(id=few)), lambda: list(table.fetch(id=many))]
    if "path" in spec.names:
        several = [path_of(i) for i in range(0, 80, 2)]
        asked += [
            lambda: list(table.fetch(path=path_of(7))),
            lambda: list(table.fetch(path=several)),
            lambda: list(table.fetch(path="run/00%")),
        ]
    return asked


def _through_duckdb(root: StoreRoot, name: str) -> None:
    quoted = name.replace('"', '""')
    try:
        root.sql(f'SELECT * FROM "{quoted}"').fetchall()
    except duckdb.Error:
        # It is DuckDB's to say that what a file holds is no value.
        return
