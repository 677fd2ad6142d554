"""The definition of a table: a frozen model ⇄ JSON ⇄ Arrow."""

from __future__ import annotations

__all__ = ["Column", "ColumnKind", "Default", "Index", "TableSpec"]

import enum
from functools import cached_property
from typing import Any, Self

import pyarrow as pa
from pydantic import Field, model_validator

from arrowopaque.format import limits
from arrowopaque.format.document import Count, Model


class ColumnKind(enum.StrEnum):
    """Logical type of a column; the values are stored, do not change them."""

    STRING = "string"
    TEXT = "text"
    SMALLINT = "int16"
    INTEGER = "int32"
    BIGINT = "int64"
    FLOAT = "float64"
    BOOLEAN = "bool"
    BINARY = "binary"
    UUID = "uuid"
    HASH = "hash"
    REGION = "region"
    TIME = "time"


STRINGS = frozenset({ColumnKind.STRING, ColumnKind.TEXT})
BITS = {ColumnKind.SMALLINT: 16, ColumnKind.INTEGER: 32, ColumnKind.BIGINT: 64, ColumnKind.TIME: 64}

_ARROW: dict[ColumnKind, pa.DataType] = {
    ColumnKind.STRING: pa.string(),
    ColumnKind.TEXT: pa.string(),
    ColumnKind.SMALLINT: pa.int16(),
    ColumnKind.INTEGER: pa.int32(),
    ColumnKind.BIGINT: pa.int64(),
    ColumnKind.FLOAT: pa.float64(),
    ColumnKind.BOOLEAN: pa.bool_(),
    ColumnKind.BINARY: pa.binary(),
    ColumnKind.UUID: pa.binary(16),
    ColumnKind.HASH: pa.binary(),
    ColumnKind.REGION: pa.binary(),
    ColumnKind.TIME: pa.int64(),
}


class Default(Model):
    """A server-side default: a literal, or SQL text when ``expression``."""

    text: str
    expression: bool = False


class Column(Model):
    """One column."""

    name: str
    kind: ColumnKind
    length: Count | None = None
    nbytes: Count | None = None
    nullable: bool = True
    autoincrement: bool = False
    default: Default | None = None
    doc: str | None = None

    @property
    def arrow_type(self) -> pa.DataType:
        """The type that the engine works on.

        UUIDs are ``binary(16)`` here because Arrow's UUID type has no compute
        kernels; files carry the Parquet UUID type.
        """
        return _ARROW[self.kind]

    @property
    def exact_type(self) -> pa.DataType:
        """The type that is stored and handed out: with the UUID type."""
        return pa.uuid() if self.kind is ColumnKind.UUID else self.arrow_type


class Index(Model):
    """A secondary index; ``options`` are the backend's own, kept as given."""

    columns: tuple[str, ...]
    options: dict[str, Any] = Field(default_factory=dict)


def _check_text(name: str) -> None:
    """Refuse a name that is no text, which Parquet and DuckDB cannot hold."""
    try:
        is_text = bool(name.encode())
    except UnicodeEncodeError:
        is_text = False
    if not is_text:
        raise ValueError(f"column name {name!r} is empty or no text")


class TableSpec(Model):
    """Columns and constraints of a table."""

    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[Index, ...] = ()
    recycle_ids: bool = True
    doc: str | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [column.name for column in self.columns]
        if not 1 <= len(names) <= limits.COLUMNS:
            raise ValueError(f"{len(names)} columns, the limit is {limits.COLUMNS}")
        for name in names:
            _check_text(name)
        if len(set(names)) != len(names):
            raise ValueError(f"duplicate column names in {names}")
        used = [
            *self.primary_key,
            *(n for u in self.unique for n in u),
            *(n for i in self.indexes for n in i.columns),
        ]
        for name in used:
            if name not in names:
                raise ValueError(f"unknown column {name!r} in a constraint")
        if len(set(self.primary_key)) != len(self.primary_key):
            raise ValueError(f"a column is twice in the primary key {self.primary_key}")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def positions(self) -> dict[str, int]:
        """Position of each column."""
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def key_positions(self) -> tuple[int, ...]:
        """Positions of the primary key's columns."""
        return tuple(self.positions[name] for name in self.primary_key)

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The schema that the engine works on."""
        return pa.schema([pa.field(c.name, c.arrow_type, c.nullable) for c in self.columns])

    @cached_property
    def key_kinds(self) -> tuple[ColumnKind, ...]:
        """Kinds of the primary key's columns, in key order."""
        return tuple(self.by_name[name].kind for name in self.primary_key)

    @cached_property
    def key_schema(self) -> pa.Schema:
        """The primary key's part of `arrow_schema`."""
        return pa.schema([self.arrow_schema.field(name) for name in self.primary_key])

    @cached_property
    def exact_schema(self) -> pa.Schema:
        """The schema that is handed out."""
        return pa.schema([pa.field(c.name, c.exact_type, c.nullable) for c in self.columns])

    @cached_property
    def sorted_by(self) -> dict[str, tuple[str, ...]]:
        """The column set that is kept sorted by each column first."""
        leading = [columns for columns in (self.primary_key, *self.lookups) if columns]
        return {columns[0]: columns for columns in reversed(leading)}

    @cached_property
    def lookups(self) -> tuple[tuple[str, ...], ...]:
        """Column sets other than the primary key that are kept sorted.

        The unique constraints come first, then the indexes; their order is
        part of the stored names of index files.
        """
        wanted = [*sorted(self.unique), *sorted(index.columns for index in self.indexes)]
        kept: list[tuple[str, ...]] = []
        for columns in wanted:
            covered = any(other[: len(columns)] == columns for other in [self.primary_key, *kept])
            if columns and not covered:
                kept.append(columns)
        return tuple(kept)
