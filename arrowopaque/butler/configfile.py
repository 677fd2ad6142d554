"""The managers in a repository's configuration file, changed in place.

Only the names are touched: comments, order and everything else stay as
whoever wrote the file had them.
"""

from __future__ import annotations

__all__ = ["managers_in", "read_text", "with_managers", "write_text"]

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml
from lsst.resources import ResourcePath

from arrowopaque import clock
from arrowopaque.errors import ConfigurationError, StoreAccessError

_PATH = ("registry", "managers")


def read_text(uri: ResourcePath) -> str:
    """Return what a configuration file says."""
    return uri.read().decode("utf-8")


def write_text(uri: ResourcePath, text: str) -> None:
    """Replace a configuration file as a whole.

    Raises
    ------
    StoreAccessError
        It cannot be written.
    """
    data = text.encode("utf-8")
    try:
        if uri.scheme == "file":
            _replace(Path(uri.ospath), data)
        else:
            uri.write(data, overwrite=True)
    except Exception as err:
        # Every scheme has errors of its own.
        raise StoreAccessError(f"{uri} cannot be written: {err}") from err


def _replace(path: Path, data: bytes) -> None:
    # What is there may be a link.
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{clock.new_id()}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def managers_in(text: str, names: Mapping[str, str]) -> dict[str, str | None]:
    """Return the classes that a file has for some managers; `None` where it
    leaves that to the defaults.
    """
    section = _section(_parsed(text), _PATH)
    return {name: None if (node := _class_of(section, name)) is None else node.value for name in names}


def with_managers(text: str, classes: Mapping[str, str]) -> str:
    """Return a file's text with other classes for some managers.

    Raises
    ------
    ConfigurationError
        It is in a form that is not understood.
    """
    root = _parsed(text)
    section = _section(root, _PATH)
    edits, missing = [], {}
    for name, value in classes.items():
        node = _class_of(section, name)
        if node is None:
            missing[name] = value
        else:
            edits.append((node.start_mark.index, node.end_mark.index, value))
    if missing:
        edits.append(_added(text, root, missing))
    for start, stop, value in sorted(edits, reverse=True):
        text = text[:start] + value + text[stop:]
    if not _names(text, classes):
        raise ConfigurationError(
            "the configuration file is in a form that is not understood: set registry.managers to "
            + ", ".join(f"{name}: {value}" for name, value in classes.items())
        )
    return text


def _names(text: str, classes: Mapping[str, str]) -> bool:
    try:
        return managers_in(text, classes) == dict(classes)
    except ConfigurationError:
        return False


def _parsed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text)
    except yaml.YAMLError as err:
        raise ConfigurationError(f"the configuration file is no YAML: {err}") from err


def _section(node: yaml.Node | None, path: tuple[str, ...]) -> yaml.MappingNode | None:
    for name in path:
        node = _child(node, name)
    return node if isinstance(node, yaml.MappingNode) else None


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _class_of(section: yaml.Node | None, name: str) -> yaml.ScalarNode | None:
    """Return where the class of a manager stands: it may have options beside it."""
    found = _child(section, name)
    if isinstance(found, yaml.MappingNode):
        found = _child(found, "cls")
    return found if isinstance(found, yaml.ScalarNode) else None


def _added(text: str, root: yaml.Node | None, missing: Mapping[str, str]) -> tuple[int, int, str]:
    """Return where to put managers that the file does not name, and how."""
    lines = [f"{name}: {value}" for name, value in missing.items()]
    for depth in (2, 1):
        section = _section(root, _PATH[:depth])
        if section is not None and not section.flow_style and section.value:
            first = section.value[0][0].start_mark
            break
    else:
        depth, first = 0, None
    for name in reversed(_PATH[depth:]):
        lines = [f"{name}:", *(f"  {line}" for line in lines)]
    if first is None:
        begin = "" if text[-1:] in ("", "\n") else "\n"
        return len(text), len(text), begin + "".join(f"{line}\n" for line in lines)
    indent = " " * first.column
    return first.index, first.index, "".join(f"{line}\n{indent}" for line in lines)
