"""The table of mutations cannot rot: every edit applies, every test exists."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.model import chain, registry
from tests.mutations.__main__ import TREE, copy_tree
from tests.mutations.mutation import Mutation
from tests.mutations.table import MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.step)
def test_edit_applies(mutation: Mutation) -> None:
    source = mutation.path(TREE).read_text()
    mutated = mutation.mutated(source)
    # What differs only in layout or comments takes nothing away.
    assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(source))


@cache
def _defined(file: str) -> set[str]:
    nodes = ast.walk(ast.parse((TREE / "tests" / file).read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_the_tests_exist() -> None:
    for test in (test for mutation in MUTATIONS for test in mutation.tests):
        file, *names = test.split("::")
        assert {name.partition("[")[0] for name in names} <= _defined(file), test


def test_steps_are_named_once() -> None:
    steps = [mutation.step for mutation in MUTATIONS]
    assert len(set(steps)) == len(steps)


def test_an_edit_that_no_longer_applies_is_refused() -> None:
    with pytest.raises(LookupError, match=r"twice\.py has the text to replace 2 times"):
        Mutation("a step", "twice.py", "a", "b", ()).mutated("a = a")


def test_every_step_of_the_models_is_taken_out_of_the_source() -> None:
    named = {name for mutation in MUTATIONS for name in mutation.models}
    assert named == registry.STEPS | chain.STEPS


def test_copied_tree_has_the_tests(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path)
    assert (tree / "arrowopaque" / "root.py").exists()
    assert (tree / "tests" / "mutations" / "table.py").exists()
