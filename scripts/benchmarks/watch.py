"""Measures: seconds, peak memory and requests of what runs inside."""

from __future__ import annotations

__all__ = ["METHODS", "Watch", "map_counts"]

import gc
import mmap
import re
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

METHODS = ("GET", "PUT", "HEAD", "LIST", "other", "bytes")
"""What is counted of requests, in the order of the shared counters."""

_PROCESS = Path("/proc/self")


def map_counts(path: Path) -> memoryview:
    """Return counters in the order of `METHODS`, which all processes share that
    map this file; the first one makes it.
    """
    size = 8 * len(METHODS)
    with path.open("a+b") as file:
        file.truncate(size)
        return memoryview(mmap.mmap(file.fileno(), size)).cast("q")


def _kilobytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+)", (_PROCESS / "status").read_text())
    assert found is not None, f"Linux tells {name}"
    return int(found[1])


def _start_peak() -> int:
    """Forget the peak of memory so far; return the bytes in use."""
    if not _PROCESS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (_PROCESS / "clear_refs").write_text("5")
    return _kilobytes("VmRSS") * 1024


def _peak() -> int:
    if not _PROCESS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return _kilobytes("VmHWM") * 1024


class Watch:
    """Adds up what is done inside, and leaves out the rest.

    Parameters
    ----------
    counts
        The file with the counters of requests.
    """

    def __init__(self, counts: Path | None = None) -> None:
        self._counts = None if counts is None else map_counts(counts)
        self.clear()

    def clear(self) -> None:
        """Start over."""
        self.seconds = 0.0
        self.operations = 0
        self.peak_bytes = 0
        self._requests = [0] * len(METHODS)

    @contextmanager
    def __call__(self, operations: int = 1) -> Iterator[None]:
        """Measure so many operations."""
        # What the benchmark holds is not to be searched for garbage meanwhile.
        gc.collect()
        gc.freeze()
        with self.counting():
            used, start = _start_peak(), time.perf_counter()
            yield
            seconds = time.perf_counter() - start
        gc.unfreeze()
        self.add(seconds, operations, _peak() - used)

    def add(self, seconds: float, operations: int, peak_bytes: int) -> None:
        """Add what another process has measured."""
        self.seconds += seconds
        self.operations += operations
        self.peak_bytes = max(self.peak_bytes, peak_bytes)

    def take(self, other: Watch) -> None:
        """Add what another watch has measured."""
        self.add(other.seconds, other.operations, other.peak_bytes)
        self._requests = [sum(parts) for parts in zip(self._requests, other._requests, strict=True)]

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count requests only."""
        before = self._now()
        yield
        self._requests = [
            sum(parts) - old
            for parts, old in zip(zip(self._requests, self._now(), strict=True), before, strict=True)
        ]

    def _now(self) -> Sequence[int]:
        return [0] * len(METHODS) if self._counts is None else list(self._counts)

    @property
    def each(self) -> float:
        """Seconds for one operation."""
        return self.seconds / self.operations

    @property
    def requests(self) -> dict[str, float]:
        """Requests and bytes for one operation; nothing where none are counted."""
        if self._counts is None or not self.operations:
            return {}
        return {name: count / self.operations for name, count in zip(METHODS, self._requests, strict=True)}
