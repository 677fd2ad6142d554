"""Questions about a whole repository: opaque tables beside what only the
registry knows.
"""

from __future__ import annotations

__all__ = ["VIEWS", "sql"]

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsst.daf.butler import Butler, DimensionUniverse
from lsst.daf.butler.registry.interfaces import Database

from arrowopaque.butler.arrow_sql import ArrowReader
from arrowopaque.butler.census import Census
from arrowopaque.butler.host import Cursor
from arrowopaque.butler.manager import registry_of

if TYPE_CHECKING:
    from arrowopaque.query import Relation, Views


@dataclass(frozen=True)
class _View:
    parts: tuple[str, ...]
    """What of a `Census` it is made of."""
    definition: str


_VIEWS = {
    "collection_members": _View(
        ("associations", "chains", "collections", "runs"),
        """
        WITH RECURSIVE within(whole, part) AS (
            SELECT id, id FROM given.collections
            UNION SELECT h.parent, w.part FROM within AS w JOIN given.chains AS h ON h.child = w.whole
        ), direct AS (
            SELECT dataset_id, run AS collection, NULL::TIMESTAMP_NS AS valid_from,
                NULL::TIMESTAMP_NS AS valid_to FROM given.runs
            UNION ALL SELECT dataset_id, collection, valid_from, valid_to FROM given.associations
        )
        SELECT c.name AS collection, v.name AS via, dataset_id, valid_from, valid_to
        FROM direct AS d
        JOIN within AS w ON w.part = d.collection
        JOIN given.collections AS c ON c.id = w.whole
        JOIN given.collections AS v ON v.id = w.part
        """,
    ),
    "collections": _View(
        ("chains", "collections"),
        """
        WITH ups AS (
            SELECT h.child AS id, list(p.name ORDER BY p.name) AS names
            FROM given.chains AS h JOIN given.collections AS p ON p.id = h.parent GROUP BY ALL
        ), downs AS (
            SELECT h.parent AS id, list(c.name ORDER BY h.position) AS names
            FROM given.chains AS h JOIN given.collections AS c ON c.id = h.child GROUP BY ALL
        )
        SELECT c.name, c.type, c.doc,
            coalesce(ups.names, []) AS parents, coalesce(downs.names, []) AS children
        FROM given.collections AS c LEFT JOIN ups USING (id) LEFT JOIN downs USING (id)
        """,
    ),
    "dataset_locations": _View(("locations",), "FROM given.locations"),
    "dataset_types": _View(
        ("dataset_types",),
        "SELECT name, storage_class, calibrations IS NOT NULL AS is_calibration FROM given.dataset_types",
    ),
    "datasets": _View(
        ("collections", "dataset_types", "datasets"),
        """
        SELECT dataset_id, t.name AS dataset_type, r.name AS run, t.storage_class AS type_storage_class,
            ingest_date, {data_id} AS data_id{dimensions}
        FROM given.datasets AS d
        JOIN given.dataset_types AS t ON t.id = d.dataset_type
        JOIN given.collections AS r ON r.id = d.run
        """,
    ),
    "trash": _View(("trash",), "FROM given.trash"),
}
VIEWS = tuple(_VIEWS)
"""The views that a question may be about besides opaque tables."""


def sql(butler: Butler, query: str) -> Relation:
    """Ask DuckDB about a repository.

    Parameters
    ----------
    butler
        The repository, with our managers.
    query
        A SELECT over one view for each opaque table and those described
        below. Statements before it may set ``threads`` or
        ``arrow_lossless_conversion``.

    Returns
    -------
    relation
        It runs when its rows are asked for, and each time they are, on the
        state of the moment at which it was made.

    Raises
    ------
    ConfigurationError
        The repository has another manager, the query returns no rows, or an
        opaque table has the name of a view.
    CorruptStoreError
        A data file is missing or altered.
    duckdb.Error
        The query is at fault.

    Notes
    -----
    ``datasets``
        ``dataset_id``, ``dataset_type``, ``run``, ``type_storage_class``,
        ``ingest_date`` (UTC), ``data_id`` as text, and a column for each
        dimension that identifies datasets of some type. Dimensions that
        others imply are not among them.
    ``dataset_types``
        ``name``, ``storage_class``, ``is_calibration``.
    ``collections``
        ``name``, ``type``, ``doc``, ``parents`` (the chains that it is
        directly in) and ``children`` (of a chain, in its order).
    ``collection_members``
        ``collection``, ``via``, ``dataset_id``, ``valid_from``, ``valid_to``:
        one row for each way in which a collection has a dataset. A chain has
        what the collections in it have; ``via`` is the run, tagged or
        calibration collection that has it directly. The period of a
        calibration is in TAI, an open end is NULL.
    ``dataset_locations``, ``trash``
        ``dataset_id``, ``datastore``: what datastores have, and what they
        have yet to delete.

    Only what the text of a query names is read, and of the registry's tables
    that whole: some seconds for a million datasets. Opaque tables and views are all of one moment.
    Within a transaction of the caller on PostgreSQL, where each statement
    sees what others have committed before it, they can be some milliseconds
    apart.
    """
    binding = registry_of(butler)
    return binding.sql(query, _RegistryViews(binding.db, butler.dimensions))


class _RegistryViews:
    """The views of one question.

    Parameters
    ----------
    db
        The database.
    universe
        The repository's dimensions.
    """

    names: Collection[str] = VIEWS

    def __init__(self, db: Database, universe: DimensionUniverse) -> None:
        self._db = db
        self._universe = universe

    def read(self, cursor: Cursor, wanted: Collection[str]) -> Views:
        """Return the views that are wanted."""
        from arrowopaque.query import NO_VIEWS, Views

        chosen = {name: _VIEWS[name] for name in VIEWS if name in wanted}
        if not chosen:
            return NO_VIEWS
        census = Census(ArrowReader(self._db, cursor), self._universe)
        parts = {part for view in chosen.values() for part in view.parts}
        if "datasets" in parts:
            parts.discard("runs")
        tables = {part: getattr(census, part)() for part in sorted(parts)}
        if "datasets" in tables:
            tables["runs"] = tables["datasets"].select(["dataset_id", "run"])
        definitions = {name: view.definition for name, view in chosen.items()}
        if "datasets" in chosen:
            definitions["datasets"] = _with_dimensions(_VIEWS["datasets"].definition, census.dimensions)
        return Views(tables, definitions)


def _with_dimensions(definition: str, names: Sequence[str]) -> str:
    """Return the definition of ``datasets`` for a repository's dimensions."""
    columns = [f'd."{name}"' for name in names]
    texts = "".join(f", '{name}=' || {column}" for name, column in zip(names, columns, strict=True))
    return definition.format(
        data_id=f"concat_ws(', '{texts})" if names else "''",
        dimensions="".join(f", {column}" for column in columns),
    )
