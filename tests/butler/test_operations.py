"""The snippets of docs/OPERATIONS.md, in their order, on one repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler

from arrowopaque import ArrowOpaqueTableStorageManager, Options
from arrowopaque import errors as tree
from tests.support.butlers import SEED, content, make_inputs

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "OPERATIONS.md").read_text()


def _put_and_flush(butler: Butler, detector: int) -> None:
    butler.put(content(detector, "run"), "thing", instrument="Cam", detector=detector, run="run")
    ArrowOpaqueTableStorageManager.of_butler(butler).flush()


def test_snippets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ArrowOpaqueTableStorageManager, "options", Options(retention=0.001))
    Butler.makeRepo("REPO", config=SEED)
    with Butler.from_config("REPO", writeable=True) as butler:
        make_inputs(butler, "run")
        for detector in range(3):
            _put_and_flush(butler, detector)
    names: dict[str, Any] = {}
    opening, routine, plan, options, recovery = re.findall(
        r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE
    )
    exec(opening, names)
    exec(plan, names)
    assert "superseded" in capsys.readouterr().out
    exec(routine, names)
    assert names["findings"] == ()
    manager = names["manager"]
    rows = manager.verify("quick").tables["file_datastore_records"]
    assert (rows.rows, rows.files) == (3, 1)
    _put_and_flush(names["butler"], 3)
    newest = _newest(Path("REPO"))
    newest.unlink()
    with pytest.raises(tree.CorruptStoreError, match=newest.name):
        manager.verify()
    exec(recovery, names)
    assert newest.name in capsys.readouterr().out
    assert manager.verify().tables["file_datastore_records"].rows == 3
    exec(options, names)
    assert ArrowOpaqueTableStorageManager.options == Options(flush_at_open=0, retention=30 * 86_400)
    names["butler"].close()


def test_every_error_class_is_explained() -> None:
    explained = set(re.findall(r"`(\w+Error)`", TEXT.partition("Their class says")[2].partition("###")[0]))
    assert explained == {*tree.__all__} - {"ArrowOpaqueError"}


def test_every_option_that_is_named_exists() -> None:
    for name in ("retention", "flush_at_open", "flush_rows", "lock_timeout", "cache_bytes"):
        assert f"`{name}`" in TEXT
        assert hasattr(Options(), name)


def _newest(root: Path) -> Path:
    """Return the newest manifest of the records' table."""
    return max(
        root.glob("opaque/*/tables/*/manifests/*.json"), key=lambda path: int(path.name.partition("-")[0])
    )
