"""Datasets and collections, as the registry's own SQL tables have them.

The host answers such questions one object a dataset. Its tables are the
interface here: their versions are stored in each repository, and checked by
the host when it is opened.
"""

from __future__ import annotations

__all__ = ["Census"]

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.time import Time
from lsst.daf.butler import CollectionType, DimensionUniverse, Timespan  # type: ignore[attr-defined]

from arrowopaque.butler.arrow_sql import ArrowReader


class Census:
    """Reads the registry's tables, whole.

    Parameters
    ----------
    reader
        Reads the database, at one moment.
    universe
        The repository's dimensions.
    """

    def __init__(self, reader: ArrowReader, universe: DimensionUniverse) -> None:
        self._reader = reader
        self._universe = universe
        # One kind of manager tells collections by number, the other by name.
        numbered = "collection_id" in reader.columns("collection")
        self._key = "collection_id" if numbered else "name"
        self._collection, self._run = [
            f"{one}_{'id' if numbered else 'name'}" for one in ("collection", "run")
        ]
        self._key_type = pa.int64() if numbered else pa.string()

    def dataset_types(self) -> pa.Table:
        """Return the dataset types, and where their memberships are."""
        schema = [(name, pa.string()) for name in ("name", "storage_class", "memberships", "calibrations")]
        return self._reader.read(
            "SELECT id, name, storage_class, tag_association_table, calibration_association_table "
            f"FROM {self._reader.name('dataset_type')}",
            pa.schema([("id", pa.int64()), *schema]),
        )

    def collections(self) -> pa.Table:
        """Return the collections of all types."""
        schema = [(name, pa.string()) for name in ("name", "type", "doc")]
        names = " ".join(f"WHEN {kind.value} THEN '{kind.name}'" for kind in CollectionType)
        return self._reader.read(
            f"SELECT {self._key}, name, CASE type {names} END, doc FROM {self._reader.name('collection')}",
            pa.schema([("id", self._key_type), *schema]),
        )

    def chains(self) -> pa.Table:
        """Return which collections each chain has, in its order."""
        return self._reader.read(
            f"SELECT parent, position, child FROM {self._reader.name('collection_chain')}",
            pa.schema([("parent", self._key_type), ("position", pa.int64()), ("child", self._key_type)]),
        )

    @cached_property
    def dimensions(self) -> list[str]:
        """The dimensions that identify datasets of some type."""
        used = {name for table in self._tables("memberships") for name in self._dimensions_of(table)}
        return [name for name in self._universe.dimensions.names if name in used]

    def _tables(self, kind: str) -> list[str]:
        return sorted(set(self.dataset_types().column(kind).drop_null().to_pylist()))

    def _dimensions_of(self, table: str) -> list[str]:
        others = {"dataset_type_id", "dataset_id", self._collection}
        return [name for name in self._reader.columns(table) if name not in others]

    def datasets(self) -> pa.Table:
        """Return every dataset with its type, run, ingest date and data ID."""
        # The host has two versions of these tables: the date is a number of nanoseconds, or a timestamp.
        dataset = self._reader.name("dataset")
        some = self._reader.one(f"SELECT ingest_date FROM {dataset} LIMIT 1")
        is_number = some is None or isinstance(some, int)
        date = "d.ingest_date" if is_number else "CAST(d.ingest_date AS TEXT)"
        fields = [
            pa.field("dataset_id", pa.uuid()),
            pa.field("dataset_type", pa.int64()),
            pa.field("run", self._key_type),
            pa.field("ingest_date", pa.int64() if is_number else pa.string()),
        ]
        parts = [pa.schema([*fields, *map(self._field, self.dimensions)]).empty_table()]
        for table in self._tables("memberships"):
            names = self._dimensions_of(table)
            columns = "".join(f", t.{self._reader.quoted(name)}" for name in names)
            # A dataset is a member of its run with its data ID, whatever else it is a member of.
            statement = (
                f"SELECT t.dataset_id, t.dataset_type_id, t.{self._collection}, {date}{columns} "
                f"FROM {self._reader.name(table)} AS t JOIN {dataset} AS d "
                f"ON d.id = t.dataset_id AND d.{self._run} = t.{self._collection}"
            )
            parts.append(self._reader.read(statement, pa.schema([*fields, *map(self._field, names)])))
        whole = pa.concat_tables(parts, promote_options="default")
        return whole.set_column(3, "ingest_date", _utc(whole.column("ingest_date")))

    def _field(self, dimension: str) -> pa.Field:
        is_number = self._universe.dimensions[dimension].primary_key.pytype is int
        return pa.field(dimension, pa.int64() if is_number else pa.string())

    def runs(self) -> pa.Table:
        """Return the run of every dataset."""
        return self._reader.read(
            f"SELECT id, {self._run} FROM {self._reader.name('dataset')}",
            pa.schema([("dataset_id", pa.uuid()), ("run", self._key_type)]),
        )

    def associations(self) -> pa.Table:
        """Return which datasets tagged and calibration collections have.

        Bounds of validity are in TAI, and NULL where there is none.
        """
        schema = pa.schema(
            [
                ("dataset_id", pa.uuid()),
                ("collection", self._key_type),
                ("valid_from", pa.int64()),
                ("valid_to", pa.int64()),
            ]
        )
        tagged = (
            f"SELECT t.dataset_id, t.{self._collection}, NULL, NULL FROM {{}} AS t "
            f"JOIN {self._reader.name('collection')} AS c ON c.{self._key} = t.{self._collection} "
            f"WHERE c.type = {CollectionType.TAGGED.value}"
        )
        parts = [schema.empty_table()]
        for table in self._tables("memberships"):
            parts.append(self._reader.read(tagged.format(self._reader.name(table)), schema))
        for table in self._tables("calibrations"):
            parts.append(self._reader.read(self._calibrations(table), schema))
        whole = pa.concat_tables(parts)
        low, high = Timespan(None, None).nsec
        for at, bound in ((2, low), (3, high)):
            times = whole.column(at)
            bounded = pc.if_else(pc.equal(times, bound), None, times).cast(pa.timestamp("ns"))
            whole = whole.set_column(at, schema.names[at], bounded)
        return whole

    def _calibrations(self, table: str) -> str:
        """Return the SELECT of what is valid at any time."""
        selected = f"SELECT dataset_id, {self._collection}, {{}}, {{}} FROM {self._reader.name(table)} "
        if "timespan" in self._reader.columns(table):
            return selected.format("lower(timespan)", "upper(timespan)") + "WHERE NOT isempty(timespan)"
        return selected.format("timespan_begin", "timespan_end") + "WHERE timespan_begin < timespan_end"

    def locations(self) -> pa.Table:
        """Return which datastores have which datasets."""
        return self._located("dataset_location")

    def trash(self) -> pa.Table:
        """Return which datastores have yet to delete which datasets."""
        return self._located("dataset_location_trash")

    def _located(self, table: str) -> pa.Table:
        return self._reader.read(
            f"SELECT dataset_id, datastore_name FROM {self._reader.name(table)}",
            pa.schema([("dataset_id", pa.uuid()), ("datastore", pa.string())]),
        )


def _utc(dates: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return timestamps of what is text in UTC, or nanoseconds of TAI."""
    if dates.type == pa.string():
        return dates.cast(pa.timestamp("us"))
    tai = dates.to_numpy()
    seconds = Time(tai // 1_000_000_000, format="unix_tai")
    leap = np.rint(seconds.unix_tai - seconds.unix).astype(np.int64)
    return pa.chunked_array([pa.array(tai // 1_000 - leap * 1_000_000, pa.timestamp("us"))])
