"""The error tree: one class for each thing a caller would do about it.

::

    ArrowOpaqueError
    ├── ConfigurationError (ValueError)        change the configuration, the table spec or the call
    │   └── RootInUseError                     choose another root
    ├── CorruptStoreError                      run verify, restore the object that is named
    │   └── ObjectMissingError (FileNotFoundError)
    ├── FormatVersionError                     upgrade arrowopaque
    ├── StoreAccessError (OSError)             mend permissions, space or network, then retry
    ├── ConflictError                          retry: another client was faster every time
    ├── CommitUnknownError                     read before retrying: the commit may have landed
    ├── ConstraintError (ValueError)           the rows clash with a constraint of the table
    └── ReadOnlyError                          open the store writeable

Where the SQL manager raises a class of its own (``sqlalchemy.exc.IntegrityError``,
``ReadOnlyDatabaseError`` and so on) the lsst side raises exactly that class instead.
"""

from __future__ import annotations

__all__ = [
    "ArrowOpaqueError",
    "CommitUnknownError",
    "ConfigurationError",
    "ConflictError",
    "ConstraintError",
    "CorruptStoreError",
    "FormatVersionError",
    "ObjectMissingError",
    "ReadOnlyError",
    "RootInUseError",
    "StoreAccessError",
]


class ArrowOpaqueError(Exception):
    """Root of every error that arrowopaque raises of its own."""


class ConfigurationError(ArrowOpaqueError, ValueError):
    """The configuration, a table spec or an argument cannot be honoured."""


class RootInUseError(ConfigurationError):
    """The root belongs to another repository."""


class CorruptStoreError(ArrowOpaqueError):
    """An object of the store is damaged, truncated, altered or not ours."""


class ObjectMissingError(CorruptStoreError, FileNotFoundError):
    """An object that should be there is not."""


class FormatVersionError(ArrowOpaqueError):
    """The store was written by a newer format than this release reads."""


class StoreAccessError(ArrowOpaqueError, OSError):
    """The storage refused or failed: permission, space, network."""


class ConflictError(ArrowOpaqueError):
    """A commit lost the race against other clients on every try."""


class CommitUnknownError(ArrowOpaqueError):
    """Whether a commit landed could not be proved either way."""


class ConstraintError(ArrowOpaqueError, ValueError):
    """Rows clash with a primary key, a unique or a not-null constraint."""


class ReadOnlyError(ArrowOpaqueError):
    """A write was asked of a store that was opened read-only."""
