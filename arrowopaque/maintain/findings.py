"""What a verification found, and what to do about it."""

from __future__ import annotations

__all__ = ["Check", "Finding", "Level", "TableReport", "VerifyReport", "caught", "collected"]

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from arrowopaque.errors import ConfigurationError, CorruptStoreError, ObjectMissingError

RESTORE = "restore it from a copy"
RECOVER = "restore it from a copy, or recover the store"
REWRITE = "rewrite the table from a copy, and report the programs that wrote it"


class Level(enum.StrEnum):
    """How much of a store is read."""

    QUICK = "quick"
    """Catalog, manifests, listings and footers; no rows."""
    FULL = "full"
    """Every byte."""

    @classmethod
    def of(cls, value: str) -> Level:
        """Return the level called ``value``.

        Raises
        ------
        ConfigurationError
            There is none.
        """
        try:
            return cls(value)
        except ValueError:
            raise ConfigurationError(f"there is no level {value!r}: give one of {[*cls]}") from None


class Check(enum.StrEnum):
    """What did not hold; the values are for programs, do not change them."""

    CATALOG = "catalog"
    CHAIN = "chain"
    PUBLISHED = "published"
    MANIFEST = "manifest"
    EXISTENCE = "existence"
    SIZE = "size"
    FOOTER = "footer"
    DIGEST = "digest"
    ORDER = "order"
    BOUNDS = "bounds"
    STATISTICS = "statistics"
    NULLS = "nulls"
    DELETES = "deletes"
    INDEX = "index"
    UNIQUE = "unique"
    TOMBSTONES = "tombstones"


@dataclass(frozen=True, slots=True)
class Finding:
    """One unsound thing."""

    check: Check
    table: str | None
    """The table concerned; `None` for the store as a whole."""
    object: str
    """The object, as a URI, or the table as a whole."""
    problem: str
    advice: str = RESTORE

    def error(self) -> CorruptStoreError:
        """Return the finding as an exception."""
        missing = self.check is Check.EXISTENCE
        kind = ObjectMissingError if missing else CorruptStoreError
        return kind(f"{self.object}: {self.problem}; {self.advice}")


@dataclass(frozen=True, slots=True)
class TableReport:
    """What was looked at of one table."""

    rows: int
    """Visible rows, of data files and delta."""
    delta: int
    tombstones: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification looked at, and what it found unsound."""

    tables: dict[str, TableReport] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def caught(
    check: Check, table: str | None, place: str, found: Iterable[Finding], advice: str = RESTORE
) -> Iterator[Finding]:
    """Yield findings, an error of ours among them as the last."""
    try:
        yield from found
    except ObjectMissingError:
        yield Finding(Check.EXISTENCE, table, place, "it does not exist", advice)
    except CorruptStoreError as err:
        yield Finding(check, table, place, str(err).removesuffix(f"; {RESTORE}"), advice)


def collected(found: Iterable[Finding], *, raising: bool) -> list[Finding]:
    """Return findings, or raise the first.

    Raises
    ------
    CorruptStoreError
        There is one, and ``raising`` is set.
    """
    result = []
    for finding in found:
        if raising:
            raise finding.error()
        result.append(finding)
    return result
