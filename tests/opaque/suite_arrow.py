"""What ours offers beyond the interface of the SQL manager."""

from __future__ import annotations

__all__ = ["Bulk", "Columns", "Maintenance", "Queries"]

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lsst.daf.butler.registry.interfaces import ReadOnlyDatabaseError
from sqlalchemy.exc import IntegrityError

from tests.opaque.suite_base import ArrowFailure, SuiteBase, assert_holds, contents, needs, once, undone
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import RegistrySubject, Subject


def _objects(subject: Subject) -> dict[str, bytes]:
    """Read every object of a store on a local disk, around the store."""
    base = Path(str(subject.repository.base))
    return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}


def _data_files(subject: Subject) -> list[Path]:
    """Find the files that hold rows; those of indexes have a longer name."""
    base = Path(str(subject.repository.base))
    return [path for path in base.rglob("*.parquet") if ".index" not in path.name]


def _stored_rows(subject: Subject) -> list[dict[str, Any]]:
    """Read the data files of a local store as any Parquet reader would."""
    return [item for path in _data_files(subject) for item in pq.ParquetFile(path).read().to_pylist()]


def _sorted(found: pa.Table) -> list[dict[str, Any]]:
    return sorted(found.to_pylist(), key=lambda item: item["id"])


def _query(subject: Any, query: str) -> list[tuple[Any, ...]]:
    return [tuple(item.values()) for item in subject.manager.sql(query).to_arrow_table().to_pylist()]


class Columns(SuiteBase):
    """Arrow tables in and out."""

    @needs("arrow")
    def test_fetch_arrow(self, subject: Subject) -> None:
        table: Any = subject.table(specs.standard(), *rows(range(5)))
        table.insert(row(7, "x"))
        table.delete(["id"], {"id": 2})
        found = table.fetch_arrow()
        assert isinstance(found, pa.Table)
        assert found.column_names == ["id", "name", "val"]
        assert _sorted(found) == [*rows([0, 1, 3, 4]), row(7, "x")]

    @needs("arrow")
    def test_fetch_arrow_of_some_columns_and_rows(self, subject: Subject) -> None:
        table: Any = subject.table(specs.standard(), *rows(range(5)))
        assert table.fetch_arrow(columns=["val", "id"], id=[1, 3, 9]).to_pylist() == [
            {"val": 10, "id": 1},
            {"val": 30, "id": 3},
        ]
        assert table.fetch_arrow(columns=["id"], name="a%", val=20).to_pylist() == [{"id": 2}]
        assert table.fetch_arrow(id=[]).num_rows == 0
        assert table.fetch_arrow(id=[]).schema == table.fetch_arrow().schema
        for bad in ({"columns": ["zz"]}, {"zz": 1}):
            with pytest.raises(KeyError):
                table.fetch_arrow(**bad)

    @needs("arrow")
    def test_fetch_arrow_of_records(self, subject: Subject) -> None:
        table: Any = subject.table(specs.records(), *map(specs.record, range(5)))
        found = table.fetch_arrow()
        assert found.schema.field("dataset_id").type == pa.uuid()
        assert sorted(found.to_pylist(), key=lambda item: item["file_size"]) == list(
            map(specs.record, range(5))
        )

    @needs("arrow")
    def test_fetch_arrow_of_every_type(self, subject: Subject) -> None:
        moment = specs.moment(5)
        given = {"id": 1, "time": moment, "hash": b"h", "flag": True, "small": 3, "real": 0.5, "text": "é"}
        table: Any = subject.table(specs.every_type(), given, given | {"id": 2})
        (found,) = table.fetch_arrow(id=1).to_pylist()
        assert found["time"] == 1_600_000_005_000_000_000
        assert {name: found[name] for name in given if name != "time"} == {
            name: value for name, value in given.items() if name != "time"
        }
        twin: Any = subject.table(specs.every_type())
        twin.insert_arrow(table.fetch_arrow())
        assert contents(twin) == contents(table)

    @needs("arrow")
    def test_insert_arrow(self, subject: Subject) -> None:
        table: Any = subject.table(specs.records(), *map(specs.record, range(5)))
        twin: Any = subject.table(specs.records(), specs.record(7), specs.record(8))
        twin.insert_arrow(table.fetch_arrow())
        assert_holds(twin, map(specs.record, (0, 1, 2, 3, 4, 7, 8)))
        with pytest.raises(IntegrityError):
            twin.insert_arrow(table.fetch_arrow(file_size=3))
        twin.insert_arrow(table.fetch_arrow(file_size=99))
        assert_holds(twin, map(specs.record, (0, 1, 2, 3, 4, 7, 8)))

    @needs("arrow")
    def test_ensure_and_replace_arrow(self, subject: Subject) -> None:
        table: Any = subject.table(specs.standard(), *rows([1, 2]))
        given = pa.table({"id": [2, 3], "name": ["z", "z"], "val": [None, 5]})
        table.ensure_arrow(given)
        assert_holds(table, [*rows([1, 2]), row(3, "z", 5)])
        table.replace_arrow(given)
        assert_holds(table, [*rows([1]), row(2, "z"), row(3, "z", 5)])

    @needs("arrow")
    def test_insert_arrow_with_absent_columns(self, subject: Subject) -> None:
        table: Any = subject.table(specs.standard(), *rows([1, 2]))
        table.insert_arrow(pa.table({"name": ["a", "b"], "id": [3, 4]}))
        with pytest.raises(IntegrityError):
            table.insert_arrow(pa.table({"id": [5, 6]}))
        assert_holds(table, [*rows([1, 2]), row(3), row(4, "b")])

    @needs("arrow")
    def test_insert_arrow_refuses(self, subject: Subject) -> None:
        table: Any = subject.table(specs.standard(), *rows([1, 2]))
        good = pa.table({"id": [3, 4], "name": ["a", "b"], "val": [1, 2]})
        typo = good.append_column("typo", pa.array([1, 2]))
        words = good.set_column(2, "val", pa.array(["x", "y"]))
        long = good.set_column(1, "name", pa.array(["x", "x" * 17]))
        for bad, column in ((typo, "typo"), (words, "val"), (long, "name")):
            for write in (table.insert_arrow, table.ensure_arrow, table.replace_arrow):
                with pytest.raises((*ArrowFailure, IntegrityError), match=column):
                    write(bad)
        nulls = good.set_column(1, "name", pa.array(["x", None]))
        twice = good.set_column(0, "id", pa.array([5, 5]))
        for bad in (nulls, twice):
            with pytest.raises(IntegrityError):
                table.insert_arrow(bad)
        assert_holds(table, rows([1, 2]))

    @needs("arrow")
    def test_arrow_in_a_transaction(self, subject: Subject) -> None:
        table: Any = subject.table(specs.standard(), *rows([1, 2]))
        with undone(subject):
            table.insert_arrow(pa.table({"id": [3, 4], "name": ["a", "b"]}))
            assert sorted(table.fetch_arrow(columns=["id"]).column("id").to_pylist()) == [1, 2, 3, 4]
        assert_holds(table, rows([1, 2]))


