"""The learned step: what it may learn, what it does learn, and that it leaves alone what it cannot judge."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from geofuse.methods.gem.estimator import Gem, fit_gem
from geofuse.methods.gem.filters import REACH, ComplementaryFilters, features, fit_filters
from geofuse.simulate import simulate
from tests.pairs import Pair, bell_responses, made_up_scene, on_grids, psnr, simulated

BANDS, SIDE = 40, 32


@cache
def scene(slope: float) -> Pair:
    """The second half of the bands, which the MSI does not see, holds ``slope`` times the gradient to the right of one that it does see."""
    truth = made_up_scene(BANDS, 4 * SIDE, 4 * SIDE, grain=1.0)
    truth[20:] += slope * np.gradient(truth[5], axis=1)
    srf = np.concatenate([bell_responses(20, 4), np.zeros((4, 20))], axis=1)
    return simulated(truth, srf, (SIDE, SIDE), 4.0)


@cache
@torch.no_grad()
def estimator(slope: float) -> Gem:
    """With the displacement of bands left out, which would explain some of it."""
    pair = scene(slope)
    return replace(fit_gem([pair.patch()], pair.srf, np.zeros(4), 4.0), shifts=None)


def fused(gem: Gem, pair: Pair, filters: ComplementaryFilters | None) -> np.ndarray:
    with torch.no_grad():
        return gem.coordinates.decode(gem.apply(pair.patch(), filters)).numpy()


def test_it_learns_what_lies_to_one_side() -> None:
    pair, gem = scene(0.5), estimator(0.5)
    with torch.no_grad():
        learned = fit_filters(gem, [pair.patch()])
    assert learned.held_out > 0
    with_it, without = (psnr(pair.truth[20:], fused(gem, pair, f)[20:]) for f in (learned.filters, None))
    assert with_it > without + 0.5


def test_the_msi_stays_explained() -> None:
    """Decoupled: what it adds lies where the MSI, in units of its noise, sees less than the HSI does."""
    gem = estimator(0.5)
    with torch.no_grad():
        filters = fit_filters(gem, [scene(0.5).patch()]).filters
    assert filters is not None
    change = filters.change(torch.randn(gem.coordinates.rank, 16, 16), torch.randn(4, 16, 16)).flatten(1).double().numpy()
    assert (np.linalg.norm(gem.coordinates.mixing @ change, axis=0) < np.linalg.norm(change, axis=0)).all()


def test_the_same_seed_learns_the_same() -> None:
    gem, patch = estimator(0.5), scene(0.5).patch()
    with torch.no_grad():
        one, same, other = (fit_filters(gem, [patch], seed) for seed in (0, 0, 1))
    assert one.filters is not None
    assert same.filters is not None
    assert np.array_equal(one.filters.weight, same.filters.weight)
    assert (one.held_out == same.held_out) & (one.held_out != other.held_out)


def test_what_held_out_pixels_do_not_confirm_is_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofuse.methods.gem.evidence.Equations.gain", lambda *_: -1.0)
    with torch.no_grad():
        assert fit_filters(estimator(0.5), [scene(0.5).patch()]).filters is None


def test_features_are_antisymmetric() -> None:
    """Mirrored, the part along the mirror's axis changes its sign, the other none: no blur and no sharpening can be learned."""
    z, m = torch.randn(3, 20, 24, dtype=torch.float64), torch.randn(2, 20, 24, dtype=torch.float64)
    plain, mirrored = features(z, m), features(z.flip(-1), m.flip(-1)).flip(-1)
    down = np.concatenate([np.r_[0:3], np.r_[6:9], np.r_[12:14], np.r_[16:18]])
    right = np.setdiff1d(np.arange(20), down)
    torch.testing.assert_close(mirrored[down], plain[down])
    torch.testing.assert_close(mirrored[right], -plain[right])
    assert float(features(torch.ones(3, 9, 9), torch.ones(2, 9, 9)).abs().max()) < 1e-6


def test_reach_by_impulse() -> None:
    filters = ComplementaryFilters(np.random.default_rng(0).normal(size=(3, 20)), np.ones(2))
    z, m = torch.zeros(3, 31, 31, dtype=torch.float64), torch.zeros(2, 31, 31, dtype=torch.float64)
    m[:, 15, 15] = 1
    felt = (filters.change(z, m).abs().amax(0) > 0).nonzero() - 15
    assert int(felt.abs().max()) == REACH


@pytest.mark.parametrize("kind", ["qb4", "s2"])
def test_on_a_real_scene(shared_data: Path, kind: str) -> None:
    """True operators: measured +0.35 and +0.13 dB."""
    pair = on_grids(simulate("jasper", 4, kind, shared_data))
    with torch.no_grad():
        gem = fit_gem([pair.patch()], pair.srf, np.zeros(len(pair.srf)), 4.0)
        learned = fit_filters(gem, [pair.patch()])
    assert psnr(pair.truth, fused(gem, pair, learned.filters)) > psnr(pair.truth, fused(gem, pair, None)) + 0.05
