"""Cost against table size, as an SVG image."""

from __future__ import annotations

__all__ = ["as_svg"]

import math
from collections.abc import Sequence
from html import escape

from benchmarks.report import shown
from benchmarks.runner import Result
from benchmarks.workloads import WORKLOADS

_WIDTH, _HEIGHT, _MARGIN, _COLUMNS = 420, 260, 60, 2
_COLOURS = [
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#666666", "#ee8866", "#000000",
    "#99ddff", "#44bb99", "#ffaabb",
]  # fmt: skip

_LINE = 12
"""Height of a line of text."""

Points = list[tuple[float, float]]


def as_svg(by_size: dict[int, dict[str, Result]], workloads: Sequence[str]) -> str:
    """Return one panel a workload, both axes logarithmic.

    Parameters
    ----------
    by_size
        The results of each table size.
    workloads
        What to plot; those without two sizes are left out.
    """
    names = list(dict.fromkeys(name for results in by_size.values() for name in results))
    panels = []
    for workload in workloads:
        lines = {name: _points(by_size, name, workload) for name in names}
        if max(map(len, lines.values()), default=0) > 1:
            panels.append(_panel(workload, lines, names))
    placed = [
        f'<g transform="translate({i % _COLUMNS * _WIDTH},{i // _COLUMNS * _HEIGHT})">{panel}</g>'
        for i, panel in enumerate(panels)
    ]
    top = max(1, math.ceil(len(panels) / _COLUMNS)) * _HEIGHT
    legend = [
        f'<text x="{20 + 100 * i}" y="{top + 15}" fill="{_colour(i)}">{escape(name)}</text>'
        for i, name in enumerate(names)
    ]
    width = max(_COLUMNS * _WIDTH, 120 * len(names))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + 30}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        + "".join([*placed, *legend])
        + "</svg>\n"
    )


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _points(by_size: dict[int, dict[str, Result]], name: str, workload: str) -> Points:
    found = [(size, results[name].median(workload)) for size, results in by_size.items() if name in results]
    return sorted((size, value) for size, value in found if value)


def _scale(values: list[float], low: float, high: float) -> dict[float, float]:
    """Return where values lie between two places, which are a decade apart at
    least: what hardly differs is not to look as if it did.
    """
    logs = [math.log10(value) for value in values]
    span = max(1.0, max(logs) - min(logs))
    start = (max(logs) + min(logs) - span) / 2
    return {value: low + (log - start) / span * (high - low) for value, log in zip(values, logs, strict=True)}


def _rows(size: float) -> str:
    """Return a number of rows shortly: a label for each size must fit."""
    scale, suffix = next(((s, x) for s, x in ((1e6, "M"), (1e3, "k")) if size >= s), (1, ""))
    return f"{size / scale:g}{suffix}"


def _panel(workload: str, lines: dict[str, Points], names: list[str]) -> str:
    sizes = sorted({size for points in lines.values() for size, _ in points})
    values = sorted({value for points in lines.values() for _, value in points})
    across = _scale(sizes, _MARGIN, _WIDTH - 30)
    down = _scale(values, _HEIGHT - 40, 30)
    unit = WORKLOADS[workload].unit
    parts = [f'<text x="{_MARGIN}" y="16" font-weight="bold">{escape(workload)}</text>']
    parts += [
        f'<text x="{across[size]:.0f}" y="{_HEIGHT - 20}" text-anchor="middle">{_rows(size)}</text>'
        for size in sizes
    ]
    parts += [
        f'<text x="{_MARGIN - 8}" y="{down[value]:.0f}" text-anchor="end">{escape(shown(value, unit))}</text>'
        for value in ((values[0], values[-1]) if down[values[0]] - down[values[-1]] > _LINE else values[-1:])
    ]
    for i, name in enumerate(names):
        places = " ".join(f"{across[size]:.1f},{down[value]:.1f}" for size, value in lines[name])
        parts.append(f'<polyline points="{places}" fill="none" stroke="{_colour(i)}" stroke-width="2"/>')
    return "".join(parts)
