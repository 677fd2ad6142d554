"""Table specs and rows that the tests of opaque tables share."""

from __future__ import annotations

__all__ = [
    "ODD_COLUMN_NAMES",
    "ODD_TABLE_NAMES",
    "autoincrement",
    "composite",
    "defaults",
    "every_type",
    "keys_only",
    "moment",
    "no_key",
    "odd_columns",
    "one_column",
    "record",
    "records",
    "row",
    "rows",
    "standard",
    "string_key",
    "uniques",
]

import uuid
from collections.abc import Iterable
from typing import Any

import astropy.time
import sqlalchemy
from lsst.daf.butler import ddl
from lsst.daf.butler.datastores.fileDatastore import FileDatastore
from lsst.daf.butler.time_utils import TimeConverter

Row = dict[str, Any]

# Each needs quoting, or clashes with a placeholder style of some driver.
ODD_TABLE_NAMES = ('My Table-1 "x"', "select", "tä", "a.b", "a%b", "a:b", "a'b", "Mixed", "a/../b")
ODD_COLUMN_NAMES = ("Two Words", "select", "a%b", "a(b)", "a:b", "Ü", "a.b", 'a"b', "a'b", "a;b--")


def _table(*fields: ddl.FieldSpec, **kwargs: Any) -> ddl.TableSpec:
    return ddl.TableSpec(fields=list(fields), **kwargs)


def _key(name: str = "id", dtype: type = sqlalchemy.BigInteger, **kwargs: Any) -> ddl.FieldSpec:
    return ddl.FieldSpec(name, dtype=dtype, primaryKey=True, **kwargs)


def _text(name: str, length: int = 16, **kwargs: Any) -> ddl.FieldSpec:
    return ddl.FieldSpec(name, dtype=sqlalchemy.String, length=length, **kwargs)


def standard() -> ddl.TableSpec:
    """The small table of most tests: ``id``, ``name`` NOT NULL, ``val``."""
    return _table(_key(), _text("name", nullable=False), ddl.FieldSpec("val", dtype=sqlalchemy.BigInteger))


def row(id: int | None, name: str | None = "a", val: int | None = None) -> Row:
    """One row of `standard`."""
    return {"id": id, "name": name, "val": val}


def rows(ids: Iterable[int], name: str = "a") -> list[Row]:
    """Rows of `standard` whose ``val`` is ten times their ``id``."""
    return [row(i, name, 10 * i) for i in ids]


def records() -> ddl.TableSpec:
    """The table of the file datastore."""
    return FileDatastore.makeTableSpec()


def record(
    number: int, component: str = "__NULL_STRING__", path: str | None = None, size: int | None = None
) -> Row:
    """One row of `records`, its keys in the order of the file datastore."""
    return {
        "formatter": "lsst.some.Formatter",
        "path": f"run/type/{number}.fits" if path is None else path,
        "storage_class": ("Exposure", "Catalog")[number % 2],
        "component": component,
        "checksum": None,
        "file_size": number if size is None else size,
        "dataset_id": uuid.UUID(int=number),
    }


def composite() -> ddl.TableSpec:
    """A primary key of four types, declared between other columns."""
    return _table(
        ddl.FieldSpec("before", dtype=sqlalchemy.Float),
        _key("run", sqlalchemy.Integer),
        _key("kind", sqlalchemy.String, length=8),
        ddl.FieldSpec("between", dtype=sqlalchemy.Text),
        _key("uid", ddl.GUID),
        _key("flag", sqlalchemy.Boolean),
        ddl.FieldSpec("after", dtype=sqlalchemy.BigInteger),
    )


def uniques() -> ddl.TableSpec:
    """Unique constraints beside the primary key, one of them nullable."""
    return _table(
        _key(),
        _text("name", nullable=False),
        _text("label"),
        ddl.FieldSpec("x", dtype=sqlalchemy.BigInteger),
        ddl.FieldSpec("y", dtype=sqlalchemy.BigInteger),
        unique={("name",), ("label",), ("x", "y")},
    )


def every_type() -> ddl.TableSpec:
    """One nullable column of every type that a field may have."""
    return _table(
        _key(),
        _text("short", 8),
        _text("long", 64),
        ddl.FieldSpec("unbounded", dtype=sqlalchemy.String),
        ddl.FieldSpec("text", dtype=sqlalchemy.Text),
        ddl.FieldSpec("small", dtype=sqlalchemy.SmallInteger),
        ddl.FieldSpec("integer", dtype=sqlalchemy.Integer),
        ddl.FieldSpec("big", dtype=sqlalchemy.BigInteger),
        ddl.FieldSpec("real", dtype=sqlalchemy.Float),
        ddl.FieldSpec("flag", dtype=sqlalchemy.Boolean),
        ddl.FieldSpec("blob", dtype=sqlalchemy.LargeBinary),
        ddl.FieldSpec("uid", dtype=ddl.GUID),
        ddl.FieldSpec("hash", dtype=ddl.Base64Bytes, nbytes=32),
        ddl.FieldSpec("region", dtype=ddl.Base64Region, nbytes=2048),
        ddl.FieldSpec("time", dtype=ddl.AstropyTimeNsecTai),
    )


def one_column(dtype: type, *, nullable: bool = True, **kwargs: Any) -> ddl.TableSpec:
    """``id`` and one column ``amount`` of a given type."""
    return _table(_key(), ddl.FieldSpec("amount", dtype=dtype, nullable=nullable, **kwargs))


def keys_only() -> ddl.TableSpec:
    """Nothing but a composite primary key."""
    return _table(_key("a"), _key("b"))


def string_key() -> ddl.TableSpec:
    """A primary key of text."""
    return _table(
        _key("key", sqlalchemy.String, length=32), ddl.FieldSpec("val", dtype=sqlalchemy.BigInteger)
    )


def no_key() -> ddl.TableSpec:
    """A table without a primary key."""
    return _table(
        ddl.FieldSpec("a", dtype=sqlalchemy.BigInteger), ddl.FieldSpec("b", dtype=sqlalchemy.BigInteger)
    )


def autoincrement() -> ddl.TableSpec:
    """A key that the database invents when it is absent."""
    return _table(_key(autoincrement=True), ddl.FieldSpec("val", dtype=sqlalchemy.BigInteger))


def defaults() -> ddl.TableSpec:
    """Server-side defaults: a number, an expression, a string, NOT NULL."""
    return _table(
        _key(),
        ddl.FieldSpec("number", dtype=sqlalchemy.BigInteger, default="7"),
        ddl.FieldSpec("expression", dtype=sqlalchemy.BigInteger, default=sqlalchemy.text("1+1")),
        _text("word", default=sqlalchemy.text("'x''y'")),
        ddl.FieldSpec("needed", dtype=sqlalchemy.BigInteger, nullable=False, default="3"),
    )


def odd_columns() -> ddl.TableSpec:
    """Columns whose names need quoting."""
    return _table(_key(), *(ddl.FieldSpec(name, dtype=sqlalchemy.BigInteger) for name in ODD_COLUMN_NAMES))


def moment(seconds: int) -> astropy.time.Time:
    """A time in 2020, TAI."""
    return TimeConverter().nsec_to_astropy(1_600_000_000_000_000_000 + seconds * 1_000_000_000)
