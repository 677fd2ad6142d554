"""lsst table specs ⇄ ours, and how regions and times are stored."""

from __future__ import annotations

__all__ = ["CODECS", "check_names", "from_lsst", "tombstone_spec", "tombstone_table"]

import hashlib
import json
from typing import Any

import astropy.time
import sqlalchemy
from lsst.daf.butler import ddl, time_utils
from lsst.sphgeom import Region

from arrowopaque.errors import ConfigurationError
from arrowopaque.format.names import encode_table
from arrowopaque.format.spec import Column, ColumnKind, Default, Index, TableSpec
from arrowopaque.format.values import Codec

_KINDS: dict[type, ColumnKind] = {
    sqlalchemy.String: ColumnKind.STRING,
    sqlalchemy.Text: ColumnKind.TEXT,
    sqlalchemy.SmallInteger: ColumnKind.SMALLINT,
    sqlalchemy.Integer: ColumnKind.INTEGER,
    sqlalchemy.BigInteger: ColumnKind.BIGINT,
    sqlalchemy.Float: ColumnKind.FLOAT,
    sqlalchemy.Boolean: ColumnKind.BOOLEAN,
    sqlalchemy.LargeBinary: ColumnKind.BINARY,
    ddl.GUID: ColumnKind.UUID,
    ddl.Base64Bytes: ColumnKind.HASH,
    ddl.Base64Region: ColumnKind.REGION,
    ddl.AstropyTimeNsecTai: ColumnKind.TIME,
}
_TYPES = {kind: dtype for dtype, kind in _KINDS.items()}


_NANOSECOND = 1e-9


def _region_bytes(value: Any) -> bytes:
    if not isinstance(value, Region):
        raise TypeError(f"needs a Region, not {type(value).__name__}")
    return value.encode()


def _nanoseconds(value: Any) -> int:
    if not isinstance(value, astropy.time.Time):
        raise TypeError(f"needs an astropy.time.Time, not {type(value).__name__}")
    converter = time_utils.TimeConverter()
    stored = int(converter.astropy_to_nsec(value))
    for limit, bound in ((converter.min_nsec, converter.epoch), (converter.max_nsec, converter.max_time)):
        # The converter clips, and lets nobody know but the log.
        if stored == limit and abs((value - bound).to_value("s")) > _NANOSECOND:
            raise ValueError(f"is outside {converter.epoch.isot}..{converter.max_time.isot}")
    return stored


CODECS = {
    ColumnKind.REGION: Codec(_region_bytes, Region.decode),
    ColumnKind.TIME: Codec(_nanoseconds, lambda value: time_utils.TimeConverter().nsec_to_astropy(value)),
}
"""How lsst's own column values are stored."""


def _default(table: str, field: ddl.FieldSpec) -> Default | None:
    if field.default is None:
        return None
    if isinstance(field.default, str):
        return Default(text=field.default)
    if isinstance(field.default, sqlalchemy.TextClause):
        return Default(text=str(field.default), expression=True)
    raise ConfigurationError(
        f"table {table!r}, column {field.name!r}: default {field.default!r} "
        "is neither a string nor sqlalchemy.text"
    )


def _column(table: str, field: ddl.FieldSpec) -> Column:
    kind = _KINDS.get(field.dtype)
    if kind is None:
        raise ConfigurationError(
            f"table {table!r}, column {field.name!r}: type {field.dtype!r} is not supported; "
            f"use one of {', '.join(sorted(t.__name__ for t in _KINDS))}"
        )
    return Column(
        name=field.name,
        kind=kind,
        length=field.length,
        nbytes=field.nbytes,
        nullable=field.nullable,
        autoincrement=field.autoincrement,
        default=_default(table, field),
        doc=field.doc,
    )


def _index(table: str, index: ddl.IndexSpec) -> Index:
    try:
        json.dumps(index.kwargs)
    except TypeError as err:
        raise ConfigurationError(f"table {table!r}, index on {index.columns}: {err}") from err
    return Index(columns=index.columns, options=index.kwargs)


def from_lsst(table: str, spec: ddl.TableSpec) -> TableSpec:
    """Return our form of a table spec.

    Raises
    ------
    ConfigurationError
        Something in it is not supported; the message says what and why.
    """
    if not len(spec.fields):
        raise ConfigurationError(f"table {table!r} has no columns")
    if spec.foreignKeys:
        target = spec.foreignKeys[0].table
        raise ConfigurationError(
            f"table {table!r}: a foreign key to {target!r} cannot be enforced for rows that lie in data files"
        )
    if spec.exclusion:
        raise ConfigurationError(f"table {table!r}: exclusion constraints are not supported")
    try:
        return TableSpec(
            columns=tuple(_column(table, field) for field in spec.fields),
            primary_key=tuple(field.name for field in spec.fields if field.primaryKey),
            unique=tuple(sorted(tuple(columns) for columns in spec.unique)),
            indexes=tuple(
                _index(table, index) for index in sorted(spec.indexes, key=lambda index: index.columns)
            ),
            recycle_ids=spec.recycleIds,
            doc=spec.doc,
        )
    except ValueError as err:
        raise ConfigurationError(f"table {table!r}: {err}") from err


