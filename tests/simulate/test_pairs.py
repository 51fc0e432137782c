"""The simulation itself: other tests lean on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from geofuse.errors import InvalidInput
from geofuse.simulate import load, psf_matrix, simulate, simulate_pair, srf


@pytest.mark.parametrize(("ratio", "shift"), [(4, 0.0), (4, 0.4), (8, -0.3), (3, 0.0)])
def test_psf_is_centred_where_it_says(ratio: int, shift: float) -> None:
    size = 24 * ratio
    matrix, pixel, i = psf_matrix(size, ratio, shift), np.arange(size), 12
    centre = matrix[i] @ pixel
    assert matrix.sum(1) == pytest.approx(1)
    # Cut at whole pixels, a shifted kernel is a little lopsided.
    assert centre == pytest.approx(ratio * i + (ratio - 1) / 2 + shift, abs=2e-3)
    assert np.sqrt(matrix[i] @ (pixel - centre) ** 2) == pytest.approx(ratio / 2, rel=2e-3)


def test_psf_equals_scipy_for_an_odd_ratio() -> None:
    """There the centre lies on a pixel, and scipy's filter with half-sample symmetric edges is the same thing."""
    x = np.random.default_rng(0).random(45)
    expected = gaussian_filter1d(x, 1.5, mode="reflect", truncate=4)[1::3]
    assert psf_matrix(45, 3) @ x == pytest.approx(expected, rel=1e-3)


def test_responses() -> None:
    wavelength = np.linspace(400, 2480, 205)
    blue, *_, nir = srf(wavelength, "qb4")
    assert wavelength[blue.argmax()] == pytest.approx(485, abs=6)
    assert (wavelength[nir > nir.max() / 2].max() - wavelength[nir > nir.max() / 2].min()) == pytest.approx(120, abs=21)
    assert len(srf(wavelength, "s2")) == 10
    assert len(srf(np.linspace(400, 1000, 60), "s2")) == 8  # no short-wave infrared to make bands from


def test_simulation(shared_data: Path) -> None:
    scene, clean = (simulate("jasper", 4, "qb4", shared_data, noise=n) for n in (True, False))
    assert scene.truth.shape == (198, 96, 96)
    assert scene.hsi.shape == (198, 24, 24)
    assert scene.msi.shape == (4, 96, 96)
    assert np.array_equal(scene.truth, load("jasper", shared_data)[0])
    assert (scene.truth.min(), scene.truth.max()) == (0, 1)
    for noisy, exact, snr in ((scene.hsi, clean.hsi, 35), (scene.msi, clean.msi, 40)):
        ratio = np.sqrt((exact**2).mean((1, 2)) / ((noisy - exact) ** 2).mean((1, 2)))
        assert 20 * np.log10(ratio).mean() == pytest.approx(snr, abs=0.1)
    assert clean.msi[2] == pytest.approx(np.einsum("b,bhw->hw", clean.srf[2], clean.truth))


def test_a_truth_that_the_ratio_does_not_divide_is_rejected() -> None:
    with pytest.raises(InvalidInput, match=r"30 x 32 pixels; expected multiples of the ratio 4"):
        simulate_pair(np.ones((60, 30, 32)), np.linspace(400, 1000, 60), 4)
