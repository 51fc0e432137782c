"""The prepared pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import geofuse
from geofuse.errors import InvalidPair
from geofuse.pair.prepare import PreparedPair, Settings, _reject_baseline_offset, block_mean, colocated, prepare_pair
from geofuse.pair.registration import Registration
from geofuse.pair.response import EffectiveResponse
from geofuse.pipeline.fit import read_sample
from tests.crops import small_cubes, small_pair


@pytest.fixture(scope="module")
def prepared() -> PreparedPair:
    scene = geofuse.api.pair(*small_cubes())
    sample = read_sample(scene)
    return prepare_pair(scene.pair, sample, sample, Settings(progress=False), lambda step: None, scene.bands.good)


def test_colocated_is_the_msi_through_the_psf(prepared: PreparedPair) -> None:
    """Spectra that are compared belong to one place: each by a Gaussian sum written out, in the order of the coarse pixels."""
    hsi, msi = colocated(prepared.patches)
    coarse, fine = small_pair()
    (sy, sx), (dy, dx) = prepared.geometry.sigma, prepared.geometry.shift
    rows, cols = np.arange(fine.values.shape[1]), np.arange(fine.values.shape[2])
    found = 0
    for spectrum, seen in zip(hsi.T, msi.T, strict=True):
        i, j = np.argwhere(np.abs(coarse.values / 1e4 - spectrum[:, None, None]).max(0) < 1e-6)[0]
        col, row = ~fine.transform * (coarse.transform * (j + 0.5, i + 0.5))
        if min(row, col, len(rows) - row, len(cols) - col) < 5 * max(sy, sx):
            continue
        wy = np.exp(-((rows - row + 0.5 - dy) ** 2) / (2 * sy**2))
        wx = np.exp(-((cols - col + 0.5 - dx) ** 2) / (2 * sx**2))
        expected = np.einsum("byx,y,x->b", fine.values / 1e4, wy, wx) / (wy.sum() * wx.sum())
        assert seen == pytest.approx(expected, rel=2e-3)
        found += 1
    assert found > 100


@pytest.mark.parametrize(
    ("offset", "rejected"),
    [
        ((0.1, 0.1, 0.1), True),
        ((-0.1, -0.09, -0.11), True),
        ((0.1, 0.1, -0.1), False),
        ((0.02, 0.02, 0.02), False),
        ((0.3, 0.3, 0.3), False),
    ],
)
def test_constant_offset(offset: tuple[float, ...], rejected: bool) -> None:
    """Near a tenth and of one sign in every band is Sentinel-2's; anything else is not."""
    response = EffectiveResponse(np.ones((3, 5)), np.array(offset), np.zeros(3))
    if not rejected:
        _reject_baseline_offset(response, np.zeros((3, 7)))
        return
    with pytest.raises(InvalidPair, match=r"-1000 counts \(-0\.1\)"):
        _reject_baseline_offset(response, np.zeros((3, 7)))


@given(rows=st.integers(1, 50), cols=st.integers(1, 50), side=st.integers(1, 20), seed=st.integers(0, 99))
def test_block_mean(rows: int, cols: int, side: int, seed: int) -> None:
    """Against a loop over blocks."""
    rng = np.random.default_rng(seed)
    image = np.where(rng.random((rows, cols)) < 0.3, np.nan, rng.random((rows, cols)))
    small = block_mean(image, side)
    assert max(small.shape) <= side
    step = -(-max(rows, cols) // side)
    for i, row in enumerate(small):
        for j, value in enumerate(row):
            block = image[i * step : (i + 1) * step, j * step : (j + 1) * step]
            inside = block[np.isfinite(block)]
            assert value == pytest.approx(inside.mean() if inside.size else np.nan, nan_ok=True)


def test_geometry_can_be_given(prepared: PreparedPair) -> None:
    given_geometry = Registration((3.0, 3.0), (0.0, 0.0), 0.1)
    again = prepare_pair(
        prepared.pair, prepared.samples, prepared.samples, Settings(progress=False), lambda step: None, geometry=given_geometry
    )
    assert again.geometry is given_geometry
