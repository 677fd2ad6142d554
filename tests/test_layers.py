"""The layer order of the package, and what each layer may know.

Imports inside functions and under ``TYPE_CHECKING`` count.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "arrowopaque"
ROOT = Path(__file__).resolve().parents[1] / PACKAGE
MAX_LINES = 400

_LAYERS: list[dict[str, str]] = [
    {"": "errors clock options extras"},
    {"format": "limits document bitmap thrift spec names where columns uuids values keyfilter"},
    {"format": "manifest receipt", "objects": "base checked local memory s3 opening duckfs"},
    {
        "store": "cache parallel footer filters pages sparse decoding keys parquet encoding deletes gather "
        "datafile order volume catalog access matches proved"
    },
    {"store": "search base apply merge"},
    {"store": "calls plan rows table records draft root rooted disjoint staging history"},
    {
        "maintain": "flush tiers compact vacuum findings statistics contents unique verify recover publish "
        "progress status routine",
        "": "query",
    },
    {"": "difference"},
    {"": "root"},
    {"transfer": "tables sync description artifacts"},
    {"report": "contents health source advice figures page"},
    {
        "butler": "host ddl sql sqlite postgres violations catalog delta writes bulk "
        "storage registry rooted manager bridge opening arrow_sql census analytics datastores records "
        "reporting host_repository elements choosing dimension_export dataset_export exporting "
        "dataset_import importing configfile either ranges adopt restore"
    },
    {
        "cli": "exits output command target interruptible formats prompt verify status upkeep vacuum "
        "recover maintain history diff query report transfer adopt restore"
    },
    {"cli": "main plugin"},
]
LAYER_OF = {
    ".".join(part for part in (PACKAGE, folder, stem) if part): number
    for number, folders in enumerate(_LAYERS)
    for folder, stems in folders.items()
    for stem in stems.split()
}
LAYER_OF[PACKAGE] = len(_LAYERS)  # the public face, above everything it names

# Which part of the package may import which packages: a part is a folder or a module below the root.
ONLY_IN = {
    "lsst": "butler",
    "sqlalchemy": "butler",
    "astropy": "butler",
    "psycopg": "butler",
    "psycopg2": "butler",
    "yaml": "butler",
    "duckdb": "query",
    "fsspec": "objects",
    "s3fs": "objects",
    "botocore": "objects",
    "aiobotocore": "objects",
    "boto3": "objects",
    "xxhash": "format",
    "click": "cli",
    "rich": "cli",
    "prompt_toolkit": "cli",
}
ENVIRONMENT = {"environ", "environb", "getenv", "putenv"}
STREAMS = {"stdout", "stderr"}
STORED_NAMES = (".parquet", ".dv", "manifests/", "manifest.json", "arrowopaque.json", "partition=")


@dataclass(frozen=True)
class Module:
    """One module: its dotted name and its source."""

    name: str
    source: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.source)))

    @property
    def part(self) -> str:
        """The folder or module directly below the package."""
        return self.name.split(".")[1] if "." in self.name else ""

    @cached_property
    def imports(self) -> set[str]:
        """Every name that is imported, as far as the syntax tells modules."""
        return {target for node in self.nodes for target in _imported(node)}


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports are banned by the linter"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _modules() -> list[Module]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path.read_text(encoding="utf-8")))
    return found


MODULES = _modules()


def _own(module: Module) -> set[str]:
    """Return the modules of this package that ``module`` imports."""
    own = {target for target in module.imports if target.split(".")[0] == PACKAGE}
    return {target if target in LAYER_OF else target.rpartition(".")[0] for target in own}


def _is_folder(module: Module) -> bool:
    return module.name not in LAYER_OF and any(name.startswith(f"{module.name}.") for name in LAYER_OF)


def upward_imports(module: Module) -> list[str]:
    """Return what the layer order forbids: each import goes to a lower layer,
    or stays within the folder at the same layer.
    """
    layer = LAYER_OF.get(module.name)
    if layer is None:
        return []  # `unknown_module` reports it
    folder = module.name.rpartition(".")[0]
    problems = []
    for target in sorted(_own(module)):
        below = LAYER_OF.get(target)
        beside = below == layer and target.rpartition(".")[0] == folder
        if below is None or (below >= layer and not beside):
            problems.append(f"{module.name} (layer {layer}) imports {target} (layer {below})")
    return problems


def unknown_module(module: Module) -> list[str]:
    """Return a complaint about a module without a layer; folders are empty."""
    if module.name in LAYER_OF:
        return []
    if not _is_folder(module):
        return [f"{module.name} has no layer: add it to the table"]
    body = ast.parse(module.source).body
    return [] if all(_is_text(statement) for statement in body) else [f"{module.name}/__init__ holds code"]


def foreign_imports(module: Module) -> list[str]:
    """Return imports of packages that another part of the package owns."""
    packages = {target.split(".")[0] for target in module.imports}
    return [
        f"{module.name} imports {package}: only {ONLY_IN[package]} may"
        for package in sorted(packages & ONLY_IN.keys())
        if module.part != ONLY_IN[package]
    ]


def hidden_imports(module: Module) -> list[str]:
    """Return imports that this test could not see: ``importlib`` and its kin."""
    if module.name == PACKAGE:
        return []
    named = {node.id for node in module.nodes if isinstance(node, ast.Name)}
    hidden = [target for target in sorted(module.imports) if target.split(".")[0] == "importlib"]
    # These two read files, and import nothing.
    files = ("importlib.metadata", "importlib.resources")
    hidden = [target for target in hidden if not target.startswith(files)]
    return [f"{module.name} uses {name}" for name in [*hidden, *(named & {"__import__"})]]


def reads_environment(module: Module) -> bool:
    """Return whether the module touches the process's environment."""
    names = {node.attr for node in module.nodes if isinstance(node, ast.Attribute)}
    names |= {target.removeprefix("os.") for target in module.imports if target.startswith("os.")}
    return bool(names & ENVIRONMENT)


