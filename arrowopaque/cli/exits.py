"""Exit codes: one for each thing a caller would do next."""

from __future__ import annotations

__all__ = ["Exit", "exit_of", "message_of"]

import enum

from arrowopaque.errors import (
    ArrowOpaqueError,
    CommitUnknownError,
    ConflictError,
    CorruptStoreError,
    FormatVersionError,
    StoreAccessError,
)
from arrowopaque.extras import what_is_missing


class Exit(enum.IntEnum):
    """What a command ends with; scripts rely on the values."""

    DONE = 0
    """It did what it was asked for, and found nothing amiss."""
    FOUND = 1
    """It found something: damage that ``verify`` lists, differences, work left over."""
    USAGE = 2
    """The command line, or what it names, is wrong: change it."""
    CORRUPT = 3
    """The store is damaged: run ``verify``, restore what it names."""
    ACCESS = 4
    """The storage or the database refused or failed: mend that, then retry."""
    CONFLICT = 5
    """Others were in the way every time: retry."""
    UNKNOWN = 6
    """Whether the change was made could not be told: look before retrying."""
    VERSION = 7
    """A newer release wrote the store: upgrade."""
    INTERRUPTED = 130
    """Somebody pressed Ctrl-C, or answered no."""


_EXITS: tuple[tuple[type[BaseException], Exit], ...] = (
    (CorruptStoreError, Exit.CORRUPT),
    (FormatVersionError, Exit.VERSION),
    (ConflictError, Exit.CONFLICT),
    (CommitUnknownError, Exit.UNKNOWN),
    (StoreAccessError, Exit.ACCESS),
    (ArrowOpaqueError, Exit.USAGE),
    (OSError, Exit.ACCESS),
    (LookupError, Exit.USAGE),
    (ValueError, Exit.USAGE),
    (TypeError, Exit.USAGE),
)

_FOREIGN = {"sqlalchemy": Exit.ACCESS, "lsst": Exit.USAGE, "duckdb": Exit.USAGE, "_duckdb": Exit.USAGE}
"""Exit codes of other packages' errors, by their package."""


def exit_of(error: BaseException) -> Exit | None:
    """Return the exit code of an error that users can do something about;
    `None` for one that only we can.
    """
    if what_is_missing(error):
        return Exit.USAGE
    package = type(error).__module__.partition(".")[0]
    if package in _FOREIGN:
        return _FOREIGN[package]
    if package != "arrowopaque" and not isinstance(error, OSError | LookupError):
        # A ValueError that we do not raise ourselves is a defect, whose traceback is worth more than a line.
        return None
    return next((code for kind, code in _EXITS if isinstance(error, kind)), None)


def message_of(error: BaseException) -> str:
    """Return an error as one line."""
    missing = what_is_missing(error)
    if missing:
        return f"this needs {missing}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__
