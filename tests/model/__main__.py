"""Explore every scenario of the models, or every so many-th, and say what was found.

    python -m tests.model                       all of them: some minutes of CPU
    python -m tests.model --step 10             every tenth
    python -m tests.model --family vacuum       one family; ``chain`` is the root binding

The exit status is 0 if there was no violation.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.model.compare import explore
from tests.model.scenarios import FAMILIES
from tests.model.test_chain_model import LARGE, RUNS, found


def _explore_family(family: str, sqlite: bool, step: int) -> bool:
    began, states, scenarios = time.monotonic(), 0, list(FAMILIES[family]())[::step]
    for scenario in scenarios:
        report = explore(scenario, sqlite=sqlite)
        states += report.states
        if report.violation is not None:
            print(scenario, *report.violation, sep="\n")
            return False
    _tell(family, "SQLite" if sqlite else "PostgreSQL", len(scenarios), states, began)
    return True


def _explore_chain() -> bool:
    for name, (operations, rest) in (RUNS | LARGE).items():
        began = time.monotonic()
        wrong, states = found(*operations, **rest)
        if wrong is not None:
            print(name, wrong, sep="\n")
            return False
        _tell(name, "chain", 1, states, began)
    return True


def _tell(name: str, kind: str, scenarios: int, states: int, began: float) -> None:
    seconds = time.monotonic() - began
    print(f"{name:42} {kind:10} {scenarios:5} scenarios {states:9} states {seconds:6.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--family", choices=[*FAMILIES, "chain"], help="explore this one only")
    parser.add_argument("--step", type=int, default=1, help="explore every so many-th scenario")
    arguments = parser.parse_args()
    clean = True
    for family in FAMILIES:
        for sqlite in (False, True):
            if arguments.family in (None, family):
                clean = _explore_family(family, sqlite, arguments.step) and clean
    if arguments.family in (None, "chain"):
        clean = _explore_chain() and clean
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
