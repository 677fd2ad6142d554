"""The conformance of `fetch`: which rows a constraint finds."""

from __future__ import annotations

__all__ = ["Fetch"]

import uuid
from typing import Any

import pytest
from lsst.sphgeom import Box
from sqlalchemy.exc import StatementError

from tests.opaque.suite_base import SuiteBase, contents, needs, raises
from tests.support import specs
from tests.support.specs import row, rows
from tests.support.subjects import Subject

_WORDS = ("abc", "abd", "ABC", "a_c", "a%c", "x", "é", "abc#frag", "abc%", "ab")


def _ids(found: Any) -> list[int]:
    return sorted(item["id"] for item in found)


def _words(subject: Subject) -> Any:
    """A table of ``_WORDS`` by their number, and two rows with other values."""
    return subject.table(
        specs.standard(), *(row(i, word, i % 3) for i, word in enumerate(_WORDS)), row(90, "n")
    )


class Fetch(SuiteBase):
    """Constraints on columns, alone and together."""

    def test_no_constraint(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *rows(range(12)))
        assert contents(table) == contents(table, id=list(range(12)))
        assert len(list(table.fetch())) == 12

    def test_empty_table(self, subject: Subject) -> None:
        table = subject.table(specs.standard())
        assert list(table.fetch()) == []
        assert list(table.fetch(id=1)) == []
        assert list(table.fetch(id=[1, 2], name="a%")) == []

    def test_equality(self, subject: Subject) -> None:
        table = _words(subject)
        assert _ids(table.fetch(id=0)) == [0]
        assert _ids(table.fetch(id=55)) == []
        assert _ids(table.fetch(name="abc")) == [0]
        assert _ids(table.fetch(val=1)) == [1, 4, 7]
        assert _ids(table.fetch(id=0, name="abc")) == [0]
        assert _ids(table.fetch(id=0, name="abd")) == []
        assert _ids(table.fetch(name="abd", val=1, id=1)) == [1]

    def test_none_is_null(self, subject: Subject) -> None:
        table = _words(subject)
        assert _ids(table.fetch(val=None)) == [90]
        assert _ids(table.fetch(val=None, name="n")) == [90]
        assert _ids(table.fetch(id=90, val=None)) == [90]
        assert _ids(table.fetch(id=1, val=None)) == []
        assert _ids(table.fetch(name=None)) == []

    @pytest.mark.parametrize("collection", [list, tuple, set])
    def test_membership(self, subject: Subject, collection: type) -> None:
        table = _words(subject)
        assert _ids(table.fetch(id=collection([0, 1, 77]))) == [0, 1]
        assert _ids(table.fetch(name=collection(["x", "abd", "none"]))) == [1, 5]
        assert _ids(table.fetch(val=collection([0]), id=collection(range(5)))) == [0, 3]
        assert _ids(table.fetch(val=collection([2, 1]), name="abd")) == [1]
        assert _ids(table.fetch(id=collection([77]))) == []

    @pytest.mark.parametrize("collection", [list, tuple, set])
    def test_membership_in_nothing(self, subject: Subject, collection: type) -> None:
        table = _words(subject)
        assert list(table.fetch(id=collection())) == []
        assert list(table.fetch(id=collection(), name="abc")) == []
        assert list(table.fetch(name="abc", val=collection())) == []
        assert list(table.fetch(id=[1, 2], name=collection())) == []

    def test_duplicates_in_a_membership(self, subject: Subject) -> None:
        table = _words(subject)
        assert [found["id"] for found in table.fetch(id=[1, 2, 1, 2])] == [1, 2]

    def test_values_that_cannot_be_ordered(self, subject: Subject) -> None:
        table = _words(subject)
        with pytest.raises(TypeError):
            list(table.fetch(id=[1, "x"]))

    def test_uuid_in_all_forms(self, subject: Subject) -> None:
        table = subject.table(specs.records(), *map(specs.record, range(4)))
        key = uuid.UUID(int=1)
        for form in (key, key.hex, str(key), 1, key.bytes, str(key).upper()):
            assert list(table.fetch(dataset_id=form)) == [specs.record(1)]
            assert list(table.fetch(dataset_id=[form])) == [specs.record(1)]
        assert list(table.fetch(dataset_id=[key.hex, str(key)])) == [specs.record(1)]

    def test_bad_uuid(self, subject: Subject) -> None:
        table = subject.table(specs.records(), *map(specs.record, range(4)))
        for bad in ("zz", ["zz"], 1.5, "0000%"):
            with raises(subject, sqlite=StatementError):
                list(table.fetch(dataset_id=bad))

    def test_region_by_equality_alone(self, subject: Subject) -> None:
        box, other = Box.fromDegrees(1, 2, 3, 4), Box.fromDegrees(1, 2, 3, 5)
        spec = specs.every_type()
        table = subject.table(spec, {"id": 1, "region": box}, {"id": 2, "region": other})
        assert [found["id"] for found in table.fetch(region=box)] == [1]
        if not subject.is_arrow:
            # Regions have no hash, which ours does not need.
            with pytest.raises(TypeError):
                list(table.fetch(region=[box]))

    def test_membership_on_every_type(self, subject: Subject) -> None:
        values: dict[str, list[Any]] = {
            "short": ["a", "b"],
            "unbounded": ["", "z"],
            "small": [1, -2],
            "real": [0.5, 1e300],
            "flag": [True, False],
            "blob": [b"", b"\x00"],
            "hash": [b"a", b"b"],
            "uid": [uuid.UUID(int=7), uuid.UUID(int=8)],
        }
        given = [{"id": i, **{name: pair[i] for name, pair in values.items()}} for i in range(2)]
        table = subject.table(specs.every_type(), *given)
        for name, pair in values.items():
            assert _ids(table.fetch(**{name: pair[0]})) == [0]
            assert _ids(table.fetch(**{name: pair[:1]})) == [0]
            assert _ids(table.fetch(**{name: pair})) == [0, 1]

    def test_prefix(self, subject: Subject) -> None:
        table = _words(subject)
        assert _ids(table.fetch(name="abc#%")) == [7]
        assert _ids(table.fetch(name="abc#frag%")) == [7]
        assert _ids(table.fetch(name="É%")) == []
        assert _ids(table.fetch(name="é%")) == [6]
        assert _ids(table.fetch(name="zz%")) == []

    def test_prefix_with_other_constraints(self, subject: Subject) -> None:
        table = _words(subject)
        assert _ids(table.fetch(name="ab%", val=1, id=[0, 1, 7])) == [1, 7]
        assert _ids(table.fetch(name="n%", val=None)) == [90]
        assert _ids(table.fetch(name="ab%", id=[])) == []
        assert _ids(table.fetch(name="abd%", id=1)) == [1]

    def test_prefix_of_everything(self, subject: Subject) -> None:
        given: list[dict[str, Any]] = [{"key": "k", "val": 1}, {"key": "l", "val": None}]
        table = subject.table(specs.string_key(), *given)
        assert len(list(table.fetch(key="%"))) == 2
        spec = specs.uniques()
        nullable = subject.table(
            spec, {"id": 1, "name": "a", "label": None}, {"id": 2, "name": "b", "label": "x"}
        )
        assert _ids(nullable.fetch(label="%")) == [2]

    def test_prefix_of_the_key(self, subject: Subject) -> None:
        given: list[dict[str, Any]] = [
            {"key": key, "val": i} for i, key in enumerate(["ab", "abc", "abd", "b", "a", "ac"])
        ]
        table = subject.table(specs.string_key(), *given)
        assert sorted(found["key"] for found in table.fetch(key="ab%")) == ["ab", "abc", "abd"]

    def test_prefix_of_a_path(self, subject: Subject) -> None:
        paths = ("a.zip#1", "a.zip#2", "b.zip#1", "a.zip", "a.zipper#1")
        table = subject.table(specs.records(), *(specs.record(i, path=path) for i, path in enumerate(paths)))
        assert sorted(found["path"] for found in table.fetch(path="a.zip#%")) == ["a.zip#1", "a.zip#2"]
        assert [found["file_size"] for found in table.fetch(path="a.zip")] == [3]
        assert sorted(found["path"] for found in table.fetch(path={"a.zip", "b.zip#1"})) == [
            "a.zip",
            "b.zip#1",
        ]

    def test_prefix_of_a_subclass_of_str(self, subject: Subject) -> None:
        class Path(str):
            __slots__ = ()

        assert _ids(_words(subject).fetch(name=Path("abc#%"))) == [7]

    def test_percent_elsewhere_is_equality(self, subject: Subject) -> None:
        table = _words(subject)
        assert _ids(table.fetch(name="a%c")) == [4]
        assert _ids(table.fetch(name="a_c")) == [3]
        assert _ids(table.fetch(name=["abc%"])) == [8]
        assert _ids(table.fetch(name={"abc%", "x"})) == [5, 8]

    def test_strings_compare_exactly(self, subject: Subject) -> None:
        table = _words(subject)
        assert _ids(table.fetch(name="ABC")) == [2]
        assert _ids(table.fetch(name="abc ")) == []
        assert _ids(table.fetch(name="e\u0301")) == []

    def test_unknown_column(self, subject: Subject) -> None:
        table = _words(subject)
        unknown: list[dict[str, Any]] = [{"bogus": 1}, {"bogus": [1]}, {"bogus": []}, {"id": [], "bogus": 1}]
        for where in (*unknown, {"ID": 1}):
            reading = table.fetch(**where)
            with pytest.raises(KeyError):
                next(reading)
            batches = table.fetch_batches(**where)
            with pytest.raises(KeyError):
                next(batches)

    def test_positional_argument(self, subject: Subject) -> None:
        fetch: Any = _words(subject).fetch
        with pytest.raises(TypeError):
            fetch(1)

    def test_products_of_memberships(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), *(row(i, "a", 10_000 - i) for i in range(3000)))
        found = list(table.fetch(id=list(range(3000)), val=[10_000 - i for i in range(0, 3000, 2)]))
        assert [item["id"] for item in found] == list(range(0, 3000, 2))

    def test_a_membership_of_300_000(self, subject: Subject) -> None:
        table = subject.table(specs.standard(), row(5), row(150_000), row(299_999), row(300_001))
        found = list(table.fetch(id=list(range(300_000))))
        assert [item["id"] for item in found] == [5, 150_000, 299_999]

    def test_a_membership_of_many_uuids(self, subject: Subject) -> None:
        table = subject.table(specs.records(), *map(specs.record, range(0, 4000, 400)))
        found = table.fetch(dataset_id={uuid.UUID(int=i) for i in range(3000)})
        assert [item["file_size"] for item in found] == list(range(0, 3000, 400))

    @pytest.mark.parametrize("count", [600, 800])
    def test_a_membership_of_as_many_as_the_table_has(self, subject: Subject, count: int) -> None:
        table = subject.table(specs.standard(), *rows(range(700)))
        table.delete(["id"], *[{"id": id} for id in range(0, 700, 2)])
        table.replace(row(1, "new"), row(2, "again"))
        wanted = [*range(count), 5000]
        found = [2, *range(1, min(count, 700), 2)]
        assert _ids(table.fetch(id=wanted)) == sorted(found)
        assert [r["name"] for r in table.fetch(id=wanted) if r["id"] < 3] == ["new", "again"]
        assert _ids(table.fetch(id=wanted, name="again")) == [2]
        assert _ids(table.fetch(id=[str(id) for id in wanted])) == sorted(found)

    def test_odd_column_names(self, subject: Subject) -> None:
        given = {"id": 1, **{name: i for i, name in enumerate(specs.ODD_COLUMN_NAMES)}}
        table = subject.table(specs.odd_columns(), given, {**dict.fromkeys(given), "id": 2})
        for i, name in enumerate(specs.ODD_COLUMN_NAMES):
            assert list(table.fetch(**{name: i})) == [given]
            assert _ids(table.fetch(**{name: [i]})) == [1]
            assert _ids(table.fetch(**{name: None})) == [2]
        table.replace(given | {"select": 99})
        assert list(table.fetch(select=99)) == [given | {"select": 99}]
        table.delete(["select", "a%b"], {"select": 99, "a%b": given["a%b"]})
        assert _ids(table.fetch()) == [2]

    @needs("registry")
    def test_fetch_without_a_key(self, subject: Subject) -> None:
        table = subject.table(specs.no_key(), {"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": None, "b": 3})
        assert contents(table, a=1) == [{"a": 1, "b": 1}, {"a": 1, "b": 2}]
        assert contents(table, a=None) == [{"a": None, "b": 3}]
        assert contents(table, b=[1, 3]) == [{"a": 1, "b": 1}, {"a": None, "b": 3}]
