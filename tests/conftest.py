"""Fixtures come from plugin modules, budgets of property tests from profiles."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Shared suites assert too, and must be rewritten before anything imports them.
for _path in sorted(Path(__file__).parent.glob("*/suite*.py")):
    pytest.register_assert_rewrite(f"tests.{_path.parent.name}.{_path.stem}")
pytest.register_assert_rewrite("tests.support")

pytest_plugins = ["tests.fixtures"]

# Chosen by --hypothesis-profile; tests set no budget of their own.
# The default profile repeats itself, so that a red run tells of the change; the others search anew each time.
settings.register_profile("dev", max_examples=25, stateful_step_count=20, deadline=None, derandomize=True)
settings.register_profile("ci", max_examples=200, stateful_step_count=50, deadline=None)
settings.register_profile("nightly", max_examples=2000, stateful_step_count=100, deadline=None)
settings.load_profile("dev")
