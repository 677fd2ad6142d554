"""Every use of what the host keeps private, and of the driver below it.

``Database`` has no public way to a connection. The hot path needs the driver's
cursor (ten times cheaper than a SQLAlchemy statement), so this module, and no
other but `host_repository`, touches ``_transaction``, ``_session_connection``, ``_engine``,
``_metadata`` and a Butler's ``_registry``; tests pin them over the releases.
"""

from __future__ import annotations

__all__ = [
    "Cursor",
    "forget_table",
    "on_disposal",
    "opaque_manager",
    "quote",
    "reading",
    "reading_at_one_moment",
    "render_table",
    "writing",
]

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from typing import Any

import sqlalchemy
from lsst.daf.butler.registry.interfaces import Database, OpaqueTableStorageManager


class Cursor(AbstractContextManager["Cursor"]):
    """The driver's cursor, raising SQLAlchemy's exceptions.

    Parameters
    ----------
    owner
        What the cursor is on: SQLAlchemy's connection, or one of its pool.
    dialect
        The dialect.
    nested
        Whether an outer transaction goes on after this call.
    """

    def __init__(self, owner: _Owner, dialect: sqlalchemy.Dialect, *, nested: bool = False) -> None:
        self._pooled = owner.connection if isinstance(owner, sqlalchemy.Connection) else owner
        self._raw: Any = self._pooled.dbapi_connection
        self._cursor = _cursor(self._pooled, dialect)
        self.owner = owner
        self._dialect = dialect
        self.nested = nested
        self.succeeded = 0
        """How many statements the server has taken."""

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Cursor:
        """Run a statement."""
        try:
            if parameters:
                self._cursor.execute(statement, parameters)
            else:
                # Without parameters PostgreSQL's drivers leave doubled percent signs alone.
                doubled = self._dialect.name == "postgresql"
                self._cursor.execute(statement.replace("%%", "%") if doubled else statement)
        except self._error as err:
            raise self._translated(statement, parameters, err) from err
        self.succeeded += 1
        return self

    def execute_several(self, statement: str, parameters: Sequence[Any]) -> Cursor:
        """Run a statement that may hold several commands."""
        if self._dialect.driver != "psycopg":
            return self.execute(statement, parameters)
        self.close()
        self._cursor = _cursor(self._pooled, self._dialect, several=True)
        self.execute(statement, parameters)
        # psycopg 3 keeps the results of all commands of a statement.
        while self._cursor.nextset():
            pass
        return self

    def executemany(self, statement: str, parameters: Sequence[Sequence[Any]]) -> Cursor:
        """Run a statement once for each of ``parameters``."""
        try:
            self._cursor.executemany(statement, parameters)
        except self._error as err:
            raise self._translated(statement, parameters[:1], err) from err
        self.succeeded += 1
        return self

    def rows(self, limit: int | None = None) -> list[tuple[Any, ...]]:
        """Return all rows, or the next few, of the last statement's last
        command.
        """
        try:
            return list(self._cursor.fetchall() if limit is None else self._cursor.fetchmany(limit))
        except self._error as err:
            raise self._translated("", (), err) from err

    @property
    def columns(self) -> list[str]:
        """The names of what the last statement returns."""
        return [column[0] for column in self._cursor.description]

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed."""
        return int(self._cursor.rowcount)

    @property
    def _error(self) -> type[Exception]:
        return self._dialect.loaded_dbapi.Error

    def _translated(self, statement: str, parameters: Any, err: Exception) -> BaseException:
        is_lost = self._dialect.is_disconnect(err, self._raw, self._cursor)  # type: ignore[arg-type]
        if is_lost:
            self.abandon(err)
        return _sqlalchemy_error(self._dialect, err, statement, parameters, is_lost=is_lost)

    def abandon(self, err: BaseException) -> None:
        """Let nobody use the connection again: it is lost, or in a state that
        its users would not expect. Its transaction is rolled back.
        """
        self.close()
        with suppress(self._error):
            # A closed SQLite connection keeps its locks while a cursor lives.
            self._raw.rollback()
        self.owner.invalidate(err)

    def close(self) -> None:
        """Release the driver's cursor."""
        try:
            self._cursor.close()
        except self._error:
            pass  # Its connection is closed already.

    def __exit__(self, *error: object) -> None:
        self.close()


