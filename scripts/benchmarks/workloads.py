"""What is measured, in the order in which it is run. Every workload checks its own answer."""

from __future__ import annotations

__all__ = ["WORKLOADS"]

from benchmarks.case import Workload
from benchmarks.everyday import EVERYDAY
from benchmarks.history import HISTORY
from benchmarks.scale import AFTERWARDS, LOADED

WORKLOADS: dict[str, Workload] = {**LOADED, **EVERYDAY, **AFTERWARDS, **HISTORY}
