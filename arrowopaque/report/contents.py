"""What the datastore records of a store say: files and bytes, by what they are.

All of it is counted by DuckDB. A file that several records share, as those of
a multi-extension file or of a zip, counts once, divided evenly among them.
"""

from __future__ import annotations

__all__ = [
    "STEPS",
    "Ask",
    "Contents",
    "Group",
    "Grouping",
    "Large",
    "Questions",
    "SizeBin",
    "contents",
    "is_datastore",
]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arrowopaque.format.spec import TableSpec

Ask = Callable[[str], Any]
"""Answers a SELECT with what has a ``fetchall``."""

STEPS = 5
"""How often `contents` tells of one."""

MOST = 200
"""Groups that are told apart; the others are one."""

_LARGEST = 10
_SLICE = 20_000_000
"""Rows whose files are compared with each other at a time, which takes about a gigabyte."""

_COLUMNS = {"dataset_id", "component", "path", "formatter", "storage_class", "checksum", "file_size"}
_OF_RECORDS = ("storage_class", "formatter")
_OF_DATASETS = ("dataset_type", "run")
_DIGITS = ((1, 2), (2, 5), (5, 10))
"""Leading digits of the sizes that go into one bin."""


@dataclass(frozen=True, slots=True)
class Group:
    """Files that have something in common."""

    name: str | None
    """What it is; `None` for files of datasets that nobody knows."""
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Grouping:
    """All files, by one thing."""

    by: str
    """``dataset_type``, ``run``, ``storage_class``, ``formatter`` or ``table``."""
    groups: tuple[Group, ...]
    """At most 200, those that are large in bytes or in files."""
    others: int
    """How many groups are not told apart."""
    other_files: int
    other_bytes: int


@dataclass(frozen=True, slots=True)
class SizeBin:
    """Files of about one size."""

    least: int
    below: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Large:
    """One of the largest files."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What the datastore records say."""

    records: int
    """Rows of the tables of file datastores."""
    files: int
    """Files that they name, each once."""
    bytes: int
    """Sum of the sizes that are known."""
    unknown_sizes: int
    """Records that have no size."""
    empty: int
    """Records of a size of zero."""
    no_checksum: int
    """Records that have no checksum."""
    shared_files: int
    """Files that several records name."""
    shared_records: int
    """Records that name them."""
    copies: int
    """Files whose size and checksum an earlier one has too."""
    copied_bytes: int
    """The size of those."""
    strangers: int | None
    """Records of datasets that are not known; `None` if no dataset is."""
    sizes: tuple[SizeBin, ...]
    largest: tuple[Large, ...]
    groupings: tuple[Grouping, ...]


def is_datastore(spec: TableSpec) -> bool:
    """Return whether a table is one of a file datastore."""
    return set(spec.names) >= _COLUMNS


def contents(
    ask: Ask, tables: Sequence[str], *, rows: int, has_datasets: bool, told: Callable[[float], None]
) -> Contents:
    """Return what the records of file datastores say.

    Parameters
    ----------
    ask
        Answers SELECTs over the tables.
    tables
        Those of file datastores.
    rows
        About how many rows they have together.
    has_datasets
        Whether there is a relation ``datasets`` that has ``dataset_id``,
        ``dataset_type`` and ``run`` too.
    told
        Called after each of `STEPS` steps, with 1.
    """
    shared_files, shared_records = Questions(ask, tables).shared(rows)
    told(1)
    questions = Questions(ask, tables, has_shared=shared_files > 0)
    totals = questions.totals()
    told(1)
    copies = (0, 0) if totals["no_checksum"] == totals["records"] else questions.copies(rows)
    told(1)
    sizes, largest = questions.sizes(), questions.largest()
    told(1)
    bys = (*(_OF_DATASETS if has_datasets else ()), *_OF_RECORDS, *(("table",) if tables[1:] else ()))
    groupings, strangers = questions.groupings(bys)
    told(1)
    return Contents(
        **totals,
        files=totals["records"] - shared_records + shared_files,
        shared_files=shared_files,
        shared_records=shared_records,
        copies=copies[0],
        copied_bytes=copies[1],
        strangers=strangers if has_datasets else None,
        sizes=sizes,
        largest=largest,
        groupings=groupings,
    )


