"""Averages on a lattice against scipy's Gaussian filter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from geofuse.methods.gem import lattice
from geofuse.methods.gem.lattice import Lattice
from tests.pairs import tensor

LIKE = torch.zeros(1, dtype=torch.float64)


def average(values: np.ndarray, sigma: float, reach: int) -> np.ndarray:
    return gaussian_filter1d(values, sigma, mode="nearest", radius=reach)  # type: ignore[no-any-return]


@settings(max_examples=40, deadline=None)
@given(pixels=st.integers(1, 90), sigma=st.floats(0.5, 6), first=st.integers(0, 9), seed=st.integers(0, 99))
def test_averages_at_the_points(pixels: int, sigma: float, first: int, seed: int) -> None:
    reach, step, first = int(2.5 * sigma + 0.5), max(1, int(sigma)), min(first, pixels - 1)
    values = np.random.default_rng(seed).normal(size=(2, pixels))
    made = Lattice.along(pixels, sigma, reach, step, first, LIKE)
    np.testing.assert_allclose(made.averages(tensor(values)).numpy(), average(values, sigma, reach)[:, first::step], atol=1e-12)
    assert made.points == len(range(first, pixels, step))
    np.testing.assert_allclose(made.spread(torch.ones(made.points, dtype=torch.float64)).numpy(), 1)


def test_every_pixel_a_point_is_the_filter_itself() -> None:
    values = np.random.default_rng(0).normal(size=(3, 70))
    made = Lattice.along(70, 2.0, 5, 1, 0, LIKE)
    np.testing.assert_allclose(made.spread(tensor(values)).numpy(), average(values, 2.0, 5), atol=1e-12)


@pytest.mark.parametrize(("sigma", "step"), [(2.0, 2), (3.9, 3), (10.0, 10)])
def test_a_lattice_as_fine_as_the_guided_filter_s_loses_nothing(sigma: float, step: int) -> None:
    """Two averages, one behind the other, the first of them known on the lattice only: white noise through both."""
    values, reach = np.random.default_rng(1).normal(size=(1, 600)), int(4 * sigma)
    made = Lattice.along(600, sigma, reach, step, 1, LIKE)
    found = made.spread(made.averages(tensor(values))).numpy()[:, 2 * reach : -2 * reach]
    expected = average(average(values, sigma, reach), sigma, reach)[:, 2 * reach : -2 * reach]
    assert np.abs(found - expected).max() < 2e-3 * expected.std()


@pytest.mark.parametrize("step", [1, 3])
def test_stripes_hold_both_matrices(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lattice, "STRIPE", 7)
    made = Lattice.along(40, 2.0, 5, step, 0, LIKE)
    gather, scatter = torch.zeros_like(made.gather), torch.zeros_like(made.scatter)
    for pixels, near, down, up in made.stripes():
        gather[near, pixels], scatter[pixels, near] = down, up
    assert torch.equal(gather, made.gather)
    assert torch.equal(scatter, made.scatter)
