"""Regression of the innovation: against dense algebra, and against what coefficients were drawn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geofuse.methods.gem.evidence import Equations, Regression, apart_from, most_probable, unseen_components
from geofuse.methods.gem.observation import Observation
from geofuse.methods.gem.posterior import Prior
from tests.pairs import bell_responses, made_up_scene, naive_operator, simulated, tensor

RANK, BANDS, COARSE = 4, 2, 5


def small() -> tuple[Observation, Prior, np.ndarray, np.ndarray, np.ndarray]:
    """An observation in double precision, a prior, a mixing, and the PSF and the upsampling as matrices."""
    pair = simulated(made_up_scene(12, 4 * COARSE, 4 * COARSE), bell_responses(12, BANDS), (COARSE, COARSE), 4.0)
    psf = pair.patch(dtype=torch.float64).psf
    rng = np.random.default_rng(0)
    seen = Observation(tensor(rng.normal(size=(RANK, COARSE, COARSE))), tensor(rng.normal(size=(BANDS, 20, 20))), psf)
    half = rng.normal(size=(RANK, RANK))
    blur = naive_operator(pair.grids, pair.sigma)
    up = psf.upsample(torch.eye(COARSE**2, dtype=torch.float64).reshape(-1, COARSE, COARSE)).flatten(1).T.numpy()
    return seen, Prior.single(3 * half @ half.T + np.eye(RANK)), 3 * rng.normal(size=(BANDS, RANK)), blur, up


def test_equations_by_dense_algebra() -> None:
    seen, prior, mixing, blur, up = small()
    sigma = prior.covariance[0]
    gain = sigma @ mixing.T @ np.linalg.inv(mixing @ sigma @ mixing.T + np.eye(BANDS))
    given = sigma - gain @ mixing @ sigma
    y, m = seen.y.flatten(1).numpy(), seen.m.flatten(1).numpy()
    base = y @ up.T
    innovation = y - (base + gain @ (m - mixing @ base)) @ blur.T
    features = np.random.default_rng(1).normal(size=(3, 400))
    shown = (features - features @ blur.T @ up.T) @ blur.T

    components = unseen_components(prior, mixing)
    found = Regression(
        [seen], [tensor(features.reshape(3, 20, 20))], [torch.ones(1, 20, 20).double()], prior, mixing, components
    ).equations()
    assert components.axes.shape == (RANK, RANK - BANDS)
    assert np.abs(mixing @ components.axes).max() < 1e-9
    for u, axis in enumerate(components.axes.T):
        variance = axis @ given @ axis
        assert components.value[u] == pytest.approx(variance)
        metric = np.linalg.inv(variance * blur @ blur.T + np.eye(COARSE**2))
        along = axis @ innovation
        consistency = 1 / max(along @ metric @ along / COARSE**2, 1)
        assert found.gram[u] == pytest.approx(consistency * shown @ metric @ shown.T, abs=1e-9)
        assert found.right[u] == pytest.approx(consistency * shown @ metric @ along, abs=1e-9)
        assert found.power[u] == pytest.approx(consistency * along @ metric @ along)


def test_held_out_pixels_do_not_count() -> None:
    seen, prior, mixing, _, _ = small()
    other = Observation(seen.y.clone(), seen.m, seen.psf)
    components = unseen_components(prior, mixing)
    features, weights = [torch.randn(2, 20, 20).double()], [torch.ones(1, 20, 20).double()]
    nothing = Regression([other], features, weights, prior, mixing, components).equations([torch.zeros(COARSE, COARSE).double()])
    assert not nothing.gram.any()
    assert not nothing.right.any()


def test_evidence_finds_the_size_that_coefficients_were_drawn_with() -> None:
    """Two groups, of standard deviation 0.3 and 0.01, seen with noise of 0.1: the first is believed, the second shrunk away."""
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 200)
    true = rng.normal(size=400) * np.array([0.3, 0.01])[groups]
    observed = true + 0.1 * rng.normal(size=400)
    found = most_probable(100 * np.eye(400)[None], 100 * observed[None], np.ones(1), groups, 1.0)[0]
    ideal = np.array([0.09 / 0.10, 0.0001 / 0.0101])[groups] * observed
    assert np.sqrt(((found - true) ** 2).mean()) < 1.05 * np.sqrt(((ideal - true) ** 2).mean())


def test_no_group_is_given_more_than_the_largest() -> None:
    found = most_probable(100 * np.eye(3)[None], 100 * np.ones((1, 3)), np.ones(1), np.zeros(3, int), 0.01)[0]
    assert found == pytest.approx(0.5)  # 100 / (100 + 1 / 0.01)


def test_gain_is_the_drop_of_the_square() -> None:
    rng = np.random.default_rng(0)
    design, target, coefficients = rng.normal(size=(30, 4)), rng.normal(size=30), rng.normal(size=4)
    equations = Equations((design.T @ design)[None], (design.T @ target)[None], np.array([target @ target]))
    drop = target @ target - ((target - design @ coefficients) ** 2).sum()
    assert equations.gain(coefficients[None]) == pytest.approx(drop)


def test_apart_from_takes_away_what_is_shown() -> None:
    seen, _, _, blur, _ = small()
    image = np.random.default_rng(2).normal(size=(RANK, 400))
    left = apart_from(seen, tensor(image.reshape(RANK, 20, 20)))
    assert left.y.flatten(1).numpy() == pytest.approx(seen.y.flatten(1).numpy() - image @ blur.T)
