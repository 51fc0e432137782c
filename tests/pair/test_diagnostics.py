"""Warnings: where they are due, and where not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import geofuse
from geofuse.pair.diagnostics import gain_and_offset, warnings_of
from geofuse.pair.prepare import Ground, Settings, colocated, lay_ground
from geofuse.pair.response import EffectiveResponse
from geofuse.pipeline import read_sample
from tests.crops import small_cubes, small_model


@pytest.fixture(scope="module")
def ground() -> Ground:
    scene = geofuse.api.pair(*small_cubes())
    sample = read_sample(scene)
    return lay_ground(scene.pair, sample, sample, Settings(progress=False), lambda step: None, scene.bands.good)


def with_response(ground: Ground, bands: int) -> Ground:
    response = EffectiveResponse(np.ones((bands, 177)) / 177, np.zeros(bands), np.zeros(bands))
    return replace(ground, response=response)


def test_warnings(ground: Ground) -> None:
    model = small_model()
    assert model.gem is not None

    def told(ground: Ground, rho: float) -> str:
        assert model.gem is not None
        return " ".join(warnings_of(ground, replace(model, gem=replace(model.gem, trust=replace(model.gem.trust, rho=rho)))))

    assert "contradict" not in told(ground, 0.0)
    assert "other light" in told(replace(ground, geometric=0.0), 0.2)
    assert "wrong PSF or registration" in told(replace(ground, geometric=0.9), 0.2)
    assert "edge of its range" in told(replace(ground, geometry=replace(ground.geometry, at_limit=True)), 0.0)
    assert "fewer than 3 bands" in told(with_response(ground, 2), 0.0)
    assert "fewer than 3 bands" not in told(with_response(ground, 3), 0.0)


def test_values_that_are_no_reflectance_are_told() -> None:
    """An array of counts, which no file declares a scale of: as (rioxarray.open_rasterio(…) * 1.0) is."""
    hsi, msi = small_cubes()
    told = {}
    for name, factors in {"neither": (1, 1), "hsi": (1e4, 1), "msi": (1, 1e2)}.items():
        model = geofuse.fit(hsi * factors[0], msi * factors[1], method="fuse", progress=False)
        told[name] = [w.split(",")[0] for w in model.report["warnings"] if "not reflectance" in w]
    assert told["neither"] == []
    assert [w[:27] for w in told["hsi"]] == ["The HSI holds values around"]
    assert [w[:27] for w in told["msi"]] == ["The MSI holds values around"]


def test_few_coarse_pixels_are_warned_of() -> None:
    hsi, msi = small_cubes()
    model = geofuse.fit(hsi[:, :8, :8], msi, method="fuse", progress=False)
    assert any("Fewer than 100 coarse pixels" in w for w in model.report["warnings"])


def test_a_geometry_that_was_put_right_is_told(ground: Ground) -> None:
    model = small_model()
    assert model.gem is not None
    found = " ".join(warnings_of(ground, replace(model, gem=replace(model.gem, geometry=np.array([3.5, 3.75, 0.5, -0.25])))))
    assert "standard deviations of (3.50, 3.75) and a shift of (0.50, -0.25) fine pixels" in found


def test_gain_and_offset_of_a_told_response(ground: Ground) -> None:
    """One band calibrated 20 % brighter is listed, one that fits is not. An estimated response takes it up."""
    hsi, msi = colocated(ground.patches)
    matrix = np.linalg.lstsq(hsi.T, msi.T, rcond=None)[0].T
    brighter = replace(
        ground, response=EffectiveResponse(matrix / np.array([1.2, 1.0, 1.0, 1.0])[:, None], np.zeros(4), np.zeros(4), "told")
    )
    assert "differ from the HSI in gain or offset: 1 (gain 1.20" in " ".join(warnings_of(brighter, small_model()))
    assert "gain or offset" not in " ".join(
        warnings_of(replace(ground, response=EffectiveResponse(matrix, np.zeros(4), np.zeros(4), "told")), small_model())
    )
    estimated = replace(brighter, response=replace(brighter.response, method="estimated"))
    assert "gain or offset" not in " ".join(warnings_of(estimated, small_model()))


def test_slope_and_intercept() -> None:
    line = np.linspace(0, 1, 50)[None]
    gain, offset = gain_and_offset(line, 1.1 * line - 0.02)
    assert gain == pytest.approx(1.1)
    assert offset == pytest.approx(-0.02)
