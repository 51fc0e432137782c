"""Stripes and noisy bands, put in by known amounts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geofuse.methods.gem.start import start_coordinates
from geofuse.methods.gem.symptoms import STRIPED, noisy_bands, striping
from tests.pairs import Pair, bell_responses, made_up_scene, simulated


def made_up(seed: int = 0) -> Pair:
    return simulated(made_up_scene(40, 128, 128, seed=seed), bell_responses(40, 4), (32, 32), 4.0, seed=seed)


def judged(pair: Pair) -> tuple[tuple[float, float], np.ndarray]:
    patch = pair.patch()
    frame = start_coordinates([patch], pair.srf, np.zeros(len(pair.srf)))
    return striping([patch], frame), noisy_bands([patch], frame)


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_image_has_no_symptoms(seed: int) -> None:
    stripes, noisy = judged(made_up(seed))
    assert stripes == pytest.approx((1, 1), abs=0.15)
    assert not noisy.any()


@pytest.mark.parametrize("axis", [0, 1])
def test_stripes_are_seen_along_the_axis_they_run(axis: int) -> None:
    """Offsets as large as the noise: means vary (1 + 32) / 2 times as much, less what the subspace takes for signal."""
    pair = made_up()
    shape = (40, 1, 32) if axis == 0 else (40, 32, 1)
    stripes = np.random.default_rng(1).normal(size=shape) * pair.hsi_noise[:, None, None]
    found, _ = judged(replace(pair, hsi=pair.hsi + stripes))
    assert 3 * STRIPED < found[axis] < 17
    assert found[1 - axis] < STRIPED


def test_noisy_bands_are_named() -> None:
    pair = made_up()
    rough = np.zeros(40, bool)
    rough[[7, 20, 21, 22, 23]] = True
    extra = np.where(rough, 10, 0)[:, None, None] * pair.hsi_noise[:, None, None]
    _, found = judged(replace(pair, hsi=pair.hsi + extra * np.random.default_rng(2).normal(size=pair.hsi.shape)))
    assert np.array_equal(found, rough)
