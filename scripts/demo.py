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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from arrowopaque import StoreRoot

SEED = "resource://arrowopaque/butler/config/registry.yaml"
RECORDS = "file_datastore_records"
INSTRUMENT = "DemoCam"
TYPES = {"demo_header": "StructuredDataDict", "demo_counts": "int"}
SUFFIXES = {"demo_header": ".yaml", "demo_counts": ".json"}
PUT, INGESTED, TRANSFERRED = "demo/put", "demo/ingested", "demo/transferred"


@dataclass
class Outcome:
    """What one manager's repository did."""

    facts: dict[str, Any] = field(default_factory=dict)
    """Must be the same for every manager."""
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


def ingest_all(butler: Butler, folder: Path, detectors: int) -> list[DatasetRef]:
    """Write every dataset of a run as a file and ingest the files."""
    folder.mkdir()
    datasets = []
    for name in TYPES:
        dataset_type = butler.get_dataset_type(name)
        for i in range(detectors):
            path = folder / f"{name}-{i}{SUFFIXES[name]}"
            path.write_text(json.dumps(content(i, name)))
            data_id = butler.registry.expandDataId(instrument=INSTRUMENT, detector=i)
            datasets.append(FileDataset(str(path), [DatasetRef(dataset_type, data_id, run=INGESTED)]))
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


def opaque_manager(butler: Butler) -> Any:
    """Return the manager of opaque tables, which a Butler keeps private."""
    registry: Any = butler._registry  # type: ignore[attr-defined]  # no public way
    return registry._managers.opaque


QUESTIONS = {
    "bytes by storage class": (
        "SELECT storage_class, count(*), sum(file_size) FROM {records} GROUP BY 1 ORDER BY 1"
    ),
    "largest files": "SELECT path, file_size FROM {records} ORDER BY file_size DESC, path LIMIT 5",
}


def bytes_by_run(rows: list[tuple[Any, int]], runs: dict[bytes, str]) -> list[tuple[str, int]]:
    """Add up file sizes by the run that the registry knows of each dataset."""
    totals: dict[str, int] = defaultdict(int)
    for id, size in rows:
        totals[runs[id if isinstance(id, bytes) else id.bytes]] += size
    return sorted(totals.items())


def ask(query: Any, runs: dict[bytes, str]) -> dict[str, Any]:
    """Answer the bulk questions; ``query`` returns the rows of a SELECT."""
    answers = {name: query(text.format(records=RECORDS)) for name, text in QUESTIONS.items()}
    answers["bytes by run"] = bytes_by_run(query(f"SELECT dataset_id, file_size FROM {RECORDS}"), runs)
    return answers


def sql_query(root: Path, text: str) -> list[tuple[Any, ...]]:
    """Ask the registry's own database, ids as bytes."""
    with sqlite3.connect(root / "gen3.sqlite3") as connection:
        rows = connection.execute(text).fetchall()
    if "dataset_id" in text:
        return [(bytes.fromhex(id), size) for id, size in rows]
    return rows


def sql_bytes(root: Path) -> int:
    """Return the bytes of the records' SQL tables and their indexes."""
    names = f"SELECT name FROM sqlite_master WHERE tbl_name IN ('{RECORDS}', 'arrowopaque_t_{RECORDS}')"
    with sqlite3.connect(root / "gen3.sqlite3") as connection:
        pages = connection.execute(
            f"SELECT sum(pgsize - unused) FROM dbstat WHERE name IN ({names})"
        ).fetchone()
    return int(pages[0] or 0)


