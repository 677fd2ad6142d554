"""The conformance suite of opaque tables: every manager passes all of it."""

from __future__ import annotations

__all__ = ["OpaqueTableSuite"]

from tests.opaque.suite_arrow import Bulk, Columns, Maintenance, Queries
from tests.opaque.suite_clients import Clients
from tests.opaque.suite_delete import Delete
from tests.opaque.suite_differences import Differences
from tests.opaque.suite_fetch import Fetch
from tests.opaque.suite_insert import Insert
from tests.opaque.suite_manager import Manager, ReadOnly
from tests.opaque.suite_rows import Reading, Rows
from tests.opaque.suite_transactions import Transactions
from tests.opaque.suite_types import ColumnTypes
from tests.opaque.suite_upsert import Ensure, Replace


class OpaqueTableSuite(
    ColumnTypes,
    Rows,
    Reading,
    Insert,
    Ensure,
    Replace,
    Fetch,
    Delete,
    Transactions,
    Manager,
    ReadOnly,
    Clients,
    Differences,
    Columns,
    Queries,
    Maintenance,
    Bulk,
):
    """All parts; a subclass names the kinds of repository to run on."""
