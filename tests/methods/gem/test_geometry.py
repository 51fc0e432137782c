"""A wrong PSF width or shift is put right, and nothing else is taken for one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from geofuse.methods.gem.em import calibrate
from geofuse.methods.gem.estimator import Gem, fit_gem
from geofuse.methods.gem.geometry import correct_geometry
from geofuse.methods.gem.observation import encode
from geofuse.methods.gem.start import detail_covariance, start_coordinates
from geofuse.pair.patch import Patch, placed
from tests.pairs import Pair, bell_responses, made_up_scene, psnr, simulated

Geometry = tuple[tuple[float, float], tuple[float, float]]
TRUE = (2.0, 2.0, 0.0, 0.0)


def made_up(seed: int = 0) -> Pair:
    return simulated(made_up_scene(30, 96, 96, seed=seed), bell_responses(30, 4), (24, 24), 4.0, seed=seed)


def corrected(patches: list[Patch], srf: np.ndarray) -> np.ndarray | None:
    """As the estimator asks for it."""
    frame = start_coordinates(patches, srf, np.zeros(len(srf)))
    frame, _ = calibrate(patches, frame, detail_covariance([encode(p, frame) for p in patches], 4.0), rounds=10)
    return correct_geometry(patches, frame)


@pytest.mark.parametrize("seed", range(4))
def test_the_right_geometry_is_kept(seed: int) -> None:
    pair = made_up(seed)
    assert corrected([pair.patch()], pair.srf) is None


@pytest.mark.parametrize(
    "told",
    [((1.7, 1.7), (0.0, 0.0)), ((2.3, 2.3), (0.0, 0.0)), ((2.0, 2.0), (-0.3, 0.3)), ((1.8, 2.3), (0.0, 0.0)), ((2.4, 2.4), (1.0, -1.0))],
)
def test_the_wrong_one_is_found_and_put_right(told: Geometry) -> None:
    pair = made_up()
    found = corrected([pair.patch(*told)], pair.srf)
    assert found == pytest.approx(TRUE, abs=0.05)


def test_a_detector_stays_one() -> None:
    """Its tails are not made longer than the halo of a tile, whatever the images ask for: here a PSF 0.9 coarse pixels wide."""
    pair = simulated(made_up_scene(30, 96, 96), bell_responses(30, 4), (24, 24), 4.0, sigma=(3.6, 3.6))
    patch = pair.patch((2.0, 2.0))
    builder, *windows = placed(patch)
    behind_optics = replace(patch, place=(replace(builder, cutoff=3.0), *windows)).at(np.array([1.6, 1.6, 0.0, 0.0]))
    found = corrected([behind_optics], pair.srf)
    assert found is not None
    assert 2.0 < found[:2].max() <= 2.2


def test_two_patches_speak_together() -> None:
    pairs = [made_up(seed) for seed in (0, 1)]
    assert corrected([p.patch((1.7, 1.7)) for p in pairs], pairs[0].srf) == pytest.approx(TRUE, abs=0.05)


@pytest.mark.parametrize("kind", ["gain", "light"])
def test_another_radiometry_is_not_taken_for_geometry(kind: str) -> None:
    pair = made_up()
    field = gaussian_filter(np.random.default_rng(7).normal(size=pair.msi.shape[1:]), 12)
    gain = {"gain": np.array([0.9, 1.1, 1.05, 0.95])[:, None, None], "light": 1 + 0.1 * field / field.std()}[kind]
    changed = replace(pair, msi=pair.msi * gain + 0.01)
    assert corrected([changed.patch()], pair.srf) is None


def test_a_patch_without_a_place_keeps_its_psf() -> None:
    pair = made_up()
    patch = replace(pair.patch((1.7, 1.7)), place=None)
    assert corrected([patch], pair.srf) is None
    with pytest.raises(ValueError, match="place"):
        patch.at(np.array(TRUE))


def test_a_patch_elsewhere_is_as_if_made_there() -> None:
    pair = made_up()
    moved, made = pair.patch().at(np.array([1.5, 2.5, 0.3, -0.2])), pair.patch((1.5, 2.5), (0.3, -0.2))
    image = torch.as_tensor(pair.msi, dtype=torch.float32)
    torch.testing.assert_close(moved.psf.forward(image), made.psf.forward(image))
    again = moved.at(np.array(TRUE))
    torch.testing.assert_close(again.psf.forward(image), pair.patch().psf.forward(image))


@torch.no_grad()
def test_the_estimator_is_as_good_as_if_told_the_truth() -> None:
    pair = made_up()

    def fused(gem: Gem, patch: Patch) -> float:
        return psnr(pair.truth, gem.coordinates.decode(gem.apply(patch)).numpy())

    wrong, right = pair.patch((1.7, 1.7), (-0.3, 0.3)), pair.patch()
    found = fit_gem([wrong], pair.srf, np.zeros(4), 4.0, harmonise=False)
    assert found.consistency.rho > 0.05  # what it was told remains a contradiction
    assert found.consistency.left < 0.05
    again = Gem.from_arrays(found.arrays())
    assert fused(again, wrong) == fused(found, wrong)
    assert fused(found, wrong) > fused(fit_gem([right], pair.srf, np.zeros(4), 4.0), right) - 0.1
