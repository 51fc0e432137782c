from __future__ import annotations

import numpy as np
import pytest
import torch

from geofuse.methods.gem.coordinates import Coordinates
from geofuse.methods.gem.estimator import inflate_hsi_noise
from geofuse.methods.gem.observation import encode
from geofuse.methods.gem.start import detail_covariance, start_coordinates
from geofuse.pair.patch import Patch
from tests.pair.psf.test_builder import build
from tests.pairs import bell_responses, made_up_scene, tensor, uncropped

BANDS, RANK, COUNT = 20, 4, 3
RNG = np.random.default_rng(0)


def coordinates() -> Coordinates:
    basis = np.linalg.qr(RNG.normal(size=(BANDS, RANK)))[0]
    sigma, mean = 0.01 + 0.01 * RNG.random(BANDS), RNG.random(BANDS)
    return Coordinates(sigma, mean, basis, basis.T, bell_responses(BANDS, COUNT), RNG.normal(size=COUNT), 0.01 + 0.01 * RNG.random(COUNT))


def test_round_trips() -> None:
    frame = coordinates()
    z = tensor(RNG.normal(size=(RANK, 3, 5)))
    assert frame.rank == RANK
    torch.testing.assert_close(frame.encode_hsi(frame.decode(z)), z)
    spectra = tensor(RNG.random((BANDS, 3, 5)))
    projected = frame.decode(frame.encode_hsi(spectra))
    torch.testing.assert_close(frame.decode(frame.encode_hsi(projected)), projected)


def test_what_they_mean() -> None:
    """A spectrum E z σ + mean, seen by the MSI, is L z in units of the MSI noise; noise of the HSI has variance 1."""
    frame = coordinates()
    z = RNG.normal(size=(RANK, 2, 2))
    spectra = np.tensordot(frame.basis, z, 1) * frame.sigma[:, None, None] + frame.mean[:, None, None]
    np.testing.assert_allclose(frame.decode(tensor(z)).numpy(), spectra)
    msi = np.tensordot(frame.srf, spectra, 1) + frame.msi_offset[:, None, None]
    np.testing.assert_allclose(frame.encode_msi(tensor(msi)).numpy(), np.tensordot(frame.mixing, z, 1), atol=1e-10)
    noise = frame.sigma[:, None, None] * RNG.normal(size=(BANDS, 100, 100))
    encoded = frame.encode_hsi(tensor(noise + frame.mean[:, None, None])).numpy().reshape(RANK, -1)
    np.testing.assert_allclose(encoded @ encoded.T / 1e4, np.eye(RANK), atol=0.06)


def test_rotated_coordinates_describe_the_same_spectra() -> None:
    frame = coordinates()
    forward = RNG.normal(size=(RANK, RANK)) + 3 * np.eye(RANK)
    turned = frame.rotated(forward, np.linalg.inv(forward))
    z = tensor(RNG.normal(size=(RANK, 3, 3)))
    new = torch.tensordot(tensor(forward), z, 1)
    torch.testing.assert_close(turned.decode(new), frame.decode(z))
    torch.testing.assert_close(turned.encode_hsi(frame.decode(z)), new)
    np.testing.assert_allclose(turned.mixing @ forward, frame.mixing)


def test_forgiving_is_noise_inflated_by_the_prior() -> None:
    """In the old coordinates the new white noise is 1 + ρ²Σ, and the prior is what it was."""
    frame, root = coordinates(), RNG.normal(size=(RANK, RANK))
    covariance, rho = root @ root.T, 0.7
    other, inflated = inflate_hsi_noise(frame, covariance, rho)
    back = frame.analysis @ other.basis  # new coefficients to old ones
    np.testing.assert_allclose(back @ back.T, np.eye(RANK) + rho**2 * covariance, atol=1e-10)
    np.testing.assert_allclose(back @ inflated @ back.T, covariance, atol=1e-10)
    same, unchanged = inflate_hsi_noise(frame, covariance, 0.0)
    np.testing.assert_allclose(same.basis, frame.basis, atol=1e-12)
    np.testing.assert_allclose(unchanged, covariance, atol=1e-12)


