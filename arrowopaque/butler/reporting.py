"""A repository as what a report is made from."""

from __future__ import annotations

__all__ = ["of_repository"]

from functools import partial

from arrowopaque.butler.analytics import sql
from arrowopaque.butler.manager import registry_of
from arrowopaque.butler.opening import Repository
from arrowopaque.maintain.findings import Level
from arrowopaque.report.source import Source


def of_repository(repository: Repository) -> Source:
    """Return an open repository as what a report is made from."""
    manager = repository.manager
    binding = registry_of(repository.butler)
    return Source(
        repository.place,
        kind="repository",
        volume=binding.volume,
        tables=binding.entries(),
        ask=partial(sql, repository.butler),
        verify=lambda: manager.verify(Level.QUICK, raising=False),
        has_datasets=True,
    )