class Questions:
    """The questions, each one SELECT.

    Parameters
    ----------
    ask
        Answers them.
    tables
        The tables of file datastores.
    has_shared
        Whether files are shared by records.
    """

    def __init__(self, ask: Ask, tables: Sequence[str], *, has_shared: bool = False) -> None:
        self._ask = ask
        self._records = " UNION ALL ".join(map(_select, tables))
        self._has_shared = has_shared

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        files, bytes_ = "count(*)", "coalesce(sum(size), 0)"
        weighed = "SELECT * FROM records"
        if self._has_shared:
            files = "CAST(round(sum(weight)) AS BIGINT)"
            bytes_ = "CAST(round(coalesce(sum(weight * size), 0)) AS HUGEINT)"
            weighed = (
                "SELECT records.*, coalesce(1 / shared.n, 1) AS weight FROM records LEFT JOIN "
                "(SELECT file, count(*) AS n FROM records GROUP BY file HAVING n > 1) AS shared USING (file)"
            )
        text = query.replace("FILES", files).replace("BYTES", bytes_)
        rows: list[tuple[Any, ...]] = self._ask(
            f"WITH records AS ({self._records}), weighed AS ({weighed}) {text}"
        ).fetchall()
        return rows

    def totals(self) -> dict[str, int]:
        """Count records of each kind, and sum up sizes."""
        names = ("records", "bytes", "unknown_sizes", "empty", "no_checksum")
        (row,) = self._rows(
            "SELECT count(*), BYTES, count(*) FILTER (size IS NULL), count(*) FILTER (size = 0), "
            "count(*) FILTER (checksum IS NULL) FROM weighed"
        )
        return dict(zip(names, map(int, row), strict=True))

    def shared(self, rows: int) -> tuple[int, int]:
        """Return how many files several records name, and how many records."""
        return self._sliced(
            rows,
            "file",
            "SELECT count(*), sum(n) FROM (SELECT count(*) AS n FROM records WHERE SLICE GROUP BY file "
            "HAVING n > 1)",
        )

    def copies(self, rows: int) -> tuple[int, int]:
        """Return how many files have the content of another one, and their
        bytes.
        """
        return self._sliced(
            rows,
            "content",
            "SELECT sum(n - 1), sum((n - 1) * size) FROM ("
            "SELECT count(*) AS n, any_value(size) AS size FROM ("
            "SELECT DISTINCT file, content, size FROM records "
            "WHERE checksum IS NOT NULL AND size > 0 AND SLICE) GROUP BY content HAVING n > 1)",
        )

    def _sliced(self, rows: int, by: str, query: str) -> tuple[int, int]:
        """Return the sums of two columns over as many parts of the rows as
        memory asks for.
        """
        slices = -(-max(rows, 1) // _SLICE)
        first = second = 0
        for number in range(slices):
            ((one, two),) = self._rows(query.replace("SLICE", f"{by} % {slices} = {number}"))
            first, second = first + int(one or 0), second + int(two or 0)
        return first, second

    def sizes(self) -> tuple[SizeBin, ...]:
        """Return the files by size, in steps of 1, 2 and 5."""
        rows = self._rows(
            "SELECT length(CAST(size AS VARCHAR)) - 1, CAST(left(CAST(size AS VARCHAR), 1) AS INTEGER), "
            "FILES, BYTES FROM weighed WHERE size > 0 GROUP BY 1, 2"
        )
        found: dict[int, tuple[int, int]] = {}
        for decade, digit, files, bytes_ in rows:
            at = 3 * decade + sum(digit >= below for _, below in _DIGITS)
            before = found.get(at, (0, 0))
            found[at] = before[0] + int(files), before[1] + int(bytes_)
        empty = self._rows("SELECT coalesce(FILES, 0) FROM weighed WHERE size = 0")[0][0]
        bins = [SizeBin(0, 1, int(empty), 0)] if empty else []
        for at in range(min(found), max(found) + 1) if found else ():
            least, below = (step * 10 ** (at // 3) for step in _DIGITS[at % 3])
            bins.append(SizeBin(least, below, *found.get(at, (0, 0))))
        return tuple(bins)

    def largest(self) -> tuple[Large, ...]:
        """Return the largest files."""
        rows = self._rows(
            "SELECT split_part(path, '#', 1), max(size) AS most FROM ("
            f"SELECT path, size, file FROM records WHERE size > 0 ORDER BY size DESC LIMIT {50 * _LARGEST}"
            f") GROUP BY 1, file ORDER BY most DESC, 1 LIMIT {_LARGEST}"
        )
        return tuple(Large(path, int(size)) for path, size in rows)

    def groupings(self, bys: Sequence[str]) -> tuple[tuple[Grouping, ...], int]:
        """Return the files by several things, and how many records are of
        datasets that are not known.

        One question for all, because ``datasets`` may have to be fetched
        from a database for each.
        """
        source = "weighed"
        if set(bys) & set(_OF_DATASETS):
            columns = ", ".join(("dataset_id", *_OF_DATASETS))
            source += f" LEFT JOIN (SELECT {columns} FROM datasets) USING (dataset_id)"
        which = " ".join(f"WHEN grouping(\"{by}\") = 0 THEN '{by}'" for by in bys)
        name = " ".join(f'WHEN grouping("{by}") = 0 THEN CAST("{by}" AS VARCHAR)' for by in bys)
        sets = ", ".join(f'("{by}")' for by in bys)
        rows = self._rows(
            f", groups AS (SELECT CASE {which} END AS what, CASE {name} END AS name, count(*) AS records, "
            f"FILES AS files, BYTES AS bytes FROM {source} GROUP BY GROUPING SETS ({sets})), "
            "ranked AS (SELECT *, count(*) OVER whole AS members, sum(files) OVER whole AS all_files, "
            "sum(bytes) OVER whole AS all_bytes, "
            "least(row_number() OVER (PARTITION BY what ORDER BY bytes DESC, name), "
            "row_number() OVER (PARTITION BY what ORDER BY files DESC, name)) AS place "
            "FROM groups WINDOW whole AS (PARTITION BY what)) "
            "SELECT what, name, files, bytes, members, all_files, all_bytes, "
            "sum(records) FILTER (name IS NULL AND what = 'dataset_type') OVER () FROM ranked "
            f"QUALIFY row_number() OVER (PARTITION BY what ORDER BY place, name) <= {MOST} "
            "ORDER BY bytes DESC, files DESC, name"
        )
        groupings = tuple(_grouping(by, [row for row in rows if row[0] == by]) for by in bys)
        return groupings, int(rows[0][7] or 0) if rows else 0


def _grouping(by: str, rows: Sequence[tuple[Any, ...]]) -> Grouping:
    groups = tuple(Group(name, int(files), int(bytes_)) for _, name, files, bytes_, *_ in rows)
    members, files, bytes_ = map(int, rows[0][4:7]) if rows else (0, 0, 0)
    return Grouping(
        by,
        groups,
        others=members - len(groups),
        other_files=files - sum(group.files for group in groups),
        other_bytes=bytes_ - sum(group.bytes for group in groups),
    )


def _select(table: str) -> str:
    quoted, text = table.replace('"', '""'), table.replace("'", "''")
    return (
        f"SELECT '{text}' AS \"table\", dataset_id, path, formatter, storage_class, checksum, "
        "CASE WHEN file_size >= 0 THEN file_size END AS size, "
        f"hash('{text}', split_part(path, '#', 1)) AS file, hash(checksum, file_size) AS content "
        f'FROM "{quoted}"'
    )