class Queries(SuiteBase):
    """`names` and `sql`."""

    @once
    @needs("arrow")
    def test_names(self, subject: Any) -> None:
        assert list(subject.manager.names()) == []
        subject.table(specs.standard(), name="two")
        subject.table(specs.standard(), *rows([1, 2]), name="one")
        assert sorted(subject.manager.names()) == ["one", "two"]

    @once
    @needs("arrow", "clients")
    def test_names_of_another_client(self, subject: Subject) -> None:
        subject.table(specs.standard(), *rows([1, 2]), name="one")
        for other in (subject.second(), subject.read_only()):
            assert list(other.manager.names()) == ["one"]  # type: ignore[attr-defined]  # ours alone has it

    @needs("arrow")
    def test_sql_over_several_tables(self, subject: Subject) -> None:
        one = subject.table(specs.standard(), *rows(range(6)), name="one")
        subject.table(specs.records(), *map(specs.record, range(4)), name="My Records")
        one.delete(["id"], {"id": 0})
        one.replace(row(5, "z", 3))
        one.insert(row(6, "y", 1))
        assert _query(subject, "SELECT count(*), sum(val) FROM one") == [(6, 10 + 20 + 30 + 40 + 3 + 1)]
        assert _query(
            subject, 'SELECT storage_class, sum(file_size) FROM "My Records" GROUP BY 1 ORDER BY 1'
        ) == [
            ("Catalog", 4),
            ("Exposure", 2),
        ]
        joined = 'SELECT id, path FROM one JOIN "My Records" ON file_size = val WHERE id > 4 ORDER BY id'
        assert _query(subject, joined) == [(5, "run/type/3.fits"), (6, "run/type/1.fits")]

    @needs("arrow")
    def test_sql_knows_the_types(self, subject: Subject) -> None:
        subject.table(specs.records(), *map(specs.record, range(4)), name="records")
        found = _query(subject, "SELECT file_size FROM records WHERE dataset_id = uuid '" + "0" * 31 + "2'")
        assert found == [(2,)]

    @needs("arrow")
    def test_sql_on_an_empty_table(self, subject: Subject) -> None:
        subject.table(specs.standard(), name="one")
        assert _query(subject, "SELECT count(*) FROM one") == [(0,)]

    @needs("arrow", "clients")
    def test_sql_of_a_reader(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]), name="one")
        table.insert(row(3))
        assert _query(subject.read_only(), "SELECT count(*) FROM one") == [(3,)]


