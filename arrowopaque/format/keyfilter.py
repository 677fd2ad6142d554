"""Parquet's split block Bloom filters: which values a row group cannot have.

Format and algorithm are those of ``BloomFilter.md`` in apache/parquet-format.
"""

from __future__ import annotations

__all__ = ["KeyFilter", "can_filter", "hash_of", "hashes_of"]

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from arrowopaque.format.thrift import Reader

_SALTS = (
    0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31,
)  # fmt: skip
_SALT_ARRAY = np.array(_SALTS, np.uint32)
_WORD_SALTS = [(4 * word, salt) for word, salt in enumerate(_SALTS)]
"""Where each word of a block begins, and its salt."""
_WORD = 0xFFFFFFFF
_BLOCK_BYTES = 32
_KNOWN: dict[int, Any] = {1: {}}
"""The one algorithm, hash and compression that there is: each is a union."""


def can_filter(kind: pa.DataType) -> bool:
    """Return whether filters tell values of a type apart."""
    return bool(
        pa.types.is_fixed_size_binary(kind)
        or pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_integer(kind)
    )


def _plain(value: Any, kind: pa.DataType) -> bytes:
    """Return a value as Parquet writes it by itself."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    # Parquet has no integers of less than 32 bits.
    return int(value).to_bytes(8 if kind.bit_width > 32 else 4, "little", signed=True)


def hash_of(value: Any, kind: pa.DataType) -> int:
    """Return the hash of a value in stored form."""
    return xxhash.xxh64_intdigest(_plain(value, kind))


def hashes_of(values: Iterable[Any], kind: pa.DataType) -> npt.NDArray[np.uint64]:
    """Return the hashes of values in stored form."""
    return np.array([hash_of(value, kind) for value in values], np.uint64)


@lru_cache(16)
def _stated_bytes(header: bytes) -> Any:
    """Return how many bytes of blocks a header says that there are.

    Those of a file's filters differ in nothing, or in this. Every header that
    there is has fewer bytes than a block.
    """
    reader = Reader(header)
    fields = reader.struct(0)
    if reader.at != len(header) or any(fields.get(field) != _KNOWN for field in (2, 3, 4)):
        raise ValueError(f"a key filter whose header is {fields}"[:200])
    return fields.get(1)


class KeyFilter:
    """One row group's filter.

    Parameters
    ----------
    data
        Bytes that have the filter as stored, with its header.
    start, stop
        Where it begins and ends in them, by default all of them.

    Raises
    ------
    ValueError, IndexError
        It is none.
    """

    __slots__ = ("_blocks", "_data", "_start")

    def __init__(self, data: bytes, start: int = 0, stop: int | None = None) -> None:
        length = (len(data) if stop is None else stop) - start
        self._blocks, header = divmod(length, _BLOCK_BYTES)
        stated = _stated_bytes(data[start : start + header])
        self._data, self._start = data, start + header
        if stated != self.nbytes or not self._blocks:
            raise ValueError(f"a key filter of {self.nbytes} bytes whose header states {stated}")

    @property
    def nbytes(self) -> int:
        """Bytes of its blocks."""
        return self._blocks * _BLOCK_BYTES

    def may_hold(self, hash: int) -> bool:
        """Return whether the row group may have the value of a hash."""
        at = self._start + ((hash >> 32) * self._blocks >> 32) * _BLOCK_BYTES
        data, low = self._data, hash & _WORD
        # Of a value that is not there the first or second bit tells, most often.
        for word, salt in _WORD_SALTS:
            bit = (low * salt & _WORD) >> 27
            if not data[at + word + (bit >> 3)] >> (bit & 7) & 1:
                return False
        return True

    def may_hold_each(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Return which of some values the row group may have."""
        words = np.frombuffer(self._data, "<u4", self.nbytes // 4, self._start).reshape(self._blocks, -1)
        at = ((hashes >> np.uint64(32)) * np.uint64(self._blocks)) >> np.uint64(32)
        low = (hashes & np.uint64(_WORD)).astype(np.uint32)
        bits = (low[:, None] * _SALT_ARRAY) >> np.uint32(27)
        found: npt.NDArray[np.bool_] = ((words[at] >> bits) & np.uint32(1)).all(axis=1)
        return found
