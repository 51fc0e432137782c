"""The baselines as methods: each fuses a scene with gaps, says what it needs, and is the same after it was stored."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from geofuse.methods.base import KnowsNoise
from geofuse.methods.baselines.methods import Baseline, FittedBaseline
from geofuse.methods.baselines.mlp import mlp
from geofuse.methods.registry import get_method, method_names
from geofuse.pair.patch import Patch
from tests.methods.baselines.pairs import random_pair

BASELINES = [name for name in method_names() if get_method(name).role == "baseline"]


def with_gaps() -> tuple[Patch, np.ndarray, float]:
    """A patch with gaps in both images, its response, and the mean of the HSI."""
    observed = np.ones((8, 8), bool)
    observed[3, 3] = False
    hsi, msi, operator, srf = random_pair(observed=observed)
    hsi_valid, msi_valid = torch.as_tensor(observed), torch.ones(20, 20, dtype=torch.bool)
    msi_valid[15:17, 4] = False
    patch = Patch(hsi * hsi_valid, msi * msi_valid, hsi_valid, msi_valid, operator)
    return patch, srf.numpy(), float(hsi[:, observed].mean())


def baseline(name: str) -> Baseline:
    found = get_method(name)
    assert isinstance(found, Baseline)
    return found


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_fuses_a_patch_with_gaps_and_again_when_it_was_stored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofuse.methods.baselines.methods.mlp", partial(mlp, steps=300))
    patch, srf, truth = with_gaps()
    fitted = FittedBaseline(baseline(name).make, srf, seed=3)
    fused = fitted.apply(patch)
    assert fused.shape == (5, 20, 20)
    assert torch.isfinite(fused).all()
    assert abs(float(fused.mean()) - truth) < 0.2 * truth
    again = baseline(name).restore(*fitted.state())
    assert torch.equal(again.apply(patch), fused)
    assert torch.equal(again.apply(patch, (slice(3, 9), slice(5, 20))), fused[:, 3:9, 5:20])


def test_the_baselines_of_the_published_comparisons_are_there() -> None:
    assert set(BASELINES) == {"hysure", "cnmf", "gsa", "regression", "mlp", "bicubic"}
    assert all(baseline(name).reference and baseline(name).summary for name in BASELINES)


def test_they_take_the_whole_scene_and_know_no_noise() -> None:
    srf = with_gaps()[1]
    for name in BASELINES:
        fitted: Any = FittedBaseline(baseline(name).make, srf, 0)
        assert fitted.halo is baseline(name).cost(4.0).halo is None
        assert not isinstance(fitted, KnowsNoise)


def test_what_is_random_is_drawn_with_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofuse.methods.baselines.methods.mlp", partial(mlp, steps=50))
    patch, srf, _ = with_gaps()
    first, same, other = (FittedBaseline(baseline("mlp").make, srf, seed).apply(patch) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
