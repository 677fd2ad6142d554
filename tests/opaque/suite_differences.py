"""The seven ways in which ours differs from the SQL manager on purpose."""

from __future__ import annotations

__all__ = ["Differences"]

import uuid
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy
from lsst.daf.butler import ddl
from lsst.daf.butler.datastore.stored_file_info import StoredFileInfo
from lsst.daf.butler.registry.interfaces import DatastoreRegistryBridge, FakeDatasetRef
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError

from tests.opaque.suite_base import ArrowFailure, SuiteBase, assert_holds, needs, once
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject, Subject

_FAILING_DELETE = {
    "sqlite": [
        "CREATE TRIGGER refuse BEFORE DELETE ON dataset_location_trash BEGIN SELECT RAISE(ABORT, 'boom'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION {0}.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''boom''; END'",
        "CREATE TRIGGER refuse BEFORE DELETE ON {0}.dataset_location_trash EXECUTE FUNCTION {0}.refuse()",
    ],
}


def _trash(subject: RegistrySubject, numbers: range) -> tuple[Any, DatastoreRegistryBridge]:
    """Store datasets, move them to the trash, and return table and bridge."""
    table = subject.table(specs.records(), *map(specs.record, numbers))
    assert subject.bridges is not None
    bridge = subject.bridges.register("datastore")
    references = [FakeDatasetRef(uuid.UUID(int=number)) for number in numbers]
    bridge.insert(references)
    bridge.moveToTrash(references, transaction=None)
    return table, bridge


def _empty(bridge: DatastoreRegistryBridge, table: Any, **kwargs: Any) -> list[uuid.UUID]:
    with bridge.emptyTrash(table, record_class=StoredFileInfo, record_column="path", **kwargs) as (items, _):
        return sorted(reference.id for reference, _ in items)


