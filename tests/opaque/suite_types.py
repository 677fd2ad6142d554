"""Column types: what comes back, and what is refused."""

from __future__ import annotations

__all__ = ["ColumnTypes"]

import math
import uuid
from dataclasses import dataclass, field
from typing import Any

import astropy.time
import pytest
import sqlalchemy
from lsst.daf.butler import ddl
from lsst.daf.butler.time_utils import TimeConverter
from lsst.sphgeom import Angle, Box, Circle, ConvexPolygon, UnitVector3d
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, StatementError

from tests.opaque.suite_base import ArrowFailure, SuiteBase, assert_holds, needs, once, raises
from tests.support import specs
from tests.support.subjects import Subject

_UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
_BOX = Box.fromDegrees(1.0, 2.0, 3.0, 4.0)
_POLYGON = ConvexPolygon([UnitVector3d(1, 0, 0), UnitVector3d(0, 1, 0), UnitVector3d(0, 0, 1)])
_CIRCLE = Circle(UnitVector3d(1, 0, 0), Angle(0.1))
_TIME = TimeConverter().nsec_to_astropy(1_600_000_000_123_456_789)
_UTC = astropy.time.Time("2021-01-01T00:00:00", scale="utc")


class _Shown(str):
    """A string that looks like another."""

    __slots__ = ()

    def __str__(self) -> str:
        return "shown"


