"""Butlers on PostgreSQL registries, end to end."""

from __future__ import annotations

from tests.butler.suite_datasets import Datasets
from tests.butler.suite_removal import Removal
from tests.butler.suite_sessions import Sessions
from tests.butler.suite_standalone import Standalone
from tests.butler.suite_transfers import Transfers


class TestOnPostgres(Datasets, Removal, Transfers, Sessions, Standalone):
    """Ours; its store is below ARROWOPAQUE_ROOT."""

    kinds = ("arrow-postgres-local",)
