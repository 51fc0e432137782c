"""Pairs that agree, and pairs that were made to contradict each other by a known amount."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from geofuse.methods.gem.consistency import SHARPENING, WARNING_RHO, Consistency, contradiction, harmonised, measure_consistency
from geofuse.methods.gem.coordinates import Coordinates
from geofuse.methods.gem.em import calibrate
from geofuse.methods.gem.observation import Observation, encode
from geofuse.methods.gem.start import detail_covariance, start_coordinates
from tests.pairs import Pair, bell_responses, made_up_scene, simulated


def made_up(seed: int = 0) -> Pair:
    return simulated(made_up_scene(30, 96, 96, seed=seed), bell_responses(30, 4), (24, 24), 4.0, seed=seed)


def other_light(pair: Pair, amount: float, patch: float = 12.0) -> Pair:
    """A smooth field over the MSI, of a relative standard deviation."""
    field = gaussian_filter(np.random.default_rng(7).normal(size=pair.msi.shape[1:]), patch)
    return replace(pair, msi=pair.msi * (1 + amount * field / field.std()))


def calibrated(pair: Pair, sigma: tuple[float, float] | None = None) -> tuple[Observation, Coordinates, np.ndarray]:
    """As the estimator does it before it measures trust."""
    patch = pair.patch(sigma)
    frame = start_coordinates([patch], pair.srf, np.zeros(len(pair.srf)))
    frame, covariance = calibrate([patch], frame, detail_covariance([encode(patch, frame)], 4.0), rounds=10)
    return encode(patch, frame), frame, covariance


def consistency_of(pair: Pair, harmonise: bool = True, sigma: tuple[float, float] | None = None) -> Consistency:
    seen, frame, covariance = calibrated(pair, sigma)
    return measure_consistency([seen], frame, covariance, harmonise)


@pytest.mark.parametrize("seed", range(4))
def test_a_consistent_pair_is_trusted(seed: int) -> None:
    consistency = consistency_of(made_up(seed))
    assert consistency.rho < WARNING_RHO
    assert consistency.left < WARNING_RHO


@pytest.mark.parametrize("sigma", [(1.4, 1.4), (2.8, 2.8)])
def test_a_wrong_psf_raises_the_alarm(sigma: tuple[float, float]) -> None:
    assert consistency_of(made_up(), sigma=sigma).rho > WARNING_RHO


def test_other_light_raises_the_alarm_and_is_measured() -> None:
    consistency = consistency_of(other_light(made_up(), 0.1))
    assert consistency.rho > WARNING_RHO
    # Relative to the band's own root mean square it is the amount that was put in, less what the coarse scale smooths away.
    assert consistency.relative == pytest.approx(np.full(4, 0.1), rel=0.25)
    stronger = consistency_of(other_light(made_up(), 0.2))
    assert stronger.rho > 1.5 * consistency.rho


def test_harmonising_takes_most_of_other_light_away() -> None:
    pair = other_light(made_up(), 0.1)
    seen, frame, covariance = calibrated(pair)
    consistency = measure_consistency([seen], frame, covariance, harmonise=True)
    assert consistency.left < consistency.rho / 2
    moved = harmonised(seen, frame, consistency)
    before, after = (contradiction(s, frame.mixing).square().mean().sqrt() for s in (seen, moved))
    assert after < before / 2
    # And what was done is right: the MSI comes closer to what it was in even light, detail untouched.
    even = frame.encode_msi(torch.as_tensor(made_up().msi, dtype=torch.float32))
    assert float((moved.m - even).square().mean()) < 0.3 * float((seen.m - even).square().mean())
    change = moved.m - seen.m
    rough = change - seen.psf.upsample(seen.psf.forward(change))
    assert float(rough.square().mean()) < 0.05 * float(change.square().mean())


def test_a_geometric_contradiction_is_not_written_into_the_msi() -> None:
    seen, frame, covariance = calibrated(made_up(), sigma=(2.8, 2.8))
    consistency = measure_consistency([seen], frame, covariance, harmonise=False)
    assert not consistency.gain.any()
    assert consistency.left == pytest.approx(consistency.rho)
    assert harmonised(seen, frame, consistency) is seen


def test_contradiction_by_hand() -> None:
    seen, frame, _ = calibrated(made_up())
    seen.psf.observed[3, 4] = 0
    found = contradiction(seen, frame.mixing).numpy()
    expected = np.tensordot(frame.mixing, seen.y.numpy(), 1) - seen.psf.forward(seen.m).numpy()
    expected[:, 3, 4] = 0
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_harmonisation_by_hand() -> None:
    """A constant offset in one band, of which the gain passes on a share: the MSI moves by that share of it."""
    seen, frame, _ = calibrated(made_up())
    gain = np.zeros((4, 4))
    gain[2, 2] = 0.8
    offset = 5 * frame.msi_sigma[2]
    agreeing = replace(seen, y=torch.zeros_like(seen.y), m=torch.zeros_like(seen.m))
    off = replace(agreeing, m=agreeing.m - torch.tensor([0, 0, 5.0, 0])[:, None, None])
    moved = harmonised(off, frame, Consistency(1.0, 0.0, np.zeros(4), gain)).m - off.m
    np.testing.assert_allclose(moved[2].numpy() * frame.msi_sigma[2], 0.8 * offset, rtol=1e-4)
    assert float(moved[[0, 1, 3]].abs().max()) < 1e-6
    # A field that varies from pixel to pixel loses amplitude when it is interpolated; half of the loss is made good.
    wave = torch.zeros_like(seen.y[:1])
    wave[:, ::2] = 1
    psf, expected = seen.psf, 0.8 * wave
    expected = expected + SHARPENING * (expected - psf.forward(psf.upsample(expected)))
    frame_of_one = replace(frame, msi_sigma=np.ones(4), basis=np.eye(30)[:, : frame.rank], srf=np.eye(4, 30), sigma=np.ones(30))
    waving = replace(agreeing, y=torch.cat([torch.zeros_like(seen.y[:2]), wave, torch.zeros_like(seen.y[3:])]))
    found = harmonised(waving, frame_of_one, Consistency(1.0, 0.0, np.zeros(4), gain)).m[2]
    torch.testing.assert_close(found, psf.upsample(expected)[0], atol=1e-5, rtol=0)


def test_rho_is_the_excess_over_the_prior() -> None:
    """Where A m is known and L y is that plus noise of a known size, ρ² is noise over what the prior expects of L z."""
    seen, frame, covariance = calibrated(made_up())
    rng, mixing = np.random.default_rng(0), frame.mixing
    expected = mixing @ covariance @ mixing.T
    rho = 0.5
    # y = 0 and m uniform but for what differs from pixel to pixel: the contradiction is L y with y ~ N(0, 1 + ρ²Σ).
    noise = np.linalg.cholesky(np.eye(len(covariance)) + rho**2 * covariance) @ rng.normal(size=(len(covariance), 24 * 24))
    fine = rng.normal(size=seen.m.shape)
    test = replace(seen, y=torch.as_tensor(noise.reshape(seen.y.shape), dtype=torch.float32), m=torch.as_tensor(fine, dtype=torch.float32))
    found = measure_consistency([test], frame, covariance, harmonise=False)
    assert found.rho == pytest.approx(rho, rel=0.1)
    assert np.trace(expected) > 0


def test_storage() -> None:
    consistency = Consistency(0.1, 0.05, np.arange(3.0), np.eye(3))
    again = Consistency.from_arrays(consistency.arrays())
    assert (again.rho, again.left) == (0.1, 0.05)
    assert np.array_equal(again.gain, consistency.gain)
    assert np.array_equal(again.relative, consistency.relative)
