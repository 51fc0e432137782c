"""Warnings of the estimator: where they are due, and where not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import geofuse
from geofuse.methods.gem.diagnostics import gem_warnings
from geofuse.methods.gem.estimator import Gem
from geofuse.methods.gem.method import FittedGem
from geofuse.pair.prepare import PreparedPair, Settings, prepare_pair
from geofuse.pipeline.fit import read_sample
from tests.crops import small_cubes, small_model

NAMES = [f"band {k}" for k in range(177)]


@pytest.fixture(scope="module")
def prepared() -> PreparedPair:
    scene = geofuse.api.pair(*small_cubes())
    sample = read_sample(scene)
    return prepare_pair(scene.pair, sample, sample, Settings(progress=False), lambda step: None, scene.bands.good)


def gem() -> Gem:
    fitted = small_model().fitted
    assert isinstance(fitted, FittedGem)
    return fitted.gem


def told(prepared: PreparedPair, gem: Gem) -> dict[str, str]:
    return {w["code"]: w["message"] for w in gem_warnings(prepared, gem, NAMES)}


def test_images_that_contradict_each_other(prepared: PreparedPair) -> None:
    def codes(prepared: PreparedPair, rho: float) -> set[str]:
        return set(told(prepared, replace(gem(), consistency=replace(gem().consistency, rho=rho))))

    assert not codes(prepared, 0.0) & {"contradiction", "geometric-contradiction"}
    assert "contradiction" in codes(replace(prepared, geometric=0.0), 0.2)
    assert "geometric-contradiction" in codes(replace(prepared, geometric=0.9), 0.2)


def test_a_geometry_that_was_put_right_is_told(prepared: PreparedPair) -> None:
    assert "geometry-replaced" not in told(prepared, replace(gem(), geometry=None))
    message = told(prepared, replace(gem(), geometry=np.array([3.5, 3.75, 0.5, -0.25])))["geometry-replaced"]
    assert all(figure in message for figure in ("(3.50, 3.75)", "(0.50, -0.25)"))


def test_noisy_bands_are_named(prepared: PreparedPair) -> None:
    """Three bands with noise of 0.1, twenty times that of the others."""
    rng = np.random.default_rng(0)
    patch = prepared.patches[0]
    hsi = patch.hsi.clone()
    for band in (5, 60, 170):
        hsi[band] += hsi.new_tensor(rng.normal(0, 0.1, hsi.shape[1:]))
    sigma = gem().coordinates.sigma.copy()
    sigma[[5, 60, 170]] = 0.1
    spoilt = replace(gem(), coordinates=replace(gem().coordinates, sigma=sigma))
    message = told(replace(prepared, patches=[replace(patch, hsi=hsi)]), spoilt)["noisy-bands"]
    assert "band 5, band 60, band 170" in message
    assert message.startswith("3 bands")
