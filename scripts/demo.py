"""The main job, end to end: a Butler repository on arrowopaque, and the same
on the SQL manager beside it.

Makes a real repository (SQLite registry, local files) with each manager, puts
datasets over three runs by ``put``, ``ingest`` and ``transfer_from``, reads
them back, prunes one run, asks bulk questions, and prints what must agree,
what it took and what a row costs. Exits with 1 if anything disagrees.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from arrowopaque import ArrowOpaqueTableStorageManager, StoreRoot
from arrowopaque.butler.host import opaque_manager

SEED = "resource://arrowopaque/butler/config/registry.yaml"
RECORDS = "file_datastore_records"
INSTRUMENT = "DemoCam"
MEASURED = (
    "bytes a row: data files and manifests plus what the SQLite file, compacted, shrinks by when the tables "
    "of the records are dropped; fixed parts weigh, in so small a table"
)
TYPES = {"demo_header": "StructuredDataDict", "demo_counts": "int"}
SUFFIXES = {"demo_header": ".yaml", "demo_counts": ".json"}
PUT, INGESTED, TRANSFERRED = "demo/put", "demo/ingested", "demo/transferred"


Query = Callable[[str], list[tuple[Any, ...]]]
"""Returns the rows of a SELECT."""


@dataclass
class Outcome:
    """What one manager's repository did."""

    facts: dict[str, Any] = field(default_factory=dict)
    """Must be the same for every manager."""
    expected: dict[str, Any] = field(default_factory=dict)
    """What some facts must be."""
    alone: dict[str, Any] = field(default_factory=dict)
    """Answers given without the registry."""
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_a_row: float = 0.0

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Time a step."""
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start


def content(detector: int, kind: str) -> Any:
    """Return what dataset ``kind`` of a detector holds."""
    values = [detector * factor for factor in range(1, 2 + detector % 5)]
    return {"detector": detector, "values": values} if kind == "demo_header" else 1000 + detector


def make_repository(root: Path, detectors: int, seed: str | None) -> Butler:
    """Make a repository with an instrument and the dataset types."""
    Butler.makeRepo(str(root), config=seed)
    butler = Butler.from_config(str(root), writeable=True)
    records = [{"instrument": INSTRUMENT, "id": i, "full_name": f"D{i:04}"} for i in range(detectors)]
    butler.registry.insertDimensionData("instrument", {"name": INSTRUMENT, "detector_max": detectors})
    butler.registry.insertDimensionData("detector", *records)
    for name, storage_class in TYPES.items():
        dimensions = butler.dimensions.conform(["instrument", "detector"])
        butler.registry.registerDatasetType(DatasetType(name, dimensions, storage_class))
    for run in (PUT, INGESTED, TRANSFERRED):
        butler.collections.register(run)
    return butler


def put_all(butler: Butler, run: str, detectors: int) -> list[DatasetRef]:
    """Put every dataset of a run."""
    return [
        butler.put(content(i, name), name, instrument=INSTRUMENT, detector=i, run=run)
        for name in TYPES
        for i in range(detectors)
    ]


def ingest_all(butler: Butler, run: str, folder: Path, detectors: int) -> list[DatasetRef]:
    """Write every dataset of a run as a file and ingest the files."""
    folder.mkdir()
    datasets = []
    for name in TYPES:
        dataset_type = butler.get_dataset_type(name)
        for i in range(detectors):
            path = folder / f"{name}-{i}{SUFFIXES[name]}"
            path.write_text(json.dumps(content(i, name)))
            data_id = butler.registry.expandDataId(instrument=INSTRUMENT, detector=i)
            datasets.append(FileDataset(str(path), [DatasetRef(dataset_type, data_id, run=run)]))
    butler.ingest(*datasets, transfer="move")
    return [ref for dataset in datasets for ref in dataset.refs]


def read_all(butler: Butler, refs: list[DatasetRef]) -> int:
    """Read datasets back; return how many hold what was put."""
    good = 0
    for ref in refs:
        good += butler.get(ref) == content(int(ref.dataId["detector"]), ref.datasetType.name)
    return good


def artifacts(root: Path) -> int:
    """Count the datasets' files."""
    return sum(1 for folder in root.glob("demo/*") for path in folder.rglob("*") if path.is_file())


