"""White noise of known levels on scenes of a few materials."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofuse.methods.gem.noise import MAX_RANK, MIN_RANK, hsi_noise, msi_noise, msi_noise_bound, neighbour_noise, repeated_bands
from tests.pairs import made_up_scene

BANDS = 60
SMOOTH = 0.004 * (1 + 0.5 * np.sin(np.arange(BANDS) / 10))
TWO_DETECTORS = np.where(np.arange(BANDS) < 35, 0.002, 0.006)


def noisy(side: int, level: np.ndarray, seed: int) -> np.ndarray:
    clean = made_up_scene(BANDS, side, side, seed=seed).reshape(BANDS, -1)
    return clean + level[:, None] * np.random.default_rng(seed + 100).normal(size=clean.shape)


@pytest.mark.parametrize("level", [SMOOTH, TWO_DETECTORS], ids=["smooth", "two detectors"])
@pytest.mark.parametrize("seed", [0, 1])
def test_hsi_noise_with_many_pixels(level: np.ndarray, seed: int) -> None:
    """900 pixels: the sample itself pins a standard deviation down to 2.4 %."""
    found, rank = hsi_noise(noisy(30, level, seed))
    assert np.abs(found / level - 1).max() < 0.1
    assert rank == MIN_RANK  # five materials in changing light are fewer than it ever keeps


@pytest.mark.parametrize("seed", range(4))
def test_hsi_noise_with_fewer_pixels_than_twice_the_bands(seed: int) -> None:
    """100 pixels: chance alone makes 7 % in every band."""
    found, rank = hsi_noise(noisy(10, SMOOTH, seed))
    assert np.median(found / SMOOTH) == pytest.approx(1, abs=0.1)
    assert np.sqrt(((found / SMOOTH - 1) ** 2).mean()) < 0.15
    assert rank <= 100 // 4


def test_hsi_noise_does_not_depend_on_the_mean_spectrum() -> None:
    pixels = noisy(30, SMOOTH, 0)
    shifted = pixels + np.linspace(0, 0.3, BANDS)[:, None]
    # The floor of 0.3 % of a band's brightness is far below here.
    np.testing.assert_allclose(hsi_noise(shifted)[0], hsi_noise(pixels)[0], rtol=1e-6)


def test_no_noise_is_floored() -> None:
    """No sensor is calibrated better than 0.3 % of a band's root mean square."""
    clean = made_up_scene(BANDS, 30, 30).reshape(BANDS, -1)
    found, _ = hsi_noise(clean)
    np.testing.assert_allclose(found, 3e-3 * np.sqrt((clean**2).mean(1)), rtol=1e-6)


@pytest.mark.parametrize("materials", [12, 16])
def test_rank_is_the_number_of_materials(materials: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(BANDS, materials)) @ rng.normal(size=(materials, 1500)) + 0.5 * rng.normal(size=(BANDS, 1500))
    assert hsi_noise(pixels)[1] == materials


