"""A run's figures for people and for programs."""

from __future__ import annotations

__all__ = ["as_json", "as_markdown", "as_table", "shown"]

import os
import platform
import sqlite3
from importlib.metadata import version
from typing import Any

from benchmarks.case import Settings
from benchmarks.runner import SHORT, Result
from benchmarks.targets import BASELINES, judge
from benchmarks.workloads import WORKLOADS

_PACKAGES = [
    "arrowopaque", "lsst-daf-butler", "pyarrow", "duckdb", "numpy", "sqlalchemy", "psycopg2-binary",
    "psycopg", "s3fs", "deltalake", "pyiceberg",
]  # fmt: skip


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            continue
    return found


def _machine() -> dict[str, Any]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cores": os.cpu_count(), "memory": pages, "system": platform.system(), "arch": platform.machine()}


def as_json(by_size: dict[int, dict[str, Result]], settings: Settings) -> dict[str, Any]:
    """Return everything that was measured; ``contenders`` is the last size's."""
    sizes = {size: _figures(results) for size, results in by_size.items()}
    return {
        "settings": vars(settings),
        "versions": _versions(),
        "machine": _machine(),
        "contenders": list(sizes.values())[-1],
        "sizes": sizes,
    }


def _figures(results: dict[str, Result]) -> dict[str, Any]:
    return {
        name: {
            "load_seconds": result.load_seconds,
            "versions": result.versions,
            "peak_bytes": result.peak_bytes,
            "measured": result.measured,
            "memory": result.memory,
            "requests": result.requests,
            "median": {workload: result.median(workload) for workload in result.measured},
        }
        for name, result in results.items()
    }


def shown(value: float | None, unit: str) -> str:
    """Return a figure as people read it."""
    if value is None:
        return "-"
    if unit == "s":
        scale, suffix = next(((s, x) for s, x in ((1, "s"), (1e3, "ms")) if value * s >= 1), (1e6, "µs"))
        return f"{value * scale:.3g} {suffix}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(name: str, workload: str, results: dict[str, Result]) -> str:
    baseline = results.get(BASELINES.get(name, ""))
    ours, theirs = results[name].median(workload), baseline and baseline.median(workload)
    return f" ({ours / theirs:.2g}x)" if ours and theirs else ""


def _table(lines: list[list[str]]) -> str:
    head, *body = lines
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body]) + "\n"


def as_table(results: dict[str, Result], workloads: list[str]) -> str:
    """Return the medians as a table; in brackets the ratio to the SQL manager
    on the same database.
    """
    lines = [["workload", *results]]
    for workload in workloads:
        unit = WORKLOADS[workload].unit
        label = workload if unit == "s" else f"{workload}, {unit}"
        cells = [
            shown(r.median(workload), unit) + _ratio(name, workload, results) for name, r in results.items()
        ]
        lines.append([label, *cells])
    lines.append(["load, s", *[f"{r.load_seconds:.3g}" for r in results.values()]])
    lines.append(["peak memory, MB", *[f"{r.peak_bytes / 1e6:.0f}" for r in results.values()]])
    return _table(lines)


def _targets(results: dict[str, Result]) -> str:
    lines = [["workload", "target", "contender", "figure", "limit", "met"]]
    for verdict in judge(results):
        target = verdict.target
        unit = "" if "GET" in target.words else WORKLOADS[target.workload].unit
        figures = [shown(verdict.value, unit), shown(verdict.limit, unit)]
        lines.append(
            [
                target.workload,
                target.words,
                verdict.contender,
                *figures,
                "yes" if verdict.is_met else "**no**",
            ]
        )
    return _table(lines)


def _memory(results: dict[str, Result], workloads: list[str]) -> str:
    lines = [["workload", *results]]
    for workload in workloads:
        found = [result.memory.get(workload) for result in results.values()]
        lines.append([workload, *["-" if used is None else f"{used / 1e6:.0f}" for used in found]])
    return _table(lines)


def _requests(results: dict[str, Result]) -> str:
    lines = [["workload", "contender", "GET", "PUT", "HEAD", "LIST", "kB"]]
    for name, result in results.items():
        for workload, counts in result.requests.items():
            cells = [f"{counts[method]:.3g}" for method in ("GET", "PUT", "HEAD", "LIST")]
            lines.append([workload, name, *cells, f"{counts['bytes'] / 1e3:,.0f}"])
    return _table(lines)


def as_markdown(
    by_size: dict[int, dict[str, Result]], workloads: list[str], settings: Settings, command: str
) -> str:
    """Return the document: how it was measured, figures, targets, memory and
    requests.
    """
    machine, parts = _machine(), [_HEAD.format(command=command)]
    packages = ", ".join(f"{name} {number}" for name, number in _versions().items())
    parts.append(
        f"Machine: {machine['cores']} cores, {machine['memory'] / 2**30:.0f} GiB of memory, "
        f"{machine['system']} on {machine['arch']}. Versions: {packages}. Medians of {settings.repeats} "
        f"repeats, in each of which what takes less than {SHORT:g} s is measured {settings.turns} times, "
        f"{settings.singles} small operations each, ids {settings.ids}.\n"
    )
    for name, found in {
        name: r.versions for results in by_size.values() for name, r in results.items()
    }.items():
        if found:
            parts.append(f"Versions of {name}: {', '.join(map(' '.join, found.items()))}.\n")
    for size, results in by_size.items():
        parts.append(f"## {size:,} rows\n\n{as_table(results, workloads)}")
        parts.append(f"### Targets at {size:,} rows\n\n{_targets(results)}")
        parts.append(f"### Memory at {size:,} rows\n\n{_MEMORY}\n{_memory(results, workloads)}")
        if any(result.requests for result in results.values()):
            parts.append(f"### S3 requests at {size:,} rows, for one operation\n\n{_requests(results)}")
    return "\n".join(parts)


_HEAD = """# Benchmarks

Written by `{command}`.

In brackets: the ratio to the SQL manager on the same database. A workload of more rows than the table has
takes all of them. "New process" means that the client knows nothing yet; the operating system may still have
the files in memory. The targets are those of a table of a million rows on a machine that does nothing else.
"""
_MEMORY = "Peak megabytes beyond what the process had in use when the measurement began.\n"
