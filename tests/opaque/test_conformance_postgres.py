"""The conformance suite on PostgreSQL registries."""

from __future__ import annotations

from tests.opaque.suite import OpaqueTableSuite
from tests.support.postgres import DRIVERS
from tests.support.subjects import KINDS


class TestOnPostgres(OpaqueTableSuite):
    """The SQL manager and ours, beside each other, on each driver."""

    kinds = tuple(
        name
        for name in ("sql-postgres", "sql-psycopg", "arrow-postgres-local", "arrow-psycopg-local")
        if KINDS[name].driver in (None, *DRIVERS)
    )
