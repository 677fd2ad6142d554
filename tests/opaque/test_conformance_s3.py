"""The conformance suite on stores in S3."""

from __future__ import annotations

from tests.opaque.suite import OpaqueTableSuite


class TestOnS3(OpaqueTableSuite):
    """Ours in both bindings."""

    kinds = ("arrow-sqlite-s3", "arrow-postgres-s3", "arrow-root-s3")
