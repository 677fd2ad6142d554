"""Every step of the protocols of ``docs/DESIGN.md``, in their order there."""

from __future__ import annotations

__all__ = ["MUTATIONS"]

from tests.mutations import (
    hostile_steps,
    maintenance_steps,
    registry_steps,
    root_steps,
    staged_steps,
    store_steps,
)

MUTATIONS = (
    *registry_steps.MUTATIONS,
    *maintenance_steps.MUTATIONS,
    *root_steps.MUTATIONS,
    *staged_steps.MUTATIONS,
    *store_steps.MUTATIONS,
    *hostile_steps.MUTATIONS,
)
