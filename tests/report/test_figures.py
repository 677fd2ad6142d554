"""The figures of a report, on real stores."""

from __future__ import annotations

import json
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from arrowopaque import Options, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.report import contents as questions
from arrowopaque.report import health
from arrowopaque.report.figures import Figures, collect, steps
from arrowopaque.report.source import of_root
from tests.report.stores import HOSTILE, RECORDS, dataset, datasets, records_root
from tests.support import specs


def figures_of(root: StoreRoot) -> Figures:
    return collect(of_root(root, "a place"))


def groups_of(figures: Figures, by: str) -> dict[str | None, tuple[int, int]]:
    assert figures.contents is not None
    (grouping,) = (one for one in figures.contents.groupings if one.by == by)
    return {group.name: (group.files, group.bytes) for group in grouping.groups}


def record(number: int, **changes: Any) -> dict[str, Any]:
    return {**specs.record(number), **changes}


def test_files_and_bytes(tmp_path: Path) -> None:
    figures = figures_of(records_root(tmp_path, [record(n, file_size=100 * n) for n in range(1, 11)]))
    assert figures.contents is not None
    assert (figures.contents.records, figures.contents.files, figures.contents.bytes) == (10, 10, 5500)
    assert groups_of(figures, "storage_class") == {"Exposure": (5, 3000), "Catalog": (5, 2500)}
    assert groups_of(figures, "formatter") == {"lsst.some.Formatter": (10, 5500)}
    assert [one.by for one in figures.contents.groupings] == ["storage_class", "formatter"]
    assert figures.contents.largest[0] == questions.Large("run/type/10.fits", 1000)
    json.dumps(figures.to_json())


@pytest.mark.parametrize(
    ("size", "least", "below"),
    [
        (1, 1, 2),
        (2, 2, 5),
        (4, 2, 5),
        (5, 5, 10),
        (9, 5, 10),
        (999, 500, 1000),
        (1000, 1000, 2000),
        (0, 0, 1),
    ],
)
def test_size_bins(tmp_path: Path, size: int, least: int, below: int) -> None:
    figures = figures_of(records_root(tmp_path, [record(1, file_size=size)]))
    assert figures.contents is not None
    assert figures.contents.sizes == (questions.SizeBin(least, below, 1, size),)


def test_size_bins_have_no_gap(tmp_path: Path) -> None:
    figures = figures_of(records_root(tmp_path, [record(1, file_size=7), record(2, file_size=300)]))
    assert figures.contents is not None
    bins = figures.contents.sizes
    assert [(one.least, one.files) for one in bins] == [(5, 1), (10, 0), (20, 0), (50, 0), (100, 0), (200, 1)]
    assert all(one.below == other.least for one, other in pairwise(bins))


def test_unknown_sizes_and_empty_files(tmp_path: Path) -> None:
    rows = [
        record(1, file_size=None),
        record(2, file_size=-1),
        record(3, file_size=0),
        record(4, file_size=5),
    ]
    figures = figures_of(records_root(tmp_path, rows))
    assert figures.contents is not None
    assert (figures.contents.unknown_sizes, figures.contents.empty, figures.contents.bytes) == (2, 1, 5)
    assert {"unknown_sizes", "empty", "no_checksum"} <= {advice.code for advice in figures.advice}


def test_shared_files_count_once(tmp_path: Path) -> None:
    rows = [
        record(1, path="one.fits", file_size=90, storage_class="A"),
        record(2, path="one.fits", file_size=90, storage_class="A"),
        record(3, path="one.fits", file_size=90, storage_class="B"),
        record(4, path="a.zip#unzip=x", file_size=10, storage_class="A"),
        record(5, path="a.zip#unzip=y", file_size=10, storage_class="A"),
        record(6, path="alone.fits", file_size=7, storage_class="B"),
    ]
    figures = figures_of(records_root(tmp_path, rows))
    assert figures.contents is not None
    assert (figures.contents.shared_files, figures.contents.shared_records) == (2, 5)
    assert (figures.contents.files, figures.contents.bytes) == (3, 107)
    # Two thirds of one.fits are of A, and the zip; a third and alone.fits of B.
    assert groups_of(figures, "storage_class") == {"A": (2, 70), "B": (1, 37)}
    assert [large.path for large in figures.contents.largest] == ["one.fits", "a.zip", "alone.fits"]
    assert sum(one.files for one in figures.contents.sizes) == 3


