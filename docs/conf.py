"""The documentation site: ``make docs`` builds it into docs/_build, without a network.

The source folder is the repository, so that links between pages are the same here and where the repository is browsed. The pages are plain Markdown; what only
the site needs (its table of contents, the glossary as terms that can be linked) is derived from them by `adapt`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

import geofuse

project = "geofuse"
author = "The geofuse developers"
copyright = "The geofuse developers; Apache-2.0"
release = version = os.environ.get("DOCS_VERSION", geofuse.__version__)

root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "docs/reference/api/*.rst",
    "notebooks/*.md",
    "notebooks/*.ipynb",
    "benchmarks/README.md",
    "ecosystem/README.md",
]
exclude_patterns = ["docs/_build", ".*"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx_copybutton"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # named as GitHub names them
nb_execution_mode = "off"  # the notebooks hold their outputs; `make notebooks` runs them

autodoc_typehints = "none"  # the docstrings say it, with shapes and units
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
html_title = f"geofuse {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["switcher.json", "_redirect"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options: dict[str, Any] = {
    "logo": {"text": "geofuse"},
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "icon_links": [{"name": "GitHub", "url": "https://github.com/geofuse/geofuse", "icon": "fa-brands fa-github"}],
}
if site := os.environ.get("DOCS_URL"):  # published: a menu of versions, from the one list at the root of the site
    html_theme_options |= {
        "switcher": {"json_url": f"{site.rstrip('/')}/switcher.json", "version_match": version},
        "check_switcher": False,
        "navbar_start": ["navbar-logo", "version-switcher"],
    }

ENTRY = re.compile(r"^(?:\| |- )\[[^\]]*\]\(([^)#]+)\.(?:md|ipynb)\)", re.MULTILINE)  # a row or an item that begins with a link to a page
TERM = re.compile(r"^\| \*\*(?P<term>.+?)\*\* \| (?P<meaning>.+?) \| (?P<reference>.+?) \|$", re.MULTILINE)
LISTS = {"docs/index", "docs/development"}  # and the README of every folder


def adapt(app: Sphinx, name: str, source: list[str]) -> None:
    """Give a page of pages its table of contents, and make the rows of the glossary terms."""
    text = source[0]
    if name == "docs/glossary":
        rows = "\n\n".join(f"{row['term']}\n  {row['meaning']} ({row['reference']})" for row in TERM.finditer(text))
        text = TERM.sub("", text).replace("| term | meaning | reference |\n|---|---|---|", f"```{{glossary}}\n{rows}\n```")
    if (name in LISTS or name.endswith("/README")) and (entries := ENTRY.findall(text)):
        pages = "\n".join(f"/{os.path.normpath(Path(name).parent / page)}" for page in entries)
        text += f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"
    source[0] = text


def visit_math(translator: Any, node: nodes.Element, block: bool = False) -> None:
    """Equations as MathML, which browsers show by themselves: no script, no font, nothing fetched."""
    equation = tex2mathml(node.astext(), as_block=block)
    translator.body.append(f'<div class="math">{equation}</div>' if block else equation)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register what this file adds."""
    app.connect("source-read", adapt)
    app.add_html_math_renderer("mathml", (visit_math, None), (lambda *given: visit_math(*given, block=True), None))
