"""Who competes: one class a kind of store, with the same few operations."""

from __future__ import annotations

__all__ = [
    "CONTENDERS", "Contender", "Place", "UnsupportedError", "contender_class", "interpreter", "search_path",
]  # fmt: skip

import os
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pyarrow as pa

from benchmarks.rows import PythonRow

CONTENDERS = {
    "sql-sqlite": "benchmarks.managers:SqlManager",
    "ours-sqlite": "benchmarks.ours:ArrowManager",
    "sql-postgres": "benchmarks.managers:SqlManager",
    "ours-postgres": "benchmarks.ours:ArrowManager",
    "ours-root": "benchmarks.ours:ArrowRoot",
    "ours-sqlite-s3": "benchmarks.ours:ArrowManager",
    "ours-root-s3": "benchmarks.ours:ArrowRoot",
    "delta-rs": "benchmarks.others:DeltaTableFormat",
    "ducklake": "benchmarks.others:DuckLake",
    "pyiceberg": "benchmarks.others:IcebergTableFormat",
    "duckdb": "benchmarks.others:DuckDb",
    "sqlite": "benchmarks.others:Sqlite",
}
"""Where the class of each is: nobody loads the packages of another."""


_ROOT = Path(__file__).resolve().parents[2]
_INTERPRETERS = {"ducklake": _ROOT / ".venv-ducklake" / "bin" / "python"}
"""Whose packages cannot be installed beside the others'."""


def interpreter(name: str) -> Path:
    """Return the Python that a contender's processes run in."""
    return _INTERPRETERS.get(name, Path(sys.executable))


def search_path(name: str) -> str:
    """Return where that Python is to look for modules beside its own."""
    places = [str(_ROOT / "scripts")] if name in _INTERPRETERS else sys.path
    return os.pathsep.join(filter(None, places))


def contender_class(name: str) -> type[Contender]:
    """Return a contender's class."""
    found: type[Contender] = resolve_name(CONTENDERS[name])
    return type(found.__name__, (found,), {"name": name})


class UnsupportedError(Exception):
    """The contender has no such operation."""


@dataclass(frozen=True)
class Place:
    """What a contender is given."""

    folder: Path
    postgres: str | None = None
    """URL of a database of its own."""
    s3: str | None = None
    """URI of a bucket of its own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Settings that clients of the bucket take from the environment."""
    counts: Path | None = None
    """Counters of requests, shared with the server; see `watch.map_counts`."""


class Contender(ABC):
    """One table of the file datastore's records.

    An operation that a contender lacks raises `UnsupportedError`.
    """

    name = ""
    """What the run calls it."""
    share = 1.0
    """Of the single operations of a run, those that are measured: fewer of
    whom they take hundreds of milliseconds.
    """
    packages: tuple[str, ...] = ()
    """What it has in an interpreter of its own."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def create(self) -> None:
        """Make the empty table."""

    @abstractmethod
    def insert_arrow(self, rows: pa.Table) -> None:
        """Insert many rows, committed and durable."""

    @abstractmethod
    def bytes_on_disk(self) -> int:
        """Return what the table takes, indexes and all."""

    @abstractmethod
    def open(self) -> None:
        """Open the table that is there."""

    def close(self) -> None:
        """Let go of the table, so that another process may have it."""
        return

    def reopen(self) -> None:
        """Forget all that was cached in the process."""
        self.close()
        self.open()

    def settle(self) -> None:
        """Bring the table into the state that its operator would keep it in."""
        return

    def tidy(self) -> None:
        """Do what its operator does after changes: ours merges files too."""
        self.settle()

    def use(self, table: str) -> None:
        """Go on with another table, made empty if it is new."""
        raise UnsupportedError

    def insert(self, rows: Sequence[PythonRow]) -> None:
        """Insert Python rows."""
        raise UnsupportedError

    def transaction(self) -> AbstractContextManager[None]:
        """Open a transaction."""
        raise UnsupportedError

    def session(self) -> AbstractContextManager[None]:
        """Keep a connection for what follows, where there is one to keep."""
        return nullcontext()

    def fetch(self, ids: Sequence[uuid.UUID]) -> list[Any]:
        """Return the rows with these ids."""
        raise UnsupportedError

    def fetch_path(self, path: str) -> list[Any]:
        """Return the rows with this path, or those below it if it ends
        with ``%``.
        """
        raise UnsupportedError

    def fetch_paths(self, paths: Sequence[str]) -> list[Any]:
        """Return the rows with these paths."""
        raise UnsupportedError

    def scan_rows(self) -> int:
        """Look at one value of every row; return how many rows there are."""
        raise UnsupportedError

    def scan_dicts(self) -> int:
        """Make every row a dict of Python values, and drop it; return how many
        values there were.
        """
        raise UnsupportedError

    def scan_arrow(self) -> int:
        """Return the number of rows of the whole table as Arrow."""
        raise UnsupportedError

    def group(self) -> dict[str, int]:
        """Return the number of rows of each storage class."""
        raise UnsupportedError

    def replace(self, rows: Sequence[PythonRow]) -> None:
        """Replace rows by primary key."""
        raise UnsupportedError

    def delete(self, ids: Sequence[uuid.UUID]) -> None:
        """Delete rows by id."""
        raise UnsupportedError

    def locate(self, ids: Sequence[uuid.UUID]) -> None:
        """Say that the datastore has these datasets."""
        raise UnsupportedError

    def trash(self, ids: Sequence[uuid.UUID]) -> None:
        """Move datasets to the trash."""
        raise UnsupportedError

    def empty_trash(self) -> tuple[int, set[str] | None]:
        """Forget what is in the trash, as a file datastore does but for the
        files themselves; return how many records it was, and the artifacts
        that others share.
        """
        raise UnsupportedError

    def export_table(self, ids: Sequence[uuid.UUID]) -> pa.Table:
        """Return what a file datastore exports of datasets."""
        raise UnsupportedError

    def flush(self) -> None:
        """Move recent rows to where they stay."""
        raise UnsupportedError

    def compact(self) -> None:
        """Merge files."""
        raise UnsupportedError

    def verify(self) -> int:
        """Prove the table sound, by reading all of it; return its rows."""
        raise UnsupportedError

    def files(self) -> dict[str, tuple[int, int]]:
        """Return the files of the whole store by name: their bytes, and when
        they were written.
        """
        raise UnsupportedError

    def rows_of(self, name: str) -> int:
        """Return the rows of a data file; none, if it is something else."""
        raise UnsupportedError

    def kept(self) -> tuple[int, int]:
        """Return how many data files the table is in, and their bytes with
        those of their indexes.
        """
        raise UnsupportedError

    def clone(self) -> Any:
        """Return the manager of another client of the same process, as a
        service makes it for each request.
        """
        raise UnsupportedError

    def make_butler(self) -> Path:
        """Return the folder of a Butler's repository of one dataset, made if
        need be.
        """
        raise UnsupportedError
