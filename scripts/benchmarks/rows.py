"""Rows as a file datastore of Rubin's has them, made from a seed."""

from __future__ import annotations

__all__ = ["SPEC", "PythonRow", "Rows", "folder_bytes", "make_rows"]

import functools
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from lsst.daf.butler.datastores.fileDatastore import FileDatastore

PythonRow = dict[str, Any]

SPEC = FileDatastore.makeTableSpec()
"""The table that Butler's file datastore keeps its records in."""

_TYPES = [
    ("raw", "FieldRawDict", "lsst.obs.lsst.rawFormatter.LsstCamRawFormatter"),
    ("visit_image", "ExposureF", "lsst.obs.base.formatters.fitsExposure.FitsExposureFormatter"),
    ("preliminary_visit_image", "ExposureF", "lsst.obs.base.formatters.fitsExposure.FitsExposureFormatter"),
    ("difference_image", "ExposureF", "lsst.obs.base.formatters.fitsExposure.FitsExposureFormatter"),
    ("single_visit_star", "ArrowAstropy", "lsst.daf.butler.formatters.parquet.ParquetFormatter"),
    ("source", "ArrowAstropy", "lsst.daf.butler.formatters.parquet.ParquetFormatter"),
    ("dia_source", "DataFrame", "lsst.daf.butler.formatters.parquet.ParquetFormatter"),
    ("visit_summary", "ExposureCatalog", "lsst.obs.base.formatters.fitsGeneric.FitsGenericFormatter"),
    ("background", "Background", "lsst.obs.base.formatters.fitsGeneric.FitsGenericFormatter"),
    ("sky_map_wcs", "Wcs", "lsst.obs.base.formatters.fitsGeneric.FitsGenericFormatter"),
    ("isr_metadata", "TaskMetadata", "lsst.daf.butler.formatters.json.JsonFormatter"),
    ("isr_log", "ButlerLogRecords", "lsst.daf.butler.formatters.logs.ButlerLogRecordsFormatter"),
]
"""Dataset type, storage class and formatter."""

_DETECTORS = 189


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Rows:
    """Rows as Arrow, and as Python when asked for."""

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @functools.cached_property
    def ids(self) -> list[uuid.UUID]:
        """The primary keys."""
        return [uuid.UUID(bytes=value) for value in self.table.column("dataset_id").to_pylist()]

    @functools.cached_property
    def paths(self) -> list[str]:
        """The paths."""
        return self.table.column("path").to_pylist()  # type: ignore[no-any-return]  # pyarrow is untyped

    def python(self) -> list[PythonRow]:
        """Return rows as callers of a manager have them."""
        columns = {name: self.table.column(name).to_pylist() for name in self.table.column_names}
        columns["dataset_id"] = self.ids
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def slice(self, start: int, length: int) -> Rows:
        """Return some of the rows."""
        return Rows(self.table.slice(start, length))

    def changed(self) -> Rows:
        """Return the same rows with another ``file_size``."""
        at = self.table.schema.get_field_index("file_size")
        return Rows(self.table.set_column(at, "file_size", pc.add(self.table.column(at), 1)))


def make_rows(count: int, *, start: int = 0, seed: int = 1, ids: str = "v4") -> Rows:
    """Return the rows number ``start`` to ``start + count``.

    Parameters
    ----------
    count, start
        Which rows; those of different numbers differ in id and path.
    seed
        Of the random numbers.
    ids
        ``v4`` for random ids, ``v7`` for ids in order of time, ``mixed`` for
        half of each.
    """
    random = np.random.default_rng([seed, start])
    number = np.arange(start, start + count, dtype=np.int64)
    kind = (number // _DETECTORS) % len(_TYPES)
    return Rows(
        pa.table(
            {
                "dataset_id": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(16), count, [None, pa.py_buffer(_ids(random, number, ids).tobytes())]
                ),
                "path": _paths(number, kind),
                "formatter": _named(kind, 2),
                "storage_class": _named(kind, 1),
                "component": pa.array(np.full(count, "__NULL_STRING__"), pa.string()),
                "checksum": pa.nulls(count, pa.string()),
                "file_size": pa.array(np.exp(random.normal(14, 3, count)).astype(np.int64)),
            }
        )
    )


def _ids(random: np.random.Generator, number: npt.NDArray[np.int64], kind: str) -> npt.NDArray[np.uint8]:
    raw = random.integers(0, 256, (len(number), 16), dtype=np.uint8)
    timed = {"v4": np.zeros(len(number), bool), "v7": np.ones(len(number), bool), "mixed": number % 2 == 0}[
        kind
    ]
    milliseconds = (1_780_000_000_000 + number // 10)[:, None] >> np.arange(40, -8, -8)
    raw[timed, :6] = (milliseconds & 0xFF).astype(np.uint8)[timed]
    raw[:, 6] = (raw[:, 6] & 0x0F) | np.where(timed, 0x70, 0x40)
    raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
    return raw


def _named(kind: npt.NDArray[np.int64], which: int) -> pa.Array:
    return pa.array([entry[which] for entry in _TYPES]).take(pa.array(kind))


def _text(values: Any, width: int = 0) -> pa.Array:
    text = pa.array(values).cast(pa.string())
    return pc.utf8_lpad(text, width, "0") if width else text


def _paths(number: npt.NDArray[np.int64], kind: npt.NDArray[np.int64]) -> pa.Array:
    """Return paths as Butler's default template makes them."""
    visit = number // (_DETECTORS * len(_TYPES))
    day = _text(20260101 + visit // 800)
    run = pc.binary_join_element_wise("LSSTCam/runs/nightlyValidation", day, "w_2026_40", "/")
    name = _named(kind, 0)
    band = pa.array(["u", "g", "r", "i", "z", "y"]).take(pa.array(visit % 6))
    exposure = pc.binary_join_element_wise(day, _text(visit % 800, 5), "")
    detector = _text(number % _DETECTORS, 3)
    file = pc.binary_join_element_wise(name, "LSSTCam", band, exposure, detector, "w_2026_40.fits", "_")
    return pc.binary_join_element_wise(run, name, day, band, exposure, file, "/")
