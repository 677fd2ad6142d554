"""Parquet's split block Bloom filters: which values a row group cannot have.

Format and algorithm are those of ``BloomFilter.md`` in apache/parquet-format.
"""

from __future__ import annotations

__all__ = ["KeyFilter", "Probe", "can_filter", "hashes_of", "probe_of"]

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from arrowopaque.format.thrift import Reader

_SALTS = (
    0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31,
)  # fmt: skip
_SALT_ARRAY = np.array(_SALTS, np.uint32)
_WORD = 0xFFFFFFFF
_BLOCK_BYTES = 32
_KNOWN: dict[int, Any] = {1: {}}
"""The one algorithm, hash and compression that there is: each is a union."""


class Probe(NamedTuple):
    """What is asked of filters about one value."""

    block: int
    """Upper half of its hash: chooses a block."""
    mask: int
    """The bits that it sets in that block."""


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


def probe_of(value: Any, kind: pa.DataType) -> Probe:
    """Return what to ask about a value in stored form."""
    found = xxhash.xxh64_intdigest(_plain(value, kind))
    low, mask = found & _WORD, 0
    for word, salt in enumerate(_SALTS):
        mask |= 1 << (32 * word + ((low * salt & _WORD) >> 27))
    return Probe(found >> 32, mask)


def hashes_of(values: Iterable[Any], kind: pa.DataType) -> npt.NDArray[np.uint64]:
    """Return the hashes of values in stored form."""
    return np.array([xxhash.xxh64_intdigest(_plain(value, kind)) for value in values], np.uint64)


class KeyFilter:
    """One row group's filter.

    Parameters
    ----------
    data
        The filter as stored, with its header.

    Raises
    ------
    ValueError, IndexError
        It is none.
    """

    __slots__ = ("_blocks", "_data")

    def __init__(self, data: bytes) -> None:
        header = Reader(data)
        fields = header.struct(0)
        self._data = data[header.at :]
        if any(fields.get(field) != _KNOWN for field in (2, 3, 4)) or fields.get(1) != len(self._data):
            raise ValueError(f"a key filter of {len(self._data)} bytes whose header is {fields}"[:200])
        self._blocks, rest = divmod(len(self._data), _BLOCK_BYTES)
        if rest or not self._blocks:
            raise ValueError(f"a key filter of {len(self._data)} bytes, which are no blocks")

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return len(self._data)

    def may_hold(self, probe: Probe) -> bool:
        """Return whether the row group may have the value."""
        at = (probe.block * self._blocks >> 32) * _BLOCK_BYTES
        block = int.from_bytes(self._data[at : at + _BLOCK_BYTES], "little")
        return block & probe.mask == probe.mask

    def may_hold_each(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Return which of some values the row group may have."""
        words = np.frombuffer(self._data, "<u4").reshape(self._blocks, -1)
        at = ((hashes >> np.uint64(32)) * np.uint64(self._blocks)) >> np.uint64(32)
        low = (hashes & np.uint64(_WORD)).astype(np.uint32)
        bits = (low[:, None] * _SALT_ARRAY) >> np.uint32(27)
        found: npt.NDArray[np.bool_] = ((words[at] >> bits) & np.uint32(1)).all(axis=1)
        return found
