"""Only the managers' names change in a configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsst.resources import ResourcePath

from arrowopaque.butler.configfile import managers_in, read_text, with_managers, write_text
from arrowopaque.errors import ConfigurationError, StoreAccessError

WANTED = {"opaque": "a.Opaque", "datastores": "a.Bridge"}

PLAIN = """\
# Ours.
datastore:
  root: <butlerRoot>
registry:
  db: sqlite:///<butlerRoot>/gen3.sqlite3  # beside it
  managers:
    opaque: {opaque}
    # The bridge.
    datastores:   {datastores}   # as ever
    dimensions: x.Dimensions
"""
WITH_OPTIONS = """\
registry: {{managers: {{opaque: {{cls: '{opaque}', config: {{a: 1}}}}, datastores: "{datastores}"}}}}
"""
INCLUDED = """\
big: !include other.yaml
registry:
    managers:
        opaque: {opaque}
        datastores: {datastores}
"""


def _filled(text: str, opaque: str = "x.Opaque", datastores: str = "x.Bridge") -> str:
    return text.format(opaque=opaque, datastores=datastores)


@pytest.mark.parametrize("text", [PLAIN, INCLUDED], ids=["plain", "included"])
def test_nothing_else_changes(text: str) -> None:
    assert with_managers(_filled(text), WANTED) == _filled(text, *WANTED.values())
    assert with_managers(with_managers(_filled(text), WANTED), WANTED) == _filled(text, *WANTED.values())


def test_classes_with_options() -> None:
    text = with_managers(_filled(WITH_OPTIONS), WANTED)
    assert managers_in(text, WANTED) == WANTED
    assert "config: {a: 1}" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "registry:\n  managers:\n    opaque: a.Opaque\n    datastores: a.Bridge\n"),
        ("a: 1", "a: 1\nregistry:\n  managers:\n    opaque: a.Opaque\n    datastores: a.Bridge\n"),
        (
            "registry:\n   db: x\n",
            "registry:\n   managers:\n     opaque: a.Opaque\n     datastores: a.Bridge\n   db: x\n",
        ),
        (
            "registry:\n  managers:\n    opaque: x\n",
            "registry:\n  managers:\n    datastores: a.Bridge\n    opaque: a.Opaque\n",
        ),
    ],
)
def test_managers_that_are_left_to_the_defaults(text: str, expected: str) -> None:
    assert with_managers(text, WANTED) == expected


@pytest.mark.parametrize("text", ["registry: {db: x}\n", "registry: 1\n", "- a\n", "registry:\n  - a\n"])
def test_what_is_not_understood(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"set registry\.managers to opaque: a"):
        with_managers(text, WANTED)


def test_no_yaml() -> None:
    with pytest.raises(ConfigurationError, match="no YAML"):
        with_managers("a: [1", WANTED)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file, link = tmp_path / "butler.yaml", tmp_path / "link.yaml"
    file.write_text("a: é\n", encoding="utf-8")
    file.chmod(0o640)
    link.symlink_to(file)
    before = file.stat().st_ino
    write_text(ResourcePath(str(link)), "b: é\n")
    assert read_text(ResourcePath(str(file))) == "b: é\n"
    assert file.stat().st_ino != before
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"butler.yaml", "link.yaml"}


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreAccessError, match=r"nowhere/butler\.yaml cannot be written"):
        write_text(ResourcePath(str(tmp_path / "nowhere" / "butler.yaml")), "a: 1\n")


def test_a_file_elsewhere() -> None:
    uri = ResourcePath("mem://place/butler.yaml")
    with pytest.raises(StoreAccessError, match="cannot be written"):
        write_text(uri, "a: 1\n")
