"""Opaque tables of the Rubin Data Butler as sorted Parquet files.

The names below are the public API. Those that need more than the standard
library load when they are first asked for, so that a store can be read where
no lsst package is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from arrowopaque.errors import (
    ArrowOpaqueError,
    CommitUnknownError,
    ConfigurationError,
    ConflictError,
    ConstraintError,
    CorruptStoreError,
    FormatVersionError,
    ReadOnlyError,
    RootInUseError,
    StoreAccessError,
)
from arrowopaque.extras import what_is_missing
from arrowopaque.options import Options

if TYPE_CHECKING:
    from arrowopaque.butler.analytics import sql
    from arrowopaque.butler.bridge import ArrowDatastoreRegistryBridgeManager
    from arrowopaque.butler.manager import ArrowOpaqueTableStorageManager
    from arrowopaque.butler.storage import ArrowOpaqueTableStorage
    from arrowopaque.format.receipt import Staged
    from arrowopaque.root import StoreRoot

__version__ = "0.1.0"

__all__ = [
    "ArrowDatastoreRegistryBridgeManager",
    "ArrowOpaqueError",
    "ArrowOpaqueTableStorage",
    "ArrowOpaqueTableStorageManager",
    "CommitUnknownError",
    "ConfigurationError",
    "ConflictError",
    "ConstraintError",
    "CorruptStoreError",
    "FormatVersionError",
    "Options",
    "ReadOnlyError",
    "RootInUseError",
    "Staged",
    "StoreAccessError",
    "StoreRoot",
    "sql",
]

_LAZY = {
    "ArrowDatastoreRegistryBridgeManager": "arrowopaque.butler.bridge",
    "ArrowOpaqueTableStorage": "arrowopaque.butler.storage",
    "ArrowOpaqueTableStorageManager": "arrowopaque.butler.manager",
    "Staged": "arrowopaque.format.receipt",
    "StoreRoot": "arrowopaque.root",
    "sql": "arrowopaque.butler.analytics",
}


def __getattr__(name: str) -> Any:
    """Load a lazy public name; say which extra is missing if it cannot be."""
    home = _LAZY.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(home), name)
    except ModuleNotFoundError as exc:
        missing = what_is_missing(exc)
        if missing is None:
            raise
        raise ImportError(f"{__name__}.{name} needs {missing}", name=exc.name) from exc
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, whether loaded yet or not."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
