"""`StoreRoot`: a store under one root, without any database."""

from __future__ import annotations

__all__ = ["StoreRoot"]

from arrowopaque.format.values import NO_CODECS, Codecs, Values
from arrowopaque.store.records import Records
from arrowopaque.store.root import Root
from arrowopaque.store.rooted import RootedTable


class StoreRoot(Root):
    """A store under one root: files alone, no SQL.

    Parameters
    ----------
    uri
        A folder, ``file://``, ``memory://`` or ``s3://bucket/prefix``.
    writeable
        Whether to make the store if there is none, and to allow writes.
    options
        Used instead of the stored ones; saved if the store is made.

    Raises
    ------
    ObjectMissingError
        There is no store, and it may not be made.
    ConfigurationError
        The root cannot hold a store.

    Notes
    -----
    Reads see the state of one moment until `refresh`, the start of a
    transaction, or a commit of one's own.

    The store of a Butler repository can be opened too, read-only, as its
    registry last published it.
    """

    def table(self, name: str, codecs: Codecs = NO_CODECS) -> Records:
        """Return a table.

        Parameters
        ----------
        name
            The table.
        codecs
            How regions and times are rebuilt; without them they come as
            stored.

        Raises
        ------
        LookupError
            There is no such table.
        """
        if name not in self._head.tables:
            raise LookupError(f"there is no table {name!r} in {self.uri}; it has {self.names()}")
        return Records(name, RootedTable(self, name, Values(self.spec(name), codecs)))
