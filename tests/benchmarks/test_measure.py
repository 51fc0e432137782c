"""One tiny case of each kind, and the known operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.cases import Case
from benchmarks.measure import MEASURED, SCORES, cubes, measure, settings_of
from geofuse import api
from geofuse.pipeline.fit import fit_scene
from geofuse.simulate import simulate

CASE = Case("jasper", 4, "qb4", "noisy", "known", "gem")


@pytest.mark.parametrize("method", ["oracle", "gem"])
def test_a_case(tiny_data: Path, method: str) -> None:
    found = measure(Case("jasper", 4, "qb4", "noisy", "estimated", method), tiny_data)
    assert found.keys() <= set(MEASURED)
    assert all(np.isfinite(found[name]) for name in SCORES)
    assert found["used"] == method
    assert 0 <= found["fit_s"] + found["apply_s"] <= found["case_s"]
    assert 50 < found["peak_rss_mb"] < 20_000


def test_refusal_is_a_result(tiny_data: Path) -> None:
    """Whatever is rejected is written down and not raised."""
    found = measure(Case("jasper", 4, "qb4", "noisy", "known", "no such method"), tiny_data)
    assert found["error"].startswith("rejected: There is no method")


def test_known_operators_are_taken_as_they_are(tiny_data: Path) -> None:
    pair = simulate("jasper", 4, "qb4", tiny_data, shift=(0.4, -0.3))
    model = fit_scene(api.pair(*cubes(pair)), settings_of(CASE, pair))
    assert model.geometry.sigma == (2, 2)
    assert model.geometry.shift == (0.4, -0.3)
    assert model.response.matrix == pytest.approx(pair.srf)
    assert model.response.method == "known"
    estimated = fit_scene(api.pair(*cubes(pair)), settings_of(Case("jasper", 4, "qb4", "noisy", "estimated", "gem"), pair))
    assert estimated.geometry.sigma != (2, 2)