class Maintenance(SuiteBase):
    """`flush`, `compact`, `vacuum` and `verify` change no row."""

    @needs("arrow")
    def test_all_keep_the_rows(self, subject: Any) -> None:
        table = subject.table(specs.standard(), *rows(range(8)), name="one")
        table.delete(["id"], {"id": 1}, {"id": 3})
        table.replace(row(2, "z"))
        table.insert(row(9))
        expected = contents(table)
        for step in ("flush", "compact", "vacuum", "verify", "flush", "compact", "vacuum", "verify"):
            options = {"retention": 0} if step == "vacuum" else {}
            getattr(subject.manager, step)(**options)
            assert_holds(table, expected)
            with pytest.raises(IntegrityError):
                table.insert(row(2))
            assert list(table.fetch(id=[1, 2, 3])) == [row(2, "z")]

    @needs("arrow")
    def test_of_named_tables(self, subject: Any) -> None:
        table = subject.table(specs.standard(), *rows(range(4)), name="one")
        subject.table(specs.standard(), *rows(range(4)), name="two")
        subject.manager.flush("one")
        subject.manager.compact("one", "two")
        assert_holds(table, rows(range(4)))
        for step in (subject.manager.flush, subject.manager.compact):
            with pytest.raises(LookupError, match="nope"):
                step("nope")

    @needs("arrow", "local")
    def test_flush_without_work_writes_nothing(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows(range(4)))
        table.delete(["id"], {"id": 1})
        subject.flush()
        before = _objects(subject)
        subject.flush()
        subject.flush(table.name)
        subject.reopen().flush()
        assert _objects(subject) == before

    @needs("registry", "arrow", "local")
    def test_flush_moves_the_rows(self, subject: RegistrySubject) -> None:
        table = subject.table(specs.records(), *map(specs.record, range(6)))
        subject.flush()
        assert subject.delta_rows(table.name) == 0
        assert sorted(item["file_size"] for item in _stored_rows(subject)) == list(range(6))
        table.insert(specs.record(7))
        table.replace(specs.record(2, path="moved"))
        assert subject.delta_rows(table.name) == 2
        subject.flush()
        assert subject.delta_rows(table.name) == 0
        assert_holds(table, [*map(specs.record, (0, 1, 3, 4, 5, 7)), specs.record(2, path="moved")])

    @needs("registry", "arrow")
    def test_tables_without_a_key_stay_in_sql(self, subject: RegistrySubject) -> None:
        table = subject.table(specs.no_key(), {"a": 1, "b": 1}, {"a": 1, "b": 1})
        subject.flush()
        assert subject.delta_rows(table.name) == 2
        assert_holds(table, 2 * [{"a": 1, "b": 1}])

    @needs("arrow", "local")
    def test_compact_and_vacuum_leave_only_live_rows(self, subject: Any) -> None:
        table = subject.table(specs.standard(), *rows(range(8)))
        subject.flush()
        table.replace(*(row(i, "z") for i in range(4)))
        table.delete(["id"], {"id": 6}, {"id": 7})
        subject.flush()
        subject.manager.compact()
        subject.manager.vacuum(retention=0)
        expected = [*(row(i, "z") for i in range(4)), *rows([4, 5])]
        assert sorted(_stored_rows(subject), key=lambda item: item["id"]) == expected
        assert_holds(table, expected)
        subject.manager.verify()

    @needs("arrow", "local")
    def test_vacuum_spares_young_files(self, subject: Any) -> None:
        table = subject.table(specs.standard(), *rows(range(4)))
        subject.flush()
        table.delete([])
        subject.flush()
        subject.manager.compact()
        files = set(_data_files(subject))
        assert files
        subject.manager.vacuum(retention=3600)
        assert set(_data_files(subject)) == files
        subject.manager.vacuum(retention=0)
        assert not _data_files(subject)
        assert_holds(table, [])

    @needs("arrow", "local")
    def test_verify_finds_damage(self, subject: Any) -> None:
        from arrowopaque import CorruptStoreError

        subject.table(specs.standard(), *rows(range(4)))
        subject.flush()
        subject.manager.verify()
        (victim,) = _data_files(subject)
        victim.write_bytes(victim.read_bytes()[:-9] + b"x" * 9)
        with pytest.raises(CorruptStoreError, match=victim.name):
            subject.manager.verify()

    @needs("arrow", "clients")
    def test_of_another_client(self, subject: Any) -> None:
        table = subject.table(specs.standard(), *rows(range(6)))
        other = subject.second()
        other.manager.register(table.name, specs.standard())
        table.delete(["id"], {"id": 1})
        other.refresh()
        for step in ("flush", "compact"):
            getattr(other.manager, step)()
            subject.refresh()
            assert_holds(table, rows([0, 2, 3, 4, 5]))
        table.replace(row(2, "z"))
        other.refresh()
        other.manager.flush()
        other.manager.vacuum(retention=0)
        subject.refresh()
        assert_holds(table, [*rows([0, 3, 4, 5]), row(2, "z")])
        with pytest.raises(IntegrityError):
            table.insert(row(2))

    @needs("arrow", "clients")
    def test_of_a_reader(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows(range(4)))
        reader: Any = subject.read_only()
        for step, options in (("flush", {}), ("compact", {}), ("vacuum", {"retention": 0})):
            with pytest.raises(ReadOnlyDatabaseError):
                getattr(reader.manager, step)(**options)
        reader.manager.verify()
        assert_holds(table, rows(range(4)))

    @once
    @needs("registry", "arrow", "clients")
    def test_opening_flushes_a_large_delta(self, subject: RegistrySubject) -> None:
        table = subject.table(specs.standard(), *rows(range(8)))
        assert subject.delta_rows(table.name) == 8
        with subject.options(flush_at_open=8):
            subject.second().manager.register(table.name, specs.standard())
        assert subject.delta_rows(table.name) == 8
        with subject.options(flush_at_open=7):
            reader = subject.read_only().manager.register(table.name, specs.standard())
            assert subject.delta_rows(table.name) == 8
            subject.second().manager.register(table.name, specs.standard())
        assert subject.delta_rows(table.name) == 0
        assert_holds(table, rows(range(8)))
        assert_holds(reader, rows(range(8)))


