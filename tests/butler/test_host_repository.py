"""What the host keeps private of repositories is there, and does what we take it to."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from lsst.daf.butler import Butler, Config, DatasetRef, Timespan

from arrowopaque import ConfigurationError
from arrowopaque.butler.host_repository import file_datastores, import_datasets, timespan_of
from tests.support.butlers import RECORDS, make_inputs


@pytest.fixture
def chained(tmp_path: Path) -> Config:
    """Two file datastores and one in memory, all in one chain."""
    config = Config()
    config["datastore", "cls"] = "lsst.daf.butler.datastores.chainedDatastore.ChainedDatastore"
    file = "lsst.daf.butler.datastores.fileDatastore.FileDatastore"
    children = [{"cls": "lsst.daf.butler.datastores.inMemoryDatastore.InMemoryDatastore"}]
    for number in (1, 2):
        root = f"<butlerRoot>/store{number}"
        children.append({"cls": file, "root": root, "records": {"table": f"records_{number}"}})  # type: ignore[dict-item]  # nested
    config["datastore", "datastores"] = children
    return config


def test_datastores_by_table(tmp_path: Path, chained: Config) -> None:
    Butler.makeRepo(str(tmp_path / "chained"), config=chained)
    with Butler.from_config(str(tmp_path / "chained"), writeable=True) as butler:
        found = file_datastores(butler)
        assert sorted(found) == ["records_1", "records_2"]
        assert found["records_2"].root != found["records_1"].root
        assert found["records_1"].bridge.check([uuid.uuid4()]) == set()
    Butler.makeRepo(str(tmp_path / "plain"))
    with Butler.from_config(str(tmp_path / "plain"), writeable=True) as butler:
        assert [*file_datastores(butler)] == [RECORDS]


def test_no_datastore() -> None:
    with pytest.raises(ConfigurationError, match="behind a server"):
        file_datastores(object())  # type: ignore[arg-type]  # as a client of a server


def test_datasets_keep_their_ids(tmp_path: Path) -> None:
    Butler.makeRepo(str(tmp_path))
    with Butler.from_config(str(tmp_path), writeable=True) as butler:
        dataset_type = make_inputs(butler, "one")
        data_id = butler.registry.expandDataId(instrument="Cam", detector=3)
        ref = DatasetRef(dataset_type, data_id, run="one")
        for _ in range(2):
            import_datasets(butler, [ref])
        assert butler.query_datasets("thing", "one") == [ref]


def test_timespans_are_exact() -> None:
    assert timespan_of(1, 2).nsec == (1, 2)
    for timespan in (Timespan(None, None), Timespan.makeEmpty()):
        assert timespan_of(*timespan.nsec) == timespan
