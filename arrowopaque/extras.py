"""What an installation without the extra ``butler`` lacks."""

from __future__ import annotations

__all__ = ["what_is_missing"]

_BUTLER_PACKAGES = frozenset({"astropy", "lsst", "sqlalchemy"})


def what_is_missing(error: BaseException) -> str | None:
    """Return what to install where an import failed for want of the extra;
    `None` where something else is wrong.
    """
    if not isinstance(error, ImportError) or (error.name or "").partition(".")[0] not in _BUTLER_PACKAGES:
        return None
    return (
        f"{error.name!r}, which is not installed: install the extra `butler`, as in "
        "`pip install 'arrowopaque[butler]'`"
    )
