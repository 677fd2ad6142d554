"""Each decision record is complete, and their numbers have no gaps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("*.md"))
HEADINGS = ["Context", "Decision", "Non-goals", "Rejected", "Consequences"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_record_has_the_five_headings(record: Path) -> None:
    sections = re.split(r"^## (.+)$", record.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sections[1::2] == HEADINGS
    assert all(text.strip() for text in sections[2::2]), "a section is empty"


def test_records_are_numbered_without_gaps() -> None:
    assert RECORDS
    numbers = [path.name.partition("-")[0] for path in RECORDS]
    assert numbers == [f"{number:04d}" for number in range(1, len(RECORDS) + 1)]
