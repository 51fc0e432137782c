"""Drawn scenes: what their recipe says, and what makes natural images natural."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geofuse.simulate import DRAWN, draw, psf_matrix, simulate

SMALL = replace(DRAWN["town"], rows=48, cols=64)


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_recipe(name: str) -> None:
    recipe = replace(DRAWN[name], rows=24, cols=32, largest=min(DRAWN[name].largest, 12))
    truth, wavelength = draw(recipe)
    assert truth.shape == (len(wavelength), 24, 32)
    assert len(wavelength) == sum(count for _, _, count in recipe.bands)
    assert 0 < truth.min() < truth.max() <= 1
    assert np.linalg.matrix_rank(truth.reshape(len(truth), -1), tol=1e-6) <= recipe.materials


def test_the_seed_decides() -> None:
    one, same, other = (draw(replace(SMALL, seed=seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def test_vegetation_has_a_red_edge_and_water_has_none() -> None:
    for family, low, high in (("vegetation", 3.0, np.inf), ("water", 0.0, 1.0)):
        truth, nm = draw(replace(SMALL, families=(family,), materials=4))
        red, infrared = (truth[np.abs(nm - centre).argmin()] for centre in (670, 860))
        ratio = infrared / red
        assert low < ratio.min()
        assert ratio.max() < high


def test_leaves_of_all_sizes_give_the_spectrum_of_natural_images() -> None:
    """Power falls with about the second power of frequency (Ruderman 1997, doi:10.1016/S0042-6989(97)00008-4); of white noise it does not."""
    truth, _ = draw(replace(DRAWN["town"], rows=128, cols=128, smallest=1.0, largest=60.0, texture=0.0))
    image = truth[100] - truth[100].mean()
    power = np.abs(np.fft.fft2(image)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    rings = [(0.02, 0.04), (0.04, 0.08), (0.08, 0.16), (0.16, 0.32)]
    level = [power[(frequency >= low) & (frequency < high)].mean() for low, high in rings]
    slope = np.polyfit(np.log([np.sqrt(low * high) for low, high in rings]), np.log(level), 1)[0]
    assert -3.2 < slope < -1.3


def test_simulated_with_its_own_noise_and_psf() -> None:
    recipe = DRAWN["fields"]
    pair = simulate("fields", 8, "qb4", Path())
    assert pair.sigma == (recipe.width[0] * 4, recipe.width[1] * 4)
    np.testing.assert_array_equal(pair.dw, psf_matrix(recipe.cols, 8, 0.0, recipe.width[1]))
    clean = np.tensordot(pair.srf, pair.truth, 1)
    level = 20 * np.log10(np.sqrt((clean**2).mean((1, 2))) / np.sqrt(((pair.msi - clean) ** 2).mean((1, 2))))
    np.testing.assert_allclose(level, recipe.msi_snr, atol=0.1)


def test_a_wider_psf_is_a_wider_gaussian() -> None:
    row = psf_matrix(96, 4, 0.0, 1.5)[12]
    place = np.arange(96)
    mean = row @ place
    assert np.sqrt(row @ (place - mean) ** 2) == pytest.approx(1.5 * 2, rel=0.01)
