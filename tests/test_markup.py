"""What notebooks show of a plan, a model, a report and a diagnosis: small tables, well formed, escaped, in the colours of the notebook."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import geofuse
from geofuse.markup import STYLE, facts
from geofuse.reporting.diagnosis import Diagnosis, Finding
from geofuse.reporting.report import Report
from tests.crops import few_cubes, few_model
from tests.reporting.test_report import Page, record


def plan() -> Any:
    return geofuse.plan(*few_cubes(), method="sylvester")


def behind_optics() -> Any:
    model = few_model()
    return replace(model, geometry=replace(model.geometry, cutoff=1.5))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (plan, ["Plan of a fusion", "(coarse over fine pixel size)", "EPSG:32633"]),
        (behind_optics, ["optics of cut-off 1.50"]),
        (few_model, ["Fusion model", "sylvester", "20 HSI and 4 MSI bands", "8.333"]),
        (lambda: Report(record()), ["The registration drifts.", "gem ★ best (used)"]),
        (lambda: Diagnosis((Finding("stops", "no-crs", "No CRS.", "Write one."),)), ["stops: no-crs", "Write one."]),
    ],
)
def test_each_has_a_small_table_and_a_line_of_text(make: Callable[[], Any], said: list[str]) -> None:
    shown = make()
    html = shown._repr_html_()
    page = Page(html.replace(STYLE, ""))
    assert all(text in page.text for text in said), page.text
    assert len(html) < 8000
    assert not {"script", "img", "link"} & set(page.tags)
    assert repr(shown)
    # colours of text are those around it, and what lies under it shines through: light and dark themes both work
    assert not re.search(r"(?<![-\w])color: (?!inherit)", html)
    assert not re.search(r"background: (?!transparent|rgba)", html)


def test_text_is_escaped() -> None:
    assert "<img" not in facts("<img>", [("<img>", "<img>")])
