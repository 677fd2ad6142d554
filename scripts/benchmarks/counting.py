"""An S3 server that counts what it is asked, for another process to see."""

from __future__ import annotations

__all__ = ["CountingS3Server"]

import threading
from pathlib import Path

from benchmarks.watch import METHODS, map_counts
from tests.support.s3server import Request, S3Server


class CountingS3Server(S3Server):
    """Shares its counters in a file, and keeps no log."""

    def __init__(self, counts: Path) -> None:
        super().__init__()
        self._counts = map_counts(counts)
        self._counting = threading.Lock()

    def record(self, request: Request) -> None:
        """Count a request; its bytes are those of the reply."""
        method = "LIST" if request.is_list else request.method
        with self._counting:
            self._counts[METHODS.index(method if method in METHODS[:4] else "other")] += 1
            self._counts[METHODS.index("bytes")] += request.sent
