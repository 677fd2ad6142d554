"""Take every step of the protocol out of the source, one at a time, and see that a test fails.

The source itself is never touched: each edit is made in a temporary copy of the tree.

    python -m tests.mutations                  all of them; `make mutations` does that
    python -m tests.mutations --only fence     those whose step has this word
    python -m tests.mutations --list           what there is

The exit status is 0 if every mutation was found out by a failing test.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.mutations.mutation import Mutation
from tests.mutations.table import MUTATIONS

TREE = Path(__file__).parents[2]
_COPIED = (
    "arrowopaque",
    "tests",
    "scripts",
    "docs",
    "pyproject.toml",
    "Makefile",
    "CHANGELOG.md",
    "README.md",
)
_FAILED = re.compile(r"^(?:FAILED|ERROR) tests/(\S+(?: \S+)*?)(?: - |$)", re.MULTILINE)
_SECONDS = 600
_TESTS_FAILED = 1


class UnchangedError(Exception):
    """The tests fail without any mutation, or cannot be run."""


def copy_tree(target: Path) -> Path:
    for name in _COPIED:
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        elif source.exists():
            shutil.copy(source, target / name)
    return target


def run_tests(tree: Path, tests: Sequence[str], only: str, seconds: float = _SECONDS) -> tuple[int, str]:
    """Return pytest's exit status and its report of some tests of a tree."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "--timeout=120"]
    command += ["-p", "no:cacheprovider", *(["-k", only] if only else [])]
    # A module compiled before an edit of the same second and size would be taken for it.
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *(f"tests/{test}" for test in tests)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def first_failure(tree: Path, mutation: Mutation) -> str | None:
    """Return the first test that finds a mutation out, `None` if it survives."""
    path = mutation.path(tree)
    source = path.read_text()
    path.write_text(mutation.mutated(source))
    try:
        status, report = run_tests(tree, mutation.tests, mutation.only)
    finally:
        path.write_text(source)
    if status == 0:
        return None
    failed = _FAILED.search(report)
    if status != _TESTS_FAILED or failed is None:
        raise UnchangedError(f"{mutation.step}: pytest ended with {status}:\n{report[-2000:]}")
    return failed[1]


def check_unchanged(tree: Path, mutations: Sequence[Mutation]) -> None:
    """Make sure that the tests pass as long as nothing is taken out."""
    for only in dict.fromkeys(mutation.only for mutation in mutations):
        tests = dict.fromkeys(t for mutation in mutations if mutation.only == only for t in mutation.tests)
        status, report = run_tests(tree, list(tests), only, _SECONDS * len(mutations))
        if status:
            raise UnchangedError(f"the tests fail without a mutation ({status}):\n{report[-2000:]}")


def check_all(mutations: Sequence[Mutation], jobs: int) -> int:
    """Print what finds each mutation out; return how many survive."""
    trees: SimpleQueue[Path] = SimpleQueue()

    def check(mutation: Mutation) -> str | None:
        tree = trees.get()
        try:
            return first_failure(tree, mutation)
        finally:
            trees.put(tree)

    survivors = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        for number in range(jobs):
            trees.put(copy_tree(Path(folder) / str(number)))
        check_unchanged(Path(folder) / "0", mutations)
        for mutation, failure in zip(mutations, pool.map(check, mutations), strict=True):
            survivors += failure is None
            print(f"{mutation.step:58} {failure or 'SURVIVES'}", flush=True)
    return survivors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="a word of the steps to take out")
    parser.add_argument("--jobs", type=int, default=1, help="how many to try at once")
    parser.add_argument("--list", action="store_true", help="print the steps and their tests")
    arguments = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if arguments.only in mutation.step]
    if arguments.list:
        for mutation in chosen:
            print(f"{mutation.step:58} {mutation.file}: {', '.join(mutation.tests)}")
        return 0
    began = time.monotonic()
    survivors = check_all(chosen, arguments.jobs)
    print(f"{len(chosen)} mutations, {survivors} survive, {time.monotonic() - began:.0f} s")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
