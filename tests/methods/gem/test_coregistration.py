"""Bands that are displaced by a known amount, by another library's spline interpolation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import shift as displaced

from geofuse.methods.gem.coregistration import gradients
from geofuse.methods.gem.estimator import Gem, fit_gem
from tests.pairs import Pair, bell_responses, made_up_scene, psnr, simulated

BANDS, SIDE = 40, 32


@cache
def pair_with(down: float, right: float) -> Pair:
    """The MSI sees the first detector; the second, from band 20 on, lies further down and right by so many fine pixels."""
    truth = made_up_scene(BANDS, 4 * SIDE, 4 * SIDE, grain=1.0)
    truth[20:] = [displaced(band, (down, right), order=3, mode="nearest") for band in truth[20:]]
    srf = np.concatenate([bell_responses(20, 4), np.zeros((4, 20))], axis=1)
    return simulated(truth, srf, (SIDE, SIDE), 4.0)


@torch.no_grad()
def fitted(pair: Pair) -> Gem:
    return fit_gem([pair.patch()], pair.srf, np.zeros(4), 4.0)


def fused(gem: Gem, pair: Pair) -> np.ndarray:
    with torch.no_grad():
        return gem.coordinates.decode(gem.apply(pair.patch())).numpy()


@pytest.mark.parametrize("displacement", [(0.0, 0.3), (-0.25, 0.0)])
def test_a_displaced_detector_is_found(displacement: tuple[float, float]) -> None:
    gem = fitted(pair_with(*displacement))
    assert gem.shifts is not None
    second, first = gem.shifts.shift[:, 23:].mean(1), gem.shifts.shift[:, 3:17].mean(1)
    assert second == pytest.approx(displacement, abs=0.05)
    assert np.abs(first).max() < 0.05


def test_taking_it_apart_helps() -> None:
    """In the displaced bands, and next to nothing is lost in the others."""
    pair = pair_with(0.0, 0.3)
    gem = fitted(pair)
    with_it, without = fused(gem, pair), fused(replace(gem, shifts=None), pair)
    assert psnr(pair.truth[20:], with_it[20:]) > psnr(pair.truth[20:], without[20:]) + 1
    assert psnr(pair.truth[:20], with_it[:20]) == pytest.approx(psnr(pair.truth[:20], without[:20]), abs=0.3)


def test_bands_that_lie_on_each_other_stay_there() -> None:
    gem = fitted(pair_with(0.0, 0.0))
    assert gem.shifts is not None
    assert np.abs(gem.shifts.shift).max() < 0.03


def test_the_msi_stays_explained() -> None:
    """What the displacements change is less, in units of its noise, for the MSI than for the HSI, whose noise is 1 too."""
    gem = fitted(pair_with(0.0, 0.3))
    assert gem.shifts is not None
    rng = np.random.default_rng(0)
    change = gem.shifts.change(torch.as_tensor(rng.normal(size=(gem.coordinates.rank, 12, 12)), dtype=torch.float64)).flatten(1).numpy()
    assert np.linalg.norm(change, axis=0).min() > 1e-3
    assert (np.linalg.norm(gem.coordinates.mixing @ change, axis=0) < np.linalg.norm(change, axis=0)).all()


def test_gradients_of_a_plane() -> None:
    rows, cols = np.mgrid[:6, :7].astype(float)
    down, right = gradients(torch.as_tensor((2 * rows - 3 * cols)[None]))
    assert down[:, 1:-1].numpy() == pytest.approx(2)
    assert right[:, :, 1:-1].numpy() == pytest.approx(-3)


def test_what_other_pixels_do_not_confirm_is_no_displacement() -> None:
    """The evidence alone finds a little here; cross-validation leaves all of it out."""
    gem = fitted(pair_with(0.0, 0.0))
    assert gem.shifts is not None
    assert not gem.shifts.shift.any()
    assert not gem.shifts.transfer.any()
