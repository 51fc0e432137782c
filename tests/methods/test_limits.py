"""Physical limits: the nearest possible value, no error grows, and what the images show is possible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from geofuse.methods.base import EVERYTHING, Inner
from geofuse.methods.limits import NOISES, WHITE, fuse_within_limits, limits_of, noise_of
from geofuse.pair.patch import Patch
from tests.pairs import bell_responses, made_up_scene, simulated

BANDS, SIDE = 12, 32
NOISE = np.linspace(0.001, 0.004, BANDS)


def patch() -> Patch:
    return simulated(made_up_scene(BANDS, SIDE, SIDE), bell_responses(BANDS, 3), (8, 8), 4.0).patch()


def test_values_go_to_the_nearest_limit_and_no_others_change() -> None:
    image = torch.full((BANDS, SIDE, SIDE), 0.3)
    image[4, 10, 11], image[5, 10, 11], image[7, 20, 3] = -0.42, 1.52, -0.5 * float(NOISE[7])
    before = image.clone()
    outside = limits_of(patch(), NOISE).bound(image)
    assert outside.nonzero().tolist() == [[10, 11]]
    assert abs(float(image[4, 10, 11]) + NOISES * NOISE[4]) < 1e-7
    assert float(image[5, 10, 11]) == WHITE
    image[4, 10, 11], image[5, 10, 11] = before[4, 10, 11], before[5, 10, 11]
    assert torch.equal(image, before)


def test_no_error_grows_in_any_band() -> None:
    """Whatever the truth is, if it is possible: a projection on an interval."""
    rng = np.random.default_rng(0)
    truth = torch.as_tensor(rng.uniform(0, 1, (BANDS, SIDE, SIDE)), dtype=torch.float32)
    image = truth + torch.as_tensor(rng.normal(0, 0.5, truth.shape), dtype=torch.float32)
    before = (image - truth).abs()
    limits_of(patch(), NOISE).bound(image)
    after = (image - truth).abs()
    assert bool((after <= before + 1e-7).all())
    assert float((after < before - 0.1).float().mean()) > 0.05


def test_what_the_images_show_is_possible() -> None:
    """An HSI below zero (over-corrected for the atmosphere) keeps its values there, flagged; an MSI above 1 allows as much in its pixel."""
    seen = patch()
    hsi, msi = seen.hsi.clone(), seen.msi.clone()
    hsi[3, :, :4] = -0.05
    msi[1, 30, 31] = 1.3
    limits = limits_of(replace(seen, hsi=hsi, msi=msi), NOISE)
    image = torch.full((BANDS, SIDE, SIDE), 0.3)
    image[3] = -0.04
    image[6, 30, 30:] = 1.25
    outside = limits.bound(image)
    assert torch.allclose(image[3, :, 2:10], torch.tensor(-0.04))
    assert torch.allclose(image[3, :, 26:], torch.tensor(-NOISES * NOISE[3], dtype=torch.float32))
    assert bool(outside.all()), "below the noise, whoever says so"
    assert (float(image[6, 30, 30]), float(image[6, 30, 31])) == (1.0, 1.25)


def test_a_part_has_the_limits_of_the_whole() -> None:
    seen = patch()
    hsi = seen.hsi.clone()
    hsi[2, 3:5, 3:5], hsi[8, 1, 1] = -0.02, 1.2
    inner = slice(5, 20), slice(7, 30)
    whole, part = limits_of(replace(seen, hsi=hsi), NOISE), limits_of(replace(seen, hsi=hsi), NOISE, inner)
    assert torch.equal(whole.highest[inner], part.highest)
    assert torch.equal(whole.shown[2][inner], part.shown[2])
    assert float(whole.highest.max()) > 1.1


class Fitted:
    """A method that says nothing of noise."""


class Oracle:
    """A method that knows it."""

    noise = NOISE


def test_noise_is_what_the_method_found() -> None:
    assert noise_of(Oracle(), [patch()]) is NOISE  # type: ignore[arg-type]


def test_noise_where_no_method_told_it() -> None:
    """That of the simulation, 35 dB, within a factor of two; the estimate is the noise module's, over all patches of the sample."""
    pairs = [simulated(made_up_scene(BANDS, 96, 96, seed=seed), bell_responses(BANDS, 3), (24, 24), 4.0, seed=seed) for seed in (0, 1)]
    for some in (pairs[:1], pairs):
        ratio = noise_of(Fitted(), [p.patch() for p in some]) / np.mean([p.hsi_noise for p in some], axis=0)  # type: ignore[arg-type]
        assert 0.5 < np.median(ratio) < 2


def test_a_handful_of_pixels_tell_no_noise() -> None:
    few = simulated(made_up_scene(BANDS, 8, 8), bell_responses(BANDS, 3), (2, 2), 4.0).patch()
    assert not noise_of(Fitted(), [few]).any()  # type: ignore[arg-type]


def test_a_method_is_bounded_and_where_it_was_outside_is_told() -> None:
    class Wild(Oracle):
        def apply(self, patch: Patch, inner: Inner = EVERYTHING) -> torch.Tensor:
            image = torch.full((BANDS, SIDE, SIDE), 0.3)
            image[2, 7, 9] = -1.0
            return image[:, *inner]

    inner = slice(4, 12), slice(8, 20)
    image, outside = fuse_within_limits(Wild(), patch(), NOISE, inner)  # type: ignore[arg-type]
    assert outside.nonzero().tolist() == [[3, 1]]
    assert float(image[2, 3, 1]) == pytest.approx(-NOISE[2])
    assert float(image.amax()) == pytest.approx(0.3)
