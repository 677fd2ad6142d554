"""Dimension records ⇄ rows of an export."""

from __future__ import annotations

__all__ = ["dimension_columns", "element_spec", "elements_of", "record_of", "record_rows"]

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
from lsst.daf.butler import DimensionElement, DimensionRecord, DimensionUniverse

from arrowopaque.butler.ddl import CODECS
from arrowopaque.butler.host_repository import timespan_of
from arrowopaque.errors import ConfigurationError
from arrowopaque.format.spec import Column, ColumnKind, TableSpec
from arrowopaque.format.values import Values
from arrowopaque.store.calls import Call

_TIMESPAN = "timespan"
_ENDS = ("_begin", "_end")
_KINDS = {
    "int": ColumnKind.BIGINT,
    "string": ColumnKind.STRING,
    "hash": ColumnKind.HASH,
    "float": ColumnKind.FLOAT,
    "bool": ColumnKind.BOOLEAN,
    "uuid": ColumnKind.UUID,
    "region": ColumnKind.REGION,
    "datetime": ColumnKind.TIME,
    _TIMESPAN: ColumnKind.TIME,
}
"""Kinds of columns, by the type that the dimension's configuration gives."""


def elements_of(universe: DimensionUniverse) -> list[DimensionElement]:
    """Return the dimensions that have records of their own, each after those
    that it refers to.
    """
    return list(universe.sorted([element for element in universe.elements if element.has_own_table]))


def dimension_columns(universe: DimensionUniverse) -> list[tuple[str, ColumnKind]]:
    """Return the dimensions that datasets have a column for: all but the
    pixels of the sky, of which there are dozens of sizes.
    """
    pixels = {dimension.name for dimension in universe.skypix_dimensions}
    return [
        (dimension.name, _KINDS[dimension.primary_key.type])
        for dimension in universe.dimensions
        if dimension.name not in pixels and dimension.primary_key.type in ("int", "string")
    ]


def element_spec(element: DimensionElement) -> TableSpec:
    """Return the table of a dimension's records.

    Raises
    ------
    ConfigurationError
        A column has a type that exports do not know.
    """
    columns: list[Column] = []
    for field in element.schema.all:
        kind = _KINDS.get(field.type)
        if kind is None:
            raise ConfigurationError(
                f"dimension {element.name!r}, column {field.name!r}: type {field.type!r} is not supported"
            )
        names = [field.name + end for end in _ENDS] if field.type == _TIMESPAN else [field.name]
        columns += [Column(name=name, kind=kind, nullable=field.nullable) for name in names]
    # The narrowest dimension comes first: partitions are ranges of it, and there are few instruments.
    return TableSpec(
        columns=tuple(columns),
        primary_key=tuple(reversed(list(element.schema.required.names))),
        doc=f"Records of the dimension {element.name}.",
    )


def record_rows(element: DimensionElement, spec: TableSpec, records: Iterable[DimensionRecord]) -> pa.Table:
    """Return records as rows of their table."""
    rows = [_row(element, record) for record in records]
    columns = Values(spec).stored_columns(rows, spec.names) if rows else [[] for _ in spec.names]
    return Call(spec.names, columns, len(rows)).table(spec.arrow_schema)


def _row(element: DimensionElement, record: DimensionRecord) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field in element.schema.all:
        value = getattr(record, field.name)
        if field.type == _TIMESPAN:
            ends = (None, None) if value is None else value.nsec
            row.update({field.name + end: nsec for end, nsec in zip(_ENDS, ends, strict=True)})
        else:
            codec = CODECS.get(_KINDS[field.type])
            row[field.name] = value if value is None or codec is None else codec.encode(value)
    return row


def record_of(element: DimensionElement, row: Mapping[str, Any]) -> DimensionRecord:
    """Return a row as a record."""
    values: dict[str, Any] = {}
    for field in element.schema.all:
        if field.type == _TIMESPAN:
            begin, end = (row[field.name + suffix] for suffix in _ENDS)
            values[field.name] = None if begin is None else timespan_of(begin, end)
        else:
            value, codec = row[field.name], CODECS.get(_KINDS[field.type])
            values[field.name] = value if value is None or codec is None else codec.decode(value)
    return element.RecordClass(**values)
