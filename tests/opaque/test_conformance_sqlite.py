"""The conformance suite on SQLite registries."""

from __future__ import annotations

from tests.opaque.suite import OpaqueTableSuite


class TestOnSqlite(OpaqueTableSuite):
    """The SQL manager and ours, beside each other."""

    kinds = ("sql-sqlite", "arrow-sqlite-local", "arrow-memory")
