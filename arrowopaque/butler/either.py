"""A repository that may have the SQL managers, ours, or half of the change.

Like `arrowopaque.butler.host`, this module knows what the host keeps private:
a Butler's ``_registry`` and ``_datastore``, and the attributes manager's table.
"""

from __future__ import annotations

__all__ = ["OURS", "SQL", "VERSIONS", "Attributes", "Either", "open_either", "other_clients", "table_named"]

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from lsst.daf.butler import Butler, ButlerConfig, ddl
from lsst.daf.butler.registry.bridge.monolithic import MonolithicDatastoreRegistryBridgeManager
from lsst.daf.butler.registry.interfaces import Database
from lsst.daf.butler.registry.opaque import ByNameOpaqueTableStorageManager
from lsst.daf.butler.registry.versions import ManagerMismatchError
from lsst.resources import ResourcePath

from arrowopaque.butler import host
from arrowopaque.butler.bridge import ArrowDatastoreRegistryBridgeManager
from arrowopaque.butler.manager import ArrowOpaqueTableStorageManager
from arrowopaque.errors import ConfigurationError

OURS = {
    "opaque": ArrowOpaqueTableStorageManager.extensionName(),
    "datastores": ArrowDatastoreRegistryBridgeManager.extensionName(),
}
"""Our managers, as repositories name them."""
SQL = {
    "opaque": ByNameOpaqueTableStorageManager.extensionName(),
    "datastores": MonolithicDatastoreRegistryBridgeManager.extensionName(),
}
"""The managers that we take the places of."""
VERSIONS: dict[str, str | None] = {
    "opaque": str(ByNameOpaqueTableStorageManager.currentVersions()[-1]),
    "datastores": str(MonolithicDatastoreRegistryBridgeManager.currentVersions()[-1]),
}
"""Their versions, as new repositories name them."""


def table_named(db: Database, name: str) -> sqlalchemy.Table:
    """Return a table of a registry by its name alone."""
    return sqlalchemy.Table(name, sqlalchemy.MetaData(), schema=db.namespace)


@dataclass(frozen=True)
class Attributes:
    """The rows in which a registry names its managers and their versions."""

    db: Database
    table: sqlalchemy.Table

    def all(self) -> dict[str, str]:
        """Return every attribute."""
        with self.db.query(self.table.select()) as result:
            return {row.name: row.value for row in result}

    @staticmethod
    def of(classes: Mapping[str, str], versions: Mapping[str, str | None]) -> dict[str, str]:
        """Return the rows for some managers."""
        rows = {f"config:registry.managers.{name}": value for name, value in classes.items()}
        for name, version in versions.items():
            if version is not None:
                rows[f"version:{classes[name]}"] = version
        return rows

    def classes(self) -> dict[str, str | None]:
        """Return the managers that the registry is opened with."""
        found = self.all()
        return {name: found.get(f"config:registry.managers.{name}") for name in OURS}

    def versions(self, classes: Mapping[str, str]) -> dict[str, str | None]:
        """Return the versions stored for some managers."""
        found = self.all()
        return {name: found.get(f"version:{value}") for name, value in classes.items()}


@dataclass(frozen=True)
class Either:
    """An open repository, whatever its managers."""

    place: str
    config: ResourcePath
    butler: Butler

    @property
    def db(self) -> Database:
        """The registry's database."""
        return self._private._registry._db  # type: ignore[no-any-return]  # private to the host

    @property
    def attributes(self) -> Attributes:
        """Where the registry names its managers."""
        return Attributes(self.db, self._private._registry._managers.attributes._table)

    @property
    def definitions(self) -> dict[str, ddl.TableSpec]:
        """The opaque tables that the datastores use."""
        found = self._private._datastore.get_opaque_table_definitions()
        return {name: table.table_spec for name, table in sorted(found.items())}

    @property
    def is_ours(self) -> bool:
        """Whether the registry has been switched."""
        return self.attributes.classes() == OURS

    @property
    def _private(self) -> Any:
        return self.butler


@contextmanager
def open_either(place: str, *, writeable: bool) -> Iterator[Either]:
    """Give an open repository whose managers are the SQL ones or ours, even
    if its configuration file names others than its registry, then close it.

    Raises
    ------
    ConfigurationError
        There is no repository, or it has other managers, or no database.
    """
    try:
        config = ButlerConfig(place)
    except (FileNotFoundError, KeyError) as err:
        raise ConfigurationError(f"{place!r} is no Butler repository, nor an alias of one: {err}") from err
    file = config.configFile
    if file is None:
        raise ConfigurationError(f"{place!r} has no configuration file that could be changed")
    with _opened(config, place, writeable) as butler:
        if host.opaque_manager(butler) is None:
            raise ConfigurationError(f"{place!r} is behind a server: run this where its database is")
        found = Either(place, ResourcePath(file), butler)
        classes = found.attributes.classes()
        if classes not in (OURS, SQL):
            raise ConfigurationError(
                f"{place!r} has the managers {', '.join(map(str, classes.values()))}: only a repository with "
                f"{' and '.join(SQL.values())} can be adopted"
            )
        yield found


def _opened(config: ButlerConfig, place: str, writeable: bool) -> Butler:
    for classes in ({}, OURS, SQL):
        for name, value in classes.items():
            config["registry", "managers", name] = value
        try:
            return Butler.from_config(config, writeable=writeable)
        except ManagerMismatchError as err:
            mismatch = err
    raise ConfigurationError(f"{place!r} has other managers than can be changed: {mismatch}") from mismatch


def other_clients(db: Database, since: str) -> list[str]:
    """Return who may have had the repository open before it was switched, as
    far as can be told.

    Parameters
    ----------
    db
        The registry's database.
    since
        When it was switched, by the database's clock if it has one.
    """
    if host.dialect_name(db) == "sqlite":
        filename = host.sqlite_file(db)
        return [] if filename is None else sorted(_processes_with(Path(filename)))
    with host.reading(db) as cursor:
        found = cursor.execute(_SESSIONS, (since,)).rows()
    return [
        f"session {pid} of {user} from {client or 'a socket'} ({what})" for pid, user, client, what in found
    ]


_SESSIONS = (
    "SELECT pid, usename, CAST(client_addr AS TEXT), coalesce(nullif(application_name, ''), 'no name') "
    "FROM pg_catalog.pg_stat_activity "
    "WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() "
    "AND backend_start < CAST(%s AS TIMESTAMPTZ) ORDER BY pid"
)


def _processes_with(file: Path) -> Iterator[str]:
    """Yield the processes of this host, and of this user, that have a file open."""
    for folder in Path("/proc").glob("[0-9]*/fd"):
        pid = folder.parent.name
        with suppress(OSError):
            if int(pid) != os.getpid() and any(_is_same(one, file) for one in folder.iterdir()):
                command = (
                    (folder.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                yield f"process {pid} ({command.strip()[:80]})"


def _is_same(link: Path, file: Path) -> bool:
    try:
        return link.samefile(file)
    except OSError:
        return False
