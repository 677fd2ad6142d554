"""``adopt`` and ``restore`` die at each of their commits, and are run again.

Within a transaction it is no matter where they die, so that the steps are the
commits, what the storage is told to keep, and the configuration file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from lsst.daf.butler.registry.databases.postgresql import PostgresqlDatabase
from lsst.daf.butler.registry.databases.sqlite import SqliteDatabase

from arrowopaque import ArrowOpaqueTableStorageManager
from arrowopaque.butler import adopt, catalog, configfile
from arrowopaque.butler.either import open_either
from tests.support.adopting import Adoptable, command
from tests.support.faults import Fault, Faults, Mode, Step

pytestmark = pytest.mark.timeout(1200)
"""Each opens some hundreds of Butlers."""

_KEEPS = ("sql COMMIT", "put", "delete", "write")


@pytest.fixture
def reaching(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Faults that reach what Butlers and commands do, too."""
    monkeypatch.setattr(adopt, "open_store", vars(catalog)["open_store"])
    for kind in (SqliteDatabase, PostgresqlDatabase):
        monkeypatch.setattr(kind, "makeEngine", staticmethod(_watched(faults, kind.makeEngine)))
    plain = configfile._replace

    def replace(path: Path, data: bytes) -> None:
        def error() -> BaseException:
            return OSError(f"injected fault: {path}")

        faults.take(Step(f"write {path}", lambda: plain(path, data), error, error))

    monkeypatch.setattr(configfile, "_replace", replace)
    return faults


def _watched(faults: Faults, plain: Callable[..., sqlalchemy.Engine]) -> Callable[..., sqlalchemy.Engine]:
    def make(*arguments: Any, **how: Any) -> sqlalchemy.Engine:
        engine = plain(*arguments, **how)
        faults.watch(engine)
        return engine

    return make


class _Copies:
    """A repository, as it was when it was saved, again and again."""

    def __init__(self, made: Adoptable) -> None:
        self.made = made
        self._saved = made.folder.with_name(f"{made.folder.name}-saved")
        self._copies: list[str] = []
        made.copy_folder(self._saved)
        url = made.repository.site.postgres
        self._template = None if url is None else sqlalchemy.make_url(url)

    def back(self) -> None:
        """Put it back; databases get another name, as clients may be left in the old one."""
        made = self.made
        shutil.rmtree(made.folder)
        shutil.copytree(self._saved, made.folder)
        if self._template is None:
            return
        name = f"{self._template.database}_{len(self._copies)}"
        self._sql(f"CREATE DATABASE {name} TEMPLATE {self._template.database}")
        if self._copies:
            self._sql(f"DROP DATABASE {self._copies[-1]} WITH (FORCE)")
        self._copies.append(name)
        url = self._template.set(database=name)
        made.repository.site = type(made.repository.site)(
            made.folder, postgres=url.render_as_string(hide_password=False)
        )
        config = made.repository.root / "butler.yaml"
        config.write_text(self.in_copy(config.read_text()))

    def in_copy(self, config: str) -> str:
        """Return a configuration as it is in the copy: with its database."""
        if self._template is None:
            return config
        old = f"/{self._template.database}\n"
        assert config.count(old) == 1
        return config.replace(old, f"/{self._copies[-1]}\n")

    def _sql(self, statement: str) -> None:
        assert self._template is not None, "there is a server"
        engine = sqlalchemy.create_engine(
            self._template.set(database="postgres"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(statement))
        engine.dispose()


@pytest.fixture(params=["sql-sqlite", "sql-postgres"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adoptable]:
    folder = tmp_path / "made"
    folder.mkdir()
    made = Adoptable(request.param, folder, lambda: request.getfixturevalue("postgres_server"))
    yield made
    made.repository.close()


def _steps(faults: Faults, arguments: tuple[str, ...]) -> list[str]:
    with faults.recording() as steps:
        code, _, err = command(*arguments)
    assert code == 0, err
    return list(steps)


def _die_everywhere(
    copies: _Copies, faults: Faults, arguments: tuple[str, ...], mode: Mode, check: Callable[[str], None]
) -> None:
    rows = copies.made.rows()
    copies.back()
    steps = _steps(faults, arguments)
    check("undisturbed")
    # How often something is read before is no matter.
    counts = {name: sum(step.startswith(name) for step in steps) for name in _KEEPS}
    tried = [Fault(number, mode, name) for name in _KEEPS for number in range(1, counts[name] + 1)]
    assert len(tried) > 8
    for fault in tried:
        copies.back()
        with faults.striking(fault):
            code, _, err = command(*arguments)
        what = f"{fault} of {fault.name!r}, at {faults.struck!r}"
        assert faults.struck, f"{what}: never came to the step"
        assert code == 0 or "injected fault" in err, f"{what}: {err}"
        assert copies.made.rows() == rows, f"{what}: other rows"
        if code != 0:
            code, _, err = command(*arguments)
            assert code == 0, f"{what}: again: {err}"
        # It may have found out by itself that a step whose reply was lost was done.
        check(what)


@pytest.mark.parametrize("mode", [Mode.GONE, Mode.LOST], ids=lambda mode: mode.value)
def test_adopt(made: Adoptable, reaching: Faults, mode: Mode) -> None:
    rows = made.rows()
    copies = _Copies(made)

    def check(what: str) -> None:
        assert made.sql_rows() == 0, what
        with open_either(made.place, writeable=False) as found:
            assert found.is_ours, what
            assert adopt.plan_adoption(found, None).done, what
            manager: Any = ArrowOpaqueTableStorageManager.of_butler(found.butler)
            assert not manager.verify(raising=False).findings, what
        assert made.rows() == rows, what

    arguments = ("adopt", *made.arguments[:-1], "8", "--clients-closed")
    _die_everywhere(copies, reaching, arguments, mode, check)


@pytest.mark.parametrize("mode", [Mode.GONE, Mode.LOST], ids=lambda mode: mode.value)
def test_restore(made: Adoptable, reaching: Faults, mode: Mode) -> None:
    before = made.snapshot()
    made.adopt("--clients-closed")
    assert made.snapshot() != before
    copies = _Copies(made)

    def check(what: str) -> None:
        config = copies.in_copy(before["config"])
        assert made.snapshot() == {**before, "config": config}, what

    arguments = ("restore", made.place, "--yes", "--rows", "8")
    _die_everywhere(copies, reaching, arguments, mode, check)
