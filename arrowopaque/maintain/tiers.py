"""Which files of a partition a compaction merges.

Merging any of them is sound: no live key is in two files of a table. So the
choice is one of cost alone. Small files make reads dear, and rewriting large
files for the sake of small ones makes writes dear. A file is merged with those
that are smaller than it once they are as large as it together, so that each
row that is rewritten comes to lie in a file at least twice as large.
See ``docs/decisions/0014-size-tiered-compaction.md``.
"""

from __future__ import annotations

__all__ = ["Merge", "plan"]

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from arrowopaque.format.manifest import DataFile, Partition, TableManifest
from arrowopaque.options import Options

_DELETED = 0.1
"""Share of deleted rows from which a file is rewritten."""

_FAN_IN = 32
"""Files that a split takes at most, as long as smaller ones can be merged
first. Each is read in as many ranges as the split has parts, and more.
"""


@dataclass(frozen=True, slots=True)
class Merge:
    """Files of one partition that are to become one."""

    partition: Partition
    files: tuple[DataFile, ...]
    splits: bool = False
    """Whether they are all of its files, and it has too many rows: they
    become as many partitions as these need.
    """
    is_first: bool = False
    """Whether the partition will be due once more after it."""

    @property
    def live(self) -> int:
        """Rows that are not deleted."""
        return _live(self.files)


def plan(manifest: TableManifest | None, options: Options, *, full: bool = False) -> list[Merge]:
    """Return what a compaction would merge, a merge a partition.

    Parameters
    ----------
    manifest
        The table's files.
    options
        Of the store.
    full
        Whether to leave one file in each partition, and no deleted row.
    """
    due = (_due(partition, options, full=full) for partition in (manifest.partitions if manifest else ()))
    return [merge for merge in due if merge is not None]


def _due(partition: Partition, options: Options, *, full: bool) -> Merge | None:
    files = partition.files
    if _live(files) > 2 * options.partition_rows and _is_divisible(files):
        crowd = _crowd(files, options.partition_rows)
        if crowd:
            return Merge(partition, crowd, is_first=True)
        return Merge(partition, files, splits=True)
    if full:
        chosen = files if len(files) > 1 or any(file.deletes for file in files) else ()
    else:
        chosen = _tier(files, options.row_group_rows)
    return Merge(partition, chosen) if chosen else None


def _live(files: Iterable[DataFile]) -> int:
    return sum(file.live for file in files)


def _is_divisible(files: Sequence[DataFile]) -> bool:
    """Return whether rows differ in the leading key column, as far as known."""
    return len({key[0] for file in files for key in (file.min, file.max)}) > 1


def _crowd(files: Sequence[DataFile], rows: int) -> tuple[DataFile, ...]:
    """Return the smallest files, up to ``rows`` rows, if there are too many
    to split all at once.
    """
    if len(files) <= _FAN_IN:
        return ()
    smallest = sorted(files, key=lambda file: file.live)
    total = itertools.accumulate(file.live for file in smallest)
    fitting = tuple(file for file, sum_ in zip(smallest, total, strict=True) if sum_ <= rows)
    return fitting if len(fitting) > 1 else ()


def _tier(files: Sequence[DataFile], unit: int) -> tuple[DataFile, ...]:
    """Return the files to merge into one; nothing if all may stay."""
    # A file of less than a row group costs a reader as much as one of a row group.
    small = [file for file in files if file.live < unit]
    chosen = {file.path for file in files if file.live < file.rows * (1 - _DELETED)}
    if len(small) > 1 or any(file.path in chosen for file in small):
        chosen.update(file.path for file in small)
    while True:
        others = [file for file in files if file.path not in chosen]
        run = _run(others, _live(file for file in files if file.path in chosen))
        if not run:
            return tuple(file for file in files if file.path in chosen)
        chosen.update(file.path for file in run)


def _run(files: Iterable[DataFile], merged: int) -> list[DataFile]:
    """Return the largest file that has no more rows than all smaller ones
    have together, and those.

    Parameters
    ----------
    files
        Those that may stay.
    merged
        Rows that are being merged already: they are a file too.
    """
    sizes = [(file.live, file) for file in files]
    entries = sorted([*sizes, *([(merged, None)] if merged else [])], key=lambda entry: entry[0])
    run = below = 0
    for at, (rows, _) in enumerate(entries):
        if below >= rows:
            run = at + 1
        below += rows
    return [file for _, file in entries[:run] if file is not None]
