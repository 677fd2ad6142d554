"""The public names: which they are, where they live, and what they need."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

import arrowopaque
from tests.support.absent import WITHOUT_BUTLER

PUBLIC = {
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
}
NEED_BUTLER = [
    "ArrowDatastoreRegistryBridgeManager",
    "ArrowOpaqueTableStorage",
    "ArrowOpaqueTableStorageManager",
    "sql",
]


def run(source: str) -> str:
    """Return what ``source`` prints in a fresh interpreter."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_list_of_public_names() -> None:
    assert arrowopaque.__all__ == sorted(PUBLIC)
    assert len(PUBLIC) <= 20
    assert {name for name in dir(arrowopaque) if not name.startswith("_")} == PUBLIC


def test_nothing_else_of_ours_is_reachable() -> None:
    held = {name: value for name, value in vars(arrowopaque).items() if isinstance(value, type)}
    ours = {name for name, value in held.items() if value.__module__.startswith("arrowopaque")}
    assert ours <= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_name_resolves(name: str) -> None:
    assert getattr(arrowopaque, name).__name__ == name


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = arrowopaque.Nothing


@pytest.mark.parametrize("name", ["ArrowOpaqueTableStorageManager", "ArrowDatastoreRegistryBridgeManager"])
def test_extension_name_is_stored_data(name: str) -> None:
    """Repositories hold these names, so they never change."""
    assert getattr(arrowopaque, name).extensionName() == f"arrowopaque.{name}"


def test_errors_are_one_tree() -> None:
    errors = {name for name in PUBLIC if name.endswith("Error")}
    assert len(errors) == 10
    for name in errors:
        assert issubclass(getattr(arrowopaque, name), arrowopaque.ArrowOpaqueError)


def test_import_is_light() -> None:
    loaded = run("import arrowopaque, sys; print(*sys.modules)").split()
    heavy = {"lsst", "sqlalchemy", "astropy", "duckdb", "s3fs", "fsspec", "botocore", "pyarrow"}
    assert heavy & set(loaded) == set()


def test_store_is_read_without_lsst() -> None:
    source = WITHOUT_BUTLER + "import arrowopaque; print(arrowopaque.StoreRoot, arrowopaque.Options())"
    assert "StoreRoot" in run(source)


@pytest.mark.parametrize("name", NEED_BUTLER)
def test_missing_extra_is_named(name: str) -> None:
    source = f"""
    try:
        from arrowopaque import {name}
    except ImportError as exc:
        print(exc)
    """
    message = run(WITHOUT_BUTLER + textwrap.dedent(source))
    assert f"arrowopaque.{name} needs" in message
    assert "pip install 'arrowopaque[butler]'" in message


def test_other_import_errors_are_not_disguised() -> None:
    source = """
    import sys
    sys.modules["pyarrow"] = None
    import arrowopaque
    try:
        arrowopaque.StoreRoot
    except ImportError as exc:
        print(exc)
    """
    message = run(source)
    assert "pyarrow" in message
    assert "butler" not in message