class Differences(SuiteBase):
    """Each difference on both managers, numbered as in their list."""

    def test_difference_1_a_prefix_is_literal(self, subject: Subject) -> None:
        words = ("abc", "ABC", "a_c", "a%c", "abc%", "a\\c", "x", "abc#f", "%", "_")
        table = subject.table(specs.standard(), *(row(i, word) for i, word in enumerate(words)))

        def found(prefix: str) -> set[str]:
            return {item["name"] for item in table.fetch(name=prefix)}

        if subject.is_arrow:
            assert found("abc%") == {"abc", "abc%", "abc#f"}
            assert found("a_c%") == {"a_c"}
            assert found("a%c%") == {"a%c"}
            assert found("abc%%") == {"abc%"}
            assert found("_%") == {"_"}
            assert found("%%") == {"%"}
            assert found("a\\%") == found("a\\c%") == {"a\\c"}
        else:
            folded = {"ABC"} if subject.dialect == "sqlite" else set()
            assert found("abc%") == {"abc", "abc%", "abc#f"} | folded
            assert found("a_c%") == {"abc", "a_c", "a%c", "a\\c", "abc%", "abc#f"} | folded
            assert found("abc%%") == {"abc", "abc%", "abc#f"} | folded
            assert found("%%") == set(words)
            assert found("a\\c%") == ({"a\\c"} if subject.dialect == "sqlite" else set())

    @needs("registry", "bridge")
    @pytest.mark.parametrize("nothing", [set(), [], ()], ids=repr)
    def test_difference_2_no_selected_ids_select_nothing(
        self, subject: RegistrySubject, nothing: Any
    ) -> None:
        table, bridge = _trash(subject, range(3))
        found = _empty(bridge, table, selected_ids=nothing)
        if subject.is_arrow:
            assert found == []
            assert_holds(table, map(specs.record, range(3)))
            assert len(_empty(bridge, table)) == 3
        else:
            assert len(found) == 3
        assert_holds(table, [])

    def test_difference_3_unknown_keys_are_refused(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(8), row(9))
        for write in (table.insert, table.ensure, table.replace):
            for given in ([row(1) | {"typo": 77}], [row(1) | {"typo": 77}, row(2) | {"typo": 77}]):
                if subject.is_arrow:
                    with pytest.raises(ArrowFailure, match=r"typo.*77"):
                        write(*given)
                else:
                    write(*given)
                    table.delete(["id"], {"id": 1}, {"id": 2})
        assert_holds(table, [row(8), row(9)])

    def test_difference_3_rows_with_different_keys_are_refused(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(8), row(9))
        for write in (table.insert, table.ensure, table.replace):
            for extra in ({"val": 77}, {"typo": 77}):
                given = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"} | extra]
                if subject.is_arrow:
                    with pytest.raises(ArrowFailure, match="|".join(extra)):
                        write(*given)
                else:
                    # The first row's keys decide, the value is dropped.
                    write(*given)
                    assert [found["val"] for found in table.fetch(id=2)] == [None]
                    table.delete(["id"], {"id": 1}, {"id": 2})
        assert_holds(table, [row(8), row(9)])

    def test_difference_3_the_error_names_column_and_value(self, subject: Subject) -> None:
        spec = specs.one_column(sqlalchemy.SmallInteger)
        table = subject.table(spec, {"id": 1, "amount": 5}, {"id": 2, "amount": 6})
        for bad in (1.5, "1.5e0"):
            given: list[dict[str, Any]] = [{"id": 3, "amount": 1}, {"id": 4, "amount": bad}]
            if not subject.is_arrow:
                with suppress(DBAPIError):
                    table.insert(*given)
                table.delete(["id"], {"id": 3}, {"id": 4})
                continue
            for write in (table.insert, table.ensure, table.replace):
                with pytest.raises((*ArrowFailure, DBAPIError), match=f"(?s)amount.*{bad}|{bad}.*amount"):
                    write(*given)
        assert_holds(table, [{"id": 1, "amount": 5}, {"id": 2, "amount": 6}])

    @pytest.mark.parametrize("write", ["insert", "replace"])
    def test_difference_4_a_failed_call_leaves_nothing(self, subject: Subject, write: str) -> None:
        table = subject.table(specs.standard(), row(8), row(9))
        bad = row(8) if write == "insert" else row(8, None)
        with suppress(InternalError), subject.transaction():
            table.insert(row(1))
            with pytest.raises(IntegrityError):
                getattr(table, write)(row(2), row(3), bad, row(4))
            table.insert(row(5))
        if subject.dialect == "postgresql":
            kept = []
        elif subject.is_arrow:
            kept = [row(1), row(5)]
        else:
            kept = [row(1), row(2), row(3), row(5)]
        assert_holds(table, [row(8), row(9), *kept])

    def test_difference_5_one_row_whatever_the_spelling(self, subject: Subject) -> None:
        first = 0xA << 124
        earlier = [specs.record(first + i, size=i) for i in range(3)]
        table = subject.table(specs.records(), *earlier)
        # Upper-case spellings sort before the fillers, lower-case ones after.
        spellings = [uuid.UUID(int=first + 1).hex.upper(), uuid.UUID(int=first + 1).hex]
        fillers = [uuid.UUID(int=(0xB << 124) + i).hex.upper() for i in range(1200)]
        found = list(table.fetch(dataset_id=[*spellings, *fillers]))
        assert found == (1 if subject.is_arrow else 2) * earlier[1:2]
        assert list(table.fetch(dataset_id=spellings)) == earlier[1:2]

    def test_difference_5_none_among_values_matches_null(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a", 5), row(2, "b", None), row(3, "c", 7))
        if subject.is_arrow:
            assert sorted(found["id"] for found in table.fetch(val=[None])) == [2]
            assert sorted(found["id"] for found in table.fetch(val=[None, 5])) == [1, 2]
            assert sorted(found["id"] for found in table.fetch(val={7, None}, id=[2, 3, None])) == [2, 3]
            assert sorted(found["id"] for found in table.fetch(name=["a", None])) == [1]
        else:
            assert list(table.fetch(val=[None])) == []
            with pytest.raises(TypeError):
                list(table.fetch(val=[None, 5]))

    @needs("registry", "bridge")
    def test_difference_6_records_and_trash_go_together(self, subject: RegistrySubject) -> None:
        table, bridge = _trash(subject, range(3))
        with subject.database.transaction():
            assert subject.dialect is not None
            for statement in _FAILING_DELETE[subject.dialect]:
                _execute(subject, statement.format(subject.database.namespace))
        with pytest.raises(DBAPIError, match="boom"):
            _empty(bridge, table)
        assert_holds(table, map(specs.record, range(3)) if subject.is_arrow else [])

    @once
    @needs("registry")
    def test_difference_7_a_failing_creation_is_an_error(self, subject: Subject) -> None:
        spec = specs.standard()
        spec.fields.add(ddl.FieldSpec("bad", dtype=sqlalchemy.BigInteger, default=sqlalchemy.text("1 +")))
        if subject.is_arrow:
            for _ in range(2):
                with pytest.raises((DBAPIError, ValueError)):
                    subject.manager.register("broken", spec)
                assert subject.manager.get("broken") is None
        else:
            table = subject.manager.register("broken", spec)
            with pytest.raises(DBAPIError):
                list(table.fetch())

    @needs("registry")
    @pytest.mark.parametrize("length", [64, 200])
    def test_difference_7_with_long_names(self, subject: Subject, length: int) -> None:
        name = "t" * length
        if subject.dialect == "sqlite":
            assert_holds(subject.table(specs.standard(), *rows([1, 2]), name=name), rows([1, 2]))
            return
        with pytest.raises(sqlalchemy.exc.IdentifierError):
            subject.manager.register(name, specs.standard())
        if subject.is_arrow:
            with pytest.raises(sqlalchemy.exc.IdentifierError):
                subject.manager.register(name, specs.standard())
            assert subject.manager.get(name) is None
        else:
            # The second time the name is taken for a table that exists.
            with pytest.raises(DBAPIError):
                subject.manager.register(name, specs.standard()).insert(row(1))


def _execute(subject: RegistrySubject, statement: str) -> None:
    """Run a statement inside the subject's transaction."""
    with subject.database.query(sqlalchemy.text(statement)):
        pass
