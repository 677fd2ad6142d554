"""Move a delta into data files range by range, and back.

Out goes one range of primary keys a commit, by the same two phases as a flush,
and no row leaves SQL before its file was read back. Back comes a number of
rows of data files a commit, and no row leaves a file before it was read back
from SQL. What is bounded is the memory and the length of a transaction.
"""

from __future__ import annotations

__all__ = ["move_back", "move_out"]

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from arrowopaque import clock
from arrowopaque.butler import host
from arrowopaque.butler.delta import RegistryTable, _Exclusive
from arrowopaque.butler.host import Cursor
from arrowopaque.butler.sql import Row, convert_rows
from arrowopaque.errors import ConflictError, CorruptStoreError
from arrowopaque.format.manifest import Key, TableManifest
from arrowopaque.format.values import columnar
from arrowopaque.format.where import In
from arrowopaque.maintain.compact import compact
from arrowopaque.maintain.flush import flush
from arrowopaque.store.apply import Stage, compose
from arrowopaque.store.base import Base
from arrowopaque.store.decoding import plain
from arrowopaque.store.matches import Match, hits_of, rows_of, same_values
from arrowopaque.store.order import sort_rows
from arrowopaque.store.table import Current, DeltaState

Told = Callable[[float], None]
"""Told how many more rows were moved."""

_TRIES = 10


def move_out(table: RegistryTable, rows: int, told: Told) -> int:
    """Move the delta into data files, from the least key to the greatest.

    Rows that others write meanwhile may stay.

    Parameters
    ----------
    table
        The table, on a connection of its own.
    rows
        Rows that a range has.
    told
        Told how many more were moved.

    Returns
    -------
    moved
        Rows that were moved.

    Raises
    ------
    ConflictError
        The table was in use, every time.
    CorruptStoreError
        A row was read back from a data file as another: it stays in SQL.
    """
    after: Key | None = None
    moved = scattered = 0
    while True:
        until = _key_at(table, after, rows - 1)
        done = flush(_Range(table, after, until)).rows
        moved, scattered = moved + done, scattered + done
        told(done)
        if scattered and (until is None or scattered >= table.volume.options.partition_rows):
            compact(table)
            scattered = 0
        if until is None:
            return moved
        after = until


def _key_at(table: RegistryTable, after: Key | None, skip: int) -> Key | None:
    with host.reading(table.db) as cursor:
        found = cursor.execute(*table.sql.key_at(after, skip)).rows()
    return convert_rows(found, table.sql.key_from_driver)[0] if found else None


class _Range(RegistryTable):
    """A table as far as its delta and tombstones lie between two keys."""

    def __init__(self, table: RegistryTable, after: Key | None, until: Key | None) -> None:
        super().__init__(table.db, table.handle)
        self.after = after
        self.until = until

    def read_at(self, cursor: Cursor, limit: int) -> DeltaState:
        return self._state(cursor.execute(*self.sql.read_between(self.name, self.after, self.until)).rows())

    @contextmanager
    def exclusive(self) -> Iterator[_RangeHeld]:  # type: ignore[override]  # a part of what the other gives
        with super().exclusive() as held:
            yield _RangeHeld(self, held)


class _RangeHeld:
    """A range while nobody else can change its table."""

    def __init__(self, table: _Range, held: _Exclusive) -> None:
        self._table = table
        self._held = held
        self._seen = DeltaState({}, {}, None)
        self._swapped: tuple[str | None, str] = (None, "")

    def read(self, limit: int) -> DeltaState:
        self._seen = self._table.read_at(self._held.cursor, limit)
        return self._seen

    def current(self) -> Current:
        return self._held.current()

    def swap(self, old: str | None, new: str) -> None:
        self._held.swap(old, new)
        self._swapped = old, new

    def clear(self, rows: Sequence[Key], tombstones: Sequence[Key]) -> None:
        """Delete moved rows, if their files hold exactly them."""
        table, seen, cursor = self._table, self._seen.rows, self._held.cursor
        _check_files(table, *self._swapped, [seen[key] for key in rows])
        stay = [seen[key] for key in seen.keys() - set(rows)]
        if len(stay) < len(rows):
            # All at once, and back with the few that stay: by key it takes ten times as long.
            table.sql.delete_between(cursor, table.after, table.until)
            if stay:
                table.sql.insert(cursor, table.spec.names, stay)
            rows = ()
        self._held.clear(rows, tombstones)


