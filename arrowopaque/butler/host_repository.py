"""What the host keeps private of whole repositories, for export and import.

Tests pin the uses over the releases, as those of `arrowopaque.butler.host`.
"""

from __future__ import annotations

__all__ = ["file_datastores", "import_datasets", "timespan_of"]

from collections.abc import Sequence

from lsst.daf.butler import Butler, DatasetRef, Timespan
from lsst.daf.butler.datastores.fileDatastore import FileDatastore

from arrowopaque.butler.datastores import leaves
from arrowopaque.errors import ConfigurationError


def file_datastores(butler: Butler) -> dict[str, FileDatastore]:
    """Return the datastores that keep records, by the name of their table.

    Raises
    ------
    ConfigurationError
        The repository is behind a server, or two datastores share a table.
    """
    if not hasattr(butler, "_datastore"):
        raise ConfigurationError(f"{butler} has no datastore of its own: it is behind a server")
    found: dict[str, FileDatastore] = {}
    for datastore in (leaf.datastore for leaf in leaves(butler)[0]):
        if not isinstance(datastore, FileDatastore):
            continue
        for table in datastore.get_opaque_table_definitions():
            other = found.setdefault(table, datastore)
            if other is not datastore:
                raise ConfigurationError(
                    f"the datastores {other.name!r} and {datastore.name!r} share the table {table!r}"
                )
    return found


def import_datasets(butler: Butler, refs: Sequence[DatasetRef]) -> None:
    """Add datasets with the ids that they have, unless they are there.

    Requires: all are of one run, and of dataset types with the same
    dimensions; the dimension records are there.
    """
    butler.registry._importDatasets(refs, expand=False)


def timespan_of(begin: int, end: int) -> Timespan:
    """Return a timespan of nanoseconds TAI, as exact as they are."""
    return Timespan(None, None, _nsec=(begin, end))
