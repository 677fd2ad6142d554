"""An interpreter that lacks what only extras install."""

from __future__ import annotations

__all__ = ["WITHOUT_BUTLER"]

WITHOUT_BUTLER = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"lsst", "sqlalchemy", "astropy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
"""Source that makes an interpreter one where the extra ``butler`` is not installed."""
