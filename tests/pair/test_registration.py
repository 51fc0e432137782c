"""Geometry from the pair: what was put in has to come out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from geofuse.errors import InvalidPair
from geofuse.pair.grid import Window
from geofuse.pair.psf.builder import PsfBuilder
from geofuse.pair.registration import Misfit, Registration, geometric_share, register, unexplained_share
from geofuse.pair.response import estimate_response
from geofuse.pair.scene import Sample
from geofuse.simulate import airy, box, simulate
from tests.pairs import Pair, bell_responses, made_up_scene, on_grids, simulated

PIXEL = 0.05  # wanted accuracy, fine pixels


def made_up(
    ratio: float = 4.0,
    coarse: int = 24,
    shift: tuple[float, float] = (0.4, -0.3),
    sigma: tuple[float, float] | None = None,
    grain: float = 1.5,
    seed: int = 0,
    bands: int = 30,
) -> Pair:
    """A pair whose coarse grid starts somewhere within the first fine pixels."""
    side = round(coarse * ratio)
    truth, first = made_up_scene(bands, side, side, grain=grain, seed=seed), (0.3 * ratio, 0.45 * ratio)
    return simulated(truth, bell_responses(bands, 4), (coarse, coarse), ratio, first=first, shift=shift, sigma=sigma, seed=seed)


@pytest.mark.parametrize("kind", ["qb4", "s2"])
def test_jasper(shared_data: Path, kind: str) -> None:
    pair = on_grids(simulate("jasper", 4, kind, shared_data, shift=(0.4, -0.3)))
    found = register(pair.grids, [pair.sample])
    assert found.shift == pytest.approx((0.4, -0.3), abs=PIXEL)
    assert found.sigma == pytest.approx((2.0, 2.0), abs=PIXEL)
    assert found.unexplained < 0.001
    assert not found.at_limit


@pytest.mark.parametrize(("ratio", "coarse", "grain"), [(1.5, 30, 1.0), (3.7, 24, 1.5), (25 / 3, 24, 3.0), (12.0, 16, 3.0)])
def test_other_ratios(ratio: float, coarse: int, grain: float) -> None:
    pair = made_up(ratio, coarse, grain=grain)
    found = register(pair.grids, [pair.sample])
    assert found.shift == pytest.approx((0.4, -0.3), abs=PIXEL)
    assert found.sigma == pytest.approx((ratio / 2,) * 2, abs=PIXEL)


def test_a_shift_of_most_of_a_coarse_pixel() -> None:
    pair = made_up(shift=(3.3, -2.9))
    found = register(pair.grids, [pair.sample])
    assert found.shift == pytest.approx((3.3, -2.9), abs=PIXEL)
    assert not found.at_limit


def test_a_box_is_told_from_a_gaussian() -> None:
    """A square as wide as a Gaussian at half its height has standard deviations of 2.3548 / √12 of the Gaussian's: 1.36 pixels at ratio 4."""
    pair = on_grids(simulate("berlin", 4, "qb4", Path(), shift=(0.4, -0.3), spread=box))
    found = register(pair.grids, [pair.sample])
    assert found.exponent > 5
    assert found.sigma == pytest.approx((1.36, 1.36), abs=0.1)
    assert found.shift == pytest.approx((0.4, -0.3), abs=2 * PIXEL)
    gaussian = Misfit(pair.grids, [pair.sample])
    assert found.unexplained < 0.5 * min(gaussian(s, s, 0.4, -0.3) for s in (1.4, 1.5, 1.6, 1.7))


def test_heavier_tails() -> None:
    """Exponential ones: an exponent of 1."""
    pair = on_grids(simulate("berlin", 4, "qb4", Path(), spread=lambda y, x: np.exp(-1.4 * (np.abs(y) + np.abs(x)))))
    found = register(pair.grids, [pair.sample])
    assert found.exponent < 1.5
    assert found.cutoff == 0


def test_diffraction() -> None:
    """A round aperture is no product of rows and columns, but its line spread is far nearer than a Gaussian."""
    pair = on_grids(simulate("berlin", 4, "qb4", Path(), shift=(0.4, -0.3), spread=airy))
    found = register(pair.grids, [pair.sample])
    assert found.cutoff > 0.6
    assert found.exponent == 2
    assert found.shift == pytest.approx((0.4, -0.3), abs=2 * PIXEL)
    gaussian = Misfit(pair.grids, [pair.sample])
    assert found.unexplained < 0.75 * min(gaussian(s, s, 0.4, -0.3) for s in (1.7, 1.8, 1.9, 2.0, 2.1))


@pytest.mark.parametrize(("ratio", "kind"), [(4, "qb4"), (4, "s2"), (8, "qb4")])
def test_a_gaussian_is_left_alone(ratio: int, kind: str) -> None:
    pair = on_grids(simulate("berlin", ratio, kind, Path(), shift=(0.4, -0.3)))
    found = register(pair.grids, [pair.sample])
    assert (found.exponent, found.cutoff) == (2, 0)


def test_a_geometry_is_stored_whole() -> None:
    made = Registration((1.5, 1.75), (0.25, -0.5), 0.01, True, exponent=3.5, cutoff=1.25)
    assert Registration.restored(made.values(), None) == made


@pytest.mark.parametrize("sigma", [(1.4, 2.6), (2.8, 1.8)])
def test_an_elongated_psf(sigma: tuple[float, float]) -> None:
    pair = made_up(sigma=sigma)
    found = register(pair.grids, [pair.sample])
    assert found.sigma == pytest.approx(sigma, abs=2 * PIXEL)
    assert found.shift == pytest.approx((0.4, -0.3), abs=PIXEL)