def _check_files(table: RegistryTable, old: str | None, new: str, rows: list[Row]) -> None:
    """Compare the files that a commit has added with the rows that leave SQL."""
    before = set() if old is None else {file.path for _, file in table.volume.manifest(old).files()}
    manifest = table.volume.manifest(new)
    added = manifest.model_copy(update={"partitions": _only_new(manifest, before)})
    parts = [match.rows for match in Base(table.volume, table.spec, added).matches([], table.spec.names)]
    schema = table.spec.arrow_schema
    found = pa.concat_tables(parts).cast(schema) if parts else schema.empty_table()
    if not _are_same(table, found, columnar(schema, rows)):
        raise CorruptStoreError(
            f"table {table.name!r}: data files read back differently from what SQL has, so nothing was moved"
        )


def _only_new(manifest: TableManifest, before: set[str]) -> tuple[object, ...]:
    return tuple(
        partition.model_copy(
            update={"files": tuple(file for file in partition.files if file.path not in before)}
        )
        for partition in manifest.partitions
    )


def _are_same(table: RegistryTable, one: pa.Table, other: pa.Table) -> bool:
    """Return whether two tables hold the same rows, bit by bit."""
    key = table.spec.primary_key
    if one.num_rows != other.num_rows:
        return False
    columns = zip(sort_rows(one, key).columns, sort_rows(other, key).columns, strict=True)
    return all(same_values(plain(mine), plain(others)) for mine, others in columns)


def move_back(table: RegistryTable, rows: int, told: Told) -> int:
    """Move the rows of data files into the delta, until no file is left.

    Parameters
    ----------
    table, rows, told
        As for `move_out`.

    Returns
    -------
    moved
        Rows that were moved.

    Raises
    ------
    ConflictError
        Others changed the data files, every time.
    CorruptStoreError
        A row was read back from SQL as another: it stays in its file.
    """
    moved = tries = 0
    while True:
        now = table.current().manifest
        base = table.base(now)
        if not base.files:
            return moved
        for batch in _batches(base, rows):
            done = _put_back(table, now, batch)
            if done is None:
                break
            now, count = done
            moved, tries = moved + count, 0
            told(count)
        else:
            continue
        tries += 1
        if tries == _TRIES:
            raise ConflictError(f"table {table.name!r}: its files changed during every one of {_TRIES} tries")
        clock.pause(clock.backoff(tries))


def _batches(base: Base, rows: int) -> Iterator[list[Match]]:
    """Yield the live rows of data files, about ``rows`` at a time."""
    batch: list[Match] = []
    for match in base.matches([], base.spec.names):
        for start in range(0, match.rows.num_rows, rows):
            positions = match.positions[start : start + rows]
            batch.append(Match(match.path, positions, match.rows.slice(start, rows)))
            if sum(part.rows.num_rows for part in batch) >= rows:
                yield batch
                batch = []
    if batch:
        yield batch


def _put_back(table: RegistryTable, manifest: str | None, batch: list[Match]) -> tuple[str, int] | None:
    """Move rows of the data files of a manifest; `None` if it is no longer
    current.
    """
    spec = table.spec
    found = [row for match in batch for row in rows_of(match.rows)]
    lead = spec.key_positions[0]
    where = [In(spec.primary_key[0], tuple({row[lead] for row in found}))]
    with table.exclusive() as held:
        if held.current().manifest != manifest:
            return None
        tombstones, _ = table.lock_state(held.cursor, where)
        keys = [tuple([row[at] for at in spec.key_positions]) for row in found]
        buried = [key for key in keys if key in tombstones]
        alive = [row for key, row in zip(keys, found, strict=True) if key not in tombstones]
        if alive:
            table.sql.insert(held.cursor, spec.names, alive)
            _check_delta(table, held.cursor, where, alive)
        held.clear((), buried)
        changed = compose(table.base(manifest), table.name, Stage(), hits_of(iter(batch)), clock.new_id())
        name = table.volume.put_manifest(changed, spec)
        held.swap(manifest, name)
    return name, len(alive)


def _check_delta(table: RegistryTable, cursor: Cursor, where: list[In], rows: list[Row]) -> None:
    """Compare rows that were inserted into SQL with what it says they are."""
    at = table.spec.key_positions
    wanted = {tuple([row[i] for i in at]) for row in rows}
    stored, _, _ = table.split(cursor.execute(*table.sql.read(table.name, where)).rows())
    found = [row for row in stored if tuple([row[i] for i in at]) in wanted]
    schema = table.spec.arrow_schema
    if not _are_same(table, columnar(schema, found), columnar(schema, rows)):
        raise CorruptStoreError(
            f"table {table.name!r}: SQL has other rows than were put into it, so nothing was moved"
        )
