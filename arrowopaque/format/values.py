"""Python values ⇄ stored values, checked against the column's definition.

The stored form of a value is what Arrow holds: ``bytes`` of 16 for a UUID,
nanoseconds TAI for a time, encoded bytes for a region. Regions and times are
classes of other packages, so their codecs are handed in; without one the
stored form itself is accepted and given back.
"""

from __future__ import annotations

__all__ = ["Codec", "Codecs", "RejectedValueError", "Values", "columnar", "from_stored", "to_stored"]

import math
import numbers
import operator
import sys
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from arrowopaque.errors import ArrowOpaqueError
from arrowopaque.format.columns import FEW, plain_array
from arrowopaque.format.spec import BITS, STRINGS, Column, ColumnKind, TableSpec
from arrowopaque.format.uuids import uuid_of


@dataclass(frozen=True, slots=True)
class Codec:
    """How values of a foreign class are stored and rebuilt."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


Codecs = Mapping[ColumnKind, Codec]
NO_CODECS: Codecs = {}


class RejectedValueError(ArrowOpaqueError, ValueError, TypeError):
    """A value does not fit its column, or a row does not fit its table."""


def _reject(column: Column, value: Any, reason: str) -> RejectedValueError:
    shown = repr(value)
    if len(shown) > 120:
        shown = shown[:117] + "..."
    return RejectedValueError(f"column {column.name!r} ({column.kind.value}): {reason}, got {shown}")


def _string(column: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise _reject(column, value, "needs a str")
    if column.length is not None and len(value) > column.length:
        raise _reject(column, value, f"longer than its length of {column.length}")
    try:
        value.encode()
    except UnicodeEncodeError as err:
        raise _reject(column, value, "is not encodable as UTF-8") from err
    # Not what a class of its own makes of it.
    return str.__str__(value)


def _index(column: Column, value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise _reject(column, value, "needs an int")
    return operator.index(value)


def _float(column: Column, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _reject(column, value, "needs a float")
    return float(value)


def _boolean(column: Column, value: Any) -> bool:
    if isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise _reject(column, value, "needs a bool")


def _binary(column: Column, value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _reject(column, value, "needs bytes")
    result = bytes(value)
    if column.length is not None and len(result) > column.length:
        raise _reject(column, value, f"longer than its length of {column.length}")
    return result


def _hash(column: Column, value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise _reject(column, value, "needs bytes")
    return value


def _uuid(column: Column, value: Any) -> bytes:
    if isinstance(value, uuid.UUID):
        return value.bytes
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return uuid.UUID(int=value).bytes
        if isinstance(value, bytes):
            return uuid.UUID(bytes=value).bytes
        if isinstance(value, str):
            return uuid.UUID(hex=value).bytes
    except ValueError as err:
        raise _reject(column, value, f"is not a UUID ({err})") from err
    raise _reject(column, value, "needs a UUID")


_CHECKS: dict[ColumnKind, Callable[[Column, Any], Any]] = {
    ColumnKind.STRING: _string,
    ColumnKind.TEXT: _string,
    ColumnKind.FLOAT: _float,
    ColumnKind.BOOLEAN: _boolean,
    ColumnKind.BINARY: _binary,
    ColumnKind.UUID: _uuid,
    ColumnKind.HASH: _hash,
    ColumnKind.REGION: _hash,
}


_NEAR = 2_048
"""Rows that the processor keeps near while their columns are taken."""


def to_stored(
    column: Column, codecs: Codecs = NO_CODECS, *, nan_is_null: bool = False
) -> Callable[[Any], Any]:
    """Return what puts a column's non-NULL values in stored form; it raises
    `RejectedValueError` for one that does not fit.
    """
    codec = codecs.get(column.kind)
    if codec is not None:
        return partial(_encoded, column, codec)
    if nan_is_null and column.kind is ColumnKind.FLOAT:
        return partial(_float_or_null, column)
    if column.kind in STRINGS:
        return _string_encoder(column)
    if column.kind in BITS:
        return _integer_encoder(column)
    return partial(_CHECKS[column.kind], column)


def _integer_encoder(column: Column) -> Callable[[Any], int]:
    limit = 1 << (BITS[column.kind] - 1)

    def encode(value: Any) -> int:
        result = value if type(value) is int else _index(column, value)
        if -limit <= result < limit:
            return result
        raise _reject(column, value, f"is outside {-limit}..{limit - 1}")

    return encode


def _string_encoder(column: Column) -> Callable[[Any], str]:
    longest = sys.maxsize if column.length is None else column.length

    def encode(value: Any) -> str:
        if type(value) is str and len(value) <= longest and value.isascii():
            return value
        return _string(column, value)

    return encode


def _encoded(column: Column, codec: Codec, value: Any) -> Any:
    try:
        return codec.encode(value)
    except (TypeError, ValueError, AttributeError) as err:
        raise _reject(column, value, str(err)) from err


def _float_or_null(column: Column, value: Any) -> float | None:
    stored = _float(column, value)
    return None if math.isnan(stored) else stored


def from_stored(column: Column, codecs: Codecs = NO_CODECS) -> Callable[[Any], Any] | None:
    """Return what rebuilds a column's non-NULL values; `None`: nothing."""
    if column.kind is ColumnKind.UUID:
        return uuid_of
    codec = codecs.get(column.kind)
    return None if codec is None else codec.decode


