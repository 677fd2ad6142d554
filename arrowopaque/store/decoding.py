"""Fetched bytes of a Parquet object as columns; nothing of them is believed."""

from __future__ import annotations

__all__ = [
    "Decoder",
    "Getter",
    "getter",
    "has_any_length",
    "is_repetitive",
    "plain",
    "python_values",
    "text_bytes",
    "to_exact",
    "unpacked",
]

from collections.abc import Callable, Sequence, Set
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arrowopaque.errors import CorruptStoreError
from arrowopaque.format import limits
from arrowopaque.format.columns import python_list
from arrowopaque.store.footer import Footer, chunk_digest
from arrowopaque.store.pages import check_pages
from arrowopaque.store.sparse import Parts, Sparse, cut

_PIECE_BYTES = 2**30
"""Bytes to decode at once at most. Smaller pieces cost time."""

_DISTINCT = 256
"""Different values that a column which repeats them has at most."""

_SAMPLE = 8_192
_SHARED = 1_024
"""Strings from which on those that repeat become the same object."""


def has_any_length(kind: pa.DataType) -> bool:
    """Return whether values of a type differ in length."""
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def text_bytes(column: pa.Array | pa.ChunkedArray) -> int:
    """Return the bytes of all strings of a column, each counted."""
    return pc.sum(pc.binary_length(column), min_count=0).as_py()  # type: ignore[no-any-return]  # pyarrow is untyped


