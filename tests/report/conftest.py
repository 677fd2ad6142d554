"""One browser for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report import browser as browsers


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser; not for longer, since it keeps an event loop in this thread."""
    with browsers.browser() as made:
        yield made


@pytest.fixture
def viewer(browser: Any, tmp_path: Path) -> Iterator[browsers.Viewer]:
    """Opens reports; none of them may complain, or ask for anything but itself."""
    made = browsers.Viewer(browser, tmp_path)
    yield made
    made.close()
    for seen in made.opened:
        assert seen.messages == []
        assert [url.startswith("file://") for url in seen.requests] == [True]
