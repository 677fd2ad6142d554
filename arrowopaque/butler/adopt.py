"""Adopt: give a repository of the SQL manager to ours, in place.

The steps, each of which can be interrupted and begun again::

    prepare   our tables beside the SQL ones, and the store   nobody sees them
    switch    the registry's attributes, then the file        old clients still see all rows
    begin     no old client is left                           somebody has to say so
    move      the rows, range by range                        by the two phases of a flush
    finish    what is left over is an ordinary delta

How far a repository is, its registry says. See
``docs/decisions/0018-adopting-in-place.md``.
"""

from __future__ import annotations

__all__ = [
    "AdoptPlan",
    "TablePlan",
    "begin_moving",
    "finish",
    "move",
    "of_each_table",
    "plan_adoption",
    "prepare",
    "switch",
]

import json
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy
from lsst.daf.butler.registry.interfaces import Database

from arrowopaque import clock
from arrowopaque.butler import host
from arrowopaque.butler.catalog import (
    STAGE,
    Stage,
    StaticTables,
    new_root,
    resolve_root,
    set_store_values,
    store_values,
)
from arrowopaque.butler.configfile import read_text, with_managers, write_text
from arrowopaque.butler.ddl import check_names, from_lsst
from arrowopaque.butler.delta import RegistryTable
from arrowopaque.butler.either import OURS, SQL, Attributes, Either, table_named
from arrowopaque.butler.manager import ArrowOpaqueTableStorageManager, registry_of
from arrowopaque.butler.ranges import move_out
from arrowopaque.butler.registry import RegistryBinding
from arrowopaque.errors import ConfigurationError
from arrowopaque.objects.opening import open_store

BEFORE = "before"
"""What the registry calls the attributes and the file as they were."""
SINCE = "since"
"""What the registry calls the moment of the switch."""