def plain(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array of the engine's types."""
    array = column
    if isinstance(array, pa.ChunkedArray):
        # Arrow would copy a single chunk.
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else pa.concat_arrays(array.chunks)
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array


def unpacked(array: pa.Array) -> pa.Array:
    """Return a column without a dictionary."""
    return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array


def is_repetitive(column: pa.ChunkedArray) -> bool:
    """Return whether a column seems to have few values, each of them often."""
    # Most that do not show it at once: of so many rows the limit is that of all.
    return all(_seems_repetitive(column.slice(0, rows)) for rows in (4 * _DISTINCT, _SAMPLE))


def _seems_repetitive(sample: pa.ChunkedArray) -> bool:
    distinct: int = pc.count_distinct(sample).as_py()
    return distinct <= min(_DISTINCT, max(1, len(sample) // 4))


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values as Python objects; strings that repeat are the
    same object each time.
    """
    # A few are made sooner than looked at.
    if len(column) < _SHARED or not pa.types.is_string(column.type) or not is_repetitive(column):
        return python_list(column)
    encoded = plain(column).dictionary_encode()
    # NULL has the place after the last.
    values = np.array([*encoded.dictionary.to_pylist(), None], object)
    places = np.asarray(_numbers(encoded.indices.fill_null(len(values) - 1)))
    return values[places].tolist()  # type: ignore[no-any-return]  # of objects


def _is_ascii(text: pa.Array) -> bool:
    """Return whether all of an array's strings are, for certain."""
    data = text.buffers()[2]
    return data is None or not data.size or bool(np.frombuffer(data, np.int8).min() >= 0)


Getter = Callable[[int], Any]


def getter(array: pa.Array) -> Getter:
    """Return what returns a column's value at a place."""
    if array.null_count == len(array):
        return lambda _: None
    # Arrow itself takes ten times as long to look up one.
    plainly = None if array.null_count else _getter_without_null(array)
    return plainly or (lambda at: array[at].as_py())


def _getter_without_null(array: pa.Array) -> Getter | None:
    """Return `getter`'s answer for a column in which no value is NULL, `None`
    for a type that only Arrow knows.
    """
    kind = array.type
    if isinstance(array, pa.DictionaryArray):
        values, places = array.dictionary.to_pylist(), _numbers(array.indices)
        return lambda at: values[places[at]]
    if pa.types.is_integer(kind):
        return _numbers(array).__getitem__
    if pa.types.is_fixed_size_binary(kind):
        data, width = memoryview(array.buffers()[1])[array.offset * kind.byte_width :], kind.byte_width
        return lambda at: bytes(data[at * width : (at + 1) * width])
    if pa.types.is_string(kind):
        ends = memoryview(array.buffers()[1]).cast("i")[array.offset :]
        text = memoryview(array.buffers()[2] or b"")
        return lambda at: str(text[ends[at] : ends[at + 1]], "utf-8")
    return None


def _numbers(array: pa.Array) -> memoryview:
    """Return integers without NULL where they are; Arrow's own conversion
    imports pandas.
    """
    numbers: Any = np.frombuffer(array.buffers()[1], str(array.type))
    return memoryview(numbers[array.offset :])


def to_exact(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table of the engine's types in the types that are handed out
    and stored.
    """
    arrays = []
    for column, field in zip(table.columns, schema, strict=True):
        if isinstance(field.type, pa.BaseExtensionType):
            column = pa.chunked_array(
                [pa.ExtensionArray.from_storage(field.type, chunk) for chunk in column.chunks], field.type
            )
        arrays.append(column)
    return pa.Table.from_arrays(arrays, schema=schema)


Chunks = Set[tuple[int, str]]
"""Column chunks, each by its row group and its column."""


class Decoder:
    """Decodes row groups of one object.

    Parameters
    ----------
    footer
        Its checked footer.
    schema
        Its columns.
    size
        Its bytes.
    corrupt
        Makes the error that says what is wrong with it.
    """

    def __init__(
        self, footer: Footer, schema: pa.Schema, size: int, corrupt: Callable[[str], CorruptStoreError]
    ) -> None:
        self._footer = footer
        self._schema = schema
        self._size = size
        self._corrupt = corrupt

    def columns(self, parts: Parts, groups: Sequence[int], names: Sequence[str]) -> list[list[pa.Array]]:
        """Return the columns of each of some row groups, every one in memory
        of its own. What is stored with a dictionary has it still.

        Parameters
        ----------
        parts
            Bytes of the object, at least those of these columns.
        groups, names
            What to decode.

        Raises
        ------
        CorruptStoreError
            They are not what the footer says.
        """
        verbatim = {
            (group, name): self._check_chunk(parts, group, name) for group in groups for name in names
        }
        swelling = {chunk for chunk, is_so in verbatim.items() if not is_so and self._may_swell(*chunk)}
        encoded = self._encoded(groups, names, swelling)
        try:
            file = pq.ParquetFile(
                pa.PythonFile(Sparse(self._size, parts), mode="r"),
                metadata=self._footer.metadata,
                read_dictionary=encoded,
                pre_buffer=False,
            )
            return [self._decoded(file, group, names, swelling) for group in groups]
        except (pa.ArrowException, ValueError, OSError) as err:
            raise self._corrupt(f"row groups {groups[0]}-{groups[-1]} cannot be decoded ({err})") from err

    def _check_chunk(self, parts: Parts, group: int, name: str) -> bool:
        """Check a chunk; see `check_pages` for what is returned."""
        column, chunk = self._footer.positions[name], self._footer.chunk(group, name)
        data = cut(parts, chunk.start, chunk.length)
        if chunk_digest(data) != self._footer.digest(group, column):
            raise self._corrupt(f"row group {group} of column {column} is altered")
        try:
            return check_pages(data, self._footer.rows(group), chunk.expanded)
        except ValueError as err:
            raise self._corrupt(f"row group {group} of column {column}: {err}") from err

    def _may_swell(self, group: int, name: str) -> bool:
        """Return whether a chunk may decode to more than is taken: each row
        may stand for the same value, which may be all of the chunk.
        """
        expanded = self._footer.chunk(group, name).expanded
        is_short = self._footer.rows(group) * expanded <= limits.CHUNK_BYTES
        return not is_short and has_any_length(self._kind(name))

    def _kind(self, column: str) -> pa.DataType:
        """Return a column's type as the engine has it."""
        kind = self._schema.field(column).type
        return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind

    def _encoded(self, groups: Sequence[int], names: Sequence[str], swelling: Chunks) -> list[str]:
        """Return the columns that have a dictionary in every row group."""
        return [
            name
            for name in names
            if has_any_length(self._kind(name))
            and all(self._footer.chunk(group, name).has_dictionary for group in groups)
            and not any((group, name) in swelling for group in groups)
        ]

    def _decoded(
        self, file: pq.ParquetFile, group: int, names: Sequence[str], swelling: Chunks
    ) -> list[pa.Array]:
        others = [name for name in names if (group, name) not in swelling]
        table = file.read_row_groups([group], columns=others, use_threads=False)
        columns = [
            plain(table.column(name)) if name in others else self._guarded(file, group, name)
            for name in names
        ]
        for name, array in zip(names, columns, strict=True):
            self._check_decoded(name, array, self._footer.rows(group))
        return columns

    def _guarded(self, file: pq.ParquetFile, group: int, name: str) -> pa.Array:
        """Return a column, decoded piece by piece."""
        pieces: list[pa.Array] = []
        rows, size = _PIECE_BYTES // max(self._footer.chunk(group, name).expanded, 1), 0
        for piece in file.iter_batches(max(rows, 1), [group], [name], use_threads=False):
            pieces.append(plain(piece.column(0)))
            size += text_bytes(pieces[-1])
            if size > limits.CHUNK_BYTES:
                raise ValueError(
                    f"column {name!r} of row group {group} has more than {limits.CHUNK_BYTES} bytes"
                )
        return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)

    def _check_decoded(self, name: str, array: pa.Array, rows: int) -> None:
        is_encoded = isinstance(array, pa.DictionaryArray)
        kind = array.type.value_type if is_encoded else array.type
        if kind != self._kind(name) or len(array) != rows:
            raise ValueError(f"{len(array)} values of {array.type} in column {name!r} of {rows} rows")
        text = array.dictionary if is_encoded else array
        # That it is UTF-8 is the writer's word; that it is ASCII is seen in a third of the time.
        if pa.types.is_string(kind) and not _is_ascii(text):
            text.validate(full=True)
        if is_encoded:
            # Nor does Arrow compare the places with the dictionary, before it looks there.
            array.validate(full=True)