def test_a_round_psf_stays_round() -> None:
    found = register((pair := made_up(seed=3)).grids, [pair.sample])
    assert found.sigma[0] == found.sigma[1]


def test_windows_and_gaps() -> None:
    """Two windows of a larger scene, with clouds in the MSI and dead pixels in the HSI."""
    pair = made_up(coarse=36)
    hsi, msi = pair.hsi.copy(), pair.msi.copy()
    msi[:, 30:47, 20:50] = np.nan
    hsi[:, 20, 5] = hsi[:, 3, 10:14] = np.nan
    nominal = PsfBuilder(pair.grids, (2.0, 2.0))
    samples = []
    for fine in (Window(0, 100, 0, 90), Window(44, 144, 50, 144)):
        coarse = nominal.coarse_window(fine)
        (fr, fc), (cr, cc) = fine.slices, coarse.slices
        samples.append(Sample(hsi[:, cr, cc].astype(np.float32), msi[:, fr, fc].astype(np.float32), fine, coarse))
    found = register(pair.grids, samples)
    assert found.shift == pytest.approx((0.4, -0.3), abs=PIXEL)
    assert found.sigma == pytest.approx((2.0, 2.0), abs=PIXEL)


def test_unrelated_images_are_rejected() -> None:
    pair, other = made_up(seed=0), made_up(seed=1)
    with pytest.raises(InvalidPair, match=r"do not show the same thing: at best \d+ % .* expected more than 50 %.*Check"):
        register(pair.grids, [replace(pair, msi=other.msi).sample])
    noise = np.random.default_rng(0).normal(size=pair.msi.shape)
    with pytest.raises(InvalidPair):
        register(pair.grids, [replace(pair, msi=noise).sample])


def test_too_few_pixels_to_estimate_from() -> None:
    """Six by six: the georeference is kept, and it is said that nothing was estimated."""
    pair = made_up(coarse=6)
    found = register(pair.grids, [pair.sample])
    assert found.sigma == pytest.approx((2.0, 2.0))
    assert found.shift == (0.0, 0.0)
    assert np.isnan(found.unexplained)


def test_a_shift_beyond_the_range_is_reported_or_rejected() -> None:
    """Three coarse pixels: never a confident estimate."""
    pair = made_up(shift=(12.0, 0.0), grain=6.0)
    try:
        found = register(pair.grids, [pair.sample])
    except InvalidPair:
        return
    assert found.at_limit


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 4), components=st.integers(1, 6), seed=st.integers(0, 999))
def test_unexplained_share(rows: int, components: int, seed: int) -> None:
    """Nothing is left of a linear map, all of what has nothing to do with it, and known noise in between."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(components, 3000))
    signal = rng.normal(size=(rows, components)) @ x
    signal /= signal.std(1, keepdims=True)
    noise = rng.normal(size=(rows, 3000))
    assert unexplained_share(x, signal + 7) == pytest.approx(0, abs=1e-12)
    assert unexplained_share(x, noise) == pytest.approx(1, abs=0.02)
    assert unexplained_share(x, signal + noise) == pytest.approx(0.5, abs=0.06)


def test_unexplained_share_is_fair_to_small_samples() -> None:
    rng = np.random.default_rng(0)
    shares = [unexplained_share(rng.normal(size=(8, 24)), rng.normal(size=(3, 24))) for _ in range(300)]
    assert np.mean(shares) == pytest.approx(1, abs=0.05)


def share_of(pair: Pair, geometry: Registration | None = None) -> float:
    """Geometric share at a given geometry, or at the one that registration finds; the response is estimated there."""
    geometry = geometry or register(pair.grids, [pair.sample])
    patch = pair.patch(geometry.sigma, geometry.shift)
    used = patch.psf.observed > 0
    response = estimate_response(patch.hsi[:, used].double().numpy(), patch.psf.forward(patch.msi)[:, used].double().numpy())
    return geometric_share(pair.grids, [pair.sample], geometry, response.matrix, response.offset)


@pytest.mark.parametrize(
    ("sigma", "shift"), [((2.6, 2.6), (0.0, 0.0)), ((1.5, 1.5), (0.0, 0.0)), ((2.0, 2.0), (0.5, 0.3)), ((2.5, 1.7), (0.0, 0.0))]
)
def test_a_wrong_geometry_is_called_geometric(sigma: tuple[float, float], shift: tuple[float, float]) -> None:
    assert share_of(made_up(shift=(0.0, 0.0)), Registration(sigma, shift, 0.0)) > 0.3


def test_a_psf_of_another_shape_is_called_geometric() -> None:
    """One with a wide skirt: registration finds the best of its family, and what is left is still geometry."""
    pair = made_up(shift=(0.0, 0.0))
    pair = simulated(pair.truth, pair.srf, (24, 24), 4.0)
    skirt = simulated(pair.truth, pair.srf, (24, 24), 4.0, sigma=(4.4, 4.4), seed=5)
    assert share_of(replace(pair, hsi=0.8 * pair.hsi + 0.2 * skirt.hsi)) > 0.3


@pytest.mark.parametrize(("patch", "amount"), [(6, 0.1), (20, 0.1), (10, 0.2)])
def test_other_light_is_not_called_geometric(patch: int, amount: float) -> None:
    """A smooth field over the MSI, of 10 and 20 per cent."""
    pair = made_up(shift=(0.0, 0.0))
    field = gaussian_filter(np.random.default_rng(0).normal(size=pair.msi.shape[1:]), patch)
    assert share_of(replace(pair, msi=pair.msi * (1 + amount * field / field.std()))) < 0.25


def test_a_consistent_pair_has_no_geometric_share() -> None:
    assert share_of(made_up(shift=(0.4, -0.3))) < 0.05
