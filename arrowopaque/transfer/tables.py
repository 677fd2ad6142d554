"""The tables of an export, as whoever asks it sees them.

An export is a store with a root of its own. Beside the opaque tables, which
keep their names, it has the tables below and one for each dimension.
"""

from __future__ import annotations

__all__ = [
    "ARTIFACTS",
    "CALIBRATIONS",
    "CHAINS",
    "COLLECTIONS",
    "DATASETS",
    "DATASET_TYPES",
    "DATASTORES",
    "EXPORT",
    "SPECS",
    "TAGS",
    "check_opaque_names",
    "datasets_spec",
    "dimension_table",
    "make_tables",
]

from collections.abc import Iterable, Mapping, Sequence

from arrowopaque.errors import ConfigurationError
from arrowopaque.format.manifest import TableEntry
from arrowopaque.format.spec import Column, ColumnKind, Index, TableSpec
from arrowopaque.store.root import Root

EXPORT = "export"
DATASETS = "datasets"
DATASET_TYPES = "dataset_types"
DATASTORES = "datastores"
COLLECTIONS = "collections"
CHAINS = "collection_chains"
TAGS = "dataset_tags"
CALIBRATIONS = "dataset_calibrations"
ARTIFACTS = "artifacts"

_DIMENSION = "dimension_"


def _table(doc: str, key: Sequence[str], columns: Iterable[Column], *indexed: str) -> TableSpec:
    return TableSpec(
        columns=tuple(columns),
        primary_key=tuple(key),
        indexes=tuple(Index(columns=(name,)) for name in indexed),
        doc=doc,
    )


def _column(name: str, kind: ColumnKind = ColumnKind.STRING, *, nullable: bool = False) -> Column:
    return Column(name=name, kind=kind, nullable=nullable)


SPECS = {
    EXPORT: _table(
        "What the export is: its format, selection and dimension universe, as JSON.",
        ["name"],
        [_column("name"), _column("value", ColumnKind.TEXT)],
    ),
    DATASET_TYPES: _table(
        "Dataset types; the dimensions are a JSON array.",
        ["name"],
        [
            _column("name"),
            _column("dimensions", ColumnKind.TEXT),
            _column("storage_class"),
            _column("is_calibration", ColumnKind.BOOLEAN),
        ],
    ),
    DATASTORES: _table(
        "Datastores, the opaque table of each, and where its artifacts were.",
        ["name"],
        [_column("name"), _column("records_table"), _column("root")],
    ),
    COLLECTIONS: _table(
        "Collections of all types: RUN, TAGGED, CALIBRATION, CHAINED.",
        ["name"],
        [_column("name"), _column("type"), _column("doc", ColumnKind.TEXT)],
    ),
    CHAINS: _table(
        "The children of each chain, in the order in which they are searched.",
        ["parent", "rank"],
        [_column("parent"), _column("rank", ColumnKind.BIGINT), _column("child")],
    ),
    TAGS: _table(
        "Which datasets are in which TAGGED collection.",
        ["dataset_id", "collection"],
        [_column("dataset_id", ColumnKind.UUID), _column("collection"), _column("dataset_type")],
    ),
    CALIBRATIONS: _table(
        "Validity ranges in CALIBRATION collections, in nanoseconds TAI, the end excluded.",
        ["dataset_id", "collection", "timespan_begin"],
        [
            _column("dataset_id", ColumnKind.UUID),
            _column("collection"),
            _column("dataset_type"),
            _column("timespan_begin", ColumnKind.TIME),
            _column("timespan_end", ColumnKind.TIME),
        ],
    ),
    ARTIFACTS: _table(
        "The artifacts that were copied; the digest is SHA-256.",
        ["path", "datastore"],
        [
            _column("path", ColumnKind.TEXT),
            _column("datastore"),
            _column("size", ColumnKind.BIGINT),
            _column("digest"),
        ],
    ),
}
"""Every table that all exports have but `DATASETS`, whose columns are the universe's."""

_OF_DATASET = (
    _column("dataset_id", ColumnKind.UUID),
    _column("dataset_type"),
    _column("run"),
    _column("data_id", ColumnKind.TEXT),
)


def datasets_spec(dimensions: Iterable[tuple[str, ColumnKind]]) -> TableSpec:
    """Return the table of datasets.

    Parameters
    ----------
    dimensions
        The dimensions that are columns, which are NULL where a dataset does
        not have them. ``data_id`` has the values of all required ones.
    """
    fixed = {column.name for column in _OF_DATASET}
    columns = [_column(name, kind, nullable=True) for name, kind in dimensions if name not in fixed]
    return _table(
        "Datasets; the data ID is a JSON object, its values are columns too.",
        ["dataset_id"],
        [*_OF_DATASET, *columns],
        "dataset_type",
    )


def dimension_table(element: str) -> str:
    """Return the name of the table of a dimension's records."""
    return _DIMENSION + element


def check_opaque_names(names: Iterable[str]) -> None:
    """Refuse opaque tables that have the name of one of ours.

    Raises
    ------
    ConfigurationError
        There is one.
    """
    for name in names:
        if name in SPECS or name == DATASETS or name.startswith(_DIMENSION):
            raise ConfigurationError(f"the opaque table {name!r} has the name of another table of exports")


def make_tables(root: Root, specs: Mapping[str, TableSpec]) -> None:
    """Make tables unless they exist, all in one commit.

    Raises
    ------
    ConfigurationError
        One exists with other columns.
    """
    there = root.entries().keys() & specs.keys()
    for name in there:
        root.register(name, specs[name])
    missing = {name: TableEntry(spec=specs[name], manifest=None) for name in specs.keys() - there}
    if missing:
        root.commit(lambda head, commit: {**missing, **head.tables})
