"""Datastores without a registry of their own, beside a SQLite one."""

from __future__ import annotations

from tests.butler.suite_standalone import Standalone


class TestOnSqlite(Standalone):
    """What they know comes from a repository of either manager, and goes back to it."""

    kinds = ("sql-sqlite", "arrow-sqlite-local")
