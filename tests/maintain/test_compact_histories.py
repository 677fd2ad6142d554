"""Random histories of a root with many small files, against a dict."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from arrowopaque import Options, StoreRoot
from arrowopaque.format.spec import Column, ColumnKind, Index, TableSpec
from arrowopaque.store.decoding import plain

PARTITION_ROWS, ROW_GROUP_ROWS = 16, 2

# Neighbours of a key share its leading value, or a prefix of it.
KEYS: dict[str, tuple[tuple[ColumnKind, ...], Callable[[int], tuple[Any, ...]]]] = {
    "strings": ((ColumnKind.STRING,), lambda n: ("ab"[n % 2] * (n // 2 + 1),)),
    "composite": (
        (ColumnKind.UUID, ColumnKind.STRING),
        lambda n: (uuid.UUID(int=n // 3 << 64).bytes, "abc"[n % 3]),
    ),
    "float first": ((ColumnKind.FLOAT, ColumnKind.BIGINT), lambda n: (n // 4 / 3 if n > 3 else -math.inf, n)),
}


def spec_of(*kinds: ColumnKind) -> TableSpec:
    names = [f"k{i}" for i in range(len(kinds))]
    key = [Column(name=name, kind=kind, nullable=False) for name, kind in zip(names, kinds, strict=True)]
    value = Column(name="value", kind=ColumnKind.BIGINT)
    return TableSpec(columns=(*key, value), primary_key=tuple(names), indexes=(Index(columns=("value",)),))


class Histories(RuleBasedStateMachine):
    """A root, and what its table must hold."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        kinds, self.key = KEYS[kind]
        options = Options(bulk_rows=2, partition_rows=PARTITION_ROWS, row_group_rows=ROW_GROUP_ROWS)
        self.spec = spec_of(*kinds)
        self.root = StoreRoot(f"memory://{uuid.uuid4().hex}", options=options)
        self.root.register("t", self.spec)
        self.rows: dict[tuple[Any, ...], int] = {}

    @rule(start=st.integers(0, 59), step=st.integers(1, 9), count=st.integers(1, 20), value=st.integers(0, 9))
    def replace(self, start: int, step: int, count: int, value: int) -> None:
        keys = [self.key((start + i * step) % 60) for i in range(count)]
        rows = {key: value + i for i, key in enumerate(keys)}
        columns = zip(*((*key, value) for key, value in rows.items()), strict=True)
        arrays = [
            pa.array(column, field.type)
            for column, field in zip(columns, self.spec.arrow_schema, strict=True)
        ]
        self.root.table("t").replace_arrow(pa.Table.from_arrays(arrays, schema=self.spec.arrow_schema))
        self.rows.update(rows)

    @rule(start=st.integers(0, 59), step=st.integers(1, 5), count=st.integers(1, 30))
    def delete(self, start: int, step: int, count: int) -> None:
        keys = [self.key(start + i * step) for i in range(count)]
        names = self.spec.primary_key
        self.root.table("t").delete(names, *(self._given(key) for key in keys))
        for key in keys:
            self.rows.pop(key, None)

    def _given(self, key: tuple[Any, ...]) -> dict[str, Any]:
        return {
            name: uuid.UUID(bytes=value) if isinstance(value, bytes) else value
            for name, value in zip(self.spec.primary_key, key, strict=True)
        }

    @rule(full=st.booleans())
    def compact(self, full: bool) -> None:
        self.root.compact(full=full)
        assert self.root.compact(full=full)["t"].files_before == 0
        manifest = self.root.seen("t").snapshot().base.manifest
        for partition in manifest.partitions if manifest else ():
            files = partition.files
            live = sum(file.live for file in files)
            most = 1 if full else 2 + math.floor(math.log2(max(live / ROW_GROUP_ROWS, 1)))
            assert len(files) <= most
            assert live <= 2 * PARTITION_ROWS
            assert not (full and any(file.deletes for file in files))

    @rule()
    def vacuum(self) -> None:
        self.root.vacuum(0)

    @rule()
    def verify(self) -> None:
        assert self.root.verify().findings == ()

    @rule()
    def reopen(self) -> None:
        self.root = StoreRoot(self.root.uri)

    @invariant()
    def same_contents(self) -> None:
        found = self.root.table("t").fetch_arrow()
        rows = zip(*(plain(column).to_pylist() for column in found.columns), strict=True)
        assert sorted(rows) == sorted((*key, value) for key, value in self.rows.items())


@pytest.mark.parametrize("kind", KEYS)
def test_against_a_dict(kind: str) -> None:
    machine: Any = partial(Histories, kind)
    run_state_machine_as_test(machine, settings=settings())
