"""Small tables for notebooks, readable in their light and their dark themes: they take the colour of the text around them."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """<style>
.geofuse { line-height: 1.5; max-width: 56rem; }
.geofuse p { margin: 0 0 0.5rem; }
.geofuse table { border-collapse: collapse; margin: 0.5rem 0; font-variant-numeric: tabular-nums; }
.geofuse caption { text-align: left; padding-bottom: 0.4rem; color: inherit; }
.geofuse tr, .geofuse tr:nth-child(even), .geofuse tr:hover { background: transparent; }
.geofuse th, .geofuse td { color: inherit; padding: 0.2rem 1rem 0.2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid rgba(128, 128, 128, 0.35); }
.geofuse tbody th { font-weight: inherit; opacity: 0.8; white-space: nowrap; }
.geofuse .numbers th:not(:first-child), .geofuse .numbers td:not(:first-child) { text-align: right; }
.geofuse tr.best { background: rgba(20, 140, 155, 0.18); font-weight: 600; }
.geofuse .warning { border-left: 4px solid #d0641f; background: rgba(208, 100, 31, 0.13); padding: 0.5rem 1rem; margin: 0.8rem 0; }
.geofuse .warning ul { margin: 0.3rem 0 0; padding-left: 1.2rem; }
.geofuse code { font-size: 0.88em; background: transparent; color: inherit; opacity: 0.8; }
</style>"""


def facts(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and values under a title, as HTML; all text is escaped.

    Parameters
    ----------
    title : str
    rows : iterable of (str, str)

    Examples
    --------
    >>> facts("Plan", [("ratio", "<4>")]).removeprefix(STYLE)
    '<div class="geofuse"><table><caption><strong>Plan</strong></caption><tbody><tr><th scope="row">ratio</th><td>&lt;4&gt;</td></tr></tbody></table></div>'
    """
    body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    table = f"<table><caption><strong>{escape(title)}</strong></caption><tbody>{body}</tbody></table>"
    return f'{STYLE}<div class="geofuse">{table}</div>'
