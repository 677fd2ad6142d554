"""``export`` and ``import``: a repository as files, and back."""

from __future__ import annotations

__all__ = ["export", "import_"]

from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from arrowopaque.cli.command import Command, dry_run_option, pass_output
from arrowopaque.cli.output import Output, bytes_text
from arrowopaque.root import StoreRoot
from arrowopaque.transfer.tables import DATASETS

if TYPE_CHECKING:
    from arrowopaque.butler.exporting import ExportReport
    from arrowopaque.butler.importing import ImportReport


_EXPORT_FIELDS = {
    "uri": "the export",
    "datasets": "datasets that it holds now",
    "bytes_copied": "bytes of artifacts that were copied",
    "tables.TABLE.written": "rows that were new or changed",
    "tables.TABLE.removed": "rows that were gone, or are not selected any more",
    "dataset_types[].name": "with `--dry-run`, which has nothing else: a dataset type",
    "dataset_types[].datasets": "its datasets, each counted in every collection that leads to it",
}

_IMPORT_FIELDS = {
    "repository": "the repository",
    "created": "whether it was made",
    "dataset_types": "dataset types of the export",
    "collections": "collections of the export",
    "dimension_records": "dimension records of the export",
    "datasets": "datasets of the export, those that were there already among them",
    "records": "datastore records that were added",
    "files": "artifacts that were copied",
    "bytes_copied": "their bytes",
}


@click.command(cls=Command, json_fields=_EXPORT_FIELDS)
@click.argument("repo", metavar="REPO")
@click.argument("dest", metavar="DEST")
@click.option(
    "--collections", multiple=True, metavar="PATTERN", help="Only these, with the children of chains; repeat."
)
@click.option("--dataset-types", multiple=True, metavar="PATTERN", help="Only these; repeat.")
@click.option("--where", default="", metavar="EXPRESSION", help="Only datasets whose dimensions satisfy it.")
@click.option("--files", is_flag=True, help="Copy artifacts too, with their digests.")
@dry_run_option
@pass_output
def export(
    output: Output,
    /,
    repo: str,
    dest: str,
    *,
    files: bool,
    dry_run: bool,
    **selected: Any,
) -> None:
    """Export a repository to DEST, a folder or s3://bucket/prefix.

    DEST then holds datastore records, datasets, dataset types, collections
    and dimension records as Parquet, which opens without a Butler: query it
    like any root. Run it again to bring DEST up to date, or after an
    interruption: only what is new or changed is written, and what is gone
    is removed.
    """
    from arrowopaque.butler.choosing import Selection, choose, count_datasets
    from arrowopaque.butler.exporting import export_repository
    from arrowopaque.butler.opening import open_butler

    selection = Selection(**selected)
    with open_butler(repo) as butler:
        counts = count_datasets(butler, choose(butler, selection))
        if dry_run:
            planned = [{"name": name, "datasets": count} for name, count in counts.items()]
            output.show({"dataset_types": planned}, _counted(counts))
            return
        with output.progress("datasets", sum(counts.values())) as advance:
            report = export_repository(butler, dest, selection, with_files=files, advance=advance)
    output.show(report, *_exported(report))


def _counted(counts: dict[str, int]) -> Table:
    table = Table("dataset type", "datasets", title="Would be exported")
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    return table


def _exported(report: ExportReport) -> list[Table | str]:
    table = Table("table", "rows written", "rows removed", title="Changed")
    for name, done in report.tables.items():
        if done.written or done.removed:
            table.add_row(name, f"{done.written:,}", f"{done.removed:,}")
    copied = f", {bytes_text(report.bytes_copied)} of artifacts copied" if report.bytes_copied else ""
    changes: Table | str = table if table.row_count else "nothing has changed"
    return [changes, f"{report.datasets:,} datasets are in {report.uri}{copied}"]


@click.command("import", cls=Command, json_fields=_IMPORT_FIELDS)
@click.argument("source", metavar="SRC")
@click.argument("repo", metavar="REPO")
@click.option("--config", metavar="FILE", help="Configuration of a new repository, instead of ours.")
@click.option(
    "--files",
    type=click.Choice(["copy", "direct", "none"]),
    help="Copy artifacts from SRC, use them where they were, or leave them out.  "
    "[default: copy if SRC has them, else direct]",
)
@pass_output
def import_(output: Output, source: str, repo: str, config: str | None, files: str | None) -> None:
    """Make a repository at REPO of an export, or add it to one.

    Every byte of the export is checked first. Run it again after an
    interruption: it goes on where it was.
    """
    from arrowopaque.butler.dataset_import import Files
    from arrowopaque.butler.importing import import_repository

    root = StoreRoot(source, writeable=False)
    total = (
        root.sql(f"SELECT count(*) FROM {DATASETS}").fetchall()[0][0] if DATASETS in root.names() else None
    )
    with output.progress("datasets", total) as advance:
        report = import_repository(
            source, repo, config=config, files=Files(files) if files else None, advance=advance
        )
    output.show(report, *_imported(report))


def _imported(report: ImportReport) -> list[str]:
    made = "made" if report.created else "added to"
    return [
        f"{made} {report.repository}: {report.datasets:,} datasets of {report.dataset_types:,} types in "
        f"{report.collections:,} collections, {report.dimension_records:,} dimension records, "
        f"{report.records:,} datastore records, {report.files:,} files ({bytes_text(report.bytes_copied)})"
    ]