@settings(max_examples=30, deadline=None)
@given(bands=st.integers(2, 40), count=st.integers(2, 90), seed=st.integers(0, 99))
def test_any_shape_is_survived(bands: int, count: int, seed: int) -> None:
    sigma, rank = hsi_noise(np.random.default_rng(seed).random((bands, count)))
    assert sigma.shape == (bands,)
    assert np.isfinite(sigma).all()
    assert (sigma > 0).all()
    assert 1 <= rank <= min(bands, MAX_RANK, max(1, count // 4))


def test_neighbours_of_a_ramp() -> None:
    """Bands that are one and the same signal plus noise."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=4000) * np.linspace(1, 2, 20)[:, None]
    noise = 0.05 * rng.normal(size=(20, 4000))
    assert neighbour_noise(signal + noise) == pytest.approx(np.full(20, 0.05), rel=0.08)


def mixed_pixels(bands: int, side: int, seed: int = 0) -> np.ndarray:
    """Three materials, another mixture in every pixel: no flat place anywhere."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.ones(3), size=(side, side))
    return np.moveaxis(share @ rng.uniform(0.1, 0.6, (3, bands)), -1, 0)


@pytest.mark.parametrize("bands", [4, 10])
def test_msi_noise_where_every_pixel_is_another_mixture(bands: int) -> None:
    """Two bands tell of three materials; with the others they carry over some of their own noise: at most a few times the band's."""
    level = np.linspace(0.002, 0.004, bands)
    image = mixed_pixels(bands, 80) + level[:, None, None] * np.random.default_rng(1).normal(size=(bands, 80, 80))
    most, _ = msi_noise_bound([image])
    assert (most / level).min() > 0.85
    assert np.median(most / level) < 2
    spread = np.std(image, axis=(1, 2))
    assert np.median(most / spread) < 0.15


def test_msi_noise_of_flat_fields_is_that_of_the_noise() -> None:
    """Fields between which nothing changes, and streets all over a third of the image: nothing is carried over."""
    rng = np.random.default_rng(0)
    level = np.array([0.002, 0.002, 0.002])
    image = np.kron(rng.random((3, 8, 8)), np.ones((1, 24, 24)))
    image[:, :, :64] += 0.1 * rng.normal(size=(3, 192, 64))
    image += level[:, None, None] * rng.normal(size=image.shape)
    assert msi_noise_bound([image])[0] == pytest.approx(level, rel=0.15)
    holes = image.copy()
    holes[:, 50:90, 100:150] = np.nan
    assert msi_noise_bound([holes[:, :96], holes[:, 96:]])[0] == pytest.approx(level, rel=0.15)


def test_a_band_that_others_do_not_predict_is_as_noisy_as_they_are() -> None:
    rng = np.random.default_rng(0)
    image = np.concatenate([mixed_pixels(4, 60), rng.uniform(0.1, 0.6, (1, 60, 60))])
    image = image * (1 + 0.01 * rng.normal(size=image.shape))
    most, level = msi_noise_bound([image])
    assert (most / level)[-1] <= 1.5001 * np.median(most / level)
    assert (most / level)[-1] < 0.05  # and not its own spread, a third of its brightness


def test_repeated_bands_are_as_noisy_as_what_their_pixels_average_out() -> None:
    """Bands of 20 m among those of 10 m predict each other exactly, and are still far from what a pixel of 10 m shows."""
    fine = mixed_pixels(7, 80) + 1e-3 * np.random.default_rng(2).normal(size=(7, 80, 80))
    means = fine.reshape(7, 40, 2, 40, 2).mean((2, 4))
    repeated = np.kron(means, np.ones((1, 2, 2)))
    image = np.concatenate([fine[:4], repeated[4:]])
    assert repeated_bands([image]).tolist() == [False] * 4 + [True] * 3
    assert not repeated_bands([repeated]).any(), "all alike: there are no finer ones to judge them by"
    lost = np.sqrt(((repeated - fine)[4:] ** 2).mean((1, 2)))
    found = msi_noise([image])
    # Where neighbours have nothing in common a mean of four follows its pixel by a quarter, so that half of what is lost shows.
    assert (found[4:] / lost).min() > 0.45
    assert (found[4:] / lost).max() < 1.5
    assert found[:4] == pytest.approx(msi_noise([fine[:4]]))
    holes = image.copy()
    holes[:, 11:31, 20:45] = np.nan
    assert repeated_bands([holes[:, :, :41], holes[:, :, 41:]]).tolist() == [False] * 4 + [True] * 3


def test_msi_noise_leans_on_what_is_usual() -> None:
    """Noise of 4 % comes out at 2 %, the geometric mean with 1 %; noise below 1 % as it is."""
    rng = np.random.default_rng(0)
    for relative, expected in ((0.04, 0.02), (0.004, 0.004)):
        image = 0.3 * (1 + relative * rng.normal(size=(3, 90, 90)))
        assert msi_noise([image]) == pytest.approx(np.full(3, 0.3 * expected), rel=0.1)


def test_msi_noise_is_floored() -> None:
    flat = np.full((2, 40, 40), 0.3)
    assert msi_noise([flat]) == pytest.approx([3e-4, 3e-4])
    speckled = np.where(np.random.default_rng(0).random((40, 40)) < 0.3, np.nan, flat)
    assert msi_noise([speckled]) == pytest.approx([3e-3, 3e-3])  # no window without a hole: one per cent


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 20), cols=st.integers(2, 20))
def test_small_msi(rows: int, cols: int) -> None:
    assert np.isfinite(msi_noise([np.random.default_rng(0).random((2, rows, cols))])).all()


def test_bands_that_are_copies_of_each_other() -> None:
    """Their mutual prediction is exact, and the equations for their noise singular."""
    rng = np.random.default_rng(0)
    pixels = rng.random((10, 4)) @ rng.normal(size=(4, 500)) + 5 + 0.01 * rng.normal(size=(10, 500))
    for bands in (2, 10):
        sigma, _ = hsi_noise(np.repeat(pixels[: bands // 2 or 1], 2, axis=0))
        assert np.isfinite(sigma).all()
        assert (sigma > 0).all()


def test_rank_of_fewer_pixels_than_twice_the_bands() -> None:
    """Twelve materials, far above the noise, in 100 pixels of 60 bands: what is left is noise, and stays out of the subspace."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(BANDS, 12)) @ rng.normal(size=(12, 100)) + 0.2 * rng.normal(size=(BANDS, 100))
    assert hsi_noise(pixels)[1] == pytest.approx(12, abs=1)