QUESTIONS = {
    "bytes by storage class": (
        "SELECT storage_class, count(*), sum(file_size) FROM {records} GROUP BY 1 ORDER BY 1"
    ),
    "largest files": "SELECT path, file_size FROM {records} ORDER BY file_size DESC, path LIMIT 3",
}


def bytes_by_run(rows: list[tuple[Any, ...]], runs: dict[bytes, str]) -> list[tuple[str, int]]:
    """Add up file sizes by the run that the registry knows of each dataset."""
    totals: dict[str, int] = defaultdict(int)
    for id, size in rows:
        totals[runs[id if isinstance(id, bytes) else id.bytes]] += size
    return sorted(totals.items())


def ask(query: Query, runs: dict[bytes, str]) -> dict[str, Any]:
    """Answer the bulk questions."""
    answers: dict[str, Any] = {name: query(text.format(records=RECORDS)) for name, text in QUESTIONS.items()}
    answers["bytes by run"] = bytes_by_run(query(f"SELECT dataset_id, file_size FROM {RECORDS}"), runs)
    return answers


def sql_query(root: Path, text: str) -> list[tuple[Any, ...]]:
    """Ask the registry's own database, ids as bytes."""
    with closing(sqlite3.connect(root / "gen3.sqlite3")) as connection:
        rows = connection.execute(text).fetchall()
    if "dataset_id" in text:
        return [(bytes.fromhex(id), size) for id, size in rows]
    return rows


def sql_bytes(root: Path) -> int:
    """Return what the database file, free of waste, shrinks by when the
    tables of the records are dropped.
    """
    copy = root / "copy.sqlite3"
    with closing(sqlite3.connect(root / "gen3.sqlite3")) as connection:
        connection.execute("VACUUM INTO ?", [str(copy)])
    before = copy.stat().st_size
    with closing(sqlite3.connect(copy)) as connection:
        for name in (RECORDS, f"arrowopaque_t_{RECORDS}"):
            connection.execute(f"DROP TABLE IF EXISTS {name}")
        connection.execute("VACUUM")
    after = copy.stat().st_size
    copy.unlink()
    return before - after


def ask_sql(root: Path, runs: dict[bytes, str], outcome: Outcome) -> None:
    """Ask the SQL manager's repository."""
    with outcome.timed("bulk questions"):
        outcome.facts |= ask(lambda text: sql_query(root, text), runs)
    outcome.bytes_a_row = sql_bytes(root) / outcome.facts["rows"]


def ask_duckdb(butler: Butler, root: Path, runs: dict[bytes, str], outcome: Outcome) -> None:
    """Flush, ask, and ask again without the registry."""
    manager = ArrowOpaqueTableStorageManager.of_butler(butler)
    with outcome.timed("flush"):
        manager.flush()
    with outcome.timed("compact, vacuum, verify"):
        manager.compact()
        manager.vacuum(retention=0)
        manager.verify()
    with outcome.timed("bulk questions"):
        outcome.facts |= ask(lambda text: manager.sql(text).fetchall(), runs)
    (folder,) = (root / "opaque").iterdir()
    with outcome.timed("the same by the root alone"):
        alone = StoreRoot(str(folder), writeable=False)
        outcome.alone = ask(lambda text: alone.sql(text).fetchall(), runs)
    files = sum(path.stat().st_size for path in (folder / "tables").rglob("*") if path.is_file())
    outcome.bytes_a_row = (files + sql_bytes(root)) / outcome.facts["rows"]


def run_demo(root: Path, source: Butler, detectors: int, *, ours: bool) -> Outcome:
    """Do everything with one manager."""
    outcome = Outcome()
    with outcome.timed("make the repository"):
        butler = make_repository(root, detectors, SEED if ours else None)
    with closing(butler):
        with outcome.timed("put"):
            refs = put_all(butler, PUT, detectors)
        with outcome.timed("ingest"):
            refs += ingest_all(butler, INGESTED, root.with_suffix(".inputs"), detectors)
        with outcome.timed("transfer_from"):
            refs += list(
                butler.transfer_from(source, source.query_all_datasets(TRANSFERRED), transfer="copy")
            )
        outcome.facts["datasets"] = outcome.expected["datasets"] = len(refs)
        with outcome.timed("get"):
            outcome.facts["read back"] = read_all(butler, refs)
        outcome.facts["files"] = artifacts(root)
        outcome.expected |= dict.fromkeys(["read back", "files"], 3 * len(TYPES) * detectors)
        left = prune(butler, root, refs, outcome)
        runs = {ref.id.bytes: ref.run for ref in left}
        if ours:
            ask_duckdb(butler, root, runs, outcome)
        else:
            ask_sql(root, runs, outcome)
    return outcome


