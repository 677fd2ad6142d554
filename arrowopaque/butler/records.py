"""Records of many datasets from one repository to another, as Arrow."""

from __future__ import annotations

__all__ = ["export_datastore_records_table", "import_datastore_records_table"]

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
from lsst.daf.butler import Butler, DatasetId
from lsst.daf.butler.datastore.record_data import DatastoreRecordTable
from lsst.daf.butler.datastore.stored_file_info import NULLSTR, StoredFileInfoTable
from lsst.daf.butler.registry.interfaces import FakeDatasetRef

from arrowopaque.butler.bridge import ArrowDatastoreRegistryBridge
from arrowopaque.butler.datastores import Leaf, leaves
from arrowopaque.butler.storage import ArrowOpaqueTableStorage
from arrowopaque.format.columns import python_list


def export_datastore_records_table(butler: Butler, datasets: Collection[DatasetId]) -> DatastoreRecordTable:
    """Return datastore records.

    What lsst's function of this name returns, without a Python object for
    each row.

    Parameters
    ----------
    butler
        The repository, with any manager.
    datasets
        The datasets, known or not.

    Returns
    -------
    table
        The records of those that the datastores have; not of those in the
        trash. Datastore by datastore, and from our tables in the order of
        ``dataset_id`` and ``component``.
    """
    return DatastoreRecordTable.combine([_exported(leaf, datasets) for leaf in leaves(butler)[0]])


def _exported(leaf: Leaf, datasets: Collection[DatasetId]) -> DatastoreRecordTable:
    if leaf.bridge is None or not isinstance(leaf.table, ArrowOpaqueTableStorage):
        table: DatastoreRecordTable = leaf.datastore.export_table(datasets)
        return table
    schema = StoredFileInfoTable.make_arrow_schema()
    found = leaf.bridge.check(datasets)
    rows = leaf.table.fetch_arrow(schema.names, dataset_id=list(found))
    # What stands for NULL in the table, in the key and in a column that has none.
    for name, is_absent in (
        ("component", pc.equal(rows.column("component"), NULLSTR)),
        ("file_size", pc.less(rows.column("file_size"), 0)),
    ):
        at = rows.column_names.index(name)
        kind = rows.schema.field(name).type
        rows = rows.set_column(at, name, pc.if_else(is_absent, pa.scalar(None, kind), rows.column(name)))
    return DatastoreRecordTable.from_stored_file_info_table(leaf.name, StoredFileInfoTable.from_arrow(rows))


def import_datastore_records_table(butler: Butler, table: DatastoreRecordTable) -> None:
    """Add datastore records.

    What lsst's function of this name does, without a Python object for each
    row, and all or nothing.

    Parameters
    ----------
    butler
        The repository, with any manager, which has the datasets already.
    table
        Records; in a chain each goes to the datastore that it names, else all
        to the one there is.

    Raises
    ------
    ValueError
        The chain has no such datastore.
    sqlalchemy.exc.IntegrityError
        There are records of a dataset already, or it is unknown. Nothing was
        written.
    """
    found, is_chain = leaves(butler)
    if is_chain:
        table.validate_datastore_names([leaf.name for leaf in found])
    with butler.transaction():
        for leaf in found:
            _import(leaf, table.filter_by_datastore_name(leaf.name) if is_chain else table)


def _import(leaf: Leaf, table: DatastoreRecordTable) -> None:
    if leaf.bridge is None or not isinstance(leaf.table, ArrowOpaqueTableStorage):
        leaf.datastore.import_table(table)
        return
    rows = table.to_stored_file_info_table().to_arrow()
    if not rows.num_rows:
        return
    for name, absent in (("component", NULLSTR), ("file_size", -1)):
        at = rows.column_names.index(name)
        rows = rows.set_column(at, name, pc.fill_null(_plain(rows.column(name)), absent))
    # A disassembled dataset has several records and one location.
    ids = pc.unique(pa.chunked_array([chunk.storage for chunk in rows.column("dataset_id").chunks]))
    hexes = [id.hex() for id in python_list(ids)]
    if isinstance(leaf.bridge, ArrowDatastoreRegistryBridge):
        leaf.bridge.locate(hexes)
    else:
        leaf.bridge.insert([FakeDatasetRef(DatasetId(hex)) for hex in hexes])
    leaf.table.insert_arrow(rows)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