@dataclass(frozen=True)
class Valid:
    """Values that a column takes, each given as it comes back, or in pairs."""

    name: str
    dtype: type
    values: tuple[Any, ...]
    pairs: tuple[tuple[Any, Any], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def all_pairs(self) -> list[tuple[Any, Any]]:
        return [*((value, value) for value in self.values), *self.pairs]


def _integers(bits: int) -> tuple[int, ...]:
    limit = 2 ** (bits - 1)
    return (0, -1, 5, limit - 1, -limit)


VALID = (
    Valid("big", sqlalchemy.BigInteger, _integers(64)),
    Valid("integer", sqlalchemy.Integer, _integers(32)),
    Valid("small", sqlalchemy.SmallInteger, _integers(16)),
    Valid("float", sqlalchemy.Float, (0.1, -0.0, 1e308, 5e-324, math.inf, -math.inf), pairs=((3, 3.0),)),
    Valid("bool", sqlalchemy.Boolean, (True, False), pairs=((1, True), (0, False))),
    Valid(
        "string",
        sqlalchemy.String,
        ("abc", "12345678", "é" * 8, " a ", "a'b", 'a"b', "a%b"),
        options={"length": 8},
    ),
    Valid("string-as-text", sqlalchemy.String, ("", "x" * 64, "\n\t", "𝄞"), options={"length": 64}),
    Valid("unbounded-string", sqlalchemy.String, ("", "x" * 1000)),
    Valid("text", sqlalchemy.Text, ("", "é", "x" * 100_000), pairs=((_Shown("a"), "a"),)),
    Valid(
        "blob",
        sqlalchemy.LargeBinary,
        (b"", b"\x00\xff", b"x" * 100_000),
        pairs=((bytearray(b"ab"), b"ab"), (memoryview(b"cd"), b"cd")),
    ),
    Valid(
        "uuid",
        ddl.GUID,
        (_UUID,),
        pairs=((5, uuid.UUID(int=5)), (_UUID.bytes, _UUID), (_UUID.hex, _UUID), (f"{{{_UUID}}}", _UUID)),
    ),
    Valid("hash", ddl.Base64Bytes, (b"", b"\x00\xff", b"1234"), options={"nbytes": 4}),
    Valid("region", ddl.Base64Region, (_BOX, _POLYGON, _CIRCLE), options={"nbytes": 2048}),
    Valid("time", ddl.AstropyTimeNsecTai, (_TIME,), pairs=((_UTC, _UTC.tai),)),
)


@dataclass(frozen=True)
class Invalid:
    """A value outside a column's type; the SQL manager's error for it on each
    dialect, `None` where it is stored or changed silently.
    """

    name: str
    dtype: type
    value: Any
    sqlite: type[Exception] | None
    postgresql: type[Exception] | None
    options: dict[str, Any] = field(default_factory=dict)


_SHORT = {"length": 8}
INVALID = (
    Invalid("big-overflow", sqlalchemy.BigInteger, 2**63, OverflowError, DataError),
    Invalid("big-fraction", sqlalchemy.BigInteger, 1.5, None, None),
    Invalid("big-word", sqlalchemy.BigInteger, "x", None, DataError),
    Invalid("big-bytes", sqlalchemy.BigInteger, b"ab", None, ProgrammingError),
    Invalid("integer-overflow", sqlalchemy.Integer, 2**31, None, DataError),
    Invalid("small-overflow", sqlalchemy.SmallInteger, 2**15, None, DataError),
    Invalid("float-word", sqlalchemy.Float, "x", StatementError, DataError),
    Invalid("bool-two", sqlalchemy.Boolean, 2, StatementError, StatementError),
    Invalid("bool-word", sqlalchemy.Boolean, "true", StatementError, StatementError),
    Invalid("string-long", sqlalchemy.String, "123456789", IntegrityError, DataError, _SHORT),
    Invalid("string-long-accents", sqlalchemy.String, "é" * 9, IntegrityError, DataError, _SHORT),
    Invalid("string-long-blanks", sqlalchemy.String, "12345678  ", IntegrityError, None, _SHORT),
    Invalid("string-over-32", sqlalchemy.String, "x" * 65, None, None, {"length": 64}),
    Invalid("string-number", sqlalchemy.String, 5, None, None, _SHORT),
    Invalid("string-bytes", sqlalchemy.String, b"ab", None, None, _SHORT),
    Invalid("string-surrogate", sqlalchemy.String, "\ud800", UnicodeEncodeError, UnicodeEncodeError, _SHORT),
    Invalid("blob-long", sqlalchemy.LargeBinary, b"123456789", None, None, {"length": 4}),
    Invalid("blob-word", sqlalchemy.LargeBinary, "str", StatementError, TypeError),
    Invalid("blob-number", sqlalchemy.LargeBinary, 5, StatementError, TypeError),
    Invalid("uuid-word", ddl.GUID, "xyz", StatementError, StatementError),
    Invalid("uuid-bytes", ddl.GUID, b"ab", StatementError, StatementError),
    Invalid("uuid-negative", ddl.GUID, -1, StatementError, StatementError),
    Invalid("uuid-fraction", ddl.GUID, 1.5, StatementError, StatementError),
    Invalid("hash-word", ddl.Base64Bytes, "str", StatementError, StatementError, {"nbytes": 4}),
    Invalid(
        "hash-bytearray", ddl.Base64Bytes, bytearray(b"ab"), StatementError, StatementError, {"nbytes": 4}
    ),
    Invalid("region-bytes", ddl.Base64Region, b"abc", StatementError, StatementError, {"nbytes": 2048}),
    Invalid("time-number", ddl.AstropyTimeNsecTai, 5, StatementError, StatementError),
    Invalid("time-word", ddl.AstropyTimeNsecTai, "2021-01-01", StatementError, StatementError),
)


class ColumnTypes(SuiteBase):
    """Every type that a field may have."""

    @pytest.mark.parametrize("case", VALID, ids=lambda case: case.name)
    def test_values_come_back_as_they_were(self, subject: Subject, case: Valid) -> None:
        pairs = [*case.all_pairs, (None, None)]
        given = [{"id": i, "amount": value} for i, (value, _) in enumerate(pairs)]
        table = subject.table(specs.one_column(case.dtype, **case.options), *given)
        for i, (_, expected) in enumerate(pairs):
            (found,) = table.fetch(id=i)
            assert found["amount"] == expected
            assert type(found["amount"]) is type(expected)

    @pytest.mark.parametrize("case", VALID, ids=lambda case: case.name)
    def test_equality_on_every_type(self, subject: Subject, case: Valid) -> None:
        given = [{"id": i, "amount": value} for i, (value, _) in enumerate(case.all_pairs)]
        table = subject.table(
            specs.one_column(case.dtype, **case.options), *given, {"id": -1, "amount": None}
        )
        for _, expected in case.all_pairs:
            found = {row["id"] for row in table.fetch(amount=expected)}
            assert found == {i for i, (_, other) in enumerate(case.all_pairs) if other == expected}

    @pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
    def test_values_outside_their_type(self, subject: Subject, case: Invalid) -> None:
        table = subject.table(specs.one_column(case.dtype, **case.options))
        given = [{"id": 1, "amount": None}, {"id": 2, "amount": case.value}]
        error = case.postgresql if subject.dialect == "postgresql" else case.sqlite
        if error is not None:
            with raises(subject, sqlite=error):
                table.insert(*given)
            assert list(table.fetch()) == []
        elif subject.is_arrow:
            with pytest.raises(ArrowFailure, match="amount"):
                table.insert(*given)
            assert list(table.fetch()) == []
        else:
            table.insert(*given)
            assert len(list(table.fetch())) == 2

    def test_nan_is_null_on_sqlite(self, subject: Subject) -> None:
        given = [{"id": 1, "amount": math.nan}, {"id": 2, "amount": 1.0}]
        table = subject.table(specs.one_column(sqlalchemy.Float), *given)
        found = {row["id"]: row["amount"] for row in table.fetch()}
        if subject.dialect == "sqlite":
            assert found == {1: None, 2: 1.0}
        else:
            assert math.isnan(found[1])
            assert found[2] == 1.0

    def test_nan_against_not_null(self, subject: Subject) -> None:
        table = subject.table(specs.one_column(sqlalchemy.Float, nullable=False))
        given = [{"id": 1, "amount": math.nan}, {"id": 2, "amount": 1.0}]
        if subject.dialect == "sqlite":
            with pytest.raises(IntegrityError):
                table.insert(*given)
            assert list(table.fetch()) == []
        else:
            table.insert(*given)
            assert len(list(table.fetch())) == 2

    @needs("registry")
    def test_empty_short_string(self, subject: Subject) -> None:
        # Short strings have a length check on SQLite, as Oracle has no "".
        table = subject.table(specs.one_column(sqlalchemy.String, length=8))
        given = [{"id": 1, "amount": ""}, {"id": 2, "amount": "a"}]
        if subject.dialect == "sqlite":
            with pytest.raises(IntegrityError):
                table.insert(*given)
            assert list(table.fetch()) == []
        else:
            table.insert(*given)
            assert_holds(table, given)

    @needs("registry")
    def test_nul_in_a_string(self, subject: Subject) -> None:
        table = subject.table(specs.one_column(sqlalchemy.Text))
        given = [{"id": 1, "amount": "nul\x00x"}, {"id": 2, "amount": "a"}]
        if subject.dialect == "postgresql":
            # psycopg2 raises the one, psycopg 3 the other.
            with pytest.raises((ValueError, DataError)):
                table.insert(*given)
            assert list(table.fetch()) == []
        else:
            table.insert(*given)
            subject.settle()
            assert_holds(table, given)

    def test_time_keeps_nanoseconds_in_tai(self, subject: Subject) -> None:
        given = [{"id": 1, "amount": _TIME}, {"id": 2, "amount": _UTC}]
        table = subject.table(specs.one_column(ddl.AstropyTimeNsecTai), *given)
        found = {row["id"]: row["amount"] for row in table.fetch()}
        assert {time.scale for time in found.values()} == {"tai"}
        assert {time.format for time in found.values()} == {"jd"}
        assert TimeConverter().astropy_to_nsec(found[1]) == 1_600_000_000_123_456_789

    def test_all_types_in_one_row(self, subject: Subject) -> None:
        values = dict(
            short="s", long="l" * 40, unbounded="u", text="t", small=1, integer=2, big=3, real=0.5, flag=True
        )
        full = {"id": 1, **values, "blob": b"b", "uid": _UUID, "hash": b"h", "region": _BOX, "time": _TIME}
        names = [column.name for column in specs.every_type().fields]
        empty = {**dict.fromkeys(names), "id": 2}
        table = subject.table(specs.every_type(), full, empty)
        assert dict(next(table.fetch(id=1))) == full
        assert dict(next(table.fetch(id=2))) == empty
        assert list(next(table.fetch(id=1))) == names

    @once
    def test_foreign_types(self, subject: Subject) -> None:
        spec = specs.one_column(sqlalchemy.DateTime)
        if subject.is_arrow:
            with pytest.raises(ValueError, match="amount"):
                subject.manager.register("dates", spec)
            assert subject.manager.get("dates") is None
        else:
            assert subject.manager.register("dates", spec).name == "dates"
