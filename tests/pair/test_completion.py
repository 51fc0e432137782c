"""Components of a scene in spite of gaps and wild values: what is completed, what is taken for wild, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from geofuse.pair.completion import FEWEST, Spectra, fit_spectra
from tests.pairs import made_up_scene

NOISE = 2e-3


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Spectra without noise, (B, N)."""
    return made_up_scene(60, 30, 30).reshape(60, -1)


@pytest.fixture(scope="module")
def noisy(truth: np.ndarray) -> np.ndarray:
    return truth + np.random.default_rng(1).normal(0, NOISE, truth.shape)


def everywhere(spectra: np.ndarray) -> np.ndarray:
    return np.ones(spectra.shape, bool)


def test_nothing_is_wild_in_a_scene_without_defects(noisy: np.ndarray) -> None:
    assert not fit_spectra(noisy).outliers(noisy, everywhere(noisy)).any()


def test_wild_values_are_found_and_change_nothing_else(noisy: np.ndarray) -> None:
    """Thirty of them, some in one pixel, and one band's detector that is off along a line."""
    rng = np.random.default_rng(2)
    planted = np.zeros(noisy.shape, bool)
    planted[rng.integers(0, 60, 30), rng.integers(0, 900, 30)] = True
    planted[[5, 30, 50], 77] = True
    planted[40, ::30] = True
    wild = np.where(planted, noisy + 0.4, noisy)
    calm, found = fit_spectra(noisy), fit_spectra(wild)
    assert np.array_equal(found.outliers(wild, everywhere(wild)), planted)
    assert found.sigma == pytest.approx(calm.sigma, rel=0.05)
    assert found.mean == pytest.approx(calm.mean, abs=NOISE)


def test_a_material_that_is_not_in_the_sample_is_not_wild(noisy: np.ndarray) -> None:
    """Absorption as minerals show it, a dozen bands wide and half as deep as the spectrum is bright."""
    found = fit_spectra(noisy)
    mineral = noisy[:, :20] * (1 - 0.5 * np.exp(-0.5 * ((np.arange(60) - 35) / 3) ** 2))[:, None]
    left = np.abs(found.residual(mineral))
    assert left.max() > 12  # which the components do not explain
    assert not found.outliers(mineral, everywhere(mineral)).any()


def test_gaps_are_completed_to_within_the_noise(truth: np.ndarray, noisy: np.ndarray) -> None:
    """2 % of the values at random, and half of one band."""
    known = np.random.default_rng(3).random(noisy.shape) > 0.02
    known[25, :450] = False
    found = fit_spectra(np.where(known, noisy, np.nan))
    completed = found.predicted(np.where(known, noisy, 0), known)
    assert np.sqrt(((completed - truth)[~known] ** 2).mean()) < 1.5 * NOISE


def test_few_bands_are_enough_to_lean_on_the_scene(truth: np.ndarray, noisy: np.ndarray) -> None:
    """A pixel of a quarter of its bands, all at one end, stays within the scene instead of going wild."""
    found, known = fit_spectra(noisy), everywhere(noisy)
    known[int(FEWEST * 60) :] = False
    completed = found.predicted(np.where(known, noisy, 0), known)
    assert np.abs(completed - truth).max() < 2 * np.ptp(truth)


def test_any_part_gives_the_same(noisy: np.ndarray) -> None:
    """Pixel by pixel: what is found does not depend on the others that are looked at."""
    found, wild = fit_spectra(noisy), noisy.copy()
    wild[7, 100] += 0.3
    known = np.random.default_rng(4).random(noisy.shape) > 0.05
    filled = np.where(known, wild, 0)
    part = slice(90, 130)
    assert np.array_equal(found.outliers(filled, known)[:, part], found.outliers(filled[:, part], known[:, part]))
    assert found.predicted(filled, known)[:, part] == pytest.approx(found.predicted(filled[:, part], known[:, part]), abs=1e-9)


def test_few_pixels_and_few_bands() -> None:
    for bands, pixels in ((3, 4), (4, 5), (12, 9)):
        values = np.random.default_rng(5).uniform(0.1, 0.3, (bands, pixels))
        found: Spectra = fit_spectra(values)
        assert np.isfinite(found.predicted(values, everywhere(values))).all()
