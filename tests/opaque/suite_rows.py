"""Returned rows, and when and in what order they come."""

from __future__ import annotations

__all__ = ["Reading", "Rows"]

import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from tests.opaque.suite_base import SuiteBase, assert_holds, needs, undone
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import Subject


def _ids(found: Any) -> list[int]:
    return [item["id"] for item in found]


class Rows(SuiteBase):
    """A row is an immutable mapping with the keys of the spec, in its order."""

    def test_row_is_a_mapping(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a", 5), row(2, "b", None))
        (found,) = table.fetch(id=1)
        assert isinstance(found, Mapping)
        assert len(found) == 3
        assert dict(found) == {**found} == {"id": 1, "name": "a", "val": 5}
        assert list(found.items()) == [("id", 1), ("name", "a"), ("val", 5)]
        assert list(found.values()) == [1, "a", 5]
        assert found.get("other") is None
        assert "id" in found
        assert "other" not in found

    def test_keys_come_in_the_order_of_the_spec(self, subject: Subject) -> None:
        table = subject.table(specs.records(), specs.record(1), specs.record(2))
        names = [column.name for column in specs.records().fields]
        assert {tuple(found) for found in table.fetch()} == {tuple(names)}
        (found,) = table.fetch(file_size=1, dataset_id=specs.record(1)["dataset_id"])
        assert list(found.keys()) == names

    def test_rows_equal_dicts_both_ways(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1, "a", 5), row(2))
        (found,) = table.fetch(id=1)
        (again,) = table.fetch(val=5)
        assert found == {"val": 5, "name": "a", "id": 1}
        assert {"id": 1, "name": "a", "val": 5} == found
        assert found == again
        assert found != {"id": 1, "name": "a", "val": 6}
        assert {"id": 1, "name": "a"} != found
        assert [row(1, "a", 5)] == list(table.fetch(id=1))

    def test_missing_key(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1), row(2))
        (found,) = table.fetch(id=1)
        with pytest.raises(KeyError):
            found["other"]

    def test_rows_are_immutable(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1), row(2))
        (found,) = table.fetch(id=1)
        changing: Any = found
        with pytest.raises(TypeError):
            changing["id"] = 2
        with pytest.raises(TypeError):
            del changing["id"]
        assert found["id"] == 1

    def test_rows_hash_and_pickle(self, subject: Subject) -> None:
        table = subject.table(specs.records(), specs.record(1), specs.record(2))
        (found,) = table.fetch(file_size=1)
        (again,) = table.fetch(file_size=1)
        assert hash(found) == hash(again)
        assert dict(pickle.loads(pickle.dumps(found))) == specs.record(1)

    def test_batches_are_sequences_of_rows(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows(range(5)))
        batches = list(table.fetch_batches(id=[1, 3, 9]))
        assert [item for batch in batches for item in batch] == rows([1, 3])
        assert sum(len(batch) for batch in table.fetch_batches()) == 5
        assert sum(len(batch) for batch in table.fetch_batches(id=77)) == 0
        assert sum(len(batch) for batch in table.fetch_batches(id=[])) == 0

    def test_storage_has_its_name(self, subject: Subject) -> None:
        assert subject.table(specs.standard(), name="some_name").name == "some_name"
        assert subject.manager["some_name"].name == "some_name"


class Reading(SuiteBase):
    """Laziness, isolation and order of what `fetch` gives."""

    def test_in_results_come_in_ascending_key_order(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2, 3, 5]))
        table.insert(*rows([7, 8, 9]))
        assert _ids(table.fetch(id=(9, 4, 8, 1, 3))) == [1, 3, 8, 9]
        assert _ids(table.fetch(id={2, 7, 5})) == [2, 5, 7]
        assert _ids(table.fetch(id=[9, 3, 1], name=["b", "a"])) == [1, 3, 9]

    def test_order_of_rows_inserted_out_of_order(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([7, 3, 9, 1]))
        table.insert(*rows([8, 2, 5]))
        table.delete(["id"], {"id": 9})
        table.insert(row(4))
        found = _ids(table.fetch(id=(9, 4, 8, 1, 3)))
        # The SQL manager gives PostgreSQL's heap order.
        assert (found if subject.is_arrow else sorted(found)) == [1, 3, 4, 8]

    def test_order_over_many_values(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows(range(1500)))
        table.insert(*rows(range(1500, 3000)))
        assert _ids(table.fetch(id=list(range(2999, -1, -1)))) == list(range(3000))

    def test_nothing_happens_before_next(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        early = table.fetch(id=[1, 2, 3])
        batches = table.fetch_batches()
        table.insert(row(3))
        assert _ids(early) == [1, 2, 3]
        assert sum(len(batch) for batch in batches) == 3

    def test_a_read_under_way_does_not_see_later_rows(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        reading = table.fetch(id=[1, 2, 3])
        assert next(reading)["id"] == 1
        table.insert(row(3))
        table.delete(["id"], {"id": 2})
        assert _ids(reading) == [2]

    def test_a_read_over_batches_sees_one_state(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(1), row(1600))
        reading = table.fetch(id=list(range(2000)))
        assert next(reading)["id"] == 1
        table.delete(["id"], {"id": 1600})
        table.insert(row(1700))
        # The SQL manager asks for a thousand ids at a time and mixes states.
        assert _ids(reading) == ([1600] if subject.is_arrow else [1700])

    def test_writing_while_reading(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows(range(5)))
        for found in table.fetch():
            table.delete(["id"], {"id": found["id"]})
        assert list(table.fetch()) == []

    def test_generator_made_in_a_transaction_and_read_after_it(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        with subject.transaction():
            table.insert(row(3))
            after_commit = table.fetch(id=[2, 3])
        assert _ids(after_commit) == [2, 3]
        with undone(subject):
            table.insert(row(4))
            after_rollback = table.fetch(id=[3, 4])
        assert _ids(after_rollback) == [3]

    def test_generator_made_before_a_transaction_and_read_in_it(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        early = table.fetch(id=[2, 3])
        with subject.transaction():
            table.insert(row(3))
            assert _ids(early) == [2, 3]

    def test_generator_half_read_over_a_rollback(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        with undone(subject):
            table.insert(row(3))
            reading = table.fetch(id=[1, 2, 3])
            assert next(reading)["id"] == 1
        assert _ids(reading) == [2, 3]
        assert_holds(table, rows([1, 2]))

    def test_rows_outlive_their_transaction(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        with undone(subject):
            table.insert(row(3, "c", 30))
            kept = list(table.fetch(id=[1, 3]))
        assert kept == [row(1, "a", 10), row(3, "c", 30)]

    def test_generator_dropped_half_read(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows(range(4)))
        reading = table.fetch(id=[0, 1, 2])
        assert next(reading)["id"] == 0
        reading.close()  # type: ignore[attr-defined]  # a generator, though declared an iterator
        table.insert(row(9))
        assert len(list(table.fetch())) == 5

    @needs("clients")
    def test_two_generators_of_two_clients(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows([1, 2]))
        other = subject.second().manager.register(table.name, specs.standard())
        mine, theirs = table.fetch(id=[1, 2]), other.fetch(id=[1, 2])
        assert [next(mine)["id"], next(theirs)["id"]] == [1, 1]
        assert [*_ids(mine), *_ids(theirs)] == [2, 2]
