"""The page of a report, in a real browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arrowopaque import StoreRoot
from arrowopaque.report.contents import Group, Grouping, Large
from arrowopaque.report.figures import Figures, collect
from arrowopaque.report.page import render
from arrowopaque.report.source import of_root
from tests.report.browser import Seen, Viewer
from tests.report.stores import HOSTILE, large, records_root
from tests.support import specs

SECTIONS = ("advice", "stored", "sizes", "growth", "health", "recent", "compression")

# What the keyboard must get to: everything that can be focused, one radio button of each group.
_STOPS = """() => {
    const all = [...document.querySelectorAll(
        'a[href], button, select, summary, input, [tabindex="0"]')].filter(e => e.checkVisibility());
    return all.filter(e => e.type !== 'radio' || e.checked).length;
}"""
_ACTIVE = """() => {
    const e = document.activeElement;
    if (e === document.body) return null;
    window.visited = window.visited || new Map();
    if (!window.visited.has(e)) window.visited.set(e, window.visited.size);
    const shown = e.type === 'radio' ? e.nextElementSibling : e;
    const style = getComputedStyle(shown);
    const box = shown.getBoundingClientRect();
    return {
        id: window.visited.get(e), tag: e.tagName, type: e.type || '', mark: 'mark' in e.dataset,
        outline: style.outlineStyle, wide: parseFloat(style.outlineWidth), area: box.width * box.height,
        name: e.getAttribute('aria-label') || e.textContent || (e.labels && e.labels[0].textContent) || '',
    };
}"""
# Notes each mark that is focused, and what is said below its chart then.
_RECORD = """() => {
    window.focused = [];
    document.addEventListener('focusin', event => window.focused.push([
        event.target.getAttribute('aria-label'),
        event.target.closest('section').querySelector('.detail').textContent,
    ]));
}"""
_CONTRAST = """(selector) => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (colours) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => {
        const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = rgb.map(v => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const all = [...document.querySelectorAll(selector)];
    return all.filter(e => e.checkVisibility() && e.textContent.trim()).map(element => {
        const behind = [];
        for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
        const back = light(rgba(behind)), front = light(rgba([...behind, getComputedStyle(element).color]));
        return (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
    });
}"""


def small(tmp_path: Path, rows: int = 10) -> Figures:
    root = records_root(tmp_path, [specs.record(n, size=100 * n) for n in range(rows)])
    return collect(of_root(root, "a place"))


def walk(seen: Seen) -> list[dict[str, Any]]:
    """Return every stop of the Tab key, in order."""
    stops: list[dict[str, Any]] = []
    while True:
        seen.page.keyboard.press("Tab")
        stop = seen.ask(_ACTIVE)
        if stop is None or len(stops) > 500:
            return stops
        stops.append(stop)


def test_all_sections_and_charts_are_there(viewer: Viewer) -> None:
    seen = viewer.show(large())
    assert [one for one in SECTIONS if seen.page.locator(f"section#{one} h2").count() != 1] == []
    assert len(seen.marks("stored")) == 201
    assert len(seen.marks("sizes")) == 28
    assert len(seen.marks("growth")) == 200
    assert len(seen.marks("health")) == 200
    assert len(seen.marks("recent")) == 3
    assert len(seen.marks("compression")) == 2
    assert (
        seen.page.locator("[data-mark]").evaluate_all(
            "marks => marks.filter(m => !m.getBoundingClientRect().height).length"
        )
        == 0
    )


def test_headline(viewer: Viewer) -> None:
    text = viewer.show(large()).page.locator(".tiles").inner_text()
    assert "16.4 TB" in text
    assert "9.99 M" in text
    assert "10.4 M" in text
    assert "38.0 bytes a record; SQL about 600" in text
    assert "131 k" in text


def test_every_chart_has_a_table(viewer: Viewer) -> None:
    seen = viewer.show(large())
    for section in ("stored", "sizes", "growth", "health", "recent", "compression"):
        summary = seen.page.locator(f"#{section} summary", has_text="The same as a table")
        assert summary.count() == 1, section
        summary.press("Enter")
        rows = seen.page.locator(f"#{section} details[open] tbody tr").count()
        assert rows == len(seen.marks(section)), section


@pytest.mark.parametrize("by", ["Dataset type", "Run", "Storage class", "Formatter"])
@pytest.mark.parametrize("view", ["Treemap", "Bars"])
@pytest.mark.parametrize("measure", ["Bytes", "Files"])
def test_what_is_stored_is_switchable(viewer: Viewer, by: str, view: str, measure: str) -> None:
    seen = viewer.show(large())
    seen.choose("Group by", by)
    seen.choose("Show as", view)
    seen.page.locator("#stored").get_by_role("group", name="Measure").get_by_role(
        "radio", name=measure
    ).check(force=True)
    label = f"{view}: {measure.lower()} by {by.lower()}"
    assert seen.page.locator("#stored [role=group][aria-label^='" + label + "']").count() == 1
    assert (
        len(seen.marks("stored")) == {"Dataset type": 201, "Run": 60, "Storage class": 4, "Formatter": 3}[by]
    )
    assert all(f"% of all {measure.lower()}" in mark for mark in seen.marks("stored"))


def test_areas_of_the_treemap_are_the_bytes(viewer: Viewer) -> None:
    seen = viewer.show(large())
    seen.choose("Group by", "Storage class")
    boxes = seen.page.locator("#stored .treemap > *").evaluate_all(
        "tiles => tiles.map(t => t.getBoundingClientRect()).map(b => [b.x, b.y, b.width, b.height])"
    )
    areas = [width * height for _, _, width, height in boxes]
    assert [area / areas[0] for area in areas] == pytest.approx([1, 1 / 4, 1 / 9, 1 / 16], rel=0.02)
    for number, (x, y, width, height) in enumerate(boxes):
        for left, top, wide, high in boxes[:number]:
            apart = (
                x + 0.5 > left + wide
                or left + 0.5 > x + width
                or y + 0.5 > top + high
                or top + 0.5 > y + height
            )
            assert apart


def test_formatters_of_one_name_are_told_apart(viewer: Viewer) -> None:
    seen = viewer.show(large())
    seen.choose("Group by", "Formatter")
    names = seen.page.locator("#stored .treemap > * > span:first-child").all_text_contents()
    assert names == [
        "FitsExposureFormatter",
        "lsst.daf.butler.formatters.json.JsonFormatter",
        "lsst.other.JsonFormatter",
    ]


def test_tab_reaches_everything_and_shows_where_it_is(viewer: Viewer) -> None:
    seen = viewer.show(large())
    wanted = seen.ask(_STOPS)
    stops = walk(seen)
    assert len({stop["id"] for stop in stops}) == len(stops) == wanted
    assert sum(stop["mark"] for stop in stops) == 6
    for stop in stops:
        assert stop["name"].strip(), stop
        assert stop["outline"] == "solid", stop
        assert stop["wide"] >= 2, stop
        assert stop["area"] > 0, stop


@pytest.mark.parametrize("section", ["stored", "sizes", "growth", "health", "recent", "compression"])
def test_arrow_keys_reach_every_mark(viewer: Viewer, section: str) -> None:
    seen = viewer.show(large())
    labels = seen.marks(section)
    seen.ask(_RECORD)
    seen.page.locator(f"#{section} [data-mark][tabindex='0']").focus()
    for _ in labels[1:]:
        seen.page.keyboard.press("ArrowRight")
    reached = seen.ask("() => window.focused")
    assert [mark for mark, _ in reached] == labels
    assert [told for _, told in reached] == labels
    seen.page.keyboard.press("Home")
    assert seen.ask("() => document.activeElement.getAttribute('aria-label')") == labels[0]
    seen.page.keyboard.press("End")
    assert seen.ask("() => document.activeElement.getAttribute('aria-label')") == labels[-1]


def test_arrow_keys_reach_bars_that_are_not_shown_yet(viewer: Viewer) -> None:
    seen = viewer.show(large())
    seen.choose("Show as", "Bars")
    assert seen.page.locator("#stored [data-mark]:visible").count() == 25
    seen.page.locator("#stored [data-mark]").nth(24).focus()
    seen.page.keyboard.press("ArrowDown")
    assert seen.ask("() => document.activeElement.getAttribute('aria-label')") == seen.marks("stored")[25]
    assert seen.page.locator("#stored [data-mark]:visible").count() == 201


def test_all_bars_are_shown_on_demand(viewer: Viewer) -> None:
    seen = viewer.show(large())
    seen.choose("Show as", "Bars")
    seen.page.get_by_role("button", name="Show all 201").press("Enter")
    assert seen.page.locator("#stored [data-mark]:visible").count() == 201


def test_options_are_changed_by_arrow_keys(viewer: Viewer) -> None:
    seen = viewer.show(large())
    seen.page.get_by_role("radio", name="Treemap").focus()
    seen.page.keyboard.press("ArrowRight")
    assert seen.page.locator("#stored .bars").count() == 1
    assert seen.ask("() => document.activeElement.value") == "bars"


def test_growth_of_another_table(viewer: Viewer) -> None:
    seen = viewer.show(large())
    seen.page.locator("#growth select").select_option(label="dataset_location")
    assert len(seen.marks("growth")) == 1
    seen.page.locator("#health select").select_option(label="dataset_location")
    assert len(seen.marks("health")) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_theme(viewer: Viewer, scheme: str) -> None:
    """As the system has it, unless one is chosen; the choice stays."""
    seen = viewer.show(large(), scheme=scheme)

    def is_dark() -> bool:
        red = re.findall(r"\d+", seen.ask("() => getComputedStyle(document.body).backgroundColor"))[0]
        return int(red) < 128

    assert is_dark() == (scheme == "dark")
    for choice in ("Dark", "Light"):
        seen.choose("Theme", choice)
        assert is_dark() == (choice == "Dark")
    seen.choose("Theme", "Dark")
    seen.page.reload()
    assert is_dark()
    seen.choose("Theme", "System")
    assert is_dark() == (scheme == "dark")
    seen.requests.pop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(viewer: Viewer, scheme: str) -> None:
    seen = viewer.show(large(), scheme=scheme)
    for selector in (
        "h1, h2, p, dt, dd, a, strong, .word, code, legend, summary, select, th, td, caption",
        "fieldset span, .tick, .grid span, .unit, .last-value, .treemap span, .bars .name, .bars .value",
    ):
        found = seen.ask(_CONTRAST, selector)
        assert len(found) > 20
        assert min(found) >= 4.5, selector


@pytest.mark.parametrize("width", [320, 768, 1600])
@pytest.mark.parametrize("view", ["Treemap", "Bars"])
def test_nothing_sticks_out(viewer: Viewer, width: int, view: str) -> None:
    seen = viewer.show(large(), width=width)
    seen.choose("Show as", view)
    assert seen.ask("() => document.scrollingElement.scrollWidth") <= width


def test_ten_rows(viewer: Viewer, tmp_path: Path) -> None:
    seen = viewer.show(small(tmp_path))
    assert len(seen.marks("stored")) == 2
    assert len(seen.marks("growth")) == 1
    assert "Dataset types and runs are not told apart" in seen.page.locator("#stored").inner_text()
    assert seen.page.get_by_role("radio", name="Run", exact=True).count() == 0
    assert "fixed parts" in seen.page.locator("#compression").inner_text()
    assert seen.page.locator("#recent [data-mark]").count() == 0


def test_no_rows(viewer: Viewer, tmp_path: Path) -> None:
    seen = viewer.show(small(tmp_path, rows=0))
    assert seen.page.locator("[data-mark]").count() == 0
    assert "None." in seen.page.locator("#advice").inner_text()


def test_no_tables(viewer: Viewer, tmp_path: Path) -> None:
    seen = viewer.show(collect(of_root(StoreRoot(str(tmp_path / "root")), "empty")))
    assert "0 opaque tables" in seen.page.locator(".tiles").inner_text()


def test_sizes_that_nobody_knows(viewer: Viewer, tmp_path: Path) -> None:
    root = records_root(tmp_path, [{**specs.record(n), "file_size": None} for n in range(3)])
    seen = viewer.show(collect(of_root(root, "here")))
    assert "No size is known" in seen.page.locator("#sizes").inner_text()
    assert len(seen.marks("stored")) == 2


def test_published_root_says_what_it_does_not_know(viewer: Viewer) -> None:
    tables = tuple(replace(table, delta=None, tombstones=None) for table in large().tables)
    seen = viewer.show(replace(large(), kind="published", tables=tables))
    assert "Not known" in seen.page.locator("#recent").inner_text()


def test_earlier_version_is_told_as_such(viewer: Viewer) -> None:
    seen = viewer.show(replace(large(), kind="published", at="12"))
    assert "as of version 12" in seen.page.locator("#header").inner_text()
    assert "were not flushed then" in seen.page.locator("#recent").inner_text()
    assert seen.page.title().startswith("/repo/main at 12")


def hostile() -> Figures:
    """Figures in which every name that a user may choose is hostile."""
    figures = large()
    assert figures.contents is not None
    groupings = tuple(
        Grouping(by, tuple(Group(name, 9 - at, 900 - at) for at, name in enumerate(HOSTILE)), 0, 0, 0)
        for by in ("dataset_type", "run", "storage_class", "formatter", "table")
    )
    largest = tuple(Large(name, 1) for name in HOSTILE)
    tables = tuple(replace(figures.tables[0], name=name) for name in HOSTILE)
    return replace(
        figures,
        place=HOSTILE[1],
        uri=HOSTILE[0],
        contents=replace(figures.contents, groupings=groupings, largest=largest),
        tables=tables,
        advice=tuple(replace(figures.advice[1], title=name, detail=name, command=name) for name in HOSTILE),
    )


def test_hostile_names_are_text(viewer: Viewer) -> None:
    seen = viewer.show(hostile())
    assert seen.page.title() == f"{HOSTILE[1]} · arrowopaque report"
    assert seen.page.locator("h1").text_content() == HOSTILE[1]
    for by in ("Dataset type", "Run", "Storage class", "Table"):
        seen.choose("Group by", by)
        for view in ("Treemap", "Bars"):
            seen.choose("Show as", view)
            assert len(seen.marks("stored")) == len(HOSTILE)
            for name, mark in zip(HOSTILE, seen.marks("stored"), strict=True):
                assert mark.startswith(f"{name}: ")
    assert seen.page.locator("#growth option").all_text_contents() == sorted(HOSTILE)
    assert seen.ask("() => window.hacked") is None
    assert seen.page.locator("img, main script").count() == 0


def test_figures_in_the_page_are_inert_and_exact() -> None:
    figures = hostile().to_json()
    html = render(figures)
    ((data),) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', html, re.DOTALL)
    assert json.loads(data) == figures
    assert not set("<>&") & set(data)


def test_nothing_else_is_needed() -> None:
    html = render(large().to_json())
    assert re.findall(r"(?:src|srcset)=|@import|url\(|<link|<iframe", html) == []
    assert set(re.findall(r'href="([^"]*)"', html)) == {"#main"}


def test_other_scripts_do_not_run(viewer: Viewer) -> None:
    """Not even if they got into the page, nor can anything be fetched."""
    seen = viewer.show(large())
    tried = seen.ask("""async () => {
        const script = document.createElement('script');
        script.textContent = 'window.hacked = 1';
        document.body.append(script);
        const fetched = await fetch('data:text/plain,x').then(() => true, () => false);
        return [window.hacked === undefined, fetched];
    }""")
    assert tried == [True, False]
    assert seen.messages
    seen.messages.clear()


def test_without_scripts_it_says_so() -> None:
    assert "<noscript>" in render(large().to_json())


def test_place_is_escaped_in_the_title() -> None:
    html = render({**large().to_json(), "place": "</title><b>"})
    assert "<title>&lt;/title&gt;&lt;b&gt;" in html
