"""The conformance suite on PostgreSQL registries."""

from __future__ import annotations

from tests.opaque.suite import OpaqueTableSuite


class TestOnPostgres(OpaqueTableSuite):
    """The SQL manager and ours, beside each other."""

    kinds = ("sql-postgres", "arrow-postgres-local")
