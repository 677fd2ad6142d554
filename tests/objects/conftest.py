"""A store on the S3 server; the suite's classes have backends of their own."""

from __future__ import annotations

import pytest

from arrowopaque.objects.base import ObjectStore
from tests.support.s3server import S3Server
from tests.support.stores import S3Backend


@pytest.fixture
def backend(s3_server: S3Server, s3_bucket: str) -> S3Backend:
    return S3Backend(s3_server, s3_bucket)


@pytest.fixture
def store(backend: S3Backend, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    # One retry, so that a fault which lasts is soon given up.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")
    return backend.open()
