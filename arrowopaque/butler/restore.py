"""Restore: give a repository back to the SQL manager, as it was.

The steps, each of which can be interrupted and begun again::

    begin     no row leaves the delta any more
    return    the rows, some at a time, from data files into the delta
    hand over the configuration file, then in one transaction the registry's
              attributes, and our tables, which clients of ours cannot do without

"""

from __future__ import annotations

__all__ = ["RestorePlan", "begin_returning", "delete_store", "hand_over", "plan_restore", "put_back"]

import json
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy

from arrowopaque import clock
from arrowopaque.butler import host
from arrowopaque.butler.adopt import BEFORE, of_each_table, root_of, stage_of
from arrowopaque.butler.catalog import STAGE, Stage, set_store_values, store_values
from arrowopaque.butler.configfile import read_text, with_managers, write_text
from arrowopaque.butler.delta import RegistryTable
from arrowopaque.butler.either import OURS, SQL, VERSIONS, Attributes, Either
from arrowopaque.butler.host import Cursor
from arrowopaque.butler.manager import registry_of
from arrowopaque.butler.postgres import sqlstate
from arrowopaque.butler.ranges import move_back
from arrowopaque.butler.registry import RegistryBinding
from arrowopaque.errors import ConflictError
from arrowopaque.format import names
from arrowopaque.store.volume import Volume

_TRIES = 20
_PATIENCE = "SET LOCAL lock_timeout = '3s'"
_IN_THE_WAY = {"55P03", "40P01"}
"""PostgreSQL's codes of a lock that could not be had, and of a deadlock."""


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restoration would do."""

    database: str
    config: str
    root: str
    stage: Stage | None
    """How far the repository has come; `None` if it is the SQL manager's."""
    tables: dict[str, int]
    """Rows that are to be moved back."""

    @property
    def done(self) -> bool:
        """Whether there is nothing to do."""
        return self.stage is None


def plan_restore(repository: Either) -> RestorePlan:
    """Look at what a restoration would do."""
    place, config = str(repository.db), str(repository.config)
    if not repository.is_ours:
        with_managers(read_text(repository.config), SQL)
        return RestorePlan(place, config, "", None, {})
    binding = registry_of(repository.butler)
    rows = {name: binding.readable(repository.db, name).base_rows() for name in binding.names()}
    return RestorePlan(place, config, root_of(repository), stage_of(repository), rows)


def begin_returning(repository: Either) -> None:
    """Let no row leave the delta any more.

    Clients that are open already may still write large calls to data files.
    """
    set_store_values(repository.db, registry_of(repository.butler).static.store, **{STAGE: Stage.RETURNING})


def put_back(repository: Either, rows: int, told: Callable[[float], None]) -> dict[str, int]:
    """Move the rows of all tables back into SQL.

    Parameters
    ----------
    repository
        The repository.
    rows
        Rows that are moved at once.
    told
        Told how many more were moved.

    Returns
    -------
    moved
        Rows that were moved, by table.
    """
    binding = registry_of(repository.butler)
    return of_each_table(binding, lambda table: move_back(table, rows, told))


def hand_over(repository: Either) -> Volume:
    """Name the SQL managers again, and drop our tables.

    Requires: `put_back` is done, and this Butler is used for nothing else.

    Returns
    -------
    volume
        The store, which nobody needs any more.

    Raises
    ------
    ConflictError
        Somebody has the tables in use all the time, or writes to data files.
    """
    binding = registry_of(repository.butler)
    volume = binding.volume
    before = json.loads(store_values(repository.db, binding.static.store).get(BEFORE, "{}"))
    old = before.get("attributes") or Attributes.of(SQL, VERSIONS)
    _restore_config(repository, before.get("config"))
    tables = [binding.readable(repository.db, name) for name in sorted(binding.names())]
    for attempt in range(_TRIES):
        if _handed_over(repository, binding, tables, old):
            return volume
        clock.pause(clock.backoff(attempt))
    raise ConflictError(f"{repository.place!r} is in use: close its clients, then run this again")


def _restore_config(repository: Either, text: str | None) -> None:
    now = read_text(repository.config)
    if text is not None and with_managers(text, OURS) == now:
        write_text(repository.config, text)
    elif (changed := with_managers(now, SQL)) != now:
        write_text(repository.config, changed)


def _handed_over(
    repository: Either, binding: RegistryBinding, tables: list[RegistryTable], old: dict[str, str]
) -> bool:
    """Hand over in one transaction; return whether nobody was in the way."""
    db = repository.db
    try:
        with host.writing(db, interrupting=True) as cursor:
            if not all(_is_free(table, cursor) for table in tables):
                return False
            if host.dialect_name(db) == "postgresql":
                cursor.execute(_PATIENCE)
            _hand_over(repository.attributes, cursor, old)
            for table in tables:
                if table.sql.names.tombstones:
                    cursor.execute(f"DROP TABLE {table.sql.names.tombstones}")
            for static in (binding.static.catalog, binding.static.store):
                cursor.execute(f"DROP TABLE {host.render_table(db, static)}")
    except sqlalchemy.exc.DBAPIError as err:
        if sqlstate(err) in _IN_THE_WAY:
            return False
        raise
    return True


def _is_free(table: RegistryTable, cursor: Cursor) -> bool:
    """Return whether nobody else can write a table, nor has any row in files."""
    return table.sql.try_big_lock(cursor) and not table.base(table.current_at(cursor).manifest).files


def _hand_over(attributes: Attributes, cursor: Cursor, old: dict[str, str]) -> None:
    db = attributes.db
    name = host.render_table(db, attributes.table)
    mark = "?" if host.dialect_name(db) == "sqlite" else "%s"
    ours = attributes.of(OURS, dict.fromkeys(OURS, ""))
    cursor.executemany(f"DELETE FROM {name} WHERE name = {mark}", [(key,) for key in ours])
    cursor.executemany(f"INSERT INTO {name} (name, value) VALUES ({mark}, {mark})", list(old.items()))


def delete_store(volume: Volume) -> int:
    """Delete a store that nobody needs any more; return how many objects.

    What others have put under its root stays.
    """
    doomed = [info.path for info in volume.store.list() if names.parse(info.path) is not None]
    volume.store.delete(doomed)
    return len(doomed)
