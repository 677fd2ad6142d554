"""Sphinx: the API reference, from docstrings alone."""

import arrowopaque

project = "arrowopaque"
author = "the arrowopaque developers"
copyright = "the arrowopaque developers"  # noqa: A001  the name is Sphinx's
release = version = arrowopaque.__version__
extensions = ["sphinx.ext.autodoc", "numpydoc"]
nitpicky = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
html_theme = "alabaster"
html_theme_options = {"description": "Opaque tables of the Rubin Data Butler as sorted Parquet"}
html_show_sphinx = False
