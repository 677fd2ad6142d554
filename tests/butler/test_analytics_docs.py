"""Every recipe of docs/ANALYTICS.md gives what the document shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from lsst.daf.butler import Butler

from arrowopaque import sql
from arrowopaque.butler.analytics import VIEWS
from tests.support.survey import make_survey

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "ANALYTICS.md").read_text()
RECIPES = re.findall(r"^```(sql|python)\n(.*?)^```\n\n```text\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    make_survey(folder / "REPO").close()
    return folder


@pytest.fixture
def butler(site: Path) -> Iterator[Butler]:
    with Butler.from_config(str(site / "REPO")) as opened:
        yield opened


def answers(butler: Butler, names: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield each recipe, what is shown and what it gives, in their order."""
    for language, recipe, shown in RECIPES:
        written = StringIO()
        with redirect_stdout(written):
            if language == "python":
                exec(recipe, names)
            else:
                written.write(f"{sql(butler, recipe)}\n")
        yield (
            recipe,
            shown,
            "".join(line.rstrip() + "\n" for line in written.getvalue().rstrip().splitlines()),
        )


def test_recipes(butler: Butler, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    names: dict[str, Any] = {}
    for recipe, shown, given in answers(butler, names):
        assert given == shown, recipe
    names["butler"].close()


def test_nothing_is_left_out() -> None:
    assert len(RECIPES) == len(re.findall(r"^```(?:sql|python)$", TEXT, re.MULTILINE)) > 20
    for view in VIEWS:
        assert any(view in recipe for _, recipe, _ in RECIPES), view
