"""The sorted column of row groups, searched as its type is searched best."""

from __future__ import annotations

__all__ = ["Bounds", "Keys", "Sought", "comparable", "first_word", "keys_of", "listed", "promising"]

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.store.decoding import has_any_length

Places = npt.NDArray[np.int64]


def comparable(array: pa.Array) -> npt.NDArray[Any]:
    """Return a column without NULLs as a NumPy array that sorts as Arrow
    does.
    """
    kind = array.type
    if pa.types.is_fixed_size_binary(kind):
        width = kind.byte_width
        raw = np.frombuffer(array.buffers()[1], dtype=f"S{width}", count=array.offset + len(array))
        return raw[array.offset :]
    if has_any_length(kind):
        return _objects(array.to_pylist())
    if pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    result: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return result


WORD = 8


def first_word(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Return the first bytes of values of one width, at least a word, as
    numbers that sort as they do.
    """
    first = np.dtype({"names": ["word"], "formats": [">u8"], "itemsize": values.dtype.itemsize})
    return values.view(first)["word"].astype(np.uint64)


def _objects(values: list[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def listed(values: npt.NDArray[Any]) -> list[Any]:
    """Return `comparable` values in stored form."""
    if values.dtype.kind == "S":
        # As "S" they would lose zeros at the end.
        values = values.view(f"V{values.dtype.itemsize}")
    found: list[Any] = values.tolist()
    return found


class Sought:
    """Values that are looked for in one `Keys` after another.

    Parameters
    ----------
    values
        Ascending and distinct, as `comparable` has them.
    """

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values = values

    @cached_property
    def words(self) -> npt.NDArray[np.uint64]:
        """Their `first_word`."""
        return first_word(self.values)

    def between(self, first: Any, last: Any) -> slice:
        """Return which of them are from ``first`` to ``last``."""
        start, stop = self.values.searchsorted(first, "left"), self.values.searchsorted(last, "right")
        return slice(int(start), int(stop))


class Bounds(NamedTuple):
    """Ends of each row group's leading column: for many values at once, and
    for one.
    """

    first: npt.NDArray[Any]
    last: npt.NDArray[Any]
    least: list[Any]
    greatest: list[Any]

    def around(self, value: Any) -> range:
        """Return the row groups between whose ends a value lies."""
        # Nearly always it is one: to search for the end as well would touch as much memory again.
        start = end = bisect_left(self.greatest, value)
        while end < len(self.least) and self.least[end] <= value:
            end += 1
        return range(start, end)


class Keys(ABC):
    """Values in ascending order, some perhaps several times."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory besides the column's."""
        return 0

    @property
    @abstractmethod
    def first(self) -> Any:
        """The least, as `comparable` has it."""

    @property
    @abstractmethod
    def last(self) -> Any:
        """The greatest, as `comparable` has it."""

    @abstractmethod
    def is_ordered(self) -> bool:
        """Return whether they are in order indeed."""

    @abstractmethod
    def place(self, value: Any) -> tuple[int, int]:
        """Return where a value in stored form begins and ends."""

    @abstractmethod
    def places(self, sought: Sought) -> Places:
        """Return where some values are."""

    @abstractmethod
    def start_of(self, value: Any) -> int:
        """Return where the values begin that are not less than one in stored
        form.
        """


def keys_of(array: pa.Array) -> Keys:
    """Return a column without NULLs for searching."""
    if has_any_length(array.type):
        return _ArrowKeys(array)
    return _NumpyKeys(array)


def promising(parts: Mapping[int, Keys], sought: Sought) -> list[int]:
    """Return which of some parts of one column, in its order, may have one of
    the values.

    One search through all of them keeps other threads from waiting.
    """
    prefixes = [keys.prefix for keys in parts.values() if isinstance(keys, _NumpyKeys)]
    known = [prefix for prefix in prefixes if prefix is not None]
    if not known or len(known) < len(parts):
        return list(parts)
    words, asked = np.concatenate(known), sought.words
    start = words.searchsorted(asked, "left")
    hit = np.flatnonzero(words[np.minimum(start, len(words) - 1)] == asked)
    ends = np.cumsum([len(prefix) for prefix in known])
    first = ends.searchsorted(start[hit], "right")
    last = ends.searchsorted(words.searchsorted(asked[hit], "right") - 1, "right")
    # Equal values may begin in one part and end in another.
    numbers = np.array(list(parts))
    return [int(number) for number in numbers[np.unique(_expand(first, last + 1 - first))]]


class _NumpyKeys(Keys):
    """Values of one width, where they are in Arrow's memory."""

    __slots__ = ("_ascends", "_kind", "_values", "_words", "prefix")

    def __init__(self, array: pa.Array) -> None:
        self._kind = array.type
        self._values = comparable(array)
        self.prefix, self._ascends = self._telling_prefix()
        self._words = None if self.prefix is None else self.prefix.data

    def _telling_prefix(self) -> tuple[npt.NDArray[Any] | None, bool]:
        """Return the first bytes of values of several words as numbers, which
        are searched in a fifth of the time, if they are equal only where the
        values are; and whether they show that the values are in order.
        """
        if self._values.dtype.kind != "S" or self._values.dtype.itemsize < WORD:
            return None, False
        prefix = first_word(self._values)
        if (prefix[1:] > prefix[:-1]).all():
            return prefix, True
        same = self._values[1:] == self._values[:-1]
        return (prefix if np.array_equal(prefix[1:] == prefix[:-1], same) else None), False

    @property
    def nbytes(self) -> int:
        return 0 if self.prefix is None else self.prefix.nbytes

    @property
    def first(self) -> Any:
        return self._values[0]

    @property
    def last(self) -> Any:
        return self._values[-1]

    def is_ordered(self) -> bool:
        return self._ascends or not (self._values[:-1] > self._values[1:]).any()

    def place(self, value: Any) -> tuple[int, int]:
        if self._words is None:
            search = self._values.searchsorted
            return int(search(value, "left")), int(search(value, "right"))
        # For one value Python's own search takes a fifth of NumPy's time.
        word = int.from_bytes(value[:WORD], "big")
        start = bisect_left(self._words, word)
        if self._values[start : start + 1].tobytes() != value:
            return start, start
        return start, bisect_right(self._words, word, start)

    def places(self, sought: Sought) -> Places:
        near = sought.between(self.first, self.last)
        if self.prefix is None:
            values, asked = self._values, sought.values[near]
        else:
            values, asked = self.prefix, sought.words[near]
        # None is greater than the last, so that there is a value at each place.
        left = values.searchsorted(asked, "left")
        hit = np.flatnonzero(values[left] == asked)
        if self.prefix is not None:
            hit = hit[self._values[left[hit]] == sought.values[near][hit]]
        if self._ascends:
            return left[hit]
        return _expand(left[hit], values.searchsorted(asked[hit], "right") - left[hit])

    def start_of(self, value: Any) -> int:
        return int(np.searchsorted(self._values, comparable(pa.array([value], self._kind)), "left")[0])


class _ArrowKeys(Keys):
    """Strings, or bytes of any length: as objects of Python's they would
    take several times their memory.
    """

    __slots__ = ("_array",)

    def __init__(self, array: pa.Array) -> None:
        self._array = array

    @property
    def first(self) -> Any:
        return self._array[0].as_py()

    @property
    def last(self) -> Any:
        return self._array[-1].as_py()

    def is_ordered(self) -> bool:
        return not pc.any(pc.less(self._array[1:], self._array[:-1])).as_py()

    def place(self, value: Any) -> tuple[int, int]:
        start = self.start_of(value)
        return start, bisect_right(self._array, value, start, key=_as_python)

    def places(self, sought: Sought) -> Places:
        near = pa.array(sought.values[sought.between(self.first, self.last)], self._array.type)
        found = pc.is_in(self._array, value_set=near)
        return np.flatnonzero(found.to_numpy(zero_copy_only=False))

    def start_of(self, value: Any) -> int:
        return bisect_left(self._array, value, key=_as_python)


def _as_python(scalar: pa.Scalar) -> Any:
    return scalar.as_py()


def _expand(starts: npt.NDArray[Any], counts: npt.NDArray[Any]) -> Places:
    """Return the concatenated ranges ``[start, start + count)``."""
    total = int(counts.sum())
    if total == len(counts) and (counts == 1).all():
        return starts.astype(np.int64, copy=False)
    shifts = np.repeat(starts - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
    result: Places = np.arange(total, dtype=np.int64) + shifts
    return result
