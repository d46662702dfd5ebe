"""The documentation site: `python -m sphinx -W docs docs/_build/html`."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "actorflow"
author = "The actorflow authors"
copyright = "the actorflow authors"
version = release = version_of("actorflow")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "actorflow"

default_role = "py:obj"  # `Name` in docstrings is a link where there is something to link to
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False

_SEVERAL = re.compile(r"(\s+)(\w+(?:, \w+)+)(?::(.*))?")


def split_raises(*event: Any) -> None:
    """Docstrings may list several errors in one line of ``Raises``; napoleon wants one each."""
    lines: list[str] = event[-1]
    if "Raises:" not in lines:
        return
    start = lines.index("Raises:") + 1
    for index in range(len(lines) - 1, start - 1, -1):
        if found := _SEVERAL.fullmatch(lines[index]):
            indent, names, said = found.groups()
            lines[index : index + 1] = [f"{indent}{error}:{said or ''}" for error in names.split(", ")]


def setup(app: Sphinx) -> None:
    """Connect what conf.py adds."""
    app.connect("autodoc-process-docstring", split_raises, priority=400)  # before napoleon, at 500
