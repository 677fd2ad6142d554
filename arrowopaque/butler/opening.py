"""Open a Butler repository by whatever names it."""

from __future__ import annotations

__all__ = ["Repository", "open_repository"]

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lsst.daf.butler import Butler

from arrowopaque.butler.manager import ArrowOpaqueTableStorageManager
from arrowopaque.butler.registry import leaving_deltas
from arrowopaque.errors import ConfigurationError


@dataclass(frozen=True)
class Repository:
    """An open repository whose opaque tables are ours."""

    place: str
    butler: Butler
    manager: ArrowOpaqueTableStorageManager


@contextmanager
def open_butler(place: str, *, writeable: bool = False) -> Iterator[Butler]:
    """Give a Butler on a repository, whatever its managers, then close it.

    However many recent rows it has, they are not flushed by opening it.

    Parameters
    ----------
    place
        A folder, a URI, or an alias of the repository index.
    writeable
        Whether to open it for writing.

    Raises
    ------
    ConfigurationError
        There is no repository.
    """
    try:
        with leaving_deltas():
            butler = Butler.from_config(place, writeable=writeable)
    except (FileNotFoundError, KeyError) as err:
        raise ConfigurationError(
            f"{place!r} is neither the root of a store nor a Butler repository, nor an alias of one: {err}"
        ) from err
    with butler:
        yield butler


@contextmanager
def open_repository(place: str, *, writeable: bool = False) -> Iterator[Repository]:
    """Give an open repository whose opaque tables are ours, then close it.

    Parameters
    ----------
    place, writeable
        As for `open_butler`.

    Raises
    ------
    ConfigurationError
        There is no repository, or its opaque tables are another manager's.
    """
    with open_butler(place, writeable=writeable) as butler:
        yield Repository(place, butler, ArrowOpaqueTableStorageManager.of_butler(butler))
