"""Repositories of the SQL manager that are to be adopted."""

from __future__ import annotations

__all__ = ["Adoptable", "Snapshot", "command"]

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
from click.testing import CliRunner
from lsst.daf.butler import DatasetRef

from arrowopaque.butler.either import open_either
from arrowopaque.cli.main import main
from tests.cli.documented import assert_documented
from tests.support.butlers import RECORDS, ButlerRepository, datastore_of
from tests.support.postgres import DRIVERS, PostgresServer
from tests.support.subjects import KINDS, Placement, Site

KINDS_TO_ADOPT = ("sql-sqlite", "sql-postgres")
Snapshot = dict[str, Any]

_COLUMNS = (
    "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default "
    "FROM information_schema.columns WHERE table_schema = :schema ORDER BY table_name, ordinal_position"
)
_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = :schema ORDER BY indexdef"
_CONSTRAINTS = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = CAST(:schema AS regnamespace) ORDER BY 1, 2"
)
_TABLES = ("butler_attributes", "opaque_meta", RECORDS, "dataset_location", "dataset_location_trash")


def command(*arguments: str, answer: str = "") -> tuple[int, str, str]:
    """Run a command; return its code, its stdout and its stderr."""
    done = CliRunner().invoke(main, list(arguments), input=answer, terminal_width=100)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@dataclass
class Adoptable:
    """A repository with datasets in runs ``one`` and ``two``, two of them in
    the trash, one of whose files another dataset needs.
    """

    kind: str
    folder: Path
    server: Callable[[], PostgresServer]
    stores: str = field(init=False)
    """Where its store comes to be."""
    repository: ButlerRepository = field(init=False)
    live: list[DatasetRef] = field(init=False)
    trashed: list[DatasetRef] = field(init=False)
    shared: list[DatasetRef] = field(init=False)
    """Datasets of one file: the first is in the trash."""

    def __post_init__(self) -> None:
        self.stores = str(self.folder / "stores")
        postgres = None
        if self.kind == "sql-postgres":
            postgres = self.server().new_database().url(DRIVERS[-1])
        self.repository = ButlerRepository(
            KINDS[self.kind], Site(self.folder, postgres=postgres), Placement.DELTA, "repo"
        )
        self.repository.make(None)
        stored = [*self.repository.store("one"), *self.repository.store("two", range(4))]
        self.trashed, self.live = stored[:2], stored[2:]
        self.shared = self._share(self.repository.unstored("two", (6, 7)))
        self.live.append(self.shared[1])
        for ref in (*self.trashed, self.shared[0]):
            datastore_of(self.repository.butler).trash(ref)
        self.repository.close()

    def _share(self, refs: list[DatasetRef]) -> list[DatasetRef]:
        butler = self.repository.butler
        (dataset,) = self.repository.files(refs[1:])
        dataset.refs = list(refs)
        butler.ingest(dataset, transfer="copy")
        return refs

    @property
    def place(self) -> str:
        return str(self.repository.root)

    @property
    def arguments(self) -> tuple[str, ...]:
        """What a command needs to adopt it."""
        return (self.place, "--root", self.stores, "--yes", "--rows", "3")

    def adopt(self, *more: str) -> Any:
        """Adopt it, and return what the command says."""
        code, out, err = command("adopt", *self.arguments, "--json", *more)
        assert code == 0, err
        assert_documented("adopt", json.loads(out))
        return json.loads(out)

    def restore(self, *more: str) -> Any:
        """Restore it, and return what the command says."""
        code, out, err = command("restore", self.place, "--yes", "--rows", "3", "--json", *more)
        assert code == 0, err
        assert_documented("restore", json.loads(out))
        return json.loads(out)

    def rows(self) -> list[dict[str, Any]]:
        """Return the records as whatever manager it has sees them."""
        with open_either(self.place, writeable=False) as found:
            manager: Any = found.butler._registry._managers.opaque  # type: ignore[attr-defined]
            rows = [dict(row) for row in manager[RECORDS].fetch()]
        return sorted(rows, key=lambda row: str(row["dataset_id"]))

    def config(self) -> str:
        return (self.repository.root / "butler.yaml").read_text()

    def snapshot(self) -> Snapshot:
        """Return all that an adoption may change, and the schema."""
        if self.repository.site.postgres is None:
            with sqlite3.connect(self.repository.root / "gen3.sqlite3") as connection:
                dump = sorted(connection.iterdump())
            connection.close()
            return {"dump": dump, "config": self.config()}
        return {**self._postgres_snapshot(self.repository.site.postgres), "config": self.config()}

    def _postgres_snapshot(self, url: str) -> Snapshot:
        schema = self.repository.name
        engine = sqlalchemy.create_engine(url)
        found: Snapshot = {}
        with engine.connect() as connection:
            for name, query in (("columns", _COLUMNS), ("indexes", _INDEXES), ("constraints", _CONSTRAINTS)):
                result = connection.execute(sqlalchemy.text(query), {"schema": schema})
                found[name] = [tuple(row) for row in result]
            for table in _TABLES:
                rows = connection.execute(sqlalchemy.text(f'SELECT * FROM "{schema}".{table}'))
                found[table] = sorted(str(tuple(row)) for row in rows)
        engine.dispose()
        return found

    def sql_rows(self) -> int:
        """Return the number of records that are in SQL."""
        url = self.repository.site.postgres or f"sqlite:///{self.repository.root}/gen3.sqlite3"
        schema = "" if self.repository.site.postgres is None else f'"{self.repository.name}".'
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            count = connection.execute(
                sqlalchemy.text(f"SELECT count(*) FROM {schema}{RECORDS}")
            ).scalar_one()
        engine.dispose()
        return int(count)

    def copy_folder(self, to: Path) -> None:
        """Copy the repository's folder and its stores."""
        if to.exists():
            shutil.rmtree(to)
        shutil.copytree(self.folder, to)
