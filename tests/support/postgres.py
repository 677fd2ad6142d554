"""A PostgreSQL server of one's own, in a temporary directory."""

from __future__ import annotations

__all__ = ["DRIVERS", "Database", "PostgresServer"]

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

from packaging.version import Version

_HOST = "127.0.0.1"
_USER = "postgres"
_STARTS = 5

DRIVERS: tuple[str, ...] = ("postgresql+psycopg2",)
"""Those that the installed lsst-daf-butler takes."""
if Version(version("lsst-daf-butler")) >= Version("30.2026.4200"):
    DRIVERS += ("postgresql+psycopg",)

_SETTINGS = """
fsync = off
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 200
"""


@dataclass(frozen=True, slots=True)
class Database:
    """Where a database is; there is no password."""

    host: str
    port: int
    user: str
    name: str

    def url(self, driver: str = "postgresql") -> str:
        """Return the URL for SQLAlchemy, ``driver`` being e.g. ``postgresql+psycopg2``."""
        return f"{driver}://{self.user}@{self.host}:{self.port}/{self.name}"


class PostgresServer:
    """The server, running while it is entered as a context.

    Durability is off, and every new database has the extension btree_gist.
    """

    def __init__(self) -> None:
        self._serial = itertools.count()

    def __enter__(self) -> Self:
        self._bin = _find_binaries()
        # Not below pytest's own directory, which only its user may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._folder / "data"
        try:
            if os.geteuid() == 0:
                shutil.chown(self._folder, _USER)
            self._run("initdb", "-D", self._data, "-A", "trust", "-U", _USER, "-E", "UTF8", "--no-sync")
            self._start()
            self._sql("template1", "CREATE EXTENSION btree_gist")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if (self._data / "postmaster.pid").exists():
                self._run("pg_ctl", "stop", "-D", self._data, "-m", "fast", "-w")
        finally:
            shutil.rmtree(self._folder)

    def stop(self, mode: str = "immediate") -> None:
        """Go down at once, as in a crash: clients are told nothing.

        With the ``mode`` "fast" it goes down in order, and tells them so.
        """
        self._run("pg_ctl", "stop", "-D", self._data, "-m", mode, "-w")

    def resume(self) -> None:
        """Come back where it was."""
        self._run("pg_ctl", "start", "-D", self._data, "-l", self._folder / "log", "-w")

    def new_database(self) -> Database:
        """Make an empty database."""
        name = f"test_{next(self._serial)}"
        self._sql("postgres", f"CREATE DATABASE {name}")
        return Database(_HOST, self._port, _USER, name)

    def _start(self) -> None:
        plain = (self._data / "postgresql.conf").read_text()
        log = self._folder / "log"
        for attempt in range(_STARTS):
            self._port = _free_port()
            settings = _SETTINGS.format(host=_HOST, port=self._port)
            (self._data / "postgresql.conf").write_text(plain + settings)
            try:
                self._run("pg_ctl", "start", "-D", self._data, "-l", log, "-w")
            except RuntimeError:
                # Between the search for a port and its use another process may have taken it.
                if attempt == _STARTS - 1 or "could not bind" not in log.read_text():
                    raise
            else:
                return

    def _sql(self, database: str, statement: str) -> None:
        self._run(
            "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", _HOST, "-p", str(self._port),
            "-U", _USER, "-d", database, "-c", statement,
        )  # fmt: skip

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self._bin / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", _USER, "--", *command]
        # The server inherits the output, so a pipe would be waited for until it stops.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            output.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program} failed: {output.read().decode(errors='replace')}")


def _find_binaries() -> Path:
    if on_path := shutil.which("pg_ctl"):
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if not found:
        raise RuntimeError("no PostgreSQL server is installed; on Debian: apt-get install postgresql")
    return found[-1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
