"""The conformance of `insert`."""

from __future__ import annotations

__all__ = ["Insert"]

from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
from lsst.daf.butler import ddl
from lsst.daf.butler.datastore import DatastoreTransaction
from sqlalchemy.exc import ArgumentError, IntegrityError, StatementError

from tests.opaque.suite_base import ArrowFailure, SuiteBase, assert_holds, needs, once, raises
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import Subject


class Insert(SuiteBase):
    """What may be inserted, and what is left when it may not."""

    def test_returns_none_and_leaves_its_arguments(self, subject: Subject) -> None:
        table = subject.table(specs.standard())
        given = {"name": "a", "id": 1}
        other = {"name": "b", "id": 2}
        assert table.insert(given, other) is None
        assert given == {"name": "a", "id": 1}
        subject.settle()
        assert_holds(table, [row(1, "a"), row(2, "b")])

    def test_takes_any_mapping(self, subject: Subject) -> None:
        source = subject.table(specs.standard(), *rows([1, 2]))
        table = subject.table(specs.standard())
        fetched: list[Any] = list(source.fetch())
        proxy: Any = MappingProxyType(row(3))
        table.insert(*fetched)
        table.insert(proxy)
        assert_holds(table, [*rows([1, 2]), row(3)])

    def test_refuses_what_is_no_mapping(self, subject: Subject) -> None:
        table = subject.table(specs.standard())
        for given in ((1, "a", 1), [row(1)]):
            argument: Any = given
            with pytest.raises((ArgumentError, *ArrowFailure)):
                table.insert(argument)
        assert_holds(table, [])

    def test_no_rows(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        table.insert()
        assert_holds(table, rows([1, 2]))

    def test_clash_with_an_earlier_row(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a", 1), row(2, "b", 2))
        for given in (row(1, "z", 9), row(2, "b", 2)):
            with pytest.raises(IntegrityError) as caught:
                table.insert(given)
            assert type(caught.value) is IntegrityError
        assert_holds(table, [row(1, "a", 1), row(2, "b", 2)])

    def test_clash_of_records_of_the_file_datastore(self, subject: Subject) -> None:
        table = subject.table(specs.records(), *map(specs.record, range(5)))
        with pytest.raises(IntegrityError):
            table.insert(specs.record(3, path="elsewhere"))
        table.insert(specs.record(3, component="image"))
        assert_holds(table, [*map(specs.record, range(5)), specs.record(3, component="image")])

    @pytest.mark.parametrize("second", [row(1, "b", 2), row(1, "a", 1)], ids=["different", "identical"])
    def test_clash_within_the_call(self, subject: Subject, second: dict[str, Any]) -> None:
        table = subject.table(specs.standard(), row(5), row(6))
        with pytest.raises(IntegrityError):
            table.insert(row(1, "a", 1), second)
        assert_holds(table, [row(5), row(6)])

    def test_a_failed_call_inserts_nothing(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(3), row(4))
        with pytest.raises(IntegrityError):
            table.insert(*rows([1, 2, 3, 5, 6]))
        assert_holds(table, [row(3), row(4)])

    def test_a_failed_long_call_inserts_nothing(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(2400), row(5000))
        with pytest.raises(IntegrityError):
            table.insert(*rows(range(2500)))
        assert_holds(table, [row(2400), row(5000)])

    def test_many_rows(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows(range(6000)))
        assert_holds(table, rows(range(6000)))

    def test_unique_constraint_beside_the_key(self, subject: Subject) -> None:
        earlier = {"id": 1, "name": "a", "label": "l", "x": 1, "y": 2}
        another = {"id": 2, "name": "b", "label": "m", "x": 2, "y": 2}
        table = subject.table(specs.uniques(), earlier, another)
        fresh = {"id": 3, "name": "c", "label": "n", "x": 3, "y": 2}
        for clash in ({"name": "a"}, {"label": "l"}, {"x": 1}, {"id": 2}):
            with pytest.raises(IntegrityError):
                table.insert(fresh | clash)
            with pytest.raises(IntegrityError):
                table.insert(fresh | {"id": 9, "name": "z", "label": "z", "x": 9}, fresh | clash)
        table.insert(fresh)
        assert_holds(table, [earlier, another, fresh])

    def test_unique_constraint_within_the_call(self, subject: Subject) -> None:
        table = subject.table(specs.uniques())
        one = {"id": 1, "name": "a", "label": None, "x": 1, "y": 2}
        with pytest.raises(IntegrityError):
            table.insert(one, one | {"id": 2, "x": 2})
        with pytest.raises(IntegrityError):
            table.insert(one, one | {"id": 2, "name": "b"})
        assert_holds(table, [])

    def test_nulls_do_not_clash(self, subject: Subject) -> None:
        earlier = [
            {"id": 1, "name": "a", "label": None, "x": 1, "y": None},
            {"id": 2, "name": "b", "label": None, "x": 1, "y": None},
        ]
        table = subject.table(specs.uniques(), *earlier)
        more = [
            {"id": 3, "name": "c", "label": None, "x": 1, "y": None},
            {"id": 4, "name": "d", "label": None, "x": None, "y": None},
        ]
        table.insert(more[0])
        table.insert(more[1])
        assert_holds(table, [*earlier, *more])

    @needs("registry")
    def test_table_without_a_key_takes_duplicates(self, subject: Subject) -> None:
        table = subject.table(specs.no_key(), {"a": 1, "b": 1}, {"a": 1, "b": 1})
        table.insert({"a": 1, "b": 1})
        assert_holds(table, 3 * [{"a": 1, "b": 1}])

    def test_null_where_it_may_not_be(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1), row(2))
        for bad in (row(3, None), {"id": 3, "val": 1}):
            with pytest.raises(IntegrityError):
                table.insert(bad)
        with pytest.raises(IntegrityError):
            table.insert(row(4), row(3, None))
        with pytest.raises(IntegrityError):
            table.insert({"id": 4}, {"id": 5})
        assert_holds(table, [row(1), row(2)])

    def test_null_in_the_key(self, subject: Subject) -> None:
        table = subject.table(specs.standard())
        with pytest.raises(IntegrityError):
            table.insert(row(None))
        with pytest.raises(IntegrityError):
            table.insert(row(1), row(None))
        assert_holds(table, [])

    @pytest.mark.filterwarnings("ignore:Column .* is marked as a member of the primary key")
    def test_null_in_a_composite_key(self, subject: Subject) -> None:
        table = subject.table(specs.records())
        for bad in ({"dataset_id": None}, {"component": None}):
            with pytest.raises(IntegrityError):
                table.insert(specs.record(1) | bad)
            with pytest.raises(IntegrityError):
                table.insert(specs.record(2), specs.record(1) | bad)
        lacking = specs.record(1)
        del lacking["dataset_id"]
        with pytest.raises(IntegrityError):
            table.insert(lacking)
        assert_holds(table, [])

    @needs("registry")
    def test_key_absent(self, subject: Subject) -> None:
        table = subject.table(specs.standard())
        if subject.dialect == "sqlite":
            with pytest.raises(IntegrityError):
                table.insert({"name": "a"})
            with pytest.raises(IntegrityError):
                table.insert({})
            assert_holds(table, [])
        else:
            # PostgreSQL makes every single integer key a serial.
            table.insert({"name": "a"})
            table.insert({"name": "b"}, {"name": "c"})
            assert_holds(table, [row(1, "a"), row(2, "b"), row(3, "c")])

    def test_nullable_column_absent(self, subject: Subject) -> None:
        table = subject.table(specs.standard())
        table.insert({"id": 1, "name": "a"})
        table.insert({"id": 2, "name": "a"}, {"id": 3, "name": "a"})
        subject.settle()
        assert_holds(table, [row(1), row(2), row(3)])

    def test_keys_in_different_order(self, subject: Subject) -> None:
        table = subject.table(
            specs.standard(), {"id": 1, "name": "a", "val": 1}, {"val": 2, "name": "b", "id": 2}
        )
        assert_holds(table, [row(1, "a", 1), row(2, "b", 2)])

    def test_second_row_lacks_a_key(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(8), row(9))
        with raises(subject, sqlite=StatementError):
            table.insert(row(1), {"id": 2, "name": "b"})
        assert_holds(table, [row(8), row(9)])

    @needs("registry")
    def test_autoincrement(self, subject: Subject) -> None:
        table = subject.table(specs.autoincrement(), {"val": 1}, {"val": 2})
        table.insert({"val": 3})
        subject.settle()
        table.insert({"val": 4}, {"val": 5})
        assert_holds(table, [{"id": i, "val": i} for i in range(1, 6)])

    @needs("root")
    @pytest.mark.parametrize("count", [2, 5_000], ids=["few", "many"])
    def test_autoincrement_in_a_root(self, subject: Subject, count: int) -> None:
        table: Any = subject.table(specs.autoincrement(), {"id": 10, "val": 1}, {"id": 11, "val": 2})
        table.insert(*[{"id": None, "val": val} for val in range(count)])
        table.insert(*[{"val": val} for val in range(count)])
        table.insert_arrow(pa.table({"id": pa.nulls(count, pa.int64()), "val": range(count)}))
        made = [{"id": 12 + i, "val": i % count} for i in range(3 * count)]
        assert_holds(table, [{"id": 10, "val": 1}, {"id": 11, "val": 2}, *made])

    @needs("registry")
    def test_autoincrement_with_explicit_keys(self, subject: Subject) -> None:
        table = subject.table(specs.autoincrement(), {"id": 10, "val": 1}, {"id": 11, "val": 2})
        with pytest.raises(IntegrityError):
            table.insert({"id": 10, "val": 3})
        table.insert({"val": 4})
        # SQLite goes on from the highest key, PostgreSQL from its sequence.
        expected = 12 if subject.dialect == "sqlite" else 1
        assert [found["id"] for found in table.fetch(val=4)] == [expected]

    @needs("registry")
    def test_defaults(self, subject: Subject) -> None:
        applied = {"number": 7, "expression": 2, "word": "x'y", "needed": 3}
        empty = {"number": None, "expression": None, "word": None}
        table = subject.table(specs.defaults(), {"id": 1}, {"id": 2})
        table.insert({"id": 3, **empty}, {"id": 4, **empty})
        table.insert({"id": 5})
        subject.settle()
        with pytest.raises(IntegrityError):
            table.insert({"id": 6, "needed": None})
        expected = [{"id": i, **applied} for i in (1, 2, 5)] + [
            {"id": i, **empty, "needed": 3} for i in (3, 4)
        ]
        assert_holds(table, expected)

    @needs("registry")
    def test_datastore_transaction_is_not_needed(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        datastore = DatastoreTransaction()
        table.insert(row(3), transaction=datastore)
        table.ensure(row(4), transaction=datastore)
        table.replace(row(1, "z"), transaction=datastore)
        datastore.rollback()
        assert_holds(table, [row(1, "z"), row(2, "a", 20), row(3), row(4)])

    @needs("root")
    def test_datastore_transaction_undoes_in_a_root(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        datastore = DatastoreTransaction()
        table.insert(row(3), row(4), transaction=datastore)
        assert len(list(table.fetch())) == 4
        datastore.rollback()
        assert_holds(table, rows([1, 2]))

    def test_columns_with_the_names_of_arguments(self, subject: Subject) -> None:
        names = ("transaction", "self", "select", "name", "columns")
        spec = specs.standard()
        spec = ddl.TableSpec(
            fields=[spec.fields["id"], *(ddl.FieldSpec(n, spec.fields["val"].dtype) for n in names)]
        )
        given = {"id": 1, **dict.fromkeys(names, 5)}
        table = subject.table(spec, given, given | {"id": 2, "transaction": 6})
        assert list(table.fetch(transaction=5, name=5, columns=5)) == [given]
        fetch: Any = table.fetch
        with pytest.raises(TypeError):
            fetch(**{"self": 5})
        assert_holds(table, [given, given | {"id": 2, "transaction": 6}])

    @once
    @needs("registry")
    def test_foreign_keys(self, subject: Subject) -> None:
        subject.table(specs.standard(), name="parent")
        spec = specs.standard()
        spec.foreignKeys.append(ddl.ForeignKeySpec("parent", source=("val",), target=("id",)))
        if subject.is_arrow:
            with pytest.raises(ValueError, match="parent"):
                subject.manager.register("child", spec)
            return
        table = subject.manager.register("child", spec)
        with pytest.raises(IntegrityError):
            table.insert(row(1, "a", 99))
