"""Roaring bitmaps in the portable form, read with every claim checked.

The libraries that read it trust the counts that a bitmap states of itself,
and write beyond their memory where these lie.
"""

from __future__ import annotations

__all__ = ["positions"]

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_PLAIN, _WITH_RUNS = 12_346, 12_347
_NO_OFFSETS = 4
"""A bitmap with runs and fewer containers than this has no offsets."""
_ARRAY_MAX = 4_096
_BITSET_BYTES = 8_192
_SPAN = 1 << 16


def positions(data: bytes, below: int) -> npt.NDArray[np.int64]:
    """Return the members of a bitmap, ascending.

    Parameters
    ----------
    data
        The whole bitmap.
    below
        What every member must be less than.

    Raises
    ------
    ValueError
        It is malformed, or has a member that is too large.
    """
    parts = list(_containers(_Reader(data), below))
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


class _Reader:
    """Takes little-endian integers off the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self.at

    def take(self, count: int, kind: str = "<u2") -> npt.NDArray[np.int64]:
        size = count * np.dtype(kind).itemsize
        if size > self.left:
            raise ValueError(f"it ends after {len(self._data)} bytes")
        found = np.frombuffer(self._data, kind, count, self.at)
        self.at += size
        return found.astype(np.int64)


def _containers(reader: _Reader, below: int) -> Iterator[npt.NDArray[np.int64]]:
    count, runs = _header(reader)
    keys, sizes = reader.take(2 * count).reshape(-1, 2).T
    sizes = sizes + 1
    if (keys[1:] <= keys[:-1]).any():
        raise ValueError("its containers do not rise")
    offsets = reader.take(count, "<u4") if not runs.any() or count >= _NO_OFFSETS else None
    for number in range(count):
        if offsets is not None and offsets[number] != reader.at:
            raise ValueError(f"container {number} is not where it says")
        # Before a run of few bytes becomes many positions.
        if keys[number] * _SPAN + sizes[number] > below:
            raise ValueError(f"it has positions above {below - 1}")
        found = _members(reader, int(sizes[number]), bool(runs[number])) + keys[number] * _SPAN
        if found[-1] >= below:
            raise ValueError(f"it has positions above {below - 1}")
        yield found
    if reader.left:
        raise ValueError(f"{reader.left} bytes follow its end")


def _header(reader: _Reader) -> tuple[int, npt.NDArray[np.bool_]]:
    """Return the number of containers, and which are runs."""
    cookie = int(reader.take(1, "<u4")[0])
    if cookie == _PLAIN:
        count = int(reader.take(1, "<u4")[0])
        flags = np.zeros(count if count <= _SPAN else 0, dtype=bool)
    elif cookie & 0xFFFF == _WITH_RUNS:
        count = (cookie >> 16) + 1
        bits = reader.take(-(-count // 8), "u1").astype(np.uint8)
        flags = np.unpackbits(bits, bitorder="little")[:count].astype(bool)
    else:
        raise ValueError(f"{cookie} is no cookie of a roaring bitmap")
    if count > _SPAN:
        raise ValueError(f"it has {count} containers, more than {_SPAN}")
    return count, flags


def _members(reader: _Reader, size: int, is_run: bool) -> npt.NDArray[np.int64]:
    """Return the members of one container, of which it says it has ``size``."""
    if is_run:
        found = _runs(reader)
    elif size <= _ARRAY_MAX:
        found = reader.take(size)
    else:
        bits = reader.take(_BITSET_BYTES, "u1").astype(np.uint8)
        found = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
    if len(found) != size or (found[1:] <= found[:-1]).any():
        raise ValueError(f"a container of {size} positions holds {len(found)}, or not in order")
    return found


def _runs(reader: _Reader) -> npt.NDArray[np.int64]:
    count = int(reader.take(1)[0])
    starts, lengths = reader.take(2 * count).reshape(-1, 2).T
    ends = starts + lengths + 1
    if (ends > _SPAN).any() or (starts[1:] < ends[:-1]).any():
        raise ValueError("runs overlap or leave their container")
    members = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
    return np.concatenate(members) if members else starts
