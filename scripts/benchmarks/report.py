"""A run's figures for people and for programs."""

from __future__ import annotations

__all__ = ["as_json", "as_markdown"]

import platform
from importlib.metadata import version
from typing import Any

from benchmarks.runner import Result, Settings
from benchmarks.workloads import WORKLOADS

_PACKAGES = ["arrowopaque", "lsst-daf-butler", "pyarrow", "duckdb", "sqlalchemy", "deltalake", "pyiceberg"]
_BASELINES = {"ours-sqlite": "sql-sqlite", "ours-sqlite-s3": "sql-sqlite", "ours-postgres": "sql-postgres",
              "ours-root": "sql-sqlite", "ours-root-s3": "sql-sqlite"}  # fmt: skip


def _versions(names: list[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            continue
    return found


def as_json(results: dict[str, Result], settings: Settings) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "settings": vars(settings),
        "versions": _versions(_PACKAGES),
        "contenders": {
            name: {
                "load_seconds": result.load_seconds,
                "peak_bytes": result.peak_bytes,
                "measured": result.measured,
                "memory": result.memory,
                "requests": result.requests,
                "median": {workload: result.median(workload) for workload in result.measured},
            }
            for name, result in results.items()
        },
    }


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "s":
        scale, suffix = next(((s, x) for s, x in ((1, "s"), (1e3, "ms")) if value * s >= 1), (1e6, "µs"))
        return f"{value * scale:.3g} {suffix}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(name: str, workload: str, results: dict[str, Result]) -> str:
    baseline = results.get(_BASELINES.get(name, ""))
    ours, theirs = results[name].median(workload), baseline and baseline.median(workload)
    return f" ({ours / theirs:.2g}x)" if ours and theirs else ""


def as_markdown(results: dict[str, Result], workloads: list[str]) -> str:
    """Return the medians as a table; in brackets the ratio to the SQL manager
    on the same database.
    """
    head = ["workload", *results]
    lines = [head, ["---", *["--:"] * len(results)]]
    for workload in workloads:
        unit = WORKLOADS[workload].unit
        label = workload if unit == "s" else f"{workload}, {unit}"
        cells = [
            _shown(r.median(workload), unit) + _ratio(name, workload, results) for name, r in results.items()
        ]
        lines.append([label, *cells])
    lines.append(["load, s", *[f"{r.load_seconds:.3g}" for r in results.values()]])
    lines.append(["peak memory, MB", *[f"{r.peak_bytes / 1e6:.0f}" for r in results.values()]])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
