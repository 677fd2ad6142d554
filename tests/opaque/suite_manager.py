"""The manager: register, get, clone, read-only clients."""

from __future__ import annotations

__all__ = ["Manager", "ReadOnly"]

from contextlib import nullcontext
from typing import Any

import pytest
import sqlalchemy
from lsst.daf.butler import ddl
from lsst.daf.butler.registry.interfaces import (
    DatabaseConflictError,
    OpaqueTableStorageManager,
    ReadOnlyDatabaseError,
    SchemaAlreadyDefinedError,
)

from tests.opaque.suite_base import SuiteBase, assert_holds, needs, once
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject, Repository, Subject, manager_classes


def _other_columns() -> ddl.TableSpec:
    return specs.one_column(sqlalchemy.BigInteger)


class Manager(SuiteBase):
    """Tables by name, and clones of the manager."""

    @once
    def test_unregistered_name(self, subject: Subject) -> None:
        assert subject.manager.get("nope") is None
        with pytest.raises(LookupError):
            subject.manager["nope"]

    @once
    def test_registered_name(self, subject: Subject) -> None:
        assert subject.manager.register("known", specs.standard()).name == "known"
        found = subject.manager.get("known")
        assert found is not None
        found.insert(row(1))
        assert_holds(subject.manager["known"], [row(1)])

    def test_register_again(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]), name="known")
        again = subject.manager.register("known", specs.standard())
        again.insert(row(3))
        assert_holds(table, [*rows([1, 2]), row(3)])

    def test_register_again_with_another_spec(self, subject: Subject) -> None:
        subject.table(specs.standard(), *rows([1, 2]), name="known")
        assert_holds(subject.manager.register("known", _other_columns()), rows([1, 2]))

    @needs("registry", "clients")
    def test_another_client_must_register(self, subject: Subject) -> None:
        subject.table(specs.standard(), *rows([1, 2]), name="known")
        other = subject.second().manager
        assert other.get("known") is None
        with pytest.raises(LookupError):
            other["known"]
        assert_holds(other.register("known", specs.standard()), rows([1, 2]))

    @needs("clients")
    def test_another_client_with_other_columns(self, subject: Subject) -> None:
        subject.table(specs.standard(), *rows([1, 2]), name="known")
        other = subject.second().manager
        fewer, more = _other_columns(), specs.standard()
        more.fields.add(ddl.FieldSpec("zz", dtype=sqlalchemy.BigInteger))
        for spec in (fewer, more):
            with pytest.raises(DatabaseConflictError):
                other.register("known", spec)
        assert other.get("known") is None
        assert_holds(other.register("known", specs.standard()), rows([1, 2]))

    @needs("registry")
    def test_another_manager_on_the_same_database(self, subject: RegistrySubject) -> None:
        subject.table(specs.standard(), *rows([1, 2]), name="known")
        manager_class, _ = manager_classes(subject.kind)
        with subject.database.declareStaticTables(create=False) as context:
            other = manager_class.initialize(subject.database, context)
        assert other.get("known") is None
        with pytest.raises(DatabaseConflictError):
            other.register("known", _other_columns())
        assert_holds(other.register("known", specs.standard()), rows([1, 2]))

    @once
    @needs("registry")
    def test_register_in_a_transaction(self, subject: Subject) -> None:
        subject.table(specs.standard(), name="known")
        with pytest.raises(AssertionError), subject.transaction():
            subject.manager.register("fresh", specs.standard())
        assert subject.manager.get("fresh") is None
        with subject.transaction():
            subject.manager.register("known", specs.standard()).insert(row(1))
        assert_holds(subject.manager["known"], [row(1)])

    @once
    @needs("registry", "clients")
    def test_register_a_known_table_of_another_client_in_a_transaction(self, subject: Subject) -> None:
        subject.table(specs.standard(), name="known")
        other = subject.second()
        with pytest.raises(AssertionError), other.transaction():
            other.manager.register("known", specs.standard())
        assert other.manager.get("known") is None

    @once
    @needs("registry")
    def test_register_in_a_session(self, subject: RegistrySubject) -> None:
        with subject.database.session():
            table = subject.manager.register("one", specs.standard())
            assert list(table.fetch()) == []
            # The SQL manager's reads begin a transaction, which nobody commits. Ours begin none.
            assert subject.database.isInTransaction() is not subject.is_arrow
            with nullcontext() if subject.is_arrow else pytest.raises(AssertionError):
                subject.manager.register("two", specs.standard())
        assert (subject.manager.get("two") is not None) is subject.is_arrow

    @pytest.mark.parametrize("name", specs.ODD_TABLE_NAMES)
    def test_names_that_need_quoting(self, subject: Subject, name: str) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]), name=name)
        assert table.name == name
        table.replace(row(2, "z"))
        table.delete(["id"], {"id": 1})
        table.insert(row(3))
        subject.settle()
        assert_holds(table, [row(2, "z"), row(3)])
        with pytest.raises(sqlalchemy.exc.IntegrityError):
            table.insert(row(3))

    def test_long_name_with_constraints(self, subject: Subject) -> None:
        spec = specs.uniques()
        spec.indexes.add(ddl.IndexSpec("x"))
        given = [{"id": i, "name": f"n{i}", "label": None, "x": i, "y": 1} for i in range(2)]
        table = subject.table(spec, *given, name="t" * 63)
        with pytest.raises(sqlalchemy.exc.IntegrityError):
            table.insert(given[0] | {"id": 9})
        assert_holds(table, given)

    @needs("registry")
    def test_names_that_differ_by_case(self, subject: Subject) -> None:
        upper = subject.table(specs.standard(), *rows([1, 2]), name="Tab")
        if subject.dialect == "postgresql":
            assert_holds(subject.table(specs.standard(), row(5), row(6), name="tab"), [row(5), row(6)])
        elif subject.is_arrow:
            # SQLite folds them into one table, which must not be shared.
            with pytest.raises((sqlalchemy.exc.OperationalError, DatabaseConflictError, ValueError)):
                subject.manager.register("tab", specs.standard())
        else:
            assert_holds(subject.manager.register("tab", specs.standard()), rows([1, 2]))
        assert_holds(upper, rows([1, 2]))

    @once
    @needs("registry")
    def test_name_of_another_table_of_the_registry(self, subject: RegistrySubject) -> None:
        subject.database.ensureTableExists("not_opaque", specs.keys_only())
        with pytest.raises(DatabaseConflictError):
            subject.manager.register("not_opaque", specs.standard())

    @once
    @needs("registry")
    def test_creation_in_a_repository_that_exists(self, subject: RegistrySubject) -> None:
        manager_class, _ = manager_classes(subject.kind)
        other = subject.database.clone()
        with pytest.raises(SchemaAlreadyDefinedError), other.declareStaticTables(create=True) as context:
            manager_class.initialize(other, context)

    @needs("clients")
    def test_reopened_client(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        table.delete(["id"], {"id": 1})
        again = subject.reopen()
        assert_holds(again.manager.register(table.name, specs.standard()), rows([2]))

    def test_clone_shares_tables_both_ways(self, subject: Subject) -> None:
        before = subject.table(specs.standard(), *rows([1, 2]), name="before")
        clone = subject.clone()
        assert isinstance(clone.manager, OpaqueTableStorageManager)
        assert type(clone.manager) is type(subject.manager)
        assert_holds(clone.manager["before"], rows([1, 2]))
        subject.table(specs.standard(), *rows([3, 4]), name="after")
        clone.refresh()
        assert_holds(clone.manager["after"], rows([3, 4]))
        clone.table(specs.standard(), *rows([5, 6]), name="there")
        subject.refresh()
        assert_holds(subject.manager["there"], rows([5, 6]))
        clone.manager["before"].delete(["id"], {"id": 1})
        subject.refresh()
        assert_holds(before, rows([2]))

    @needs("clients")
    def test_clone_is_another_client(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        clone = subject.clone()
        with clone.transaction():
            clone.manager[table.name].insert(*rows([3, 4]))
        subject.refresh()
        assert_holds(table, rows([1, 2, 3, 4]))
        with subject.transaction():
            table.delete(["id"], {"id": 1}, {"id": 2})
        clone.refresh()
        assert_holds(clone.manager[table.name], rows([3, 4]))

    @needs("registry", "clients")
    def test_clone_in_a_transaction(self, subject: Subject) -> None:
        subject.table(specs.standard(), *rows([1, 2]), name="known")
        with subject.transaction():
            clone = subject.clone()
            registered = clone.manager.register("known", specs.standard())
            subject.manager["known"].insert(row(3))
        assert_holds(registered, [*rows([1, 2]), row(3)])

    @needs("clients")
    def test_clone_on_another_repository(self, subject: Subject) -> None:
        mine = subject.table(specs.standard(), *rows([1, 2]), name="known")
        repository = subject.repository
        other = Repository(subject.kind, repository.site, repository.placement, repository.option_values)
        elsewhere: Any = other.create()
        try:
            theirs = elsewhere.table(specs.standard(), *rows([5, 6]), name="known")
            place = elsewhere.database if subject.dialect else elsewhere.root
            clone = subject.manager.clone(place)
            if subject.is_arrow or subject.dialect == "sqlite":
                assert_holds(clone["known"], rows([5, 6]))
                clone["known"].insert(*rows([7, 8]))
                elsewhere.refresh()
                assert_holds(theirs, rows([5, 6, 7, 8]))
            else:
                # The SQL manager's tables bring their schema along.
                assert_holds(clone["known"], rows([1, 2]))
            assert_holds(mine, rows([1, 2]))
        finally:
            other.close()

    @once
    def test_versions(self, subject: Subject) -> None:
        manager_class = type(subject.manager)
        name = manager_class.extensionName()
        if subject.is_arrow:
            assert name == "arrowopaque.ArrowOpaqueTableStorageManager"
        else:
            assert name == f"{manager_class.__module__}.{manager_class.__name__}"
        for version in manager_class.currentVersions():
            manager_class.checkCompatibility(version, update=True)


class ReadOnly(SuiteBase):
    """A client that may not write."""

    @needs("clients")
    def test_reading(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        table.insert(row(3))
        table.delete(["id"], {"id": 1})
        reader = subject.read_only().manager.register(table.name, specs.standard())
        assert_holds(reader, [*rows([2]), row(3)])
        assert [found["id"] for found in reader.fetch(id=[1, 2, 3])] == [2, 3]

    @once
    @needs("clients")
    def test_missing_table(self, subject: Subject) -> None:
        reader = subject.read_only().manager
        with pytest.raises(ReadOnlyDatabaseError):
            reader.register("nope", specs.standard())
        assert reader.get("nope") is None

    @needs("registry", "clients")
    def test_other_columns(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        with pytest.raises(DatabaseConflictError):
            subject.read_only().manager.register(table.name, _other_columns())

    @needs("clients")
    def test_writing(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        reader = subject.read_only().manager.register(table.name, specs.standard())
        for write in (reader.insert, reader.ensure, reader.replace):
            for given in ([], [row(3)], [row(3), row(4)]):
                with pytest.raises(ReadOnlyDatabaseError):
                    write(*given)
        for columns, keys in (
            (["id"], []),
            (["id"], [{"id": 1}]),
            (["id"], [{"id": 1}, {"id": 2}]),
            ([], []),
        ):
            with pytest.raises(ReadOnlyDatabaseError):
                reader.delete(columns, *keys)
        assert_holds(table, rows([1, 2]))
        assert_holds(reader, rows([1, 2]))

    @needs("clients")
    def test_clone_of_a_reader(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        reader = subject.read_only()
        reader.manager.register(table.name, specs.standard())
        clone = reader.clone().manager[table.name]
        assert_holds(clone, rows([1, 2]))
        with pytest.raises(ReadOnlyDatabaseError):
            clone.insert(row(3))
