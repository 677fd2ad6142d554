"""The conformance suite on PostgreSQL registries."""

from __future__ import annotations

from tests.opaque.suite import OpaqueTableSuite


class TestOnPostgres(OpaqueTableSuite):
    """The SQL manager and ours, beside each other, on both drivers."""

    kinds = ("sql-postgres", "sql-psycopg", "arrow-postgres-local", "arrow-psycopg-local")
