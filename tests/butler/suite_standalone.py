"""Datastores without a registry of their own: quantum-backed butlers and standalone ones."""

from __future__ import annotations

__all__ = ["Standalone"]

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import (
    Butler,
    ButlerConfig,
    DatasetRef,
    Quantum,
    QuantumBackedButler,
    QuantumProvenanceData,
)
from lsst.daf.butler._standalone_datastore import instantiate_standalone_datastore
from lsst.daf.butler.datastore.record_data import DatastoreRecordData
from lsst.daf.butler.datastore.stored_file_info import StoredFileInfo

from arrowopaque import (
    ArrowDatastoreRegistryBridgeManager,
    ArrowOpaqueTableStorage,
    ArrowOpaqueTableStorageManager,
)
from tests.opaque.suite_base import SuiteBase
from tests.support.butlers import RECORDS, ButlerRepository, content, datastore_of
from tests.support.subjects import Placement

CLASSES: dict[str, Any] = {
    "OpaqueManagerClass": ArrowOpaqueTableStorageManager,
    "BridgeManagerClass": ArrowDatastoreRegistryBridgeManager,
}


def exported(butler: Butler, refs: Sequence[DatasetRef]) -> dict[str, DatastoreRecordData]:
    """Return what a datastore knows of datasets."""
    found: dict[str, DatastoreRecordData] = datastore_of(butler).export_records(refs)
    return found


class Standalone(SuiteBase):
    """Our managers as classes, where no configuration names them."""

    def quantum(self, repository: ButlerRepository) -> tuple[Quantum, list[DatasetRef], list[DatasetRef]]:
        """Return a quantum that reads the first run and writes the second."""
        inputs, outputs = repository.store("one"), repository.unstored("two")
        quantum = Quantum(
            taskName="none.such.Task",
            inputs={repository.type: inputs},
            outputs={repository.type: outputs},
            datastore_records=exported(repository.butler, inputs),
        )
        return quantum, inputs, outputs

    @contextmanager
    def quantum_butler(
        self, repository: ButlerRepository, quantum: Quantum, filename: Path | None = None
    ) -> Iterator[QuantumBackedButler]:
        """Give a quantum's butler."""
        butler = QuantumBackedButler.initialize(
            str(repository.root),
            quantum,
            repository.butler.dimensions,
            filename=None if filename is None else str(filename),
            dataset_types={"thing": repository.type},
            **CLASSES,
        )
        with closing(butler):
            assert isinstance(datastore_of(butler)._table, ArrowOpaqueTableStorage)
            yield butler

    def test_exported_records(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        (data,) = exported(repository.butler, refs[:5]).values()
        assert data.records.keys() == {ref.id for ref in refs[:5]}
        expected = repository.records()
        for id, tables in data.records.items():
            (info,) = tables[RECORDS]
            assert isinstance(info, StoredFileInfo)
            assert info.path == expected[id]
        (nothing,) = exported(repository.butler, []).values()
        assert nothing.records == {}

    @pytest.mark.parametrize("in_file", [False, True])
    def test_quantum_backed_butler(self, repository: ButlerRepository, in_file: bool) -> None:
        quantum, inputs, outputs = self.quantum(repository)
        filename = repository.site.folder / "quantum" / "records.sqlite3" if in_file else None
        if filename is not None:
            filename.parent.mkdir()
        with self.quantum_butler(repository, quantum, filename) as butler:
            assert all(butler.stored_many(inputs).values())
            assert not any(butler.stored_many(outputs).values())
            assert [butler.get(ref) for ref in inputs] == [content(i, "one") for i in range(8)]
            for ref in outputs[:6]:
                butler.put(content(int(ref.dataId["detector"]), "two"), ref)
            assert butler.get(outputs[3]) == content(3, "two")
            butler.pruneDatasets(outputs[4:6], disassociate=False, unstore=True, purge=False)
            assert [butler.stored(ref) for ref in outputs] == [True] * 4 + [False] * 4
            butler.put(content(4, "two"), outputs[4])
            provenance = butler.extract_provenance_data()
        assert provenance.available_inputs == {ref.id for ref in inputs}
        sent = QuantumProvenanceData.model_validate_json(provenance.model_dump_json())
        QuantumProvenanceData.collect_and_transfer(repository.butler, [quantum], [sent])
        repository.settle()
        repository.assert_holds([*inputs, *outputs[:5]])

    def test_predicted_butler(self, repository: ButlerRepository) -> None:
        quantum, inputs, outputs = self.quantum(repository)
        butler = QuantumBackedButler.from_predicted(
            str(repository.root),
            predicted_inputs=[ref.id for ref in inputs],
            predicted_outputs=[ref.id for ref in outputs],
            dimensions=repository.butler.dimensions,
            datastore_records=quantum.datastore_records,
            **CLASSES,
        )
        with closing(butler):
            assert [butler.get(ref) for ref in inputs] == [content(i, "one") for i in range(8)]
            (predicted,) = butler.export_predicted_datastore_records(outputs).values()
            assert predicted.records.keys() == {ref.id for ref in outputs}

    def test_standalone_datastore(self, repository: ButlerRepository) -> None:
        refs = repository.store("one")
        datastore, database = instantiate_standalone_datastore(
            ButlerConfig(str(repository.root)), repository.butler.dimensions, **CLASSES
        )
        with ExitStack() as stack:
            stack.callback(database.dispose)
            assert not any(datastore.knows_these(refs).values())
            datastore.import_records(exported(repository.butler, refs))
            assert all(datastore.knows_these(refs).values())
            table = datastore._table  # type: ignore[attr-defined]  # of file datastores only
            if repository.placement is Placement.BULK:
                assert table._backend.table.base_rows() == len(refs)
            assert datastore.get(refs[2]) == content(2, "one")
            datastore.trash(refs[:3])
            assert len(datastore.emptyTrash(dry_run=True)) == 3
            datastore.forget(refs[3:5])
            assert [ref for ref, known in datastore.knows_these(refs).items() if not known] == refs[3:5]
        repository.assert_holds(refs)