def environment(module: Module) -> list[str]:
    """Return a complaint if a module reads the environment that must not."""
    allowed = module.name == f"{PACKAGE}.objects.s3" or module.part == "butler"
    return [f"{module.name} reads the environment"] if reads_environment(module) and not allowed else []


def prints(module: Module) -> list[str]:
    """Return the places that print, or write to the process's streams."""
    if module.part == "cli":
        return []
    calls = [node.func for node in module.nodes if isinstance(node, ast.Call)]
    found = ["print" for func in calls if isinstance(func, ast.Name) and func.id == "print"]
    found += [node.attr for node in module.nodes if isinstance(node, ast.Attribute) and node.attr in STREAMS]
    return [f"{module.name} uses {name}" for name in found]


def too_long(module: Module) -> list[str]:
    """Return a complaint about a module beyond the limit of lines."""
    lines = len(module.source.splitlines())
    return [f"{module.name} has {lines} lines, more than {MAX_LINES}"] if lines > MAX_LINES else []


def stored_names(module: Module) -> list[str]:
    """Return literals that spell a stored name outside `format.names`."""
    if module.name == f"{PACKAGE}.format.names":
        return []
    texts = {id(node.value) for node in module.nodes if _is_text(node) and isinstance(node, ast.Expr)}
    literals = [
        node.value
        for node in module.nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
    ]
    return [
        f"{module.name} spells {literal!r}: format.names builds every stored name"
        for literal in literals
        if any(name in literal for name in STORED_NAMES)
    ]


