"""Where things are in the repositories and roots of these tests."""

from __future__ import annotations

__all__ = ["COMMAND", "RECORDS", "bare_rows", "everything", "locked", "newest_manifest", "store_root"]

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy

from arrowopaque import StoreRoot
from tests.support import specs
from tests.support.butlers import RECORDS, ButlerRepository

COMMAND = [sys.executable, "-c", "from arrowopaque.cli.main import main; main(prog_name='arrowopaque')"]
"""Runs ``arrowopaque`` in a process of its own."""


def store_root(repository: ButlerRepository) -> Path:
    """Return the root of a repository's store."""
    base = repository.root if repository.kind.dialect == "sqlite" else repository.site.folder
    (root,) = (base / "opaque").iterdir()
    return root


def newest_manifest(root: Path, table: str) -> Path:
    """Return the newest manifest of a table."""
    found = (root / "tables" / table / "manifests").iterdir()
    return max(found, key=lambda path: int(path.name.partition("-")[0]))


def everything(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a store below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "sqlite" not in path.name
    }


def bare_rows(place: str, count: int, table: str = "here") -> None:
    """Add rows to a root's table, each by a commit and so in a file of its own."""
    root = StoreRoot(place)
    for number in range(1_000, 1_000 + count):
        root.table(table).insert(specs.row(number))


@contextmanager
def locked(repository: ButlerRepository) -> Iterator[None]:
    """Be in the middle of a write to the records of a PostgreSQL repository.

    On SQLite to open a repository for writing would wait for that already.
    """
    assert repository.site.postgres is not None, "SQLite has no locks of tables"
    engine = sqlalchemy.create_engine(repository.site.postgres)
    with engine.connect() as connection:
        table = f'"{repository.name}"."{RECORDS}"'
        connection.execute(sqlalchemy.text(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE"))
        yield
    engine.dispose()
