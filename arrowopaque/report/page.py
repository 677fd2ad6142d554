"""One HTML file that shows the figures, and needs nothing else.

Its figures are data: they come as JSON, which the page's script makes text of,
never markup. A policy in the page lets no other script run, and nothing be
fetched.
"""

from __future__ import annotations

__all__ = ["render"]

import base64
import hashlib
import html
import json
from importlib.resources import files
from typing import Any


def render(figures: dict[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    figures
        What `Figures.to_json` returns.
    """
    style, script = _part("page.css"), "".join(map(_part, ("charts.js", "page.js")))
    policy = f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; base-uri 'none'"
    parts = {
        "TITLE": html.escape(" at ".join(str(name) for name in (figures["place"], figures["at"]) if name)),
        "POLICY": html.escape(policy),
        "STYLE": style,
        "SCRIPT": script,
        "FIGURES": _inert(figures),
    }
    # One pass, so that no part is looked into for the place of another.
    pieces = _part("page.html").split("@@")
    return "".join(parts[piece] if at % 2 else piece for at, piece in enumerate(pieces))


def _part(name: str) -> str:
    return files("arrowopaque.report").joinpath(name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _inert(figures: dict[str, Any]) -> str:
    """Return JSON in which no HTML parser finds the end of its element."""
    text = json.dumps(figures, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
