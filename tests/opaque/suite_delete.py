"""The conformance of `delete`."""

from __future__ import annotations

__all__ = ["Delete"]

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from lsst.daf.butler import ddl
from lsst.sphgeom import Angle, Circle, UnitVector3d
from sqlalchemy.exc import StatementError

from tests.opaque.suite_base import ArrowFailure, SuiteBase, assert_holds, needs, raises
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import Subject


def _ten(subject: Subject) -> Any:
    """Rows 0 to 9; ``val`` cycles through 0, 1, 2 and is NULL in row 9."""
    return subject.table(
        specs.standard(), *(row(i, f"n{i % 2}", None if i == 9 else i % 3) for i in range(10))
    )


def _left(table: Any) -> list[int]:
    return sorted(found["id"] for found in table.fetch())


class Delete(SuiteBase):
    """Deleting by one column and by several."""

    def test_delete_by_key(self, subject: Subject) -> None:
        table = _ten(subject)
        assert table.delete(["id"], {"id": 1}) is None
        assert table.delete(["id"], {"id": 2}, {"id": 3}) is None
        assert _left(table) == [0, 4, 5, 6, 7, 8, 9]

    def test_delete_by_another_column(self, subject: Subject) -> None:
        table = _ten(subject)
        table.delete(["val"], {"val": 0})
        assert _left(table) == [1, 2, 4, 5, 7, 8, 9]
        table.delete(["name"], {"name": "n0"}, {"name": "absent"})
        assert _left(table) == [1, 5, 7, 9]

    def test_delete_many(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows(range(3000)))
        table.delete(["id"], *({"id": i} for i in range(2500)))
        assert _left(table) == list(range(2500, 3000))

    def test_delete_by_two_varying_columns(self, subject: Subject) -> None:
        table = _ten(subject)
        table.delete(["id", "val"], {"id": 1, "val": 1}, {"id": 3, "val": 0}, {"id": 4, "val": 2})
        assert _left(table) == [0, 2, 4, 5, 6, 7, 8, 9]

    def test_delete_by_a_constant_and_a_varying_column(self, subject: Subject) -> None:
        table = _ten(subject)
        table.delete(["id", "val"], {"id": 0, "val": 0}, {"id": 3, "val": 0}, {"id": 4, "val": 0})
        assert _left(table) == [1, 2, 4, 5, 6, 7, 8, 9]

    def test_delete_by_two_constant_columns(self, subject: Subject) -> None:
        table = _ten(subject)
        table.delete(["id", "val"], {"id": 1, "val": 1}, {"id": 1, "val": 1})
        table.delete(["id", "val"], {"id": 2, "val": 2})
        table.delete(["val", "name"], {"name": "n0", "val": 0})
        assert _left(table) == [3, 4, 5, 7, 8, 9]

    def test_delete_by_the_whole_key(self, subject: Subject) -> None:
        earlier = [specs.record(i, component) for i in range(3) for component in ("a", "b")]
        table = subject.table(specs.records(), *earlier)
        table.delete(["component", "dataset_id"], {"dataset_id": uuid.UUID(int=1), "component": "a"})
        table.delete(
            ["dataset_id", "component"],
            {"dataset_id": uuid.UUID(int=2), "component": "b"},
            {"dataset_id": uuid.UUID(int=0), "component": "a"},
        )
        assert_holds(table, [earlier[1], earlier[3], earlier[4]])

    def test_delete_by_the_first_key_column(self, subject: Subject) -> None:
        earlier = [specs.record(i, component) for i in range(4) for component in ("a", "b")]
        table = subject.table(specs.records(), *earlier)
        ids = [{"dataset_id": uuid.UUID(int=i)} for i in (1, 3, 1, 77)]
        table.delete(["dataset_id"], *ids)
        assert_holds(table, [item for item in earlier if item["file_size"] in (0, 2)])
        table.delete(["dataset_id"], *ids)
        assert len(list(table.fetch())) == 4

    def test_delete_of_no_rows_deletes_nothing(self, subject: Subject) -> None:
        table = _ten(subject)
        table.delete(["id"])
        table.delete(["id", "val"])
        assert len(_left(table)) == 10

    @pytest.mark.parametrize(
        "columns", [[], (), {}.keys(), set()], ids=lambda columns: type(columns).__name__
    )
    @pytest.mark.parametrize("given", [[], [{}], [{"id": 1}], [{"id": 1}, {"id": 2}]], ids=repr)
    def test_no_columns_deletes_everything(self, subject: Subject, columns: Any, given: list[Any]) -> None:
        table = _ten(subject)
        table.delete(columns, *given)
        assert _left(table) == []
        table.insert(row(1), row(2))
        assert _left(table) == [1, 2]

    def test_columns_in_any_collection(self, subject: Subject) -> None:
        table = _ten(subject)
        collections: list[Callable[[Any], Iterable[str]]] = [iter, tuple, set, dict.fromkeys]
        for i, collection in enumerate(collections):
            table.delete(collection(["id"]), {"id": i})
        two = [{"id": 4, "val": 1}, {"id": 5, "val": 2}]
        table.delete(iter(["val", "id"]), *two)
        table.delete(("val", "id"), {"id": 6, "val": 0})
        assert _left(table) == [7, 8, 9]

    def test_a_string_is_its_letters(self, subject: Subject) -> None:
        table = _ten(subject)
        with pytest.raises(KeyError):
            table.delete("id", {"id": 1})
        assert len(_left(table)) == 10

    def test_delete_unknown_column(self, subject: Subject) -> None:
        table = _ten(subject)
        for columns, given in (
            (["zz"], [{"zz": 1}]),
            (["id", "zz"], [{"id": 1, "zz": 1}]),
            (["id", "zz"], [{"id": 1, "zz": 1}, {"id": 2, "zz": 2}]),
        ):
            with pytest.raises(KeyError):
                table.delete(columns, *given)
        assert len(_left(table)) == 10

    def test_row_lacks_the_column(self, subject: Subject) -> None:
        table = _ten(subject)
        for given in ([{"val": 1}], [{"id": 1}, {"val": 1}]):
            with pytest.raises(KeyError):
                table.delete(["id"], *given)
        assert len(_left(table)) == 10

    def test_rows_lack_one_of_two_columns(self, subject: Subject) -> None:
        table = _ten(subject)
        given = [{"id": 1}, {"id": 2}]
        if subject.is_arrow:
            with pytest.raises((KeyError, *ArrowFailure)):
                table.delete(["id", "val"], *given)
            assert len(_left(table)) == 10
        else:
            # The missing column is dropped from the condition.
            table.delete(["id", "val"], *given)
            assert len(_left(table)) == 8

    def test_row_has_more_columns_than_needed(self, subject: Subject) -> None:
        table = _ten(subject)
        fetched = list(table.fetch(id=[1, 2]))
        table.delete(["id"], *fetched)
        table.delete(["id"], row(3, "other", 99))
        assert _left(table) == [0, 4, 5, 6, 7, 8, 9]

    def test_delete_by_all_columns_of_fetched_rows(self, subject: Subject) -> None:
        table = _ten(subject)
        fetched = list(table.fetch(id=[1, 2]))
        table.delete(["id", "name", "val"], *fetched)
        assert _left(table) == [0, 3, 4, 5, 6, 7, 8, 9]

    def test_none_alone_matches_nothing(self, subject: Subject) -> None:
        table = _ten(subject)
        table.delete(["val"], {"val": None})
        assert len(_left(table)) == 10
        table.delete(["val"], {"val": None}, {"val": 0})
        assert _left(table) == [1, 2, 4, 5, 7, 8, 9]

    def test_none_in_two_columns(self, subject: Subject) -> None:
        table = _ten(subject)
        table.delete(["id", "val"], {"id": 9, "val": None})
        table.delete(["id", "val"], {"id": 9, "val": None}, {"id": 8, "val": 2})
        assert _left(table) == [0, 1, 2, 3, 4, 5, 6, 7, 9]

    def test_constant_none_beside_a_varying_column(self, subject: Subject) -> None:
        table = _ten(subject)
        table.delete(["id", "val"], {"id": 8, "val": None}, {"id": 9, "val": None})
        assert _left(table) == [0, 1, 2, 3, 4, 5, 6, 7, 8]

    def test_absent_and_repeated_rows(self, subject: Subject) -> None:
        table = _ten(subject)
        table.delete(["id"], {"id": 55})
        table.delete(["id", "val"], {"id": 1, "val": 2}, {"id": 55, "val": 55})
        assert len(_left(table)) == 10
        table.delete(["id"], {"id": 1}, {"id": 1})
        table.delete(["id"], {"id": 1})
        assert _left(table) == [0, *range(2, 10)]

    def test_no_prefix_and_no_membership(self, subject: Subject) -> None:
        table = _ten(subject)
        table.delete(["name"], {"name": "n%"})
        with pytest.raises(TypeError):
            table.delete(["id"], {"id": [1, 2]})
        assert len(_left(table)) == 10

    def test_delete_by_uuid_in_all_forms(self, subject: Subject) -> None:
        table = subject.table(specs.records(), *map(specs.record, range(8)))
        forms = (uuid.UUID(int=0), uuid.UUID(int=1).hex, str(uuid.UUID(int=2)), 3)
        for form in forms:
            table.delete(["dataset_id"], {"dataset_id": form})
        table.delete(["dataset_id"], {"dataset_id": uuid.UUID(int=4)}, {"dataset_id": uuid.UUID(int=5).hex})
        assert_holds(table, [specs.record(6), specs.record(7)])

    def test_a_failed_call_deletes_nothing(self, subject: Subject) -> None:
        table = subject.table(specs.records(), *map(specs.record, range(4)))
        with raises(subject, sqlite=StatementError):
            table.delete(["dataset_id"], {"dataset_id": uuid.UUID(int=1)}, {"dataset_id": "zz"})
        pairs = [{"dataset_id": uuid.UUID(int=1), "file_size": 1}, {"dataset_id": "zz", "file_size": 2}]
        with raises(subject, sqlite=StatementError):
            table.delete(["dataset_id", "file_size"], *pairs)
        assert_holds(table, map(specs.record, range(4)))

    def test_delete_by_other_types(self, subject: Subject) -> None:
        circle = Circle(UnitVector3d(1, 0, 0), Angle(0.1))
        given = [
            {"id": i, "flag": i % 2 == 0, "blob": b"x" * i, "hash": b"y" * i, "real": i / 4, "region": circle}
            for i in range(8)
        ]
        table = subject.table(specs.every_type(), *given)
        table.delete(["blob"], {"blob": b"x"})
        table.delete(["hash"], {"hash": b"yy"}, {"hash": b""})
        table.delete(["real"], {"real": 0.75})
        table.delete(["flag", "real"], {"flag": True, "real": 1.0}, {"flag": False, "real": 1.5})
        assert _left(table) == [5, 6, 7]
        if not subject.is_arrow:
            # Regions have no hash, which ours does not need.
            with pytest.raises(TypeError):
                table.delete(["region"], {"region": circle})
        assert _left(table) == [5, 6, 7]

    def test_rows_must_be_unpacked(self, subject: Subject) -> None:
        table = _ten(subject)
        generator: Any = ({"id": i} for i in (1, 2))
        with pytest.raises(TypeError):
            table.delete(["id"], generator)
        table.delete(["id"], *generator)
        assert _left(table) == [0, *range(3, 10)]

    def test_delete_and_insert_again(self, subject: Subject) -> None:
        table = _ten(subject)
        for name in ("again", "and again"):
            table.delete(["id"], {"id": 1}, {"id": 2})
            table.insert(row(1, name), row(2, name))
            subject.settle()
        assert [dict(found) for found in table.fetch(id=[1, 2])] == [row(1, "and again"), row(2, "and again")]
        assert len(_left(table)) == 10

    def test_delete_what_lies_on_both_sides(self, subject: Subject) -> None:
        table = _ten(subject)
        table.insert(*rows([20, 21]))
        table.replace(row(1, "new", 5))
        table.delete(["id"], *({"id": i} for i in (1, 2, 20, 99)))
        table.delete(["val"], {"val": 1})
        assert _left(table) == [0, 3, 5, 6, 8, 9, 21]

    @needs("registry")
    def test_delete_without_a_key(self, subject: Subject) -> None:
        table = subject.table(specs.no_key(), {"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1})
        table.delete(["a", "b"], {"a": 1, "b": 1})
        assert_holds(table, [{"a": 1, "b": 2}, {"a": 2, "b": 1}])
        table.delete(["b"], {"b": 1}, {"b": 2})
        assert_holds(table, [])

    def test_delete_by_string_keys(self, subject: Subject) -> None:
        keys = ("a", "b", "B", "ä", "a b", "a%")
        table = subject.table(specs.string_key(), *({"key": key, "val": i} for i, key in enumerate(keys)))
        table.delete(["key"], {"key": "a"}, {"key": "ä"}, {"key": "A"})
        table.delete(["key", "val"], {"key": "B", "val": 2})
        assert sorted(found["key"] for found in table.fetch()) == ["a b", "a%", "b"]

    def test_delete_by_a_composite_key_in_part(self, subject: Subject) -> None:
        given = [
            {
                "run": run,
                "kind": kind,
                "uid": uuid.UUID(int=n),
                "flag": flag,
                "before": None,
                "between": "t",
                "after": n,
            }
            for n, (run, kind, flag) in enumerate(
                (run, kind, flag) for run in (1, 2) for kind in "ab" for flag in (True, False)
            )
        ]
        table = subject.table(specs.composite(), *given)
        table.delete(["run", "flag"], {"run": 1, "flag": True})
        table.delete(["kind", "flag"], {"kind": "b", "flag": False}, {"kind": "z", "flag": False})
        assert sorted(found["after"] for found in table.fetch()) == [1, 4, 5, 6]

    def test_delete_by_time(self, subject: Subject) -> None:
        spec = specs.one_column(ddl.AstropyTimeNsecTai)
        times = [specs.moment(i) for i in range(4)]
        table = subject.table(spec, *({"id": i, "amount": time} for i, time in enumerate(times)))
        table.delete(["amount"], {"amount": times[1]}, {"amount": times[2].utc})
        assert _left(table) == [0, 3]
