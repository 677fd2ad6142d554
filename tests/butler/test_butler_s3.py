"""Butlers whose records are in S3."""

from __future__ import annotations

from tests.butler.suite_datasets import Datasets
from tests.butler.suite_removal import Removal


class TestOnS3(Datasets, Removal):
    """A SQLite registry whose store is below ARROWOPAQUE_ROOT."""

    kinds = ("arrow-sqlite-s3",)