def to_lsst(spec: TableSpec) -> ddl.TableSpec:
    """Return lsst's form of a table spec."""
    key = set(spec.primary_key)
    fields = [
        ddl.FieldSpec(
            name=column.name,
            dtype=_TYPES[column.kind],
            length=column.length,
            nbytes=column.nbytes,
            primaryKey=column.name in key,
            autoincrement=column.autoincrement,
            nullable=column.nullable,
            default=_server_default(column.default),
            doc=column.doc,
        )
        for column in spec.columns
    ]
    return ddl.TableSpec(
        fields,
        unique=spec.unique,
        indexes=[ddl.IndexSpec(*index.columns, **index.options) for index in spec.indexes],
        recycleIds=spec.recycle_ids,
        doc=spec.doc,
    )


def _server_default(default: Default | None) -> Any:
    if default is None:
        return None
    return sqlalchemy.text(default.text) if default.expression else default.text


_OURS = "arrowopaque_"
_TOMBSTONES = f"{_OURS}t_"
_LONGEST = 63
STAMP = f"{_OURS}stamp"


def check_names(dialect: str, table: str, spec: TableSpec) -> None:
    """Refuse names that the database would not take, or would take for others.

    Raises
    ------
    ConfigurationError, sqlalchemy.exc.IdentifierError
        There is one, which the message names.
    """
    encode_table(table)
    if table.lower().startswith(_OURS):
        raise ConfigurationError(f"table name {table!r}: names that begin with {_OURS!r} are ours")
    if STAMP in [name.lower() for name in spec.primary_key]:
        raise ConfigurationError(f"table {table!r}: {STAMP!r} cannot be in a primary key, the name is ours")
    for what, name in [("table name", table), *((f"table {table!r}, column", name) for name in spec.names)]:
        if "\0" in name:
            raise ConfigurationError(f"{what} {name!r} has a NUL character, which no database takes")
        if dialect == "postgresql" and len(name.encode()) > _LONGEST:
            if name == table and len(name) > _LONGEST:
                # The host's own error, which counts characters.
                raise sqlalchemy.exc.IdentifierError(
                    f"Identifier {name!r} exceeds maximum length of {_LONGEST}"
                )
            # It would cut the name, and give two tables of one beginning the same rows.
            raise ConfigurationError(
                f"{what} {name!r} has {len(name.encode())} bytes of UTF-8, PostgreSQL takes {_LONGEST}"
            )
    if dialect == "sqlite":
        _check_sqlite(table, spec)


def _check_sqlite(table: str, spec: TableSpec) -> None:
    if table.lower().startswith("sqlite_"):
        raise ConfigurationError(
            f"table name {table!r}: SQLite keeps names that begin with 'sqlite_' to itself"
        )
    seen: dict[bytes, str] = {}
    for column in spec.columns:
        # As SQLite folds case: ASCII alone.
        other = seen.setdefault(column.name.encode().lower(), column.name)
        if other != column.name:
            raise ConfigurationError(
                f"table {table!r}: SQLite cannot tell the columns {other!r} and {column.name!r} apart"
            )
        if '"' in column.name and column.kind is ColumnKind.STRING:
            # The host writes the check of its length without quoting the name.
            raise ConfigurationError(
                f"table {table!r}, column {column.name!r}: a column of strings cannot have a "
                "quotation mark in its name on SQLite"
            )


def tombstone_table(table: str) -> str:
    """Return the name of a table's tombstone table."""
    name = _TOMBSTONES + table
    if len(name.encode()) <= _LONGEST:
        return name
    return _TOMBSTONES + hashlib.sha256(table.encode()).hexdigest()[:40]


def tombstone_spec(spec: TableSpec) -> ddl.TableSpec:
    """Return the definition of a table's tombstones: its primary key and a
    stamp that tells one deletion of a key from the next.
    """
    fields = []
    for name in spec.primary_key:
        column = spec.by_name[name]
        fields.append(
            ddl.FieldSpec(
                name, dtype=_TYPES[column.kind], length=column.length, nbytes=column.nbytes, primaryKey=True
            )
        )
    fields.append(ddl.FieldSpec(STAMP, dtype=sqlalchemy.BigInteger, nullable=False))
    return ddl.TableSpec(fields)
