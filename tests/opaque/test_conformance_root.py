"""The conformance suite on stores without a registry."""

from __future__ import annotations

from tests.opaque.suite import OpaqueTableSuite


class TestOnRoots(OpaqueTableSuite):
    """Our manager bound to a root."""

    kinds = ("arrow-root-local", "arrow-root-memory")
