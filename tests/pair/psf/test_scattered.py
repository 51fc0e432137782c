from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofuse.pair.psf.scattered import scattered_taps


def waves(row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """What a PSF of the usual width lets through: periods of five pixels and more."""
    return 0.3 + 0.1 * np.sin(2 * np.pi * row / 5.0) + 0.1 * np.cos(2 * np.pi * (row + 2 * col) / 13.0)


def interpolated(offsets: np.ndarray, values: np.ndarray) -> np.ndarray:
    index, weight = scattered_taps(offsets)
    return (values.ravel()[index] * weight).sum(1).reshape(values.shape)


def test_pixels_are_brought_to_the_centres_of_their_grid() -> None:
    """Half a pixel off at most: a tenth of the error that is left where they are taken as they are, and less."""
    rng = np.random.default_rng(0)
    offsets = rng.uniform(-0.5, 0.5, (2, 30, 30))
    row, col = np.mgrid[:30, :30].astype(float)
    seen, truth = waves(row + offsets[0], col + offsets[1]), waves(row, col)
    inner = (slice(3, -3), slice(3, -3))
    before, after = (np.sqrt(np.mean((image - truth)[inner] ** 2)) for image in (seen, interpolated(offsets, seen)))
    assert after < 0.1 * before


def test_pixels_on_the_grid_stay_as_they_are() -> None:
    image = waves(*np.mgrid[:9, :11].astype(float))
    assert interpolated(np.zeros((2, 9, 11)), image) == pytest.approx(image, abs=0.01)


def test_what_is_not_to_be_used_is_not() -> None:
    """A hole is filled from around it, whatever it holds; a pixel with nothing near keeps its value."""
    offsets = np.zeros((2, 20, 20))
    offsets[:, 3, 3] = np.nan
    offsets[:, 8:, 8:] = np.nan
    row, col = np.mgrid[:20, :20].astype(float)
    image = waves(row, col)
    spoilt = np.where(np.isfinite(offsets[0]), image, 1e6)
    found = interpolated(offsets, spoilt)
    assert found[3, 3] == pytest.approx(image[3, 3], abs=0.01)
    assert np.abs(found[:8] - image[:8]).max() < 0.05
    assert (found[11:, 11:] == 1e6).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), missing=st.floats(0, 0.95))
def test_a_uniform_image_stays_uniform(seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    offsets = rng.uniform(-1, 1, (2, 8, 7))
    offsets[:, rng.random((8, 7)) < missing] = np.nan
    index, weight = scattered_taps(offsets)
    assert index.min() >= 0
    assert index.max() < 56
    assert weight.sum(1) == pytest.approx(1, abs=1e-9)
