"""The one place that time, identifiers and randomness come from."""

from __future__ import annotations

__all__ = ["backoff", "monotonic", "new_id", "new_stamp", "now", "pause"]

import random
import secrets
import time
import uuid
from datetime import UTC, datetime


def now() -> datetime:
    """Return this host's time, in UTC.

    For people only: what protects files is always the store's own clock.
    """
    return datetime.now(UTC)


def new_id() -> str:
    """Return a fresh identifier of 32 hexadecimal digits."""
    return uuid.uuid4().hex


def new_stamp() -> int:
    """Return a random positive integer of 62 bits."""
    return secrets.randbits(62)


def backoff(attempt: int, *, base: float = 0.005, limit: float = 0.5) -> float:
    """Return the seconds to wait before retry number ``attempt``, jittered."""
    return random.uniform(0.5, 1.0) * min(limit, base * float(2 ** min(attempt, 10)))


def pause(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def monotonic() -> float:
    """Return seconds since an arbitrary moment, never going back."""
    return time.monotonic()