def prune(butler: Butler, root: Path, refs: list[DatasetRef], outcome: Outcome) -> list[DatasetRef]:
    """Prune the run that was put; return what is left."""
    gone = [ref for ref in refs if ref.run == PUT]
    left = [ref for ref in refs if ref.run != PUT]
    with outcome.timed("prune a run"):
        butler.pruneDatasets(gone, purge=True, unstore=True, disassociate=True)
    outcome.facts["files after the prune"] = artifacts(root)
    outcome.facts["still stored"] = sum(butler.stored_many(left).values())
    manager = opaque_manager(butler)
    assert manager is not None, "a repository with a registry has one"
    outcome.facts["rows"] = sum(len(batch) for batch in manager[RECORDS].fetch_batches())
    names = ("files after the prune", "still stored", "rows")
    outcome.expected |= dict.fromkeys(names, len(refs) - len(gone))
    ((trashed,),) = sql_query(root, "SELECT count(*) FROM dataset_location_trash")
    outcome.facts["in the trash"], outcome.expected["in the trash"] = trashed, 0
    return left


def show(ours: Outcome, theirs: Outcome) -> bool:
    """Print the comparison; return whether everything agrees."""
    table = Table(title="One repository, two managers", caption=MEASURED)
    table.add_column()
    table.add_column("arrowopaque", justify="right")
    table.add_column("SQL manager", justify="right")
    table.add_column()
    agreed = True
    for name, value in ours.facts.items():
        same = value == theirs.facts.get(name) == ours.expected.get(name, value)
        if name in ours.alone:
            same &= value == ours.alone[name]
        agreed &= same
        table.add_row(name, _short(value), _short(theirs.facts.get(name)), "agree" if same else "DISAGREE")
    table.add_section()
    for step, seconds in ours.seconds.items():
        other = theirs.seconds.get(step)
        table.add_row(f"{step}, s", f"{seconds:.2f}", "" if other is None else f"{other:.2f}", "")
    table.add_section()
    table.add_row("bytes a row", f"{ours.bytes_a_row:.0f}", f"{theirs.bytes_a_row:.0f}", "")
    Console().print(table)
    return agreed


def show_answers(ours: Outcome) -> None:
    """Print what DuckDB said."""
    table = Table(title="Asked of DuckDB, with the registry and without", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for name in ours.alone:
        for number, (what, *count, size) in enumerate(ours.facts[name]):
            files = f" in {count[0]} files" if count else ""
            table.add_row("" if number else name, what, f"{size} bytes{files}")
        table.add_section()
    Console().print(table)


def _short(value: Any) -> str:
    return f"{len(value)} answers" if isinstance(value, list) else str(value)


@click.command()
@click.option("--datasets", default=2100, show_default=True, help="Datasets to make, over three runs.")
@click.option("--keep", type=click.Path(path_type=Path), help="Make the repositories here and leave them.")
def main(datasets: int, keep: Path | None) -> None:
    """Show a Butler repository working on arrowopaque."""
    detectors = max(2, -(-datasets // (3 * len(TYPES))))
    folder = keep or Path(tempfile.mkdtemp(prefix="arrowopaque-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("a repository to transfer from", total=3)
            with closing(make_repository(folder / "source", detectors, None)) as source:
                ingest_all(source, TRANSFERRED, folder / "source.inputs", detectors)
                progress.update(task, advance=1, description="the repository on arrowopaque")
                ours = run_demo(folder / "arrowopaque", source, detectors, ours=True)
                progress.update(task, advance=1, description="the repository on the SQL manager")
                theirs = run_demo(folder / "sql", source, detectors, ours=False)
        show_answers(ours)
        agreed = show(ours, theirs)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if agreed else 1)


if __name__ == "__main__":
    main()
