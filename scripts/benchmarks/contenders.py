"""Who competes: one class a kind of store, with the same few operations."""

from __future__ import annotations

__all__ = ["Contender", "Place", "UnsupportedError"]

import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.rows import PythonRow


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


class Contender(ABC):
    """One table of the file datastore's records.

    An operation that a contender lacks raises `UnsupportedError`.
    """

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

    def reopen(self) -> None:
        """Forget all that was cached in the process."""
        raise UnsupportedError

    def settle(self) -> None:
        """Bring the table into the state that its operator would keep it in."""
        return

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
        """Keep a connection for what follows."""
        raise UnsupportedError

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
        """Look at every row as Python values; return how many there are."""
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

    def flush(self) -> None:
        """Move recent rows to where they stay."""
        raise UnsupportedError

    def compact(self) -> None:
        """Merge files."""
        raise UnsupportedError

    def clone(self) -> None:
        """Make another client of the same process, as a service does for each
        request.
        """
        raise UnsupportedError
