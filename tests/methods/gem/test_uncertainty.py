"""Standard deviations: against sampled errors, and against the errors that are really made."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from geofuse import api
from geofuse.methods.gem.estimator import Gem, fit_closed_form, fit_gem
from geofuse.methods.gem.uncertainty import NARROWEST, WIDEST, Uncertainty, calibration, posterior_uncertainty
from geofuse.simulate import TROUBLES, cloud, cubes, simulate
from tests.pairs import Pair, bell_responses, made_up_scene, simulated


@cache
def made_up() -> tuple[Pair, Gem]:
    pair = simulated(made_up_scene(40, 96, 96), bell_responses(40, 4), (24, 24), 4.0)
    with torch.no_grad():
        return pair, fit_gem([pair.patch()], pair.srf, np.zeros(4), 4.0)


def test_classes_are_mixed_by_their_weights() -> None:
    rng = np.random.default_rng(0)
    variance, floor = rng.uniform(1, 2, (3, 5)), rng.uniform(0, 1, 5)
    weights = rng.dirichlet(np.ones(3), (4, 6)).transpose(2, 0, 1)
    hsi_only, msi_only = rng.uniform(2, 3, 5), rng.uniform(3, 4, 5)
    valid, known = (torch.ones(4, 6, dtype=torch.bool) for _ in range(2))
    valid[2:], known[1:] = False, False  # the last two rows: HSI only; the one above: MSI only
    found = Uncertainty(variance, floor, hsi_only, msi_only, 2.5).deviation(torch.as_tensor(weights), valid, known)
    for row, col, band in ((0, 0, 0), (0, 5, 4), (1, 2, 3), (3, 5, 4)):
        both = sum(2.5 * variance[j, band] * weights[j, row, col] for j in range(3))
        expected = [both, msi_only[band], hsi_only[band], hsi_only[band]][row] + floor[band]
        assert float(found[band, row, col]) == pytest.approx(math.sqrt(expected))


def test_with_one_image_the_variance_is_that_of_a_regression() -> None:
    """Of the truth on the one image, over the scene: not of this estimator, which knows neither when it claims it."""
    pair, gem = made_up()
    with torch.no_grad():
        patch = pair.patch()
        claimed = posterior_uncertainty(gem, [patch])
        upsampled = patch.psf.upsample(patch.hsi).numpy()
    truth = pair.truth.reshape(len(pair.truth), -1)
    given_hsi = (truth - upsampled.reshape(truth.shape)).var(1)
    design = np.vstack([pair.msi.reshape(len(pair.msi), -1), np.ones(truth.shape[1])]).T
    given_msi = (truth.T - design @ np.linalg.lstsq(design, truth.T, rcond=None)[0]).var(0)
    for found, expected in ((claimed.hsi_only, given_hsi), (claimed.msi_only, given_msi)):
        assert 0.5 < found.sum() / expected.sum() < 2


ONE_CLOUD = ("la", "qb4", "MSI")


@pytest.mark.parametrize(
    ("name", "kind", "image"),
    [
        pytest.param(*case, marks=() if case == ONE_CLOUD else pytest.mark.slow)
        for case in itertools.product(("jasper", "la", "ip"), ("qb4", "s2"), ("MSI", "HSI"))
    ],
)
@pytest.mark.slow
def test_under_a_cloud_intervals_are_wide(name: str, kind: str, image: str, shared_data: Path) -> None:
    """With the variance of pixels that both images show it is 18 to 41 % under a cloud in the MSI on Jasper Ridge and LA."""
    case = TROUBLES[f"cloud in the {image}"].pair(name, 4, kind, shared_data)
    made = api.fuse(*cubes(case), method="gem", progress=False, uncertainty=True)
    covered = cloud(case) > 0.5
    error = np.abs(case.truth - made.reflectance.values)[:, covered]
    assert (error < 1.6449 * made.uncertainty.values[:, covered]).mean() > 0.7


@pytest.mark.parametrize("times", [0.6, 1.0, 4.0])
def test_calibration_finds_half_the_way_to_the_true_factor(times: float) -> None:
    """Errors drawn with ``times`` the variance that the estimator claims: its logarithm counts by half."""
    pair, gem = made_up()
    patch = pair.patch()
    own = posterior_uncertainty(gem, [patch])
    noise = np.sqrt(own.floor)
    with torch.no_grad():
        variance = own.deviation(gem.weights(gem.observe(patch))).square().numpy() - own.floor[:, None, None]
    rng = np.random.default_rng(0)
    error = rng.normal(size=variance.shape) * np.sqrt(times * variance + own.floor[:, None, None])
    error[:, :5] = np.nan  # what is not known does not count
    with torch.no_grad():
        factor = calibration(gem, patch, pair.truth + error, pair.truth, noise)
    assert factor == pytest.approx(math.sqrt(times), rel=0.1)


def test_calibration_has_limits() -> None:
    pair, gem = made_up()
    with torch.no_grad():
        for error, expected in ((0.0, math.exp(NARROWEST)), (1e3, math.exp(WIDEST))):
            found = calibration(gem, pair.patch(), pair.truth + error, pair.truth, np.zeros(40))
            assert found == pytest.approx(expected)


@pytest.mark.parametrize("fit", [fit_gem, fit_closed_form])
def test_larger_where_errors_are_larger(fit: Callable[..., Gem]) -> None:
    """From band to band and from place to place, on a scene that is easier here than there."""
    pair, _ = made_up()
    patch = pair.patch()
    with torch.no_grad():
        gem = fit([patch], pair.srf, np.zeros(4), 4.0)
        claimed = posterior_uncertainty(gem, [patch]).deviation(gem.weights(gem.observe(patch))).numpy()
        error = np.abs(gem.coordinates.decode(gem.apply(patch)).numpy() - pair.truth)
    assert np.corrcoef(np.log(error.mean((1, 2))), np.log(claimed.mean((1, 2))))[0, 1] > 0.6
    order = np.argsort(claimed, axis=None)
    fifth = len(order) // 5
    assert error.flat[order[-fifth:]].mean() > 1.3 * error.flat[order[:fifth]].mean()


def test_storage() -> None:
    pair, gem = made_up()
    with torch.no_grad():
        found = posterior_uncertainty(gem, [pair.patch()])
    again = Uncertainty.from_arrays(found.arrays())
    weights = torch.rand(len(found.variance), 4, 4)
    assert torch.equal(again.deviation(weights), found.deviation(weights))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jasper", "la", "ip"])
@pytest.mark.parametrize("ratio", [4, 8])
@pytest.mark.parametrize("kind", ["qb4", "s2"])
def test_nine_tenths_hold_nine_tenths(shared_data: Path, name: str, ratio: int, kind: str) -> None:
    """Everything estimated, through the front door; the promise is 80 to 95 % on every scene."""
    case = simulate(name, ratio, kind, shared_data, shift=(0.4, -0.3))
    made = api.fuse(*cubes(case), method="gem", progress=False, uncertainty=True)
    error = np.abs(case.truth - made.reflectance.values)
    known = np.isfinite(error)
    assert 0.8 <= (error < 1.6449 * made.uncertainty.values)[known].mean() <= 0.95
