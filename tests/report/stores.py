"""Roots and figures that reports are made of."""

from __future__ import annotations

__all__ = ["HOSTILE", "datasets", "large", "records_root"]

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy
from lsst.daf.butler import ddl

from arrowopaque import Options, StoreRoot
from arrowopaque.butler.ddl import from_lsst
from arrowopaque.report.advice import Advice, Severity
from arrowopaque.report.contents import Contents, Group, Grouping, Large, SizeBin
from arrowopaque.report.figures import Compression, Figures, Table
from arrowopaque.report.health import Files, Growth, Part, Worn
from tests.support import specs

RECORDS = "file_datastore_records"
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 1'>",
    "<!--<script>",
    "\"quoted\" 'twice' & &lt;",
    "galaxy 🌌 \u202etxet",
    "a\\u003cb\nc",
)
"""Names that would be markup, script or a line of their own in a careless page."""

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def records_root(folder: Path, rows: Iterable[dict[str, Any]], **tables: ddl.TableSpec) -> StoreRoot:
    """Return a root with datastore records, and with other tables."""
    root = StoreRoot(str(folder / "root"), options=Options(bulk_rows=2))
    root.register(RECORDS, from_lsst(RECORDS, specs.records()))
    for name, spec in tables.items():
        root.register(name, from_lsst(name, spec))
    root.table(RECORDS).insert(*rows)
    return root


def datasets() -> ddl.TableSpec:
    """What an export has of datasets, as far as reports ask."""
    return ddl.TableSpec(
        fields=[
            ddl.FieldSpec("dataset_id", dtype=ddl.GUID, primaryKey=True),
            ddl.FieldSpec("dataset_type", dtype=sqlalchemy.String, length=128),
            ddl.FieldSpec("run", dtype=sqlalchemy.String, length=128),
        ]
    )


def dataset(number: int, dataset_type: str, run: str) -> dict[str, Any]:
    """One row of `datasets`."""
    return {"dataset_id": uuid.UUID(int=number), "dataset_type": dataset_type, "run": run}


def _grouping(by: str, names: Iterable[str | None], others: int = 0) -> Grouping:
    groups = tuple(
        Group(name, 1_500_000 // (at + 1), 10**13 // (at + 1) ** 2) for at, name in enumerate(names)
    )
    return Grouping(by, groups, others, others * 1000, others * 10**9)


def _contents() -> Contents:
    types = [None, *(f"dataset_type_{number}" for number in range(199))]
    return Contents(
        records=10_000_000,
        files=9_990_000,
        bytes=16_449_340_668_482,
        unknown_sizes=12,
        empty=3,
        no_checksum=10_000_000,
        shared_files=100,
        shared_records=10_100,
        copies=7,
        copied_bytes=123_456,
        strangers=5,
        sizes=(
            SizeBin(0, 1, 3, 0),
            *(
                SizeBin(step * 10**decade, below * 10**decade, 1000 * (decade + 1) * step, 10 ** (decade + 4))
                for decade in range(2, 11)
                for step, below in ((1, 2), (2, 5), (5, 10))
            ),
        ),
        largest=tuple(Large(f"runs/one/{number}.fits", 10**10 - number) for number in range(10)),
        groupings=(
            _grouping("dataset_type", types, others=321),
            _grouping(
                "run", [f"LSSTCam/runs/DRP/2026_{number:02d}/DM-{50_000 + number}" for number in range(60)]
            ),
            _grouping("storage_class", ["ExposureF", "ArrowAstropy", "Plot", "StructuredDataDict"]),
            _grouping(
                "formatter",
                [
                    "lsst.obs.base.formatters.fitsExposure.FitsExposureFormatter",
                    "lsst.daf.butler.formatters.json.JsonFormatter",
                    "lsst.other.JsonFormatter",
                ],
            ),
        ),
    )


def _files(partitions: int) -> Files:
    parts = tuple(
        Part(at, 1, 50_000 + 100 * (at % 17), 4_000 * (at % 5 == 0), 1_900_000, 1 + at % 4)
        for at in range(partitions)
    )
    rows = sum(part.rows for part in parts)
    return Files(
        version=400,
        created=BEGAN,
        rows=rows,
        deleted=sum(part.deleted for part in parts),
        bytes=38 * rows,
        files=sum(part.files for part in parts),
        partitions=partitions,
        parts=parts,
        worn_files=40,
        worn=tuple(Worn(f"tables/{RECORDS}/some/{at}", 1000, 4000 - at, 90_000) for at in range(20)),
        due_partitions=12,
        due_files=48,
    )


def large() -> Figures:
    """The figures of a repository of 10 million rows."""
    files = _files(200)
    growth = tuple(
        Growth(201 + at, BEGAN + timedelta(hours=at), 50_000 * (at + 1), 1_900_000 * (at + 1), 3 * (at + 1))
        for at in range(200)
    )
    small = replace(_files(3), worn=(), worn_files=0)
    return Figures(
        place="/repo/main",
        at=None,
        kind="repository",
        uri="s3://bucket/opaque/0123",
        release="0.1.0",
        began=BEGAN,
        ended=BEGAN + timedelta(seconds=3),
        rows=files.rows + 131_000 + small.rows,
        bytes=files.bytes + small.bytes,
        has_datasets=True,
        tables=(
            Table(RECORDS, True, files.rows + 120_000, 120_000, 345, files, growth),
            Table("dataset_location", False, small.rows + 11_000, 11_000, 0, small, growth[:1]),
            Table("never_flushed", False, 0, 0, 0, None, ()),
        ),
        contents=_contents(),
        compression=Compression(files.rows, files.bytes, 38.0, 600, 600 * files.rows),
        advice=(
            Advice(
                "existence", Severity.ERROR, RECORDS, 1, "s3://bucket/x.parquet: it does not exist", "To do."
            ),
            Advice(
                "delta", Severity.WARNING, RECORDS, 120_345, "a large delta", "Do:", "arrowopaque flush /repo"
            ),
            *(Advice("note", Severity.NOTE, None, 1, f"note {number}", "Nothing.") for number in range(8)),
        ),
    )