def columnar(schema: pa.Schema, rows: Collection[Sequence[Any]]) -> pa.Table:
    """Return rows of stored values as an Arrow table."""
    if not rows:
        return schema.empty_table()
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


class Values:
    """Rows of one table in and out of stored form.

    Parameters
    ----------
    spec
        The table.
    codecs
        How regions and times are stored; without them their stored form is
        taken and given.
    nan_is_null
        Whether NaN is stored as NULL, as SQLite does.
    """

    def __init__(self, spec: TableSpec, codecs: Codecs = NO_CODECS, *, nan_is_null: bool = False) -> None:
        self.spec = spec
        self._codecs = codecs
        self._encoders = {
            column.name: to_stored(column, codecs, nan_is_null=nan_is_null) for column in spec.columns
        }
        self._decoders = [from_stored(column, codecs) for column in spec.columns]

    def value(self, column: Column, value: Any) -> Any:
        """Return one value, NULL included, in stored form."""
        return None if value is None else self._encoders[column.name](value)

    def sought(self, column: Column, value: Any) -> Any:
        """Return a non-NULL value that is looked for in stored form.

        More forms of a value are taken than for writing: what cannot be
        stored can still be asked for, and is found nowhere.

        Raises
        ------
        RejectedValueError
            The value has no stored form.
        """
        if column.kind in STRINGS and isinstance(value, str):
            return str.__str__(value)
        if column.kind in BITS and isinstance(value, str | bool):
            try:
                value = int(value)
            except ValueError as err:
                raise _reject(column, value, "needs an int") from err
        return self.value(column, value)

    def columns_of(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """Return the columns that a call's rows give, in the table's order.

        Raises
        ------
        RejectedValueError
            A key is unknown, or the rows' keys differ.
        """
        # What is the same for all rows is found out without a loop of Python's. Among dicts of one
        # length `stored_columns` will find the one that lacks a column.
        is_even = {*map(type, rows)} == {dict} and {*map(len, rows)} == {len(rows[0])}
        first = rows[0].keys() if is_even else self._common_keys(rows)
        if len(rows) == 1 and first == self.spec.by_name.keys():
            return self.spec.names
        if not first <= self.spec.by_name.keys():
            name = next(name for name in first if name not in self.spec.by_name)
            raise RejectedValueError(f"unknown column {name!r} with value {rows[0][name]!r}")
        names = self.spec.names
        return names if len(first) == len(names) else tuple([name for name in names if name in first])

    @staticmethod
    def _common_keys(rows: Sequence[Mapping[str, Any]]) -> Set[str]:
        """Return the keys that all rows have and no other."""
        for row in rows:
            if not isinstance(row, Mapping):
                raise RejectedValueError(f"rows must be mappings of column names to values, got {row!r}")
        first = rows[0].keys()
        for row in rows:
            if row.keys() != first:
                odd = sorted(map(str, row.keys() ^ first))
                raise RejectedValueError(f"rows of one call differ in their columns: {odd} in {dict(row)!r}")
        return first

    def stored_row(self, row: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
        """Return the stored values of some columns of one row."""
        encoders = self._encoders
        return tuple([None if (value := row[name]) is None else encoders[name](value) for name in names])

    def stored_columns(
        self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]
    ) -> list[list[Any] | pa.Array]:
        """Return the stored values of the columns that rows give, those of
        many rows as Arrow.
        """
        given: list[list[Any]] = [[] for _ in names]
        try:
            for start in range(0, len(rows), _NEAR):
                part = rows[start : start + _NEAR]
                for name, values in zip(names, given, strict=True):
                    values += map(operator.itemgetter(name), part)
        except KeyError:
            self._common_keys(rows)
            raise
        return [
            self._stored_column(self.spec.by_name[name], values)
            for name, values in zip(names, given, strict=True)
        ]

    def _stored_column(self, column: Column, values: list[Any]) -> list[Any] | pa.Array:
        """Return a column's values, NULL included, in stored form."""
        stored = self._plainly_stored(column, values)
        if stored is not None:
            return stored
        encode = self._encoders[column.name]
        return [None if value is None else encode(value) for value in values]

    def _plainly_stored(self, column: Column, values: list[Any]) -> pa.Array | None:
        """Return many values in stored form, `None` if each has to be looked
        at.
        """
        is_plain = len(values) > FEW and column.kind not in self._codecs
        return plain_array(column, values) if is_plain else None

    def sought_plainly(self, column: Column, values: list[Any]) -> pa.Array | None:
        """Return values, NULL included, that are looked for in stored form;
        `None` if each has to be `sought` by itself.
        """
        return self._plainly_stored(column, values)

    def arrow(self, table: pa.Table) -> pa.Table:
        """Return a caller's Arrow table in the engine's schema.

        Raises
        ------
        RejectedValueError
            A column is unknown, or its values do not fit.
        """
        unknown = [name for name in table.column_names if name not in self.spec.by_name]
        if unknown or len(set(table.column_names)) != len(table.column_names):
            raise RejectedValueError(f"unknown or repeated columns {unknown or table.column_names}")
        columns = [self._arrow_column(table, column) for column in self.spec.columns]
        return pa.Table.from_arrays(columns, schema=self.spec.arrow_schema)

    def _arrow_column(self, table: pa.Table, column: Column) -> pa.ChunkedArray:
        target = column.arrow_type
        if column.name not in table.column_names:
            return pa.chunked_array([pa.nulls(table.num_rows, target)])
        data = table.column(column.name)
        try:
            if isinstance(data.type, pa.BaseExtensionType):
                data = pa.chunked_array([c.storage for c in data.chunks], data.type.storage_type)
            data = data.cast(target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
            raise RejectedValueError(f"column {column.name!r} ({column.kind.value}): {err}") from err
        if column.length is not None and (column.kind in STRINGS or column.kind is ColumnKind.BINARY):
            self._check_length(column, data)
        return data

    @staticmethod
    def _check_length(column: Column, data: pa.ChunkedArray) -> None:
        longest = pc.max(pc.binary_length(data)).as_py()
        if longest is None or column.length is None or longest <= column.length:
            # As many bytes at most as there may be characters is soon seen, and enough.
            return
        measure = pc.utf8_length if column.kind in STRINGS else pc.binary_length
        longest = pc.max(measure(data)).as_py()
        if longest > column.length:
            where = pc.greater(measure(data), column.length)
            raise _reject(column, data.filter(where)[0].as_py(), f"longer than its length of {column.length}")

    def table(self, rows: Sequence[Sequence[Any]]) -> pa.Table:
        """Return whole stored rows as an Arrow table."""
        return columnar(self.spec.arrow_schema, rows)

    def python_rows(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        """Return stored rows of some columns as dicts of Python values."""
        decoders = [self._decoders[self.spec.positions[name]] for name in names]
        return [
            {
                name: value if value is None or decode is None else decode(value)
                for name, value, decode in zip(names, row, decoders, strict=True)
            }
            for row in rows
        ]

    def python_row(self, row: Sequence[Any]) -> list[Any]:
        """Return a whole stored row as Python values."""
        return [
            value if value is None or decode is None else decode(value)
            for value, decode in zip(row, self._decoders, strict=True)
        ]

    def decoder(self, position: int) -> Callable[[Any], Any] | None:
        """Return what makes a column's non-NULL stored values Python's;
        `None`: they are.
        """
        return self._decoders[position]
