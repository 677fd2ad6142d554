"""The host's own tests of a registry, run with our managers."""

from __future__ import annotations

import unittest
import uuid
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, ButlerConfig, StorageClassFactory
from lsst.daf.butler.datastore import NullDatastore
from lsst.daf.butler.direct_butler import DirectButler
from lsst.daf.butler.registry import RegistryConfig
from lsst.daf.butler.registry.sql_registry import SqlRegistry
from lsst.daf.butler.registry.tests import RegistryTests

from arrowopaque import ArrowDatastoreRegistryBridgeManager, ArrowOpaqueTableStorageManager

_MANAGERS = {
    "opaque": ArrowOpaqueTableStorageManager.extensionName(),
    "datastores": ArrowDatastoreRegistryBridgeManager.extensionName(),
}


class _WithOurManagers(RegistryTests):
    """Makes Butlers of registries alone, in a database of the subclass."""

    def place(self, config: RegistryConfig) -> None:
        """Say where the database of the next registry is."""
        raise NotImplementedError

    def makeRegistryConfig(self) -> RegistryConfig:  # noqa: N802  the host's name
        config = super().makeRegistryConfig()
        for role, manager in _MANAGERS.items():
            config["managers", role] = manager
        return config

    def make_butler(self, registry_config: RegistryConfig | None = None) -> Butler:
        config = self.makeRegistryConfig() if registry_config is None else registry_config
        self.place(config)
        registry = SqlRegistry.createFromConfig(config)
        butler = DirectButler(
            config=ButlerConfig(),
            registry=registry,
            datastore=NullDatastore(None, None),
            storageClasses=StorageClassFactory(),
        )
        assert isinstance(self, unittest.TestCase)
        self.enterContext(butler)
        return butler


class TestOnSqlite(_WithOurManagers, unittest.TestCase):
    """A registry in an SQLite file."""

    @pytest.fixture(autouse=True)
    def _prepare(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self, config: RegistryConfig) -> None:
        config["db"] = f"sqlite:///{self.folder}/gen3.sqlite3"


class TestOnPostgres(_WithOurManagers, unittest.TestCase):
    """A registry in PostgreSQL."""

    @pytest.fixture(autouse=True)
    def _prepare(self, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ARROWOPAQUE_ROOT", str(tmp_path))
        self.url = postgres_url

    def place(self, config: RegistryConfig) -> None:
        config["db"] = self.url
        config["namespace"] = f"registry_{uuid.uuid4().hex}"

    # Fails on servers before release 16 with every manager (the host's DM-44875); it uses no opaque table.
    # `None` is how unittest is told that there is no such test.
    testSkipCalibs = None  # type: ignore[assignment]  # noqa: N815  the host's name
