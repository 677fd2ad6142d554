"""An S3 server that counts what it is asked, for another process to see."""

from __future__ import annotations

__all__ = ["CountingS3Server"]

import multiprocessing

from benchmarks.watch import METHODS, count_request
from tests.support.s3server import Request, S3Server


class CountingS3Server(S3Server):
    """Shares its ``counts``, in the order of `METHODS`, and keeps no log."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = multiprocessing.get_context("spawn").Array("q", len(METHODS))

    def record(self, request: Request) -> None:
        """Count a request; its bytes are those of the reply."""
        count_request(self.counts, "LIST" if request.is_list else request.method, request.sent)