def bulk_answers(butler: Butler, root: Path, runs: dict[bytes, str], ours: bool, outcome: Outcome) -> None:
    """Flush, ask, and ask again without the registry."""
    rows = outcome.facts["rows"]
    if not ours:
        with outcome.timed("bulk questions"):
            outcome.facts |= ask(lambda text: sql_query(root, text), runs)
        outcome.bytes_a_row = sql_bytes(root) / rows
        return
    manager = opaque_manager(butler)
    with outcome.timed("flush"):
        manager.flush()
        manager.compact()
        manager.vacuum(retention=0)
    with outcome.timed("bulk questions"):
        outcome.facts |= ask(lambda text: manager.sql(text).fetchall(), runs)
    manager.verify()
    (folder,) = (root / "opaque").iterdir()
    with outcome.timed("the same by the root alone"):
        alone = StoreRoot(str(folder), writeable=False)
        found = ask(lambda text: alone.sql(text).fetchall(), runs)
    differing = [name for name in found if found[name] != outcome.facts[name]]
    if differing:
        raise click.ClickException(f"opened by its root alone, the store answers differently: {differing}")
    files = sum(path.stat().st_size for path in (folder / "tables").rglob("*.*") if path.suffix != ".json")
    outcome.bytes_a_row = (files + sql_bytes(root)) / rows


def run_demo(root: Path, source: Butler, detectors: int, *, ours: bool) -> Outcome:
    """Do everything with one manager."""
    outcome = Outcome()
    with outcome.timed("make the repository"):
        butler = make_repository(root, detectors, SEED if ours else None)
    with outcome.timed("put"):
        refs = put_all(butler, PUT, detectors)
    with outcome.timed("ingest"):
        refs += ingest_all(butler, root.with_suffix(".inputs"), detectors)
    with outcome.timed("transfer_from"):
        refs += list(butler.transfer_from(source, source.query_all_datasets(TRANSFERRED), transfer="copy"))
    outcome.facts["datasets"] = len(refs)
    with outcome.timed("get"):
        outcome.facts["read back"] = read_all(butler, refs)
    outcome.facts["files"] = artifacts(root)
    gone = [ref for ref in refs if ref.run == PUT]
    with outcome.timed("prune a run"):
        butler.pruneDatasets(gone, purge=True, unstore=True, disassociate=True)
    outcome.facts["files after the prune"] = artifacts(root)
    left = [ref for ref in refs if ref.run != PUT]
    outcome.facts["still stored"] = sum(butler.stored_many(left).values())
    outcome.facts["rows"] = len(left)
    bulk_answers(butler, root, {ref.id.bytes: ref.run for ref in left}, ours, outcome)
    return outcome


def show(ours: Outcome, theirs: Outcome) -> bool:
    """Print the comparison; return whether everything agrees."""
    table = Table(title="One repository, two managers")
    for heading in ("", "arrowopaque", "SQL manager", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    agreed = True
    for name, value in ours.facts.items():
        same = value == theirs.facts.get(name)
        agreed &= same
        shown = [_short(value), _short(theirs.facts.get(name))]
        table.add_row(name, *shown, "agree" if same else "DISAGREE")
    table.add_section()
    for step in [*ours.seconds]:
        other = theirs.seconds.get(step)
        table.add_row(f"{step}, s", f"{ours.seconds[step]:.2f}", "" if other is None else f"{other:.2f}", "")
    table.add_section()
    table.add_row("bytes a row", f"{ours.bytes_a_row:.0f}", f"{theirs.bytes_a_row:.0f}", "")
    Console().print(table)
    return agreed


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
            source = make_repository(folder / "source", detectors, None)
            put_all(source, TRANSFERRED, detectors)
            progress.update(task, advance=1, description="the repository on arrowopaque")
            ours = run_demo(folder / "arrowopaque", source, detectors, ours=True)
            progress.update(task, advance=1, description="the repository on the SQL manager")
            theirs = run_demo(folder / "sql", source, detectors, ours=False)
        agreed = show(ours, theirs)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    expected = 3 * len(TYPES) * detectors
    whole = ours.facts["datasets"] == ours.facts["read back"] == ours.facts["files"] == expected
    sys.exit(0 if agreed and whole else 1)


if __name__ == "__main__":
    main()