def _sqlalchemy_error(
    dialect: sqlalchemy.Dialect,
    err: Exception,
    statement: str | None = None,
    parameters: Any = None,
    *,
    is_lost: bool = False,
) -> BaseException:
    """Return what SQLAlchemy raises of a driver's error."""
    return sqlalchemy.exc.DBAPIError.instance(
        statement,
        parameters,
        err,
        dialect.loaded_dbapi.Error,
        dialect=dialect,
        hide_parameters=True,
        connection_invalidated=is_lost,
    )


def _pooled_connection(db: Database) -> sqlalchemy.PoolProxiedConnection:
    dialect = db._engine.dialect
    try:
        return db._engine.raw_connection()
    except dialect.loaded_dbapi.Error as err:
        raise _sqlalchemy_error(dialect, err) from err


_Owner = sqlalchemy.Connection | sqlalchemy.PoolProxiedConnection


def _cursor(connection: Any, dialect: sqlalchemy.Dialect, *, several: bool = False) -> Any:
    if several and dialect.driver == "psycopg":
        # Server-side binding, which prepares statements, allows one command a statement only.
        import psycopg

        return psycopg.ClientCursor(connection.dbapi_connection)
    return connection.cursor()


def reading(db: Database) -> AbstractContextManager[Cursor]:
    """Give a cursor for reading, in the caller's transaction if there is one.

    Unlike a SQLAlchemy statement it begins none: a read inside
    ``db.session()`` leaves later transactions of that session alone, and a
    read on SQLite does not take the write lock.
    """
    session = db._session_connection
    return _reading_by_itself(db) if session is None else Cursor(session, db._engine.dialect)


@contextmanager
def _reading_by_itself(db: Database) -> Iterator[Cursor]:
    with closing(_pooled_connection(db)) as connection, Cursor(connection, db._engine.dialect) as cursor:
        yield cursor


@contextmanager
def reading_at_one_moment(db: Database) -> Iterator[Cursor]:
    """Give a cursor all of whose statements see the same state.

    In the caller's transaction they see what that sees, its own uncommitted
    writes included; on PostgreSQL each statement then sees what others have
    committed before it.
    """
    if db.isInTransaction():
        with reading(db) as cursor:
            yield cursor
        return
    dialect = db._engine.dialect
    with closing(_pooled_connection(db)) as connection:
        raw: Any = connection.dbapi_connection
        # An in-memory SQLite has one connection, perhaps in a clone's transaction.
        is_shared = dialect.name == "sqlite" and raw.in_transaction
        with Cursor(connection, dialect) as cursor:
            try:
                if not is_shared:
                    cursor.execute(_ONE_MOMENT[dialect.name])
                yield cursor
            finally:
                if not is_shared and connection.is_valid:
                    connection.rollback()


_ONE_MOMENT = {
    "sqlite": "BEGIN",
    "postgresql": "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
}


def writing(db: Database, *, interrupting: bool = False) -> AbstractContextManager[Cursor]:
    """Give a cursor inside the caller's transaction, or inside one of its own
    that commits at the end.
    """
    session = db._session_connection
    if session is None or interrupting or not session.in_transaction() or session.in_nested_transaction():
        return _transaction(db, interrupting)
    # Here the host would do nothing, in a third of the time of a small insert.
    return Cursor(session, db._engine.dialect, nested=True)


@contextmanager
def _transaction(db: Database, interrupting: bool) -> Iterator[Cursor]:
    with db._transaction(interrupting=interrupting) as (is_new, connection):
        with Cursor(connection, db._engine.dialect, nested=not is_new) as cursor:
            yield cursor


@contextmanager
def writing_at_once(db: Database) -> Iterator[Cursor | None]:
    """Give a cursor inside a transaction of its own, or `None` if another
    client's would have to be waited for to begin it.
    """
    with ExitStack() as stack:
        usual = None
        if db._engine.dialect.name == "sqlite":
            # The host waits for minutes; only the beginning must not.
            stack.enter_context(db.session())
            usual = _set_patience(db, 0)
        cursor = None
        try:
            cursor = stack.enter_context(writing(db, interrupting=True))
        except sqlalchemy.exc.OperationalError as err:
            if getattr(err.orig, "sqlite_errorname", "") != "SQLITE_BUSY":
                raise
        finally:
            if usual is not None:
                _set_patience(db, usual)
        yield cursor