def patch_of(hsi: np.ndarray, msi: np.ndarray, ratio: int = 4) -> Patch:
    valid = np.isfinite(hsi).all(0), np.isfinite(msi).all(0)
    psf = build(uncropped(valid[0].shape, valid[1].shape, ratio), (ratio / 2,) * 2, valid=valid[0])
    return Patch(tensor(np.nan_to_num(hsi)), tensor(np.nan_to_num(msi)), torch.as_tensor(valid[0]), torch.as_tensor(valid[1]), psf)


def small_scene() -> tuple[np.ndarray, np.ndarray]:
    truth = made_up_scene(BANDS, 64, 64)
    hsi = truth.reshape(BANDS, 16, 4, 16, 4).mean((2, 4)) + 0.003 * RNG.normal(size=(BANDS, 16, 16))
    return hsi, np.tensordot(bell_responses(BANDS, COUNT), truth, 1) + 0.002 * RNG.normal(size=(COUNT, 64, 64))


def test_the_start_holds_the_scene() -> None:
    hsi, msi = small_scene()
    frame = start_coordinates([patch_of(hsi, msi)], bell_responses(BANDS, COUNT), np.zeros(COUNT))
    np.testing.assert_allclose(frame.mean, hsi.mean((1, 2)))
    np.testing.assert_allclose(frame.basis.T @ frame.basis, np.eye(frame.rank), atol=1e-12)
    np.testing.assert_allclose(frame.analysis @ frame.basis, np.eye(frame.rank), atol=1e-12)
    kept = frame.decode(frame.encode_hsi(tensor(hsi))).numpy()
    assert np.sqrt(((kept - hsi) ** 2).mean()) < 0.003  # only noise is left out
    # The leading principal components of the noise-whitened spectra, by an SVD.
    white = (hsi - hsi.mean((1, 2), keepdims=True)).reshape(BANDS, -1) / frame.sigma[:, None]
    left = np.linalg.svd(white, full_matrices=False)[0][:, : frame.rank]
    np.testing.assert_allclose(np.linalg.svd(left.T @ frame.basis)[1], 1, atol=1e-8)


def test_the_start_sees_only_valid_pixels() -> None:
    hsi, msi = small_scene()
    hsi[:, 3:6, 4:9] = np.nan
    msi[:, 30:50, 10:20] = np.nan
    frame = start_coordinates([patch_of(hsi, msi)], bell_responses(BANDS, COUNT), np.zeros(COUNT))
    np.testing.assert_allclose(frame.mean, np.nanmean(hsi, axis=(1, 2)))
    assert np.isfinite(frame.msi_sigma).all()
    patch = patch_of(hsi, msi)
    seen = encode(patch, frame)
    assert torch.isfinite(seen.y).all()
    assert torch.isfinite(seen.m).all()
    hole = ~patch.msi_valid
    # Where the MSI is silent it says what the HSI predicts.
    np.testing.assert_allclose(seen.m[:, hole].numpy(), (tensor(frame.mixing) @ seen.psf.upsample(seen.y)[:, hole]).numpy())


def test_detail_covariance_is_the_detail_of_the_next_scale() -> None:
    """White coefficients: blurring by two pixels of sigma and interpolating leaves some 90 % of their variance as detail."""
    hsi, msi = small_scene()
    frame = start_coordinates([patch_of(hsi, msi)], bell_responses(BANDS, COUNT), np.zeros(COUNT), rank=3)
    seen = encode(patch_of(hsi, msi), frame)
    seen.y = tensor(np.random.default_rng(0).normal(size=(3, 16, 16)) * np.array([1.0, 5.0, 20.0])[:, None, None])
    found = detail_covariance([seen], 4.0)
    assert np.sqrt(np.diag(found)) == pytest.approx([1.0, 5.0, 20.0], rel=0.15)
    assert np.linalg.eigvalsh(found).min() > 0
