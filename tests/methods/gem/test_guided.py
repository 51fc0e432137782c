"""The filters against scipy, numpy and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from geofuse.methods.gem.guided import GuidedFilter, solve_spd_
from tests.methods.gem.gaussians import spd
from tests.pairs import tensor

RNG = np.random.default_rng(0)


def window(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average with the edge pixels repeated, cut at 2.5 standard deviations, of the last two axes."""
    return gaussian_filter(image, sigma, axes=(-2, -1), mode="nearest", truncate=2.5)


def scattered(points: np.ndarray, pixels: int, sigma: float, step: int) -> np.ndarray:
    """Gaussian average of what is known at every ``step``-th pixel of the last axis, the last point repeated beyond the edges."""
    reach, last = int(2.5 * sigma + 0.5), points.shape[-1] - 1
    out = np.zeros((*points.shape[:-1], pixels))
    for pixel in range(pixels):
        near = [k for k in range(-reach, last + reach + 1) if abs(k * step - pixel) <= reach]
        weights = np.array([math.exp(-0.5 * ((k * step - pixel) / sigma) ** 2) for k in near])
        out[..., pixel] = (points[..., [min(max(k, 0), last) for k in near]] * weights).sum(-1) / weights.sum()
    return out


def plain(image: np.ndarray, guide: np.ndarray, sigma: float, ridge: float, step: int = 1) -> np.ndarray:
    """He, Sun and Tang's regression of every channel on all bands in every window, its coefficients then averaged."""
    bands, (height, width) = len(guide), image.shape[1:]
    mean, image_mean = window(guide, sigma), window(image, sigma)
    covariance = window(guide[:, None] * guide[None], sigma) - mean[:, None] * mean[None]
    cross = window(guide[:, None] * image[None], sigma) - mean[:, None] * image_mean[None]
    slope = np.linalg.solve(covariance.transpose(2, 3, 0, 1) + ridge * np.eye(bands), cross.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1)
    intercept = image_mean - (slope * mean[:, None]).sum(0)

    def average(coefficients: np.ndarray) -> np.ndarray:
        across = scattered(coefficients[..., ::step, ::step], width, sigma, step)
        return scattered(across.swapaxes(-1, -2), height, sigma, step).swapaxes(-1, -2)

    return average(intercept) + (average(slope) * guide[:, None]).sum(0)


@pytest.mark.parametrize(
    ("bands", "sigma", "ridge", "step"), [(1, 1.0, 1e-2, 1), (4, 1.9, 1e-2, 1), (10, 2.5, 1e-3, 2), (3, 4.17, 1e-2, 4)]
)
def test_guided_filter_against_numpy(bands: int, sigma: float, ridge: float, step: int) -> None:
    image, m = RNG.normal(size=(3, 40, 31)), RNG.normal(size=(bands, 40, 31)).cumsum(1)
    scale = 0.5 + RNG.random(bands)
    found = GuidedFilter(scale, sigma, ridge)
    assert found.step == step
    expected = plain(image, m / scale[:, None, None], sigma, ridge, step)
    np.testing.assert_allclose(found(tensor(image), tensor(m)).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("sigma", [3.0, 4.17, 10.0])
def test_a_coarser_lattice_changes_little(sigma: float) -> None:
    """Little of what the filter changes, even along a guide of white noise and edges."""
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.normal(size=(3, 120, 110)), 3.0, axes=(1, 2))
    image /= image.std()
    m = rng.normal(size=(4, 120, 110)) + 3 * (rng.random((4, 120, 1)) > 0.9).cumsum(1)
    expected = plain(image, m, sigma, 1e-2)
    difference = GuidedFilter(np.ones(4), sigma, 1e-2)(tensor(image), tensor(m), (5, 2)).numpy() - expected
    assert np.sqrt((difference**2).mean()) < 0.07 * np.sqrt(((expected - image) ** 2).mean())


def test_windows_of_a_scene_share_the_lattice() -> None:
    rng = np.random.default_rng(1)
    image, m = tensor(rng.normal(size=(2, 150, 140))), tensor(rng.normal(size=(3, 150, 140)))
    filtered = GuidedFilter(np.ones(3), 4.17, 1e-2)
    whole = filtered(image, m)
    top, left, rim = 37, 22, filtered.reach
    part = filtered(image[:, top:, left:], m[:, top:, left:], (top, left))
    torch.testing.assert_close(part[:, rim:, rim:], whole[:, top + rim :, left + rim :], atol=1e-12, rtol=0)


def test_guided_filter_keeps_what_the_guide_explains() -> None:
    m = RNG.normal(size=(3, 30, 30))
    image = np.tensordot(RNG.normal(size=(2, 3)), m, 1) + np.array([2.0, -1.0])[:, None, None]
    found = GuidedFilter(np.ones(3), 1.5, 1e-6)(tensor(image), tensor(m))
    np.testing.assert_allclose(found.numpy(), image, atol=1e-4)
    # A flat guide says nothing: two averages, one behind the other.
    flat = GuidedFilter(np.ones(3), 1.5, 1e-3)(tensor(image), torch.zeros(3, 30, 30, dtype=torch.float64))
    np.testing.assert_allclose(flat.numpy(), window(window(image, 1.5), 1.5), atol=1e-9)


@pytest.mark.parametrize("sigma", [0.75, 2.0, 4.17])
def test_reach_of_the_guided_filter(sigma: float) -> None:
    image, m = RNG.normal(size=(1, 61, 61)), RNG.normal(size=(2, 61, 61))
    filtered = GuidedFilter(np.ones(2), sigma, 1e-2)
    changed_image, changed_m = image.copy(), m.copy()
    changed_image[:, 30, 30] += 1
    changed_m[:, 30, 30] += 1
    before = filtered(tensor(image), tensor(m))
    for after in (filtered(tensor(changed_image), tensor(m)), filtered(tensor(image), tensor(changed_m))):
        moved = int(((after != before).any(0).nonzero() - 30).abs().max())
        assert filtered.reach - filtered.step < moved <= filtered.reach


@settings(max_examples=30, deadline=None)
@given(bands=st.integers(1, 10), ridge=st.floats(1e-4, 1), seed=st.integers(0, 999))
def test_solve_spd_against_numpy(bands: int, ridge: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrices = np.stack([spd(bands, rng) for _ in range(6)])
    right = rng.normal(size=(6, bands, 2))
    planes = matrices.transpose(1, 2, 0).reshape(bands, bands, 2, 3)
    upper = [tensor(planes[i, i:].copy()) for i in range(bands)]
    found = tensor(right.transpose(1, 2, 0).reshape(bands, 2, 2, 3))
    solve_spd_(upper, found, ridge)
    expected = np.linalg.solve(matrices + ridge * np.eye(bands), right)
    np.testing.assert_allclose(found.numpy().reshape(bands, 2, 6).transpose(2, 0, 1), expected, atol=1e-9)