def _set_patience(db: Database, milliseconds: int) -> int:
    """Set how long a session of SQLite waits for locks; return what it was."""
    with reading(db) as cursor:
        try:
            usual = int(cursor.execute("PRAGMA busy_timeout").rows()[0][0])
            cursor.execute(f"PRAGMA busy_timeout = {milliseconds}")
        except sqlalchemy.exc.DBAPIError as err:
            # Back in the pool it would be as impatient with its next user.
            cursor.abandon(err)
            raise
    return usual


@contextmanager
def atomic(cursor: Cursor) -> Iterator[None]:
    """Undo everything inside if it raises, even if the caller goes on with
    the outer transaction.
    """
    if not cursor.nested:
        yield
        return
    cursor.execute(f"SAVEPOINT {_SAVEPOINT}")
    try:
        yield
    except BaseException as err:
        try:
            cursor.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}").execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        except sqlalchemy.exc.DBAPIError:
            # What cannot be undone must not be committed.
            cursor.abandon(err)
        raise
    cursor.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")


_SAVEPOINT = "arrowopaque"


@contextmanager
def aborting(cursor: Cursor) -> Iterator[None]:
    """Let nothing inside be committed if it raises, as PostgreSQL does: the
    transaction, or its savepoint, takes nothing more.

    After an error of its own the server has done so already.
    """
    before = cursor.succeeded
    try:
        yield
    except BaseException:
        if cursor.nested and cursor.succeeded > before:
            with suppress(sqlalchemy.exc.DBAPIError):
                cursor.execute("SELECT 1 / 0")
        raise


def quote(db: Database, name: str) -> str:
    """Return a column name quoted for the driver."""
    return db._engine.dialect.identifier_preparer.quote_identifier(name)


def render_table(db: Database, table: sqlalchemy.Table) -> str:
    """Return a table's name, quoted and qualified, for the driver."""
    return ".".join(quote(db, name) for name in (table.schema, table.name) if name)


def key_sequence(db: Database, table: sqlalchemy.Table) -> str | None:
    """Return the sequence that gives a table's keys on PostgreSQL, rendered."""
    if dialect_name(db) != "postgresql":
        return None
    preparer = db._engine.dialect.identifier_preparer
    for column in table.primary_key.columns:
        if isinstance(column.default, sqlalchemy.Sequence):
            return preparer.format_sequence(column.default)
    return None


def dialect_name(db: Database) -> str:
    """Return ``sqlite`` or ``postgresql``."""
    return db._engine.dialect.name


def same_database(one: Database, other: Database) -> bool:
    """Return whether two objects are connections to one database."""
    return one._metadata is other._metadata and one._engine is other._engine


_EXISTS = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?",
    "postgresql": (
        "SELECT count(*) FROM pg_catalog.pg_tables "
        "WHERE tablename = %s AND schemaname = coalesce(%s, current_schema())"
    ),
}


def table_exists(db: Database, table: sqlalchemy.Table) -> bool:
    """Return whether the database has a table of exactly this name."""
    dialect = dialect_name(db)
    parameters = (table.name,) if dialect == "sqlite" else (table.name, table.schema)
    with reading(db) as cursor:
        return bool(cursor.execute(_EXISTS[dialect], parameters).rows()[0][0])


def create_table(db: Database, table: sqlalchemy.Table) -> None:
    """Create a table in the current transaction, whatever error that brings."""
    with db._transaction() as (_, connection):
        table.create(connection)


def forget_table(db: Database, name: str) -> None:
    """Drop a table definition that the database did not take."""
    if db._metadata is not None:
        db._metadata.remove_table(name)


def on_disposal(db: Database, action: Callable[..., None], *arguments: Any) -> None:
    """Run ``action`` when the last user of the database's engine is gone."""
    weakref.finalize(db._engine, action, *arguments)


def sqlite_file(db: Database) -> str | None:
    """Return the file of a SQLite database, `None` for one in memory."""
    filename: str | None = getattr(db, "filename", None)
    return filename


def opaque_manager(butler: object) -> OpaqueTableStorageManager | None:
    """Return a Butler's manager, `None` if it has no database of its own."""
    managers = getattr(getattr(butler, "_registry", None), "_managers", None)
    return getattr(managers, "opaque", None)
