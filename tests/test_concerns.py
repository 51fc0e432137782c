"""Warnings: where they are due, and where not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import geofuse
from geofuse.concerns import warnings_of
from geofuse.fitting import read_sample
from geofuse.ground import Ground, Settings, lay_ground
from geofuse.response.estimate import EffectiveResponse
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


def test_few_coarse_pixels_are_warned_of() -> None:
    hsi, msi = small_cubes()
    model = geofuse.fit(hsi[:, :8, :8], msi, method="fuse", progress=False)
    assert any("Fewer than 100 coarse pixels" in w for w in model.report["warnings"])
