"""The options of a store: one frozen value that is its own manual."""

from __future__ import annotations

__all__ = ["Options"]

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from arrowopaque.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator may tune.

    The options are saved with the store when it is created.
    `ArrowOpaqueTableStorageManager.options` overrides them for managers
    initialised afterwards.
    """

    bulk_rows: int = 5_000
    """Rows in one call from which an insert or delete goes straight to data
    files, and rows that are only in the database from which `maintain`
    flushes them. Lower: fewer rows pass through SQL, more and smaller files."""

    flush_at_open: int = 100_000
    """Rows in a delta beyond which a client that opens the repository for
    writing flushes it; 0 means never. Lower: smaller deltas, slower opens."""

    flush_rows: int = 1_000_000
    """Rows that one flush commit moves at most; bounds the memory of a flush
    (about 1 kB a row)."""

    partition_rows: int = 1_000_000
    """Rows from which a partition is split. Higher: fewer files, dearer
    compactions."""

    row_group_rows: int = 8_192
    """Rows of a Parquet row group, the unit of a look-up. Higher: smaller
    footers, slower point look-ups."""

    cache_bytes: int = 256 * 2**20
    """Bytes of decoded footers, columns and deletion vectors that one process
    keeps for a root, shared by all clones."""

    retention: float = 7 * 86_400.0
    """Seconds, by the store's clock, for which vacuum spares files that
    nothing names. Must exceed the longest transaction and the longest read."""

    lock_timeout: float = 5.0
    """Seconds that a flush or a compaction tries for the lock of its last,
    short phase before it gives up."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            fraction = isinstance(value, float) and field.name in _SECONDS
            if isinstance(value, bool) or not (isinstance(value, int) or fraction):
                raise ConfigurationError(f"option {field.name} must be a number, got {value!r}")
            least = 0 if field.name in _MAY_BE_ZERO else 1
            most = _SECONDS.get(field.name, _MOST)
            if not least <= value <= most:
                raise ConfigurationError(
                    f"option {field.name} must be at least {least} and at most {most}, got {value!r}"
                )

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Build options from stored values; names of later releases are
        ignored.
        """
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


_MOST = 2**53
# What a date can be moved by, and a lock waited for.
_SECONDS = {"retention": 10**10, "lock_timeout": 10**6}
_MAY_BE_ZERO = frozenset({"flush_at_open", "cache_bytes", "retention", "lock_timeout"})
