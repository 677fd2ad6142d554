"""A Butler in a process of its own, as a batch job starts one.

As a program: ``make`` makes a repository with one dataset, ``find`` opens it
and tells where the dataset is.
"""

from __future__ import annotations

__all__ = ["find_dataset", "make_repository"]

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.contenders import Place
from benchmarks.fresh import environment

_INSTRUMENT, _TYPE, _RUN = "Cam", "number", "run"


def _run(*arguments: str, **settings: str) -> str:
    command = [sys.executable, "-m", "benchmarks.butlers", *arguments]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, env=environment(**settings))
    return done.stdout.strip()


def make_repository(place: Place, seed: str | None) -> Path:
    """Return the folder of a repository with one dataset, made if need be.

    Parameters
    ----------
    place
        Where the contender is.
    seed
        The repository's configuration, besides its database.
    """
    folder = place.folder / "butler"
    if not folder.exists():
        root = {"ARROWOPAQUE_ROOT": str(place.folder / "butler-records")} if place.postgres else {}
        _run("make", str(folder), json.dumps({"seed": seed, "database": place.postgres}), **root)
    return folder


def find_dataset(folder: Path) -> str:
    """Return where the dataset is, as a new process says."""
    return _run("find", str(folder))


def _make(folder: str, settings: str) -> None:
    from lsst.daf.butler import Butler, Config, DatasetType

    asked = json.loads(settings)
    config = Config(asked["seed"])
    if asked["database"]:
        config["registry", "db"] = asked["database"]
        # Its tables are not those of the contender.
        config["registry", "namespace"] = "butler"
    Butler.makeRepo(folder, config=config)
    butler = Butler.from_config(folder, run=_RUN)
    butler.registry.insertDimensionData("instrument", {"name": _INSTRUMENT})
    kind = DatasetType(_TYPE, ["instrument"], "StructuredDataDict", universe=butler.dimensions)
    butler.registry.registerDatasetType(kind)
    butler.put({"number": 1}, kind, instrument=_INSTRUMENT)


def _find(folder: str) -> None:
    from lsst.daf.butler import Butler

    butler = Butler.from_config(folder, collections=[_RUN])
    print(butler.getURI(_TYPE, instrument=_INSTRUMENT))


if __name__ == "__main__":
    action, *arguments = sys.argv[1:]
    if action == "make":
        _make(*arguments)
    else:
        _find(*arguments)