def _is_text(node: ast.AST) -> bool:
    """Return whether a statement is a docstring or a comment in its form."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return False
    return isinstance(node.value.value, str)


RULES: list[Callable[[Module], list[str]]] = [
    unknown_module,
    upward_imports,
    foreign_imports,
    hidden_imports,
    environment,
    prints,
    too_long,
    stored_names,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule: Callable[[Module], list[str]]) -> None:
    assert [problem for module in MODULES for problem in rule(module)] == []


def find_cycle(modules: list[Module]) -> list[str]:
    """Return the modules of one import cycle, or nothing."""
    graph = {module.name: _own(module) for module in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as err:
        return list(err.args[1])
    return []


def test_no_cycles() -> None:
    assert find_cycle(MODULES) == []


def test_environment_is_read_in_one_place_of_butler() -> None:
    readers = [module.name for module in MODULES if module.part == "butler" and reads_environment(module)]
    assert len(readers) <= 1, readers


def test_every_layer_is_looked_at() -> None:
    """The table and the rules see the package that is there."""
    assert {module.name for module in MODULES} >= {PACKAGE, f"{PACKAGE}.errors", f"{PACKAGE}.format.names"}


IN_FUNCTION = "def f():\n    import {}\n"
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {}\n"


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        (unknown_module, "utils", ""),
        (unknown_module, "store.extra", ""),
        (unknown_module, "store", "X = 1\n"),
        (upward_imports, "errors", "from arrowopaque import Options\n"),
        (upward_imports, "errors", "from arrowopaque.format import names\n"),
        (upward_imports, "store.base", "from arrowopaque.store.table import Table\n"),
        (upward_imports, "format.manifest", "import arrowopaque.objects.base\n"),
        (upward_imports, "store.root", IN_FUNCTION.format("arrowopaque.query")),
        (upward_imports, "store.root", FOR_TYPES.format("arrowopaque.butler.manager")),
        (upward_imports, "store.root", "from arrowopaque.nowhere import thing\n"),
        (foreign_imports, "query", "from lsst.daf.butler import Butler\n"),
        (foreign_imports, "butler.manager", IN_FUNCTION.format("duckdb")),
        (foreign_imports, "store.base", FOR_TYPES.format("fsspec.spec")),
        (hidden_imports, "store.root", IN_FUNCTION.format("importlib")),
        (hidden_imports, "store.root", "x = __import__('duckdb')\n"),
        (environment, "options", "import os\nx = os.environ['X']\n"),
        (environment, "options", "from os import getenv\n"),
        (environment, "objects.local", "import os\nx = os.getenv('X')\n"),
        (prints, "query", "print('x')\n"),
        (prints, "query", "import sys\nsys.stderr.write('x')\n"),
        (too_long, "query", "x = 1\n" * (MAX_LINES + 1)),
        (stored_names, "store.datafile", "x = f'{1}.parquet'\n"),
        (stored_names, "store.catalog", "x = 'manifests/' + 'y'\n"),
    ],
)
def test_rule_finds(rule: Callable[[Module], list[str]], name: str, source: str) -> None:
    assert rule(Module(f"{PACKAGE}.{name}", source))


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        (unknown_module, "store", '"""Text."""\n'),
        (upward_imports, "options", "from arrowopaque.errors import ConfigurationError\n"),
        (upward_imports, "store.base", "from arrowopaque.format import names, spec\n"),
        (upward_imports, "butler.bridge", "from arrowopaque.butler.storage import thing\n"),
        (foreign_imports, "butler.ddl", IN_FUNCTION.format("sqlalchemy.exc")),
        (hidden_imports, "butler.ddl", "import importlib.resources\n"),
        (hidden_imports, "report.figures", "from importlib.metadata import version\n"),
        (environment, "objects.s3", "import os\nx = os.environ.get('X')\n"),
        (prints, "cli.main", "print('x')\n"),
        (stored_names, "store.datafile", '"""Sorted .parquet files below manifests/."""\n'),
    ],
)
def test_rule_allows(rule: Callable[[Module], list[str]], name: str, source: str) -> None:
    assert rule(Module(f"{PACKAGE}.{name}", source)) == []


def test_cycle_is_found() -> None:
    bridge = Module(f"{PACKAGE}.butler.bridge", IN_FUNCTION.format(f"{PACKAGE}.butler.storage"))
    storage = Module(f"{PACKAGE}.butler.storage", FOR_TYPES.format(f"{PACKAGE}.butler.bridge"))
    assert upward_imports(bridge) == upward_imports(storage) == []
    assert set(find_cycle([bridge, storage])) == {bridge.name, storage.name}