def test_copies_have_size_and_checksum_in_common(tmp_path: Path) -> None:
    rows = [
        record(1, path="a", file_size=10, checksum="same"),
        record(2, path="b", file_size=10, checksum="same"),
        record(3, path="c", file_size=10, checksum="same"),
        record(4, path="d", file_size=11, checksum="same"),
        record(5, path="e", file_size=10, checksum="other"),
        record(6, path="e", file_size=10, checksum="other"),
        record(7, path="f", file_size=10, checksum=None),
    ]
    figures = figures_of(records_root(tmp_path, rows))
    assert figures.contents is not None
    assert (figures.contents.copies, figures.contents.copied_bytes) == (2, 20)
    assert figures.contents.no_checksum == 1


def test_slices_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [record(n, path=f"{n // 3}", file_size=10, checksum=f"{n % 4}") for n in range(60)]
    root = records_root(tmp_path, rows)
    whole = figures_of(root).contents
    monkeypatch.setattr(questions, "_SLICE", 7)
    assert figures_of(root).contents == whole
    assert whole is not None
    assert (whole.shared_files, whole.shared_records) == (20, 60)


def test_dataset_types_and_runs(tmp_path: Path) -> None:
    root = records_root(tmp_path, [record(n, file_size=n) for n in range(1, 7)], datasets=datasets())
    root.table("datasets").insert(
        *[dataset(n, "raw" if n < 4 else "calexp", f"run/{n % 2}") for n in range(1, 6)]
    )
    figures = figures_of(root)
    assert figures.has_datasets
    assert groups_of(figures, "dataset_type") == {"raw": (3, 6), "calexp": (2, 9), None: (1, 6)}
    assert groups_of(figures, "run") == {"run/1": (3, 9), "run/0": (2, 6), None: (1, 6)}
    assert figures.contents is not None
    assert figures.contents.strangers == 1
    assert "strangers" in {advice.code for advice in figures.advice}


def test_a_table_called_datasets_may_be_anything(tmp_path: Path) -> None:
    figures = figures_of(records_root(tmp_path, [record(1)], datasets=specs.standard()))
    assert not figures.has_datasets
    assert figures.contents is not None
    assert figures.contents.strangers is None


def test_many_groups_become_one(tmp_path: Path) -> None:
    """Large in bytes or in files: both kinds are told apart."""
    rows = [record(n, storage_class=f"class{n}", file_size=10) for n in range(300)]
    rows += [record(1000, storage_class="huge", file_size=10**9)]
    rows += [record(2000 + n, storage_class="tiny", file_size=0) for n in range(5)]
    figures = figures_of(records_root(tmp_path, rows))
    assert figures.contents is not None
    grouping = figures.contents.groupings[0]
    assert len(grouping.groups) == questions.MOST
    assert {"huge", "tiny"} <= {group.name for group in grouping.groups}
    assert grouping.others == 302 - questions.MOST
    assert grouping.other_files + sum(group.files for group in grouping.groups) == 306
    assert grouping.other_bytes + sum(group.bytes for group in grouping.groups) == figures.contents.bytes


def test_two_datastores(tmp_path: Path) -> None:
    """The same path in two of them is two files."""
    other = 'file\'s "records" FILES SLICE'
    root = records_root(tmp_path, [record(1, path="x", file_size=5)], **{other: specs.records()})
    root.table(other).insert(record(2, path="x", file_size=6))
    figures = figures_of(root)
    assert groups_of(figures, "table") == {RECORDS: (1, 5), other: (1, 6)}
    assert figures.contents is not None
    assert (figures.contents.files, figures.contents.shared_files) == (2, 0)


def test_hostile_values(tmp_path: Path) -> None:
    rows = [record(n, path=f"{n}{name}", storage_class=name, file_size=1) for n, name in enumerate(HOSTILE)]
    assert groups_of(figures_of(records_root(tmp_path, rows)), "storage_class").keys() == set(HOSTILE)


def test_no_rows(tmp_path: Path) -> None:
    figures = figures_of(records_root(tmp_path, []))
    assert figures.contents is not None
    assert (figures.contents.records, figures.contents.sizes, figures.compression.bytes_a_row) == (
        0,
        (),
        None,
    )
    assert figures.contents.groupings[0].groups == ()


def test_no_datastore(tmp_path: Path) -> None:
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2))
    root.register("here", from_lsst("here", specs.standard()))
    root.table("here").insert(*specs.rows(range(5)))
    figures = figures_of(root)
    assert figures.contents is None
    assert figures.advice == ()
    assert (figures.rows, figures.compression.rows) == (5, 0)


