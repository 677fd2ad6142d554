"""What a report warns of, and what to do about it."""

from __future__ import annotations

__all__ = ["Advice", "Severity", "of_contents", "of_findings", "of_table"]

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from arrowopaque.maintain.findings import Finding
from arrowopaque.maintain.status import is_flush_due
from arrowopaque.options import Options
from arrowopaque.report.contents import Contents
from arrowopaque.report.health import WORN, Files

_FINDINGS = 50


class Severity(enum.StrEnum):
    """How bad it is; the values are for programs, do not change them."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing that somebody should know."""

    code: str
    """What it is, for programs."""
    severity: Severity
    table: str | None
    """The table concerned, if it is one."""
    count: int
    """Of how many things it is told."""
    title: str
    detail: str
    command: str | None = None
    """What to run."""


def of_findings(findings: Sequence[Finding]) -> Iterator[Advice]:
    """Yield what a verification found."""
    for finding in findings[:_FINDINGS]:
        yield Advice(
            finding.check.value,
            Severity.ERROR,
            finding.table,
            1,
            f"{finding.object}: {finding.problem}",
            f"To do: {finding.advice}.",
        )
    more = len(findings) - _FINDINGS
    if more > 0:
        yield Advice(
            "findings",
            Severity.ERROR,
            None,
            more,
            f"{more:,} more findings of the verification",
            "Only the first are listed here.",
        )


def of_table(
    name: str, files: Files | None, delta: int, tombstones: int, options: Options, place: str
) -> Iterator[Advice]:
    """Yield what is to be said of one table.

    Parameters
    ----------
    name
        The table.
    files
        Its data files.
    delta, tombstones
        Its rows and marks in the registry's database that a flush would move.
    options
        Of the store.
    place
        The repository or root, quoted for a shell.
    """
    limit = options.flush_at_open or Options().flush_at_open
    if is_flush_due(delta + tombstones, options):
        yield Advice(
            "delta",
            Severity.WARNING if delta + tombstones > limit else Severity.NOTE,
            name,
            delta + tombstones,
            f"{name}: {delta:,} rows and {tombstones:,} deletions are not in data files yet",
            "Reads ask the database for them, and they take the room of SQL rows.",
            f"arrowopaque flush {place}",
        )
    if files is None:
        return
    if files.worn_files:
        yield Advice(
            "deleted",
            Severity.WARNING,
            name,
            files.worn_files,
            f"{name}: {files.worn_files:,} data files with many deleted rows",
            f"{WORN:.0%} or more of their rows are deleted; {files.deleted:,} deleted rows in all.",
            f"arrowopaque compact {place}",
        )
    if files.due_partitions:
        yield Advice(
            "compaction",
            Severity.NOTE,
            name,
            files.due_files,
            f"{name}: compaction is due in {files.due_partitions:,} of {files.partitions:,} partitions",
            f"It would merge {files.due_files:,} data files.",
            f"arrowopaque compact {place}",
        )


def of_contents(contents: Contents) -> Iterator[Advice]:
    """Yield what is to be said of the datastore records."""
    of = contents.records
    for code, severity, count, title, detail in (
        (
            "empty",
            Severity.WARNING,
            contents.empty,
            f"{contents.empty:,} files have no bytes",
            "Their recorded size is zero: a write was cut short, or nothing was to be written.",
        ),
        (
            "strangers",
            Severity.WARNING,
            contents.strangers or 0,
            f"{contents.strangers or 0:,} records are of datasets that the registry does not know",
            "They are in the trash, or were left behind by a removal that was cut short.",
        ),
        (
            "copies",
            Severity.WARNING,
            contents.copies,
            f"{contents.copies:,} files have the content of another one",
            f"Same size and checksum; {contents.copied_bytes:,} bytes are stored more than once.",
        ),
        (
            "unknown_sizes",
            Severity.NOTE,
            contents.unknown_sizes,
            f"{contents.unknown_sizes:,} of {of:,} records have no file size",
            "They were ingested without looking at the files; their bytes are not in this report.",
        ),
        (
            "no_checksum",
            Severity.NOTE,
            contents.no_checksum,
            f"{contents.no_checksum:,} of {of:,} records have no checksum",
            "Damage to these files cannot be told, nor copies of them found; "
            "datastores compute checksums where they are configured to.",
        ),
        (
            "shared",
            Severity.NOTE,
            contents.shared_files,
            f"{contents.shared_files:,} files are named by several records",
            f"{contents.shared_records:,} records share them; a file counts once, divided evenly among them.",
        ),
    ):
        if count:
            yield Advice(code, severity, None, count, title, detail)