_SQL_BYTES, _OUR_BYTES, _RATE = 600, 40, 20_000
"""Bytes a row in SQL and in data files, and rows a second: about."""
_COUNTED = 2_000_000
"""Rows up to which they are counted, not estimated."""


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What an adoption would move of one table."""

    rows: int
    exact: bool
    """Whether they were counted."""

    @property
    def sql_bytes(self) -> int:
        """About how many bytes they have in SQL."""
        return self.rows * _SQL_BYTES

    @property
    def bytes(self) -> int:
        """About how many bytes they will have."""
        return self.rows * _OUR_BYTES

    @property
    def seconds(self) -> float:
        """About how long it will take to move them."""
        return self.rows / _RATE


@dataclass(frozen=True, slots=True)
class AdoptPlan:
    """What an adoption would do."""

    database: str
    config: str
    """The configuration file that it changes."""
    root: str
    """Where the store is, or will be made."""
    stage: Stage | None
    """How far it is; `None` if nothing was done yet."""
    tables: dict[str, TablePlan]
    """What is still to be moved."""
    others: tuple[str, ...]
    """Opaque tables that no datastore uses: they stay as they are."""

    @property
    def done(self) -> bool:
        """Whether there is nothing to do."""
        return self.stage is Stage.ADOPTED


def _stored(db: Database) -> dict[str, str]:
    """Return what the registry says of its store, making nothing."""
    table = table_named(db, "arrowopaque_store")
    return store_values(db, table) if host.table_exists(db, table) else {}


def plan_adoption(repository: Either, base: str | None) -> AdoptPlan:
    """Look at what an adoption would do, and whether it can.

    Parameters
    ----------
    repository
        The repository; nothing in it is changed.
    base
        The folder for the store; by default what the environment says.

    Raises
    ------
    ConfigurationError
        Something is not supported, or there is no place for the store.
    """
    db = repository.db
    stored = _stored(db)
    stage = Stage(stored[STAGE]) if STAGE in stored else Stage.ADOPTED if stored else None
    definitions = repository.definitions
    for name, spec in definitions.items():
        check_names(host.dialect_name(db), name, from_lsst(name, spec))
    with_managers(read_text(repository.config), OURS)
    root = stored.get("root") if repository.is_ours else None
    return AdoptPlan(
        database=str(db),
        config=str(repository.config),
        root=resolve_root(db, root or new_root(db, stored.get("id", "ID"), base)),
        stage=stage,
        tables={name: _table_plan(db, name) for name in definitions},
        others=tuple(sorted(_registered(db) - definitions.keys())),
    )


def _registered(db: Database) -> set[str]:
    meta = host.render_table(db, table_named(db, "opaque_meta"))
    with host.reading(db) as cursor:
        return {row[0] for row in cursor.execute(f"SELECT table_name FROM {meta}").rows()}


def _table_plan(db: Database, name: str) -> TablePlan:
    table = table_named(db, name)
    if not host.table_exists(db, table):
        return TablePlan(0, True)
    source = host.render_table(db, table)
    with host.reading(db) as cursor:
        if host.dialect_name(db) == "sqlite":
            about = cursor.execute(f"SELECT max(rowid) FROM {source}").rows()[0][0] or 0
        else:
            # Never analysed, it is -1.
            statement = (
                "SELECT CAST(reltuples AS BIGINT) FROM pg_catalog.pg_class WHERE oid = CAST(%s AS REGCLASS)"
            )
            about = cursor.execute(statement, (source,)).rows()[0][0]
        if about > _COUNTED:
            return TablePlan(int(about), False)
        return TablePlan(int(cursor.execute(f"SELECT count(*) FROM {source}").rows()[0][0]), True)


def prepare(repository: Either, base: str | None) -> None:
    """Make our tables and the store, where nobody sees them yet.

    Parameters
    ----------
    repository, base
        As for `plan_adoption`.

    Raises
    ------
    ConfigurationError
        The store cannot be where it would have to.
    """
    db = repository.db
    tables, _ = StaticTables.ensure(db)
    stored = store_values(db, tables.store)
    if "id" not in stored or (base and not repository.is_ours):
        id = stored.get("id") or clock.new_id()
        root = new_root(db, id, base)
        open_store(resolve_root(db, root)).probe()
        with db.transaction():
            set_store_values(db, tables.store, id=id, root=root, **{STAGE: Stage.PREPARED})
    binding = RegistryBinding.attach(db, ArrowOpaqueTableStorageManager.options)
    assert binding.volume.id, "it is made when it is opened first"
    for name, spec in repository.definitions.items():
        binding.register(name, spec)


def switch(repository: Either) -> None:
    """Name our managers in the registry, at once, and in the configuration
    file.

    Raises
    ------
    StoreAccessError
        The file cannot be written: nothing was changed.
    """
    db, attributes = repository.db, repository.attributes
    text = read_text(repository.config)
    changed = with_managers(text, OURS)
    if not repository.is_ours:
        # What cannot be written should be found out while all is as it was.
        write_text(repository.config, text)
        tables, _ = StaticTables.ensure(db)
        with db.transaction(lock=[tables.store]):
            _switch_attributes(attributes, tables, text)
    if changed != text:
        write_text(repository.config, changed)


def _switch_attributes(attributes: Attributes, tables: StaticTables, text: str) -> None:
    db = attributes.db
    if attributes.classes() != SQL:
        return
    versions = attributes.versions(SQL)
    old = attributes.of(SQL, versions)
    # The bridge's tables stay, and so does their version.
    ours = str(ArrowOpaqueTableStorageManager.currentVersions()[-1])
    new = attributes.of(OURS, {"opaque": ours, "datastores": versions["datastores"]})
    db.delete(attributes.table, ["name"], *[{"name": name} for name in old])
    db.insert(attributes.table, *[{"name": name, "value": value} for name, value in new.items()])
    before = json.dumps({"attributes": old, "config": text})
    set_store_values(db, tables.store, **{STAGE: Stage.SWITCHED, BEFORE: before, SINCE: _moment(db)})


def _moment(db: Database) -> str:
    if host.dialect_name(db) == "sqlite":
        return clock.now().isoformat()
    with db.query(sqlalchemy.text("SELECT CAST(clock_timestamp() AS TEXT)")) as result:
        return str(result.scalar_one())


def stage_of(repository: Either) -> Stage:
    """Return how far a repository that is ours has come."""
    return Stage(_stored(repository.db).get(STAGE, Stage.ADOPTED))


def root_of(repository: Either) -> str:
    """Return where the store of a repository that is ours is."""
    return registry_of(repository.butler).volume.store.uri


def switched_at(repository: Either) -> str:
    """Return when a repository was switched."""
    return _stored(repository.db).get(SINCE, "")


def begin_moving(repository: Either) -> None:
    """Let rows leave the delta.

    Requires: no client is left that was opened before the switch.
    """
    set_store_values(repository.db, registry_of(repository.butler).static.store, **{STAGE: Stage.MOVING})


def move(repository: Either, rows: int, told: Callable[[float], None]) -> dict[str, int]:
    """Move the rows of all tables to data files.

    Parameters
    ----------
    repository
        The repository, opened since `begin_moving`.
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
    if rows > binding.volume.options.flush_rows:
        raise ConfigurationError(
            f"{rows} rows at once are more than the store's flush_rows, {binding.volume.options.flush_rows}"
        )
    return of_each_table(binding, lambda table: move_out(table, rows, told))


def of_each_table(binding: RegistryBinding, act: Callable[[RegistryTable], int]) -> dict[str, int]:
    """Return what comes of each table that has files, by name."""
    done = {}
    for name in binding.names():
        with binding.maintained(name) as table:
            if table.spec.primary_key:
                done[name] = act(table)
    return done


def finish(repository: Either) -> None:
    """Publish the tables, and let clients do again what the options allow."""
    binding = registry_of(repository.butler)
    binding.publish()
    set_store_values(repository.db, binding.static.store, **{STAGE: Stage.ADOPTED})
