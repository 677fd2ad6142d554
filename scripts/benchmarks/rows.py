"""Rows as a file datastore of Rubin's has them, each made of a seed and its number."""

from __future__ import annotations

__all__ = ["PythonRow", "Rows", "class_counts", "folder_bytes", "make_rows", "rows_at"]

import functools
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

PythonRow = dict[str, Any]
Numbers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

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
    """Return the rows number ``start`` to ``start + count``; see `rows_at`."""
    return rows_at(np.arange(start, start + count), seed=seed, ids=ids)


def rows_at(numbers: Sequence[int] | Numbers, *, seed: int = 1, ids: str = "v4") -> Rows:
    """Return the rows with these numbers, each the same whatever the others.

    Parameters
    ----------
    numbers
        Which rows, in any order; those of different numbers differ in id and
        path.
    seed
        Of the random numbers.
    ids
        ``v4`` for random ids, ``v7`` for ids in order of time, ``mixed`` for
        half of each.
    """
    number = np.asarray(numbers, np.int64)
    drawn, kind = _draws(number, seed, _DRAWS), (number // _DETECTORS) % len(_TYPES)
    stored = [None, pa.py_buffer(_ids(drawn[:, :2], number, ids).tobytes())]
    return Rows(
        pa.table(
            {
                "dataset_id": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(number), stored),
                "path": _paths(number, kind),
                "formatter": _named(kind, 2),
                "storage_class": _named(kind, 1),
                "component": pa.array(np.full(len(number), "__NULL_STRING__"), pa.string()),
                "checksum": pa.nulls(len(number), pa.string()),
                "file_size": pa.array(np.exp(14 + 3 * _normal(drawn[:, 2:])).astype(np.int64)),
            }
        )
    )


def class_counts(count: int) -> dict[str, int]:
    """Return how many of the rows from number 0 have each storage class."""
    visits, rest = divmod(count, _DETECTORS * len(_TYPES))
    found: Counter[str] = Counter()
    for kind, (_, storage_class, _) in enumerate(_TYPES):
        found[storage_class] += visits * _DETECTORS + min(max(rest - kind * _DETECTORS, 0), _DETECTORS)
    return dict(+found)


_DRAWS = 4
"""Random words that a row is made of: two for the id, two for the size."""
_STEP, _FIRST, _SECOND = (
    np.uint64(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def _mixed(state: Words) -> Words:
    """Return the outputs of SplitMix64 for states.

    Its source: Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014, with the constants of Vigna's ``splitmix64.c``.
    The state grows by the same step for each output, so that any output can
    be had without those before it; different states have different outputs.
    """
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


def _draws(number: Numbers, seed: int, count: int) -> Words:
    """Return the random words of rows: outputs ``count * number`` and the next
    ones of the generator that the seed begins.
    """
    first = _mixed(np.array([seed], np.uint64) * _STEP)
    outputs = (number[:, None] * count + np.arange(1, count + 1)).astype(np.uint64)
    return _mixed(first + outputs * _STEP)


def _normal(words: Words) -> npt.NDArray[np.float64]:
    """Return normal numbers, one of each two words (Box and Muller)."""
    uniform = ((words >> np.uint64(11)) + np.uint64(1)) * 2.0**-53
    found: npt.NDArray[np.float64] = np.sqrt(-2 * np.log(uniform[:, 0])) * np.cos(2 * np.pi * uniform[:, 1])
    return found


def _ids(words: Words, number: Numbers, kind: str) -> npt.NDArray[np.uint8]:
    raw = np.ascontiguousarray(words, ">u8").view(np.uint8).reshape(-1, 16)
    timed = {"v4": np.zeros(len(number), bool), "v7": np.ones(len(number), bool), "mixed": number % 2 == 0}[
        kind
    ]
    milliseconds = (1_780_000_000_000 + number // 10)[:, None] >> np.arange(40, -8, -8)
    raw[timed, :6] = (milliseconds & 0xFF).astype(np.uint8)[timed]
    raw[:, 6] = (raw[:, 6] & 0x0F) | np.where(timed, 0x70, 0x40)
    raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
    return raw


def _named(kind: Numbers, which: int) -> pa.Array:
    return pa.array([entry[which] for entry in _TYPES]).take(pa.array(kind))


def _text(values: Any, width: int = 0) -> pa.Array:
    text = pa.array(values).cast(pa.string())
    return pc.utf8_lpad(text, width, "0") if width else text


def _paths(number: Numbers, kind: Numbers) -> pa.Array:
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
