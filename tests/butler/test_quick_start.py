"""README, "Install" and "Quick start": what is shown there is run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from lsst.daf.butler import Butler, Config

from arrowopaque import ArrowOpaqueTableStorageManager, ConstraintError, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from tests.support import specs
from tests.support.butlers import RECORDS, content, make_inputs
from tests.support.console import Step, run_steps, steps_of
from tests.support.s3server import S3Server

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
START = README.partition("## Quick start\n")[2].partition("\n## ")[0]
SEED_COMMAND, SEED_PYTHON, EXPORT_CONFIG, CREATE, EXPORT_ROOT, READ, STAGE, COMMIT = steps_of(START)
OPAQUE = "arrowopaque.ArrowOpaqueTableStorageManager"


def test_the_extras_exist() -> None:
    install = README.partition("## Install\n")[2].partition("\n## ")[0]
    named = {
        name for names in re.findall(r"pip install '\.\[([\w,]+)\]'", install) for name in names.split(",")
    }
    assert named == {"butler", "postgres"}
    assert named <= set(metadata("arrowopaque").get_all("Provides-Extra") or ())


@pytest.mark.parametrize(
    "way", [[SEED_COMMAND], [SEED_PYTHON], [EXPORT_CONFIG, CREATE]], ids=["command", "python", "environment"]
)
def test_each_way_makes_a_repository(way: Sequence[Step], tmp_path: Path) -> None:
    assert run_steps(way, tmp_path, {"ARROWOPAQUE_ROOT": "", "DAF_BUTLER_CONFIG_PATH": ""}) == []
    assert Config(str(tmp_path / "REPO" / "butler.yaml"))["registry", "managers", "opaque"] == OPAQUE
    with Butler.from_config(str(tmp_path / "REPO"), writeable=True) as butler:
        make_inputs(butler, "run")
        butler.put(content(0, "run"), "thing", instrument="Cam", detector=0, run="run")
        ArrowOpaqueTableStorageManager.of_butler(butler).flush()
    (root,) = (tmp_path / "REPO" / "opaque").iterdir()
    reading = replace(READ, command=READ.command.replace("STORE_ID", root.name))
    assert run_steps([reading], tmp_path, {}) == []


def test_the_records_without_the_registry_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    root = StoreRoot("REPO/opaque/STORE_ID")
    root.register(RECORDS, from_lsst(RECORDS, specs.records()))
    root.table(RECORDS).insert(*[specs.record(n) for n in range(3)])
    exec(READ.command, {})
    told = capsys.readouterr().out
    assert f"['{RECORDS}']" in told
    assert "sum(file_size)" in told


def test_a_base_in_a_bucket(tmp_path: Path, s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    named = replace(EXPORT_ROOT, command=EXPORT_ROOT.command.replace("bucket", bucket))
    assert named != EXPORT_ROOT
    environment = {"DAF_BUTLER_CONFIG_PATH": "", **s3_server.environment}
    told = Step(0, "arrowopaque status REPO\n", f"store ... of a registry, at s3://{bucket}/opaque/...")
    assert run_steps([named, SEED_COMMAND, told], tmp_path, environment) == []


def test_staged_rows(s3_bucket: str) -> None:
    spec = from_lsst(RECORDS, specs.records())
    StoreRoot(f"s3://{s3_bucket}/batch").register(RECORDS, spec)
    stage, commit = (step.command.replace("s3://bucket", f"s3://{s3_bucket}") for step in (STAGE, COMMIT))
    receipts = []
    for start in (0, 10):
        rows = [specs.record(n) for n in range(start, start + 10)]
        names: dict[str, Any] = {"arrow_table": pa.Table.from_pylist(_columns(rows), spec.arrow_schema)}
        exec(stage, names)
        receipts.append(names["receipt"])
    for _ in range(2):
        exec(commit, {"receipts": receipts})
        assert StoreRoot(f"s3://{s3_bucket}/batch").status().tables[RECORDS].rows == 20
    exec(stage, names)
    with pytest.raises(ConstraintError):
        exec(commit, {"receipts": [names["receipt"]]})


def _columns(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as Arrow has them."""
    return [{name: getattr(value, "bytes", value) for name, value in row.items()} for row in rows]
