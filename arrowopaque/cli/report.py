"""``report``: one HTML file about a store."""

from __future__ import annotations

__all__ = ["report"]

from collections import Counter
from pathlib import Path

import click

from arrowopaque.cli.command import Command, pass_output
from arrowopaque.cli.output import Output
from arrowopaque.cli.target import RootTarget, Target, at_option, open_target, store_at, target_argument
from arrowopaque.errors import ConfigurationError
from arrowopaque.report.advice import Severity
from arrowopaque.report.figures import Figures, collect, steps
from arrowopaque.report.page import render
from arrowopaque.report.source import Source, of_root

_FILES, _CONTENTS, _GROUPING = "tables[].files.", "contents.", "contents.groupings[]."

FIELDS = {
    "place": "what was asked for",
    "at": "the earlier version that was; null for now",
    "kind": "repository; root; published for the data files of a repository alone",
    "uri": "the root of the store",
    "release": "of arrowopaque",
    "began": "when the first question was asked",
    "ended": "when the last one was answered",
    "rows": "visible rows of all tables",
    "bytes": "of all data files, indexes and deletion vectors",
    "has_datasets": "whether dataset types and runs are known",
    "tables[].name": "the table",
    "tables[].is_datastore": "whether it has the records of a file datastore",
    "tables[].rows": "visible rows",
    "tables[].delta": "rows that are only in the database; null at a registry's root",
    "tables[].tombstones": "rows of data files whose deletion is only in the database; null likewise",
    "tables[].files": "null if it has no data files, or its manifest cannot be read",
    f"{_FILES}version": "of its manifest",
    f"{_FILES}created": "when that was committed",
    f"{_FILES}rows": "rows of data files that are not deleted",
    f"{_FILES}deleted": "rows of data files that are",
    f"{_FILES}bytes": "of data files, indexes and deletion vectors",
    f"{_FILES}files": "data files",
    f"{_FILES}partitions": "ranges of the leading key column",
    f"{_FILES}parts[].first": "the place of a partition in the order of keys; at most 200 parts",
    f"{_FILES}parts[].partitions": "how many partitions are taken together",
    f"{_FILES}parts[].rows": "their rows",
    f"{_FILES}parts[].deleted": "their deleted rows",
    f"{_FILES}parts[].bytes": "their bytes",
    f"{_FILES}parts[].files": "their data files",
    f"{_FILES}worn_files": "data files of which a tenth or more is deleted",
    f"{_FILES}worn[].path": "one of the 20 worst",
    f"{_FILES}worn[].rows": "its rows",
    f"{_FILES}worn[].deleted": "its deleted rows",
    f"{_FILES}worn[].bytes": "its bytes",
    f"{_FILES}due_partitions": "partitions that `compact` would change",
    f"{_FILES}due_files": "files that it would merge",
    "tables[].growth[].version": "an earlier version: of the store for a root, else of the table",
    "tables[].growth[].created": "when it was committed",
    "tables[].growth[].rows": "rows in data files then",
    "tables[].growth[].bytes": "bytes of data files then",
    "tables[].growth[].files": "data files then",
    "contents": "of the datastore records; null without any, or if they cannot be read",
    f"{_CONTENTS}records": "rows of the tables of file datastores",
    f"{_CONTENTS}files": "files that they name, each once",
    f"{_CONTENTS}bytes": "sum of the sizes that are known",
    f"{_CONTENTS}unknown_sizes": "records without a size",
    f"{_CONTENTS}empty": "records of a size of zero",
    f"{_CONTENTS}no_checksum": "records without a checksum",
    f"{_CONTENTS}shared_files": "files that several records name",
    f"{_CONTENTS}shared_records": "records that name them",
    f"{_CONTENTS}copies": "files whose size and checksum an earlier one has too",
    f"{_CONTENTS}copied_bytes": "the size of those",
    f"{_CONTENTS}strangers": "records of datasets that are not known; null if none is",
    f"{_CONTENTS}sizes[].least": "the least size of files in a bin",
    f"{_CONTENTS}sizes[].below": "the size that they stay below",
    f"{_CONTENTS}sizes[].files": "files in the bin",
    f"{_CONTENTS}sizes[].bytes": "their bytes",
    f"{_CONTENTS}largest[].path": "one of the ten largest files",
    f"{_CONTENTS}largest[].bytes": "its size",
    f"{_GROUPING}by": "dataset_type, run, storage_class, formatter or table",
    f"{_GROUPING}groups[].name": "one of at most 200; null for datasets that are not known",
    f"{_GROUPING}groups[].files": "its files",
    f"{_GROUPING}groups[].bytes": "their bytes",
    f"{_GROUPING}others": "how many groups are not told apart",
    f"{_GROUPING}other_files": "their files",
    f"{_GROUPING}other_bytes": "their bytes",
    "compression.rows": "datastore records in data files",
    "compression.bytes": "their bytes, measured",
    "compression.bytes_a_row": "measured; null without rows",
    "compression.sql_bytes_a_row": "an estimate",
    "compression.sql_bytes": "an estimate",
    "advice[].code": "what is amiss",
    "advice[].severity": "error, warning or note",
    "advice[].table": "the table concerned, if it is one",
    "advice[].count": "of how many things it is told",
    "advice[].title": "the same in words",
    "advice[].detail": "more words",
    "advice[].command": "what to run, if anything",
}


@click.command(cls=Command, json_fields=FIELDS)
@target_argument
@click.option(
    "--output",
    "-o",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: report.html, with --json none]",
)
@at_option
@pass_output
def report(output: Output, place: str, file: Path | None, at: str | None) -> None:
    """Write one HTML file that shows what a store holds, and how it is.

    It needs nothing else, no network either. With --json the figures go to
    stdout. An earlier version of a repository is one of its data files
    alone: of which dataset types and runs they are is not known.
    """
    if file is None and not output.as_json:
        file = Path("report.html")
    if file is not None and not file.parent.is_dir():
        raise ConfigurationError(f"there is no folder {str(file.parent)!r} for the report")
    with open_target(place) as target:
        source = _source(output, target, at)
        with output.progress("asking", steps(source)) as told:
            figures = collect(source, told)
    if file is not None:
        file.write_text(render(figures.to_json()), encoding="utf-8")
    output.show(figures.to_json(), str(file))
    _say(output, figures)


def _say(output: Output, figures: Figures) -> None:
    counts = Counter(advice.severity for advice in figures.advice)
    if counts:
        output.say(", ".join(f"{n} {name}{'s' * (n > 1)}" for name in Severity if (n := counts[name])))


def _source(output: Output, target: Target, at: str | None) -> Source:
    """Return a repository or root as what a report is made from."""
    if at is not None:
        return of_root(store_at(output, target, at), target.place, at)
    if isinstance(target, RootTarget):
        return of_root(target.root, target.place)
    from arrowopaque.butler.reporting import of_repository

    return of_repository(target.repository)
