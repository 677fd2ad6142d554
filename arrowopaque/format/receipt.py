"""The receipt of rows that are in data files but in no table yet."""

from __future__ import annotations

__all__ = ["Staged"]

from typing import Self

from pydantic import AwareDatetime

from arrowopaque.format.document import FORMAT, Count, Document, dump, load
from arrowopaque.format.manifest import Partition


class Staged(Document):
    """Rows that were staged, for `StoreRoot.commit_staged`.

    Made by `StoreRoot.stage`. It is small, holds no row, and travels as JSON.
    """

    format: Count = FORMAT
    id: str
    """Which receipt this is; a store takes it once."""
    store: str
    """The store that it is for."""
    table: str
    at: Count
    """The store's version before the first file was written."""
    created: AwareDatetime
    rows: Count
    partitions: tuple[Partition, ...]
    """The staged files, by the partitions that there were."""

    def to_json(self) -> str:
        """Return the receipt as JSON, sealed by its own digest."""
        return dump(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the receipt that `to_json` has written.

        Raises
        ------
        CorruptStoreError
            It is none, or was altered.
        FormatVersionError
            It is of a newer format.
        """
        return load(cls, text.encode() if isinstance(text, str) else text, "receipt")

    def paths(self) -> list[str]:
        """Return the path of every staged object."""
        files = [file for partition in self.partitions for file in partition.files]
        return [path for file in files for path in (file.path, *(index.path for index in file.indexes))]
