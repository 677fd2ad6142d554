"""What a new process does not have to load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, Config

from arrowopaque import StoreRoot
from arrowopaque.butler.ddl import from_lsst
from tests.support import specs
from tests.support.butlers import SEED, content, make_inputs
from tests.support.specs import record

CALLS = {
    "fetch by path": "assert len(list(table.fetch(path={path!r}))) == 1",
    "fetch by key": "assert len(list(table.fetch(dataset_id=uuid.UUID({id!r})))) == 1",
    "fetch of nothing": "assert not list(table.fetch(dataset_id=uuid.UUID(int=uuid.UUID({id!r}).int + 1)))",
}

_MAINTENANCE = {
    f"arrowopaque.maintain.{name}" for name in ("compact", "flush", "recover", "vacuum", "verify")
}
_UNNEEDED = {"pandas", "duckdb"} | _MAINTENANCE
_ROOTED = {
    *("arrowopaque.root", "arrowopaque.butler.rooted", "arrowopaque.store.root", "arrowopaque.store.staging"),
    *("arrowopaque.maintain.findings", "arrowopaque.maintain.publish"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A root with records in a file, and the path and id of one."""
    root = StoreRoot(str(tmp_path_factory.mktemp("start") / "root"))
    root.register("records", from_lsst("records", specs.records()))
    rows = [record(number) for number in range(0, 6_000, 2)]
    root.table("records").insert(*rows)
    return root.uri, rows[7]["path"], rows[7]["dataset_id"].hex


@pytest.mark.parametrize("call", CALLS)
def test_look_ups_load_neither_pandas_nor_duckdb_nor_maintenance(
    store: tuple[str, str, str], call: str
) -> None:
    """Each takes longer than to open a repository; Arrow loads pandas by the way."""
    uri, path, id = store
    code = (
        "import sys, uuid\nfrom arrowopaque import StoreRoot\n"
        f"table = StoreRoot({uri!r}, writeable=False).table('records')\n"
        f"{CALLS[call].format(path=path, id=id)}\n"
        f"print(*sorted({_UNNEEDED} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_butler_loads_nothing_for_stores_without_a_registry(tmp_path: Path) -> None:
    """To start one and find a dataset is what batch jobs do most often."""
    repo = str(tmp_path / "repo")
    Butler.makeRepo(repo, config=Config(SEED))
    with Butler.from_config(repo, writeable=True) as butler:
        kind = make_inputs(butler, "one")
        butler.put(content(3, "one"), kind, instrument="Cam", detector=3, run="one")
    code = (
        "import sys\nfrom lsst.daf.butler import Butler\n"
        f"butler = Butler.from_config({repo!r}, collections=['one'])\n"
        "assert butler.getURI('thing', instrument='Cam', detector=3).exists()\n"
        "assert 'arrowopaque.butler.registry' in sys.modules\n"
        f"print(*sorted({_UNNEEDED | _ROOTED} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_pandas_would_be_loaded(store: tuple[str, str, str]) -> None:
    """Where it is installed, which the tests rely on."""
    code = "import sys, pyarrow\npyarrow.array([1])\nprint('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]
