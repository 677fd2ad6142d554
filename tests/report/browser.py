"""A real browser, and pages that are watched in it."""

from __future__ import annotations

__all__ = ["Seen", "Viewer", "browser", "find_chromium"]

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from arrowopaque.report.figures import Figures
from arrowopaque.report.page import render

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Return where the browser is; fail if there is none."""
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        pytest.fail(
            "the report is tested in a real browser, and there is none: on Debian, apt-get install chromium"
        )
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """Give a browser without a window."""
    with sync_playwright() as playwright:
        # Without its sandbox, which root must not use: it shows nothing but what we wrote.
        made = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield made
        made.close()


@dataclass
class Seen:
    """A report in the browser, and what that said and asked for."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def choose(self, legend: str, choice: str) -> None:
        """Choose in one of the page's groups of options."""
        self.page.get_by_role("group", name=legend, exact=True).get_by_role("radio", name=choice).first.check(
            force=True
        )

    def marks(self, section: str) -> list[str]:
        """Return what the marks of a section's charts say."""
        found: list[str] = self.page.locator(f"#{section} [data-mark]").evaluate_all(
            "marks => marks.map(mark => mark.getAttribute('aria-label'))"
        )
        return found

    def ask(self, script: str, *of: Any) -> Any:
        """Return what a script says of the page."""
        return self.page.evaluate(script, *of)


class Viewer:
    """Opens reports.

    Parameters
    ----------
    browser
        The browser.
    folder
        Where the files go.
    """

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._folder = folder
        self.opened: list[Seen] = []

    def show(self, figures: Figures, *, width: int = 1200, scheme: Any = "light") -> Seen:
        """Return a report as somebody sees it."""
        file = self._folder / f"report{len(self.opened)}.html"
        file.write_text(render(figures.to_json()), encoding="utf-8")
        context = self._browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        seen = Seen(context.new_page())
        seen.page.on("console", lambda message: seen.messages.append(message.text))
        seen.page.on("pageerror", lambda error: seen.messages.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(file.as_uri())
        self.opened.append(seen)
        return seen

    def close(self) -> None:
        """Close all pages."""
        for seen in self.opened:
            seen.page.context.close()
