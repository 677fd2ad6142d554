"""Fixtures come from plugin modules, budgets of property tests from profiles."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.fixtures"]

# Chosen by --hypothesis-profile; tests set no budget of their own.
settings.register_profile("dev", max_examples=25, stateful_step_count=20, deadline=None)
settings.register_profile("ci", max_examples=200, stateful_step_count=50, deadline=None)
settings.register_profile("nightly", max_examples=2000, stateful_step_count=100, deadline=None)
settings.load_profile("dev")