class Bulk(SuiteBase):
    """Large calls go to data files; when they may not, they are small ones."""

    @once
    @needs("registry", "arrow", "clients")
    def test_threshold(self, subject: RegistrySubject) -> None:
        with subject.options(bulk_rows=3):
            other = subject.second()
        table = other.manager.register("one", specs.standard())
        table.insert(*rows([1, 2]))
        assert other.delta_rows("one") == 2
        table.insert(*rows([3, 4, 5]))
        assert other.delta_rows("one") == 2
        assert_holds(table, rows([1, 2, 3, 4, 5]))
        mine = subject.manager.register("one", specs.standard())
        mine.insert(*rows([6, 7, 8]))
        assert other.delta_rows("one") == 5
        table.delete(["id"], {"id": 3}, {"id": 6}, {"id": 1})
        assert other.delta_rows("one") == 3
        assert_holds(mine, rows([2, 4, 5, 7, 8]))

    @needs("registry", "arrow")
    def test_rolled_back(self, subject: RegistrySubject) -> None:
        with subject.options(bulk_rows=2):
            clone = subject.clone() if subject.repository.base is None else subject.second()
        table = clone.manager.register("one", specs.standard())
        with undone(clone):
            table.insert(*rows([1, 2]))
            assert_holds(table, rows([1, 2]))
        assert_holds(table, [])
        assert clone.delta_rows("one") == 0

    @once
    @needs("arrow", "concurrent")
    def test_falls_back_beside_a_small_writer(self, subject: RegistrySubject) -> None:
        with subject.options(bulk_rows=2):
            other = subject.second()
        table = subject.table(specs.standard(), *rows([1, 2]))
        theirs = other.manager.register(table.name, specs.standard())
        with subject.transaction():
            table.insert(row(9))
            theirs.insert(*rows([3, 4]))
            assert other.delta_rows(table.name) == 4
            theirs.delete(["id"], {"id": 1}, {"id": 3})
            assert other.delta_rows(table.name) == 2
        assert_holds(theirs, [*rows([2, 4]), row(9)])

    @once
    @needs("arrow", "local")
    def test_parquet_holds_what_was_inserted(self, subject: Subject) -> None:
        with subject.options(bulk_rows=2):
            other = subject.second()
        table = other.manager.register("records", specs.records())
        table.insert(*map(specs.record, range(5)))
        stored = sorted(_stored_rows(subject), key=lambda item: item["file_size"])
        assert [item["path"] for item in stored] == [specs.record(i)["path"] for i in range(5)]
        assert [item["file_size"] for item in stored] == list(range(5))
