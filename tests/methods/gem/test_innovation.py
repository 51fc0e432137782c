"""How far a pixel is from what was to be expected: against the formula, and against chance."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import chi2

from geofuse.methods.gem.innovation import innovation_distance, is_far, widening
from geofuse.methods.gem.observation import Observation
from geofuse.methods.gem.posterior import Prior
from tests.pairs import bell_responses, made_up_scene, simulated, tensor

RANK, BANDS, CLASSES, SIDE = 6, 4, 2, 96


def made(seed: int = 0) -> tuple[Observation, torch.Tensor, Prior, np.ndarray]:
    """An MSI drawn from the model itself: class by class, around a smooth coarse image."""
    rng = np.random.default_rng(seed)
    psf = simulated(made_up_scene(8, SIDE, SIDE), bell_responses(8, BANDS), (24, 24), 4.0).patch(dtype=torch.float64).psf
    roots = rng.normal(size=(CLASSES, RANK, RANK)) * np.array([1.0, 3.0])[:, None, None]
    prior = Prior(roots @ roots.transpose(0, 2, 1), rng.normal(size=(CLASSES, RANK)), np.full(CLASSES, 0.5))
    mixing = rng.normal(size=(BANDS, RANK))
    y = tensor(rng.normal(size=(RANK, 24, 24)))
    label = rng.integers(0, CLASSES, (SIDE, SIDE))
    detail = np.einsum("hwkl,hwl->khw", roots[label], rng.normal(size=(SIDE, SIDE, RANK))) + prior.mean[label].transpose(2, 0, 1)
    m = np.tensordot(mixing, psf.upsample(y).numpy() + detail, 1) + rng.normal(size=(BANDS, SIDE, SIDE))
    weights = tensor(np.stack([label == k for k in range(CLASSES)]).astype(float))
    return Observation(y, tensor(m), psf), weights, prior, mixing


def test_it_is_the_mahalanobis_distance() -> None:
    seen, weights, prior, mixing = made()
    found = innovation_distance(seen, weights, prior, mixing)
    row, col = 17, 40
    k = int(weights[:, row, col].argmax())
    expected = mixing @ (seen.psf.upsample(seen.y)[:, row, col].numpy() + prior.mean[k])
    error = seen.m[:, row, col].numpy() - expected
    assert np.isclose(float(found[row, col]), error @ np.linalg.solve(mixing @ prior.covariance[k] @ mixing.T + np.eye(BANDS), error))


def test_by_chance_it_is_chi_square() -> None:
    distance = innovation_distance(*made()).numpy().ravel()
    for share in (0.5, 0.9, 0.99):
        assert abs((distance < chi2.ppf(share, BANDS)).mean() - share) < 0.015
    assert float(is_far(torch.as_tensor(distance), BANDS).double().mean()) < 1e-3


def test_an_outlier_is_far_and_widens_the_variance() -> None:
    seen, weights, prior, mixing = made()
    seen.m[:, 50, 60] += 200
    distance = innovation_distance(seen, weights, prior, mixing)
    far, factor = is_far(distance, BANDS), widening(distance, BANDS)
    assert bool(far[50, 60])
    assert float(factor[50, 60]) > 10
    assert bool((factor[~far] == 1).all()), "and of no other pixel"


def test_without_msi_nothing_is_far() -> None:
    seen, weights, prior, mixing = made()
    seen.m[:, :10] += 1e3
    seen.valid = torch.ones(SIDE, SIDE, dtype=torch.bool)
    seen.valid[:10] = False
    assert float(innovation_distance(seen, weights, prior, mixing)[:10].abs().max()) == 0
