"""Ask DuckDB about snapshots of tables.

Every byte of a data file reaches DuckDB through a read-only file system that
has checked it. DuckDB's own reading of local files is no faster, and what it
may read it may also write: ``WITH c AS (COPY ... TO 'file') SELECT ...`` is a
query.
"""

from __future__ import annotations

__all__ = ["NO_VIEWS", "Relation", "Views", "interrupt", "keywords", "mentioned", "quote", "run"]

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa

from arrowopaque.errors import ConfigurationError
from arrowopaque.format.manifest import DataFile
from arrowopaque.objects.duckfs import FixedFile, FixedFiles, url
from arrowopaque.store.base import Base
from arrowopaque.store.decoding import to_exact
from arrowopaque.store.parallel import ahead
from arrowopaque.store.proved import ProvedFile
from arrowopaque.store.table import Snapshot

Relation = duckdb.DuckDBPyRelation
"""What a query returns. It runs when its rows are asked for, and each time
they are, on the state of the moment at which it was made.
"""

_connections: weakref.WeakKeyDictionary[Relation, duckdb.DuckDBPyConnection] = weakref.WeakKeyDictionary()
"""What computes each answer, as long as somebody has it."""

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "allow_community_extensions": "false",
    # Else a query about secrets fails over the folder of those that whoever asks has stored.
    "allow_persistent_secrets": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # What was read is in the store's cache already, or in the kernel's.
    "enable_external_file_cache": "false",
    # What a query may spill to, it may also read and write: by default `.tmp` of the working folder.
    "temp_directory": "",
}
_LOCK = (
    # Files do not change, so that their footers need not be parsed for each query.
    "SET GLOBAL parquet_metadata_cache = true",
    # What a query may set for itself, as in "SET threads = 1; SELECT ...".
    "SET allowed_configs = ['arrow_lossless_conversion', 'threads']",
    f"SET allowed_directories = ['{url('')}']",
    # With it go the variables of whoever asks, which DuckDB else takes for tables.
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_ROWS = duckdb.ExpectedResultType.QUERY_RESULT
_OWN = "arrowopaque"
"""The schema of what the tables' views are made of."""
_GIVEN = "given"
_WORKERS = 8


@dataclass(frozen=True)
class Views:
    """Views besides those of the tables."""

    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    """Rows that they are made of; DuckDB has them in the schema ``given``."""
    definitions: Mapping[str, str] = field(default_factory=dict)
    """The SELECT of each view."""


NO_VIEWS = Views()


def interrupt(relation: Relation) -> None:
    """Stop what computes an answer of `run` now, in another thread, which
    fails with a ``duckdb.InterruptException``.
    """
    _connections[relation].interrupt()


def mentioned(query: str, names: Iterable[str]) -> list[str]:
    """Return the tables that a query may be about.

    Those whose name occurs in its text, in whatever role; all tables if none
    does, for a query that lists them.
    """
    names, text = list(names), query.casefold()
    # A quote within a quoted name is doubled.
    found = [name for name in names if name.casefold() in text or quote(name).casefold() in text]
    return found or names


def keywords() -> list[str]:
    """Return the words that mean something in SQL and are no names."""
    asked = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
    with duckdb.connect(config=_SETTINGS) as connection:
        return [str(word) for (word,) in connection.sql(asked).fetchall()]


def run(
    snapshots: Mapping[str, Snapshot], query: str, views: Views = NO_VIEWS, *, shared: bool = True
) -> Relation:
    """Return a query's answer over one view a table.

    Parameters
    ----------
    snapshots
        The tables' states by name.
    query
        A SELECT, perhaps after other statements.
    views
        More to select from.
    shared
        Whether others may ask of the same states.

    Raises
    ------
    CorruptStoreError
        A data file is missing or altered.
    ConfigurationError
        The query returns no rows, or names differ only in case.
    duckdb.Error
        The query is at fault.
    """
    _check_names("tables", [*snapshots, *views.definitions])
    files = {
        entry.path: ProvedFile(snapshot.base.volume.lent(), snapshot.base.spec, entry)
        for snapshot in snapshots.values()
        for entry in snapshot.base.files
    }
    # DuckDB would tell of a damaged file in an error of its own, and late.
    unread = sum(not file.was_proved for file in files.values())
    for _ in ahead(ProvedFile.prove, files.values(), min(_WORKERS, unread)):
        pass
    is_shared = shared and not views.definitions
    database = _shared(snapshots, files) if is_shared else None
    if database is None or not database.is_plain(query):
        database = _Database(snapshots, files, views)
    relation = database.relation(query)
    if relation is None:
        raise ConfigurationError(f"{query[:200]!r} returns no rows: end it with a SELECT")
    return relation


_SHARED_BYTES = 2**22
"""Bytes of memory of a database, besides its tables."""


def _shared(snapshots: Mapping[str, Snapshot], files: Mapping[str, FixedFile]) -> _Database | None:
    """Return a database that others ask too, if data files are all that there
    is: to make one takes longer than many a query.
    """
    if not snapshots or any(len(snapshot.rows) or len(snapshot.buried) for snapshot in snapshots.values()):
        return None
    cache = next(iter(snapshots.values())).base.volume.cache
    manifests = [(name, snapshot.base.manifest) for name, snapshot in snapshots.items()]
    key = ("duckdb", *((name, manifest and manifest.name) for name, manifest in manifests))
    found: _Database | None = cache.get(key)
    if found is None or found.system.failure is not None:
        found = _Database(snapshots, files)
        bits = sum(
            file.rows for snapshot in snapshots.values() for file in snapshot.base.files if file.deletes
        )
        cache.put(key, found, _SHARED_BYTES + bits // 8)
    return found


class _Database:
    """DuckDB with one view a table.

    Parameters
    ----------
    snapshots
        The tables' states by name.
    files
        Their data files by path.
    views
        More to select from.
    """

    def __init__(
        self, snapshots: Mapping[str, Snapshot], files: Mapping[str, FixedFile], views: Views = NO_VIEWS
    ) -> None:
        self.system = FixedFiles(files)
        with _our_errors(self.system):
            connection = duckdb.connect(config=_SETTINGS)
            connection.register_filesystem(self.system)
            connection.execute(f"CREATE SCHEMA {_OWN}")
            for number, (name, snapshot) in enumerate(snapshots.items()):
                _make_view(connection, number, name, snapshot)
            _make_views(connection, views)
            for statement in _LOCK:
                connection.execute(statement)
        self._connections = [connection]
        # One that is alive when Python ends makes DuckDB complain on stderr.
        weakref.finalize(self, self._connections.clear)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        return self._connections[0].cursor()

    def is_plain(self, query: str) -> bool:
        """Return whether a query is one SELECT, so that others can be kept
        from what it might do.
        """
        return _is_select(self._cursor().extract_statements(query))

    def relation(self, query: str) -> Relation | None:
        """Return a query's answer, `None` if it is none."""
        with _our_errors(self.system):
            # The relation keeps its connection, and that the database.
            connection = self._cursor()
            statements = connection.extract_statements(query)
            if _is_select(statements):
                # A SELECT can hold a DELETE.
                connection.execute("BEGIN TRANSACTION READ ONLY")
            elif not statements or _ROWS not in statements[-1].expected_result_type:
                return None
            relation = connection.sql(query)
            _connections[relation] = connection
            return relation


def _is_select(statements: Sequence[duckdb.Statement]) -> bool:
    return len(statements) == 1 and statements[0].type == duckdb.StatementType.SELECT


@contextmanager
def _our_errors(system: FixedFiles) -> Iterator[None]:
    """Raise what went wrong in a file instead of DuckDB's account of it."""
    try:
        yield
    except duckdb.Error as err:
        if system.failure is not None:
            raise system.failure from err
        raise


def quote(name: str) -> str:
    """Return a name as SQL has it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _check_names(what: str, names: Iterable[str]) -> None:
    """Refuse names that DuckDB, which folds ASCII case, takes for one."""
    seen: dict[bytes, str] = {}
    for name in names:
        folded = name.encode().lower()
        if folded in seen:
            raise ConfigurationError(
                f"DuckDB cannot tell the {what} {seen[folded]!r} and {name!r} apart: "
                "read them with fetch_arrow"
            )
        seen[folded] = name


# Columns go by their position below the views, so that none has the name of
# DuckDB's own `file_index` or `file_row_number`.


def _positional(count: int) -> list[str]:
    return [f"c{position}" for position in range(count)]


def _make_view(connection: duckdb.DuckDBPyConnection, number: int, name: str, snapshot: Snapshot) -> None:
    names = snapshot.base.spec.names
    _check_names(f"columns of {name!r}", names)
    columns = ", ".join(_positional(len(names)))
    delta = _keep(connection, f"delta_{number}", _delta(snapshot))
    parts = [*_scans(connection, number, snapshot)]
    if snapshot.rows or not parts:
        # A union with nothing still takes a twelfth of the time in which DuckDB groups a million rows.
        parts.insert(0, delta)
    body = " UNION ALL ".join(f"SELECT {columns} FROM {part}" for part in parts)
    connection.execute(f"CREATE VIEW main.{quote(name)} ({', '.join(map(quote, names))}) AS {body}")


def _make_views(connection: duckdb.DuckDBPyConnection, views: Views) -> None:
    if views.definitions:
        connection.execute(f"CREATE SCHEMA {_GIVEN}")
    for name, table in views.tables.items():
        _keep(connection, quote(name), table, _GIVEN)
    for name, definition in views.definitions.items():
        connection.execute(f"CREATE VIEW main.{quote(name)} AS {definition}")


def _keep(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    table: pa.Table,
    schema: str = _OWN,
    columns: str = "*",
) -> str:
    """Copy rows into a table of DuckDB's own, and return its name."""
    connection.register("arrow_rows", table)
    connection.execute(f"CREATE TABLE {schema}.{name} AS SELECT {columns} FROM arrow_rows")
    connection.unregister("arrow_rows")
    return f"{schema}.{name}"


def _delta(snapshot: Snapshot) -> pa.Table:
    schema = snapshot.base.spec.exact_schema
    return to_exact(snapshot.delta, schema).rename_columns(_positional(len(schema)))


def _deleted(base: Base, files: Sequence[DataFile]) -> pa.Table:
    """Return, for each of some files, a bit a row that says whether a
    deletion vector names it.
    """
    bits = []
    for file in files:
        deleted = np.zeros(file.rows, bool)
        deleted[base.open(file).deleted()] = True
        bits.append(np.packbits(deleted).tobytes())
    return pa.table({"file": pa.array(range(len(files)), pa.uint64()), "bits": pa.array(bits, pa.binary())})


def _gone(snapshot: Snapshot, keys: pa.Table) -> pa.Table:
    spec = snapshot.base.spec
    exact = to_exact(keys, pa.schema([spec.exact_schema.field(name) for name in spec.primary_key]))
    return exact.rename_columns([f"c{position}" for position in spec.key_positions])


def _scans(connection: duckdb.DuckDBPyConnection, number: int, snapshot: Snapshot) -> Iterator[str]:
    """Yield what to select the rows of data files from.

    Files that have lost rows are joined with what took them; the others are
    scanned as they are.
    """
    base, gone = snapshot.base, snapshot.gone
    buried = set() if gone is None else {file.path for file in base.around(gone)}
    minus_gone = ""
    if gone is not None and buried:
        kept = _keep(connection, f"gone_{number}", _gone(snapshot, gone))
        same = " AND ".join(f"g.c{position} = f.c{position}" for position in base.spec.key_positions)
        minus_gone = f" ANTI JOIN {kept} AS g ON {same}"
    groups: dict[tuple[bool, bool], list[DataFile]] = {}
    for file in base.files:
        groups.setdefault((file.deletes is not None, file.path in buried), []).append(file)
    columns = ", ".join(_positional(len(base.spec.columns)))
    for (has_deleted, is_buried), files in groups.items():
        paths = ", ".join(_text(url(file.path)) for file in files)
        scan = f"read_parquet([{paths}], hive_partitioning = false) AS f ({columns})"
        if has_deleted:
            # A bit is looked up in two thirds of the time in which a hash table of positions is.
            name, bits = f"deleted_{number}_{int(is_buried)}", "file, bits::BIT AS bits"
            kept = _keep(connection, name, _deleted(base, files), columns=bits)
            scan += (
                f" JOIN {kept} AS d ON d.file = f.file_index"
                " AND get_bit(d.bits, f.file_row_number::INTEGER) = 0"
            )
        yield scan + minus_gone * is_buried
