"""Blends against sums over classes, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geofuse.methods.gem import blends
from geofuse.methods.gem.blends import Covariances, blend, class_mix
from tests.methods.gem.gaussians import spd
from tests.pairs import tensor


@pytest.mark.parametrize("classes", [1, 4])
def test_blends_by_loops(classes: int) -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(classes), (3, 5)).transpose(2, 0, 1)
    matrices, vectors, image = rng.normal(size=(classes, 2, 4)), rng.normal(size=(classes, 4)), rng.normal(size=(4, 3, 5))
    expected = np.einsum("jhw,jdc,chw->dhw", weights, matrices, image)
    np.testing.assert_allclose(class_mix(tensor(weights), tensor(matrices), tensor(image)).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(blend(tensor(weights), tensor(vectors)).numpy(), np.einsum("jhw,jk->khw", weights, vectors), atol=1e-12)


def test_more_pixels_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    weights, matrices, image = tensor(rng.random((3, 7, 11))), tensor(rng.normal(size=(3, 2, 4))), tensor(rng.normal(size=(4, 7, 11)))
    at_once = class_mix(weights, matrices, image)
    monkeypatch.setattr(blends, "CHUNK", 10)
    torch.testing.assert_close(class_mix(weights, matrices, image), at_once)


@settings(max_examples=40, deadline=None)
@given(rank=st.integers(1, 6), classes=st.integers(1, 4), alike=st.sampled_from([0.0, 0.01, 0.1, 1.0]), seed=st.integers(0, 999))
def test_ignored_differences_are_small(rank: int, classes: int, alike: float, seed: int) -> None:
    """In the metric of covariance and noise together, no class is further from its split than was allowed."""
    rng = np.random.default_rng(seed)
    covariance = np.stack([spd(rank, rng) for _ in range(classes)])
    share = rng.dirichlet(np.ones(classes))
    split = Covariances.split(covariance, share, alike, torch.zeros(1, dtype=torch.float64))
    found = (split.common + split.axes @ split.parts @ split.axes.T).numpy()
    factor = np.linalg.cholesky(np.tensordot(share, covariance, 1) + np.eye(rank))
    lost = np.linalg.solve(factor, np.linalg.solve(factor, found - covariance).transpose(0, 2, 1))
    assert np.linalg.norm(lost, axis=(1, 2)).max() <= alike + 1e-10
    weights, image = rng.dirichlet(np.ones(classes), (3, 5)).transpose(2, 0, 1), rng.normal(size=(rank, 3, 5))
    expected = np.einsum("jhw,jdc,chw->dhw", weights, found, image)
    np.testing.assert_allclose(split(tensor(weights), tensor(image)).numpy(), expected, atol=1e-10)


def test_only_directions_that_differ_are_kept() -> None:
    rng = np.random.default_rng(2)
    base, direction = spd(8, rng), rng.normal(size=(8, 2))
    covariance = np.stack([base + k * np.outer(d, d) for k, d in zip((5.0, 9.0), direction.T, strict=True)])
    split = Covariances.split(covariance, np.array([0.3, 0.7]), 1e-9, torch.zeros(1, dtype=torch.float64))
    assert split.axes.shape == (8, 2)
    one = Covariances.split(covariance[:1], np.ones(1), 0.0, torch.zeros(1))
    assert one.axes.shape == (8, 0)
    same = torch.rand(8, 2, 3)
    torch.testing.assert_close(one(torch.ones(1, 2, 3), same), torch.einsum("dc,chw->dhw", one.common, same))
