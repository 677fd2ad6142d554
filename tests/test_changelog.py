"""The changelog's top entry is the version of the package."""

from __future__ import annotations

import re
from pathlib import Path

import arrowopaque

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"
ENTRY = re.compile(r"^## (?P<version>\d+\.\d+\.\d+) - (?:\d{4}-\d{2}-\d{2}|unreleased)$", re.MULTILINE)


def test_top_entry_is_the_version() -> None:
    entries = [match["version"] for match in ENTRY.finditer(CHANGELOG.read_text(encoding="utf-8"))]
    assert entries[0] == arrowopaque.__version__


def test_every_second_level_heading_is_an_entry() -> None:
    text = CHANGELOG.read_text(encoding="utf-8")
    assert len(re.findall(r"^## ", text, re.MULTILINE)) == len(ENTRY.findall(text))
