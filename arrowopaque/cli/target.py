"""REPO or ROOT: what a command works on."""

from __future__ import annotations

__all__ = [
    "RepositoryTarget",
    "RootTarget",
    "Target",
    "at_option",
    "is_root",
    "open_target",
    "store_at",
    "target_argument",
    "tell_of_files",
]

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from arrowopaque.cli.output import Output
from arrowopaque.errors import ArrowOpaqueError, ConfigurationError
from arrowopaque.extras import what_is_missing
from arrowopaque.format import names
from arrowopaque.objects.opening import open_store
from arrowopaque.root import StoreRoot

if TYPE_CHECKING:
    from arrowopaque.butler.opening import Repository
    from arrowopaque.query import Relation

target_argument = click.argument("place", metavar="REPO|ROOT")
"""A Butler repository (path, URI or alias), or the root of a store or an export."""

at_option = click.option(
    "--at",
    "at",
    metavar="VERSION|TIME",
    help="Read an earlier version: its number, or a time (ISO 8601, UTC if it names no zone).",
)
"""An earlier version to read; see `store_at`."""


@dataclass(frozen=True)
class RootTarget:
    """The root of a store, or of an export."""

    place: str
    root: StoreRoot

    @property
    def store(self) -> Any:
        """What answers ``sql``, ``verify`` and so on."""
        return self.root

    @property
    def files(self) -> StoreRoot:
        """The data files alone, which have versions."""
        return self.root

    @property
    def views(self) -> Collection[str]:
        """What can be asked about besides tables."""
        return ()

    def sql(self, query: str) -> Relation:
        """Ask DuckDB about what has been committed by now."""
        self.root.refresh()
        return self.root.sql(query)


@dataclass(frozen=True)
class RepositoryTarget:
    """A Butler repository whose managers are ours."""

    place: str
    repository: Repository

    @property
    def store(self) -> Any:
        """What answers ``sql``, ``verify`` and so on."""
        return self.repository.manager

    @property
    def files(self) -> StoreRoot:
        """The data files alone, which have versions."""
        return self.repository.manager.data_files()

    @property
    def views(self) -> Collection[str]:
        """What can be asked about besides tables."""
        from arrowopaque.butler.analytics import VIEWS

        return VIEWS

    def sql(self, query: str) -> Relation:
        """Ask DuckDB about tables, and what only the registry knows."""
        from arrowopaque.butler.analytics import sql

        return sql(self.repository.butler, query)


Target = RootTarget | RepositoryTarget


def is_root(place: str) -> bool:
    """Return whether a place is the root of a store, as far as can be told."""
    try:
        return open_store(place, writeable=False).size(names.MARKER) is not None
    except (ArrowOpaqueError, ValueError, OSError):
        # It may be an alias, or a URI that only the Butler knows.
        return False


@contextmanager
def open_target(place: str, *, writeable: bool = False) -> Iterator[Target]:
    """Open a repository or a root for the length of a command.

    Raises
    ------
    ConfigurationError
        It is neither.
    """
    if is_root(place):
        yield RootTarget(place, StoreRoot(place, writeable=writeable))
        return
    try:
        from arrowopaque.butler.opening import open_repository
    except ImportError as err:
        missing = what_is_missing(err)
        if missing is None:
            raise
        raise ConfigurationError(
            f"{place!r} is no root of a store, and a Butler repository needs {missing}"
        ) from err
    with open_repository(place, writeable=writeable) as repository:
        yield RepositoryTarget(place, repository)


def store_at(output: Output, target: Target, at: str | None, *names: str) -> Any:
    """Return what answers ``verify`` and so on, at an earlier version if one
    is asked for.

    Parameters
    ----------
    output
        Where to tell that rows are missing which have no versions.
    target
        The store.
    at
        What ``--at`` was given.
    *names
        The tables that are asked about, if only some are.

    Raises
    ------
    ConfigurationError
        There is no such version, or not any more.
    """
    if at is None:
        return target.store
    files = target.files
    found = files.at(at, *names)
    if not files.is_owned:
        tell_of_files(output, f"as of {at}")
    return found


def tell_of_files(output: Output, when: str) -> None:
    """Tell that an answer is of a registry's data files alone."""
    output.say(
        f"{when}, in data files: rows that were not flushed then, and deletions that were not, "
        "are kept by the registry alone and have no versions"
    )
