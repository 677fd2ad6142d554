"""All figures of a report, as plain values that are ready for JSON."""

from __future__ import annotations

__all__ = ["SQL_BYTES_A_ROW", "Compression", "Figures", "Table", "collect", "steps"]

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

from arrowopaque import clock
from arrowopaque.errors import CorruptStoreError
from arrowopaque.maintain.findings import TableReport
from arrowopaque.maintain.verify import unremembered
from arrowopaque.report.advice import Advice, Severity, of_contents, of_findings, of_table
from arrowopaque.report.contents import STEPS, Contents, contents, is_datastore
from arrowopaque.report.health import Files, Growth, files_of, growth
from arrowopaque.report.source import Source
from arrowopaque.store.volume import Volume

SQL_BYTES_A_ROW = 600
"""What a datastore record takes in SQL, about: 564 bytes were measured in
SQLite, 647 in PostgreSQL, indexes included.
"""


@dataclass(frozen=True, slots=True)
class Table:
    """One opaque table."""

    name: str
    is_datastore: bool
    """Whether it is one of a file datastore."""
    rows: int
    """Visible rows."""
    delta: int | None
    """Rows that are only in the database; `None` if that was not asked."""
    tombstones: int | None
    """Rows of data files whose deletion is only in the database."""
    files: Files | None
    """Its data files; `None` if it has none, or its manifest is unreadable."""
    growth: tuple[Growth, ...]


@dataclass(frozen=True, slots=True)
class Compression:
    """Datastore records in data files, against the same in SQL."""

    rows: int
    bytes: int
    """Measured: data files, indexes and deletion vectors."""
    bytes_a_row: float | None
    """Measured; `None` without rows."""
    sql_bytes_a_row: int
    """An estimate."""
    sql_bytes: int
    """An estimate."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a report says."""

    place: str
    at: str | None
    """The earlier version that was asked for."""
    kind: str
    """``repository``, ``root`` or ``published``."""
    uri: str
    """The store's root."""
    release: str
    """Of arrowopaque."""
    began: datetime
    ended: datetime
    rows: int
    """Visible rows of all tables."""
    bytes: int
    """Of all data files, their indexes and deletion vectors."""
    has_datasets: bool
    """Whether dataset types and runs are known."""
    tables: tuple[Table, ...]
    contents: Contents | None
    """Of the datastore records; `None` without any, or if they cannot be read."""
    compression: Compression
    advice: tuple[Advice, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON-ready values."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def steps(source: Source) -> int:
    """Return of how many steps `collect` tells."""
    asks = any(is_datastore(spec) for _, spec in source.tables.values())
    return 1 + len(source.tables) + STEPS * asks


def collect(source: Source, told: Callable[[float], None] = lambda _: None) -> Figures:
    """Return all figures of a repository or root.

    Questions are asked one after another, so that figures of a place that is
    being written to may differ by what was written meanwhile.

    Parameters
    ----------
    source
        The place.
    told
        Called after each step, with 1.
    """
    began, report = clock.now(), source.verify()
    # What is read once should not push out of the cache what is read often.
    volume = unremembered(source.volume)
    told(1)
    tables = []
    for name in source.tables:
        tables.append(_table(source, volume, name, report.tables.get(name)))
        told(1)
    records, failed = _contents(source, tables, told)
    place = shlex.quote(source.place)
    advice = [*of_findings(report.findings), *failed]
    # Nothing can be done to an earlier version.
    for table in tables if source.at is None else ():
        # Without a key nothing is flushed.
        delta = (table.delta or 0) if source.tables[table.name][1].primary_key else 0
        advice += of_table(
            table.name, table.files, delta, table.tombstones or 0, source.volume.options, place
        )
    advice += of_contents(records) if records else ()
    return Figures(
        place=source.place,
        at=source.at,
        kind=source.kind,
        uri=source.volume.store.uri,
        release=version("arrowopaque"),
        began=began,
        ended=clock.now(),
        rows=sum(table.rows for table in tables),
        bytes=sum(table.files.bytes for table in tables if table.files),
        has_datasets=source.has_datasets,
        tables=tuple(tables),
        contents=records,
        compression=_compression(tables),
        advice=tuple(sorted(advice, key=lambda item: list(Severity).index(item.severity))),
    )


def _table(source: Source, volume: Volume, name: str, report: TableReport | None) -> Table:
    manifest, spec = source.tables[name]
    try:
        files = None if manifest is None else files_of(volume.manifest(manifest), volume.options)
    except CorruptStoreError:
        # The verification tells of it.
        files = None
    is_known = source.kind != "published" and report is not None
    return Table(
        name=name,
        is_datastore=is_datastore(spec),
        rows=report.rows if report else 0,
        delta=report.delta if report and is_known else None,
        tombstones=report.tombstones if report and is_known else None,
        files=files,
        growth=growth(volume, name, manifest, source.head),
    )


def _contents(
    source: Source, tables: list[Table], told: Callable[[float], None]
) -> tuple[Contents | None, list[Advice]]:
    """Return what the records say, or why they do not."""
    names = [table.name for table in tables if table.is_datastore]
    rows = sum(table.rows for table in tables if table.is_datastore)
    if not names:
        return None, []
    try:
        return contents(source.ask, names, rows=rows, has_datasets=source.has_datasets, told=told), []
    except CorruptStoreError as err:
        title = "the datastore records cannot be read, so that nothing is told of them"
        return None, [Advice("unreadable", Severity.ERROR, None, rows, title, str(err))]


def _compression(tables: list[Table]) -> Compression:
    files = [table.files for table in tables if table.is_datastore and table.files]
    rows, bytes_ = sum(f.rows for f in files), sum(f.bytes for f in files)
    return Compression(
        rows=rows,
        bytes=bytes_,
        bytes_a_row=bytes_ / rows if rows else None,
        sql_bytes_a_row=SQL_BYTES_A_ROW,
        sql_bytes=SQL_BYTES_A_ROW * rows,
    )
