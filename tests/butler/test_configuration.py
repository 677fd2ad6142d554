"""Each documented way to make a repository makes one with our managers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner
from lsst.daf.butler import Butler, Config
from lsst.daf.butler.cli.butler import cli
from lsst.daf.butler.registry.versions import ManagerMismatchError

import arrowopaque
from arrowopaque import ArrowOpaqueTableStorageManager, ConfigurationError
from tests.support.butlers import RECORDS, content, make_inputs, manager_of

SEED = "resource://arrowopaque/butler/config/registry.yaml"
FOLDER = Path(arrowopaque.__file__).parent / "butler" / "config"
README = Path(__file__).resolve().parents[2] / "README.md"
OPAQUE = "arrowopaque.ArrowOpaqueTableStorageManager"
BRIDGE = "arrowopaque.ArrowDatastoreRegistryBridgeManager"
DEFAULTS = {
    "opaque": "lsst.daf.butler.registry.opaque.ByNameOpaqueTableStorageManager",
    "datastores": "lsst.daf.butler.registry.bridge.monolithic.MonolithicDatastoreRegistryBridgeManager",
}


def _by_command(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "from lsst.daf.butler.cli.butler import main; main()"
    command = [sys.executable, "-c", script, "create", str(root), "--seed-config", SEED]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _create(*arguments: str) -> None:
    """Run ``butler create`` in this process, which spares seconds."""
    done = CliRunner().invoke(cli, ["create", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def _by_command_and_path(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _create(str(root), "--seed-config", str(FOLDER / "registry.yaml"))


def _by_command_and_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DAF_BUTLER_CONFIG_PATH", str(FOLDER))
        _create(str(root))


def _by_python(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Butler.makeRepo(str(root), config=SEED)


def _by_python_and_config(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Butler.makeRepo(str(root), config=Config(SEED))


def _standalone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Butler.makeRepo(str(root), config=SEED, standalone=True)


def _by_python_and_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DAF_BUTLER_CONFIG_PATH", str(FOLDER))
        Butler.makeRepo(str(root))


WAYS = (
    _by_command,
    _by_command_and_path,
    _by_command_and_environment,
    _by_python,
    _by_python_and_config,
    _standalone,
    _by_python_and_environment,
)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAF_BUTLER_CONFIG_PATH", "ARROWOPAQUE_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def open_butler() -> Iterator[Callable[..., Butler]]:
    """Opens repositories, and closes them."""
    opened: list[Butler] = []

    def open_one(config: Any, **kwargs: Any) -> Butler:
        opened.append(Butler.from_config(config, **kwargs))
        return opened[-1]

    yield open_one
    for butler in opened:
        butler.close()


def managers_of(butler: Butler) -> tuple[str, str]:
    """Return the names of the two managers of a butler."""
    private: Any = butler
    managers = private._registry._managers
    return managers.opaque.extensionName(), managers.datastores.extensionName()


@pytest.mark.parametrize("make", WAYS, ids=lambda make: make.__name__.strip("_"))
def test_repository_made_this_way_opens_plainly(
    make: Callable[[Path, pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    open_butler: Callable[..., Butler],
) -> None:
    root = tmp_path / "repo"
    make(root, monkeypatch)
    writer = open_butler(str(root), writeable=True)
    assert managers_of(writer) == (OPAQUE, BRIDGE)
    make_inputs(writer, "run")
    ref = writer.put(content(0, "run"), "thing", instrument="Cam", detector=0, run="run")
    manager_of(writer).flush()
    assert list((root / "opaque").glob("*/tables/*/*/*.parquet"))
    reader = open_butler(str(root))
    assert managers_of(reader) == (OPAQUE, BRIDGE)
    assert not reader.isWriteable()
    assert reader.get(ref) == content(0, "run")


def test_written_configuration_names_the_public_classes(tmp_path: Path) -> None:
    Butler.makeRepo(str(tmp_path), config=SEED)
    managers = Config(str(tmp_path / "butler.yaml"))["registry", "managers"]
    assert (managers["opaque"], managers["datastores"]) == (OPAQUE, BRIDGE)


@pytest.mark.parametrize("writeable", [True, False])
@pytest.mark.parametrize("changed", ["opaque", "datastores"])
def test_default_managers_on_our_repository(tmp_path: Path, writeable: bool, changed: str) -> None:
    Butler.makeRepo(str(tmp_path), config=SEED)
    config = Config(str(tmp_path / "butler.yaml"))
    config["registry", "managers", changed] = DEFAULTS[changed]
    config["root"] = str(tmp_path)
    with pytest.raises(ManagerMismatchError):
        Butler.from_config(config, writeable=writeable)


@pytest.mark.parametrize("writeable", [True, False])
def test_our_managers_on_a_default_repository(tmp_path: Path, writeable: bool) -> None:
    Butler.makeRepo(str(tmp_path))
    config = Config(str(tmp_path / "butler.yaml"))
    config["registry", "managers", "opaque"] = OPAQUE
    config["root"] = str(tmp_path)
    with pytest.raises(ManagerMismatchError):
        Butler.from_config(config, writeable=writeable)


def test_read_only_client_of_a_new_repository(tmp_path: Path, open_butler: Callable[..., Butler]) -> None:
    Butler.makeRepo(str(tmp_path), config=SEED)
    reader = open_butler(str(tmp_path))
    assert manager_of(reader).get(RECORDS) is None
    assert list(reader.collections.query("*")) == []


def test_store_below_the_base_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_butler: Callable[..., Butler]
) -> None:
    base = tmp_path / "base"
    with monkeypatch.context() as patch:
        patch.setenv("ARROWOPAQUE_ROOT", str(base))
        for name in ("one", "two"):
            Butler.makeRepo(str(tmp_path / name), config=SEED)
    assert len(list(base.glob("*/arrowopaque.json"))) == 2
    writer = open_butler(str(tmp_path / "one"), writeable=True)
    assert managers_of(writer) == (OPAQUE, BRIDGE)
    assert not (tmp_path / "one" / "opaque").exists()


def test_postgres_needs_a_base(tmp_path: Path, butler_database: str) -> None:
    config = Config(SEED)
    config["registry", "db"] = butler_database
    config["registry", "namespace"] = "without_a_base"
    with pytest.raises(arrowopaque.ConfigurationError, match="ARROWOPAQUE_ROOT"):
        Butler.makeRepo(str(tmp_path), config=config)


def test_readme_names_the_packaged_configuration() -> None:
    text = README.read_text()
    assert f"butler create REPO --seed-config {SEED}" in text
    assert f'Butler.makeRepo("REPO", config="{SEED}")' in text


def test_manager_of_an_open_repository(tmp_path: Path, open_butler: Callable[..., Butler]) -> None:
    Butler.makeRepo(str(tmp_path / "ours"), config=SEED)
    Butler.makeRepo(str(tmp_path / "default"))
    manager = ArrowOpaqueTableStorageManager.of_butler(open_butler(str(tmp_path / "ours"), writeable=True))
    assert manager.flush() == {name: mock.ANY for name in manager.names()}
    with pytest.raises(ConfigurationError, match=r"has lsst\..*ByNameOpaqueTableStorageManager: it was not"):
        ArrowOpaqueTableStorageManager.of_butler(open_butler(str(tmp_path / "default")))
    with pytest.raises(ConfigurationError, match="has no manager of opaque tables"):
        ArrowOpaqueTableStorageManager.of_butler(mock.Mock(spec=Butler))
