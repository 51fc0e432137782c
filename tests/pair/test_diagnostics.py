"""Warnings: where they are due, and where not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import geofuse
from geofuse.pair import diagnostics as concerns
from geofuse.pair.diagnostics import gain_and_offset, warnings_of
from geofuse.pair.prepare import Ground, Settings, colocated, lay_ground
from geofuse.pair.response import EffectiveResponse
from geofuse.pipeline import read_sample
from geofuse.reporting.sentences import Warned
from tests.crops import small_cubes, small_model


@pytest.fixture(scope="module")
def ground() -> Ground:
    scene = geofuse.api.pair(*small_cubes())
    sample = read_sample(scene)
    return lay_ground(scene.pair, sample, sample, Settings(progress=False), lambda step: None, scene.bands.good)


def codes(found: Iterable[Warned]) -> set[str]:
    return {w["code"] for w in found}


def with_response(ground: Ground, bands: int) -> Ground:
    response = EffectiveResponse(np.ones((bands, 177)) / 177, np.zeros(bands), np.zeros(bands))
    return replace(ground, response=response)


def test_warnings(ground: Ground) -> None:
    model = small_model()
    assert model.gem is not None

    def told(ground: Ground, rho: float) -> set[str]:
        assert model.gem is not None
        return codes(warnings_of(ground, replace(model, gem=replace(model.gem, trust=replace(model.gem.trust, rho=rho)))))

    assert not told(ground, 0.0) & {"contradiction", "geometric-contradiction"}
    assert "contradiction" in told(replace(ground, geometric=0.0), 0.2)
    assert "geometric-contradiction" in told(replace(ground, geometric=0.9), 0.2)
    assert "geometry-at-limit" in told(replace(ground, geometry=replace(ground.geometry, at_limit=True)), 0.0)
    assert "few-msi-bands" in told(with_response(ground, 2), 0.0)
    assert "few-msi-bands" not in told(with_response(ground, 3), 0.0)


def test_every_code_is_a_word_for_programs() -> None:
    """Lower case and hyphens, one kind of warning each, and no warning without a code."""
    source = Path(concerns.__file__).read_text()
    found = re.findall(r'warned\(\s*f?"([^"]*)"', source)
    assert len(found) == source.count("warned(") >= 11
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code.replace("{name.lower()}", "hsi")) for code in found)


def test_values_that_are_no_reflectance_are_told() -> None:
    """An array of counts, which no file declares a scale of: as (rioxarray.open_rasterio(…) * 1.0) is."""
    hsi, msi = small_cubes()
    told = {}
    for name, factors in {"neither": (1, 1), "hsi": (1e4, 1), "msi": (1, 1e2)}.items():
        model = geofuse.fit(hsi * factors[0], msi * factors[1], method="sylvester", progress=False)
        told[name] = codes(model.report["warnings"]) & {"hsi-not-reflectance", "msi-not-reflectance"}
    assert told == {"neither": set(), "hsi": {"hsi-not-reflectance"}, "msi": {"msi-not-reflectance"}}


def test_few_coarse_pixels_are_warned_of() -> None:
    hsi, msi = small_cubes()
    model = geofuse.fit(hsi[:, :8, :8], msi, method="sylvester", progress=False)
    assert "few-coarse-pixels" in codes(model.report["warnings"])


def test_a_geometry_that_was_put_right_is_told(ground: Ground) -> None:
    model = small_model()
    assert model.gem is not None
    found = warnings_of(ground, replace(model, gem=replace(model.gem, geometry=np.array([3.5, 3.75, 0.5, -0.25]))))
    (message,) = (w["message"] for w in found if w["code"] == "geometry-replaced")
    assert all(figure in message for figure in ("(3.50, 3.75)", "(0.50, -0.25)"))


def test_gain_and_offset_of_a_told_response(ground: Ground) -> None:
    """One band calibrated 20 % brighter is listed, one that fits is not. An estimated response takes it up."""
    hsi, msi = colocated(ground.patches)
    matrix = np.linalg.lstsq(hsi.T, msi.T, rcond=None)[0].T
    brighter = replace(
        ground, response=EffectiveResponse(matrix / np.array([1.2, 1.0, 1.0, 1.0])[:, None], np.zeros(4), np.zeros(4), "told")
    )
    (message,) = (w["message"] for w in warnings_of(brighter, small_model()) if w["code"] == "gain-or-offset")
    assert "1 (gain 1.20" in message
    fitting = replace(ground, response=EffectiveResponse(matrix, np.zeros(4), np.zeros(4), "told"))
    assert "gain-or-offset" not in codes(warnings_of(fitting, small_model()))
    estimated = replace(brighter, response=replace(brighter.response, method="estimated"))
    assert "gain-or-offset" not in codes(warnings_of(estimated, small_model()))


def test_slope_and_intercept() -> None:
    line = np.linspace(0, 1, 50)[None]
    gain, offset = gain_and_offset(line, 1.1 * line - 0.02)
    assert gain == pytest.approx(1.1)
    assert offset == pytest.approx(-0.02)