def test_partitions_and_deleted_rows(tmp_path: Path) -> None:
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2, partition_rows=20))
    root.register("here", from_lsst("here", specs.standard()))
    root.table("here").insert(*specs.rows(range(100)))
    root.table("here").delete(["id"], *[{"id": n} for n in range(10)])
    (table,) = figures_of(root).tables
    assert table.files is not None
    assert (table.rows, table.files.rows, table.files.deleted) == (90, 90, 10)
    assert sum(part.rows for part in table.files.parts) == 90
    assert len(table.files.parts) == table.files.partitions > 1
    assert table.files.worn_files == 1
    assert table.files.worn[0].deleted == 10
    codes = {advice.code: advice.command for advice in figures_of(root).advice}
    assert codes["deleted"] == "arrowopaque compact 'a place'"
    manifest = root.volume.manifest(root.entries()["here"].manifest or "")
    assert table.files.bytes == sum((tmp_path / "root" / path).stat().st_size for path in manifest.objects())


def test_many_partitions_are_taken_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = StoreRoot(str(tmp_path / "root"), options=Options(bulk_rows=2, partition_rows=2))
    root.register("here", from_lsst("here", specs.standard()))
    root.table("here").insert(*specs.rows(range(50)))
    monkeypatch.setattr(health, "MOST", 4)
    files = figures_of(root).tables[0].files
    assert files is not None
    assert files.partitions > 4 >= len(files.parts)
    assert sum(part.partitions for part in files.parts) == files.partitions
    assert sum(part.rows for part in files.parts) == 50


def test_growth_of_a_root(tmp_path: Path) -> None:
    root = records_root(tmp_path, [record(1), record(2)], here=specs.standard())
    root.table(RECORDS).insert(record(3), record(4))
    growth = {table.name: table.growth for table in figures_of(root).tables}
    assert [point.rows for point in growth[RECORDS]] == [2, 4]
    assert growth[RECORDS][-1].version == root.version
    assert growth["here"] == ()


def test_growth_of_many_versions_keeps_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = records_root(tmp_path, [record(0), record(1)])
    for number in range(2, 30, 2):
        root.table(RECORDS).insert(record(number), record(number + 1))
    monkeypatch.setattr(health, "MOST", 5)
    points = figures_of(root).tables[0].growth
    assert len(points) <= 5
    assert points[-1].rows == 30
    assert [point.rows for point in points] == sorted({point.rows for point in points})


def test_growth_ends_where_a_vacuum_has_been(tmp_path: Path) -> None:
    root = records_root(tmp_path, [record(1), record(2)])
    root.table(RECORDS).insert(record(3), record(4))
    root.vacuum(0)
    assert [point.rows for point in figures_of(root).tables[0].growth][-1] == 4


def test_damage_is_told(tmp_path: Path) -> None:
    root = records_root(tmp_path, [record(1), record(2)])
    (file,) = (path for path in tmp_path.rglob("*.parquet") if "index" not in path.name)
    file.unlink()
    figures = figures_of(StoreRoot(root.uri, writeable=False))
    assert figures.contents is None
    assert [advice.severity for advice in figures.advice[:2]] == ["error", "error"]
    assert any(file.name in advice.title for advice in figures.advice)
    assert "unreadable" in {advice.code for advice in figures.advice}


def test_a_lost_manifest_is_told(tmp_path: Path) -> None:
    root = records_root(tmp_path, [record(1), record(2)])
    for path in tmp_path.rglob("tables/*/manifests/*.json"):
        path.unlink()
    figures = figures_of(StoreRoot(root.uri, writeable=False))
    assert figures.tables[0].files is None
    assert figures.advice[0].severity == "error"


def test_steps_are_told(tmp_path: Path) -> None:
    told: list[float] = []
    source = of_root(records_root(tmp_path, [record(1)], here=specs.standard()), "a place")
    collect(source, told.append)
    assert told == [1] * steps(source)


def test_uuid_of_a_record_is_a_dataset(tmp_path: Path) -> None:
    """What joins the two tables has the same form in both."""
    root = records_root(tmp_path, [record(1)], datasets=datasets())
    root.table("datasets").insert(dataset(1, "raw", "run"))
    ((id,),) = root.sql(f"SELECT dataset_id FROM {RECORDS} SEMI JOIN datasets USING (dataset_id)").fetchall()
    assert id == uuid.UUID(int=1)
