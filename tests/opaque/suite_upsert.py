"""The conformance of `ensure` and `replace`."""

from __future__ import annotations

__all__ = ["Ensure", "Replace"]

import uuid
from typing import Any

import pytest
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError, StatementError

from tests.opaque.suite_base import SuiteBase, assert_holds, contents, needs, raises
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import Subject

_UNIQUE = [
    {"id": 1, "name": "a", "label": "l", "x": 1, "y": 1},
    {"id": 2, "name": "b", "label": "m", "x": 2, "y": 2},
]


def _composite(run: int, kind: str, **values: Any) -> dict[str, Any]:
    key = {"run": run, "kind": kind, "uid": uuid.UUID(int=run), "flag": True}
    return {**key, "before": None, "between": None, "after": None, **values}


class Ensure(SuiteBase):
    """`ensure` inserts what is new and keeps what is there."""

    def test_ensure_new_and_existing_rows(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a", 1), row(2, "b", 2))
        assert table.ensure(row(1, "a", 1), row(2, "ZZ", 9), row(3, "c", 3)) is None
        assert_holds(table, [row(1, "a", 1), row(2, "b", 2), row(3, "c", 3)])

    def test_ensure_one_by_one(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a", 1), row(2, "b", 2))
        table.ensure(row(1, "z", 9))
        table.ensure(row(3, "c", 3))
        table.ensure(row(3, "z", 9))
        assert_holds(table, [row(1, "a", 1), row(2, "b", 2), row(3, "c", 3)])

    def test_ensure_no_rows(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        table.ensure()
        assert_holds(table, rows([1, 2]))

    def test_ensure_takes_the_first_of_duplicates(self, subject: Subject) -> None:
        table = subject.table(specs.standard())
        table.ensure(row(1, "a", 1), row(1, "b", 2))
        assert_holds(table, [row(1, "a", 1)])

    @pytest.mark.parametrize(
        "clash", [{"name": "a"}, {"label": "l"}, {"x": 1, "y": 1}], ids=lambda c: "-".join(c)
    )
    def test_ensure_skips_a_row_that_clashes_elsewhere(self, subject: Subject, clash: dict[str, Any]) -> None:
        table = subject.table(specs.uniques(), *_UNIQUE)
        fresh = {"id": 3, "name": "c", "label": "n", "x": 3, "y": 3}
        table.ensure(fresh | clash)
        table.ensure(fresh | clash, fresh | {"id": 4, "name": "d", "label": "o", "x": 4})
        assert_holds(table, [*_UNIQUE, fresh | {"id": 4, "name": "d", "label": "o", "x": 4}])

    def test_ensure_within_the_call_by_a_unique_column(self, subject: Subject) -> None:
        table = subject.table(specs.uniques())
        table.ensure(_UNIQUE[0], _UNIQUE[1] | {"name": "a"}, _UNIQUE[1] | {"id": 3})
        assert_holds(table, [_UNIQUE[0], _UNIQUE[1] | {"id": 3}])

    def test_ensure_null_where_it_may_not_be(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a", 1), row(2, "b", 2))
        for given in ([row(3, "c"), row(4, None)], [row(1, None)], [{"id": 1}], [{"id": 5, "val": 1}]):
            with pytest.raises(IntegrityError):
                table.ensure(*given)
        assert_holds(table, [row(1, "a", 1), row(2, "b", 2)])

    def test_ensure_too_long(self, subject: Subject) -> None:
        table = subject.table(specs.standard())
        with raises(subject, sqlite=IntegrityError, postgresql=DataError):
            table.ensure(row(1), row(2, "x" * 17))
        assert_holds(table, [])

    def test_ensure_second_row_lacks_a_key(self, subject: Subject) -> None:
        table = subject.table(specs.standard())
        with raises(subject, sqlite=StatementError):
            table.ensure(row(1), {"id": 2, "name": "b"})
        assert_holds(table, [])

    @needs("registry")
    def test_ensure_without_a_key(self, subject: Subject) -> None:
        table = subject.table(specs.no_key(), {"a": 1, "b": 1}, {"a": 1, "b": 1})
        table.ensure({"a": 1, "b": 1})
        assert len(list(table.fetch())) == 3

    @needs("registry")
    def test_ensure_autoincrement(self, subject: Subject) -> None:
        table = subject.table(specs.autoincrement(), {"val": 1}, {"val": 2})
        table.ensure({"val": 1})
        table.ensure({"val": 1}, {"val": 3})
        assert_holds(table, [{"id": i + 1, "val": val} for i, val in enumerate([1, 2, 1, 1, 3])])

    def test_ensure_many_rows_half_of_them_there(self, subject: Subject) -> None:
        old, new = rows(range(0, 2500, 2), "old"), rows(range(2500), "new")
        table = subject.table(specs.standard(), *old)
        table.ensure(*new)
        expected = {item["id"]: item for item in new} | {item["id"]: item for item in old}
        assert_holds(table, expected.values())

    def test_ensure_after_delete(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a"), row(2, "b"))
        table.delete(["id"], {"id": 1})
        table.ensure(row(1, "again"), row(2, "again"))
        assert_holds(table, [row(1, "again"), row(2, "b")])


class Replace(SuiteBase):
    """`replace` puts whole rows in the place of those with the same key."""

    def test_replace_existing_and_new(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a", 1), row(2, "b", 2))
        assert table.replace(row(2, "ZZ", 9), row(3, "c", 3)) is None
        assert_holds(table, [row(1, "a", 1), row(2, "ZZ", 9), row(3, "c", 3)])

    def test_replace_one_by_one(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a", 1), row(2, "b", 2))
        for name in "xyz":
            table.replace(row(2, name, 9))
            assert [found["name"] for found in table.fetch(id=2)] == [name]
        subject.settle()
        table.replace(row(2, "again"))
        assert_holds(table, [row(1, "a", 1), row(2, "again")])

    def test_replace_by_the_same(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        table.replace(*rows([1, 2]))
        table.replace(*rows([2]))
        assert_holds(table, rows([1, 2]))

    def test_replace_no_rows(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        table.replace()
        assert_holds(table, rows([1, 2]))

    def test_replace_resets_absent_columns(self, subject: Subject) -> None:
        table = subject.table(
            specs.composite(), _composite(1, "k", after=5, before=0.5), _composite(2, "k", after=6)
        )
        key = {"run": 1, "kind": "k", "uid": uuid.UUID(int=1), "flag": True}
        table.replace({**key, "between": "new"})
        assert_holds(table, [_composite(1, "k", between="new"), _composite(2, "k", after=6)])

    @needs("registry")
    def test_replace_resets_to_defaults(self, subject: Subject) -> None:
        set_all = {"number": 1, "expression": 1, "word": "w", "needed": 1}
        table = subject.table(specs.defaults(), {"id": 1, **set_all}, {"id": 2, **set_all})
        table.replace({"id": 1, "number": 5})
        expected = {"id": 1, "number": 5, "expression": 2, "word": "x'y", "needed": 3}
        assert_holds(table, [expected, {"id": 2, **set_all}])

    def test_replace_null_where_it_may_not_be(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a", 1), row(2, "b", 2))
        for given in ([{"id": 1, "val": 9}], [row(1, "z"), row(2, "z"), row(3, None)], [row(None)]):
            with pytest.raises(IntegrityError):
                table.replace(*given)
        assert_holds(table, [row(1, "a", 1), row(2, "b", 2)])

    def test_replace_takes_the_last_of_duplicates(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(8), row(1, "old"))
        table.replace(row(1, "a", 1), row(2, "c"), row(1, "b", 2))
        assert_holds(table, [row(1, "b", 2), row(2, "c"), row(8)])

    def test_replace_checks_rows_that_later_ones_replace(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(8), row(1, "old"))
        for first in (row(1, None), row(2, None)):
            with pytest.raises(IntegrityError):
                table.replace(first, first | {"name": "b"})
        assert_holds(table, [row(8), row(1, "old")])

    def test_replace_takes_the_last_of_far_duplicates(self, subject: Subject) -> None:
        table = subject.table(specs.standard())
        table.replace(*rows(range(1500)), row(0, "LAST"))
        assert len(list(table.fetch())) == 1500
        assert list(table.fetch(id=0)) == [row(0, "LAST")]

    @pytest.mark.parametrize(
        "clash", [{"name": "a"}, {"label": "l"}, {"x": 1, "y": 1}], ids=lambda c: "-".join(c)
    )
    def test_replace_clashes_elsewhere(self, subject: Subject, clash: dict[str, Any]) -> None:
        table = subject.table(specs.uniques(), *_UNIQUE)
        fresh = {"id": 3, "name": "c", "label": "n", "x": 3, "y": 3}
        for given in ([fresh | clash], [_UNIQUE[1] | clash], [fresh, _UNIQUE[1] | clash]):
            with pytest.raises(IntegrityError):
                table.replace(*given)
            assert_holds(table, _UNIQUE)

    def test_replace_swapping_unique_values(self, subject: Subject) -> None:
        table = subject.table(specs.uniques(), *_UNIQUE)
        with pytest.raises(IntegrityError):
            table.replace(_UNIQUE[0] | {"name": "b"}, _UNIQUE[1] | {"name": "a"})
        assert_holds(table, _UNIQUE)

    def test_replace_frees_unique_values(self, subject: Subject) -> None:
        table = subject.table(specs.uniques(), *_UNIQUE)
        table.replace(_UNIQUE[0] | {"name": "z", "label": "z", "x": 9})
        fresh = {"id": 3, "name": "a", "label": "l", "x": 1, "y": 1}
        table.insert(fresh)
        assert_holds(table, [_UNIQUE[0] | {"name": "z", "label": "z", "x": 9}, _UNIQUE[1], fresh])

    def test_replace_by_a_composite_key(self, subject: Subject) -> None:
        earlier = [_composite(1, "a", after=1), _composite(1, "b", after=2), _composite(2, "a", after=3)]
        table = subject.table(specs.composite(), *earlier)
        table.replace(_composite(1, "b", after=9), _composite(2, "b", after=4))
        expected = [earlier[0], _composite(1, "b", after=9), earlier[2], _composite(2, "b", after=4)]
        assert_holds(table, expected)
        assert contents(table, flag=True, kind="b") == contents(table, kind="b")

    def test_replace_with_keys_only(self, subject: Subject) -> None:
        table = subject.table(specs.keys_only(), {"a": 1, "b": 1}, {"a": 1, "b": 2})
        table.replace({"a": 1, "b": 2})
        table.replace({"a": 1, "b": 2}, {"a": 2, "b": 2})
        assert_holds(table, [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}])

    @needs("registry")
    def test_replace_without_a_key(self, subject: Subject) -> None:
        table = subject.table(specs.no_key(), {"a": 1, "b": 1}, {"a": 2, "b": 2})
        with raises(subject, sqlite=OperationalError, postgresql=ProgrammingError):
            table.replace({"a": 1, "b": 5})
        assert_holds(table, [{"a": 1, "b": 1}, {"a": 2, "b": 2}])

    def test_replace_second_row_lacks_a_key(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        with raises(subject, sqlite=StatementError):
            table.replace(row(1, "z"), {"id": 2, "name": "b"})
        assert_holds(table, rows([1, 2]))

    def test_replace_records_of_the_file_datastore(self, subject: Subject) -> None:
        table = subject.table(specs.records(), *map(specs.record, range(6)))
        table.replace(specs.record(3, path="moved"), specs.record(9))
        kept = [specs.record(i) for i in (0, 1, 2, 4, 5, 9)]
        assert_holds(table, [*kept, specs.record(3, path="moved")])
        assert list(table.fetch(path=specs.record(3)["path"])) == []
        assert list(table.fetch(path="moved")) == [specs.record(3, path="moved")]

    @needs("registry")
    def test_replace_autoincrement(self, subject: Subject) -> None:
        table = subject.table(specs.autoincrement(), {"val": 1}, {"val": 2})
        table.replace({"val": 3})
        table.replace({"id": 1, "val": 9})
        assert_holds(table, [{"id": 1, "val": 9}, {"id": 2, "val": 2}, {"id": 3, "val": 3}])
