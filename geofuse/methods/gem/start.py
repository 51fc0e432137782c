"""Where the estimator starts: noise levels, subspace and a first prior covariance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geofuse.methods.gem.coordinates import Coordinates
from geofuse.methods.gem.em import symmetric
from geofuse.methods.gem.noise import hsi_noise, msi_noise
from geofuse.methods.gem.observation import Observation
from geofuse.pair.grid import Axis
from geofuse.pair.patch import Patch
from geofuse.pair.psf.weights import cubic_matrix, psf_matrix

# A direction outside the principal subspace is added where a signal in it that is as strong as the HSI's noise changes the MSI by this much of its noise.
SEEN_BY_MSI = 0.15


def start_coordinates(patches: Sequence[Patch], srf: np.ndarray, msi_offset: np.ndarray, rank: int | None = None) -> Coordinates:
    """Noise-whitened subspace of the sample: what rises above the HSI's noise, and what else the MSI sees.

    Fine detail that principal components of the coarse pixels do not hold would be an error of the MSI's model, as large as its noise or larger. So the
    directions in which the MSI looks out of the principal subspace are added to it.

    Parameters
    ----------
    patches : sequence of Patch
    srf : ndarray, shape (M, B)
        Effective spectral response.
    msi_offset : ndarray, shape (M,)
        MSI minus ``srf`` times HSI, reflectance.
    rank : int, optional
        Number of principal components; estimated by default.
    """
    pixels = np.concatenate([p.hsi[:, p.hsi_valid].double().cpu().numpy() for p in patches], axis=1)
    sigma, estimated = hsi_noise(pixels, np.sum([p.measured for p in patches], axis=0))
    mean = pixels.mean(1)
    whitened = (pixels - mean[:, None]) / sigma[:, None]
    _, vector = np.linalg.eigh(whitened @ whitened.T)
    basis = vector[:, ::-1][:, : min(rank or estimated, len(sigma))]
    images = [np.where(p.msi_valid.cpu().numpy(), p.msi.double().cpu().numpy(), np.nan) for p in patches]
    msi_sigma = msi_noise(images)
    basis = np.concatenate([basis, _seen_outside(basis, srf * sigma / msi_sigma[:, None])], axis=1)
    return Coordinates(sigma, mean, basis, basis.T, srf, msi_offset, msi_sigma)


def _seen_outside(basis: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Orthonormal directions outside a subspace (B, K) in which a whitened response (M, B) looks, those that matter; shape (B, at most M)."""
    outside = response - (response @ basis) @ basis.T
    _, singular, right = np.linalg.svd(outside, full_matrices=False)
    return right[singular > SEEN_BY_MSI].T


def detail_covariance(seen: Sequence[Observation], ratio: float) -> np.ndarray:
    """Covariance of what one more step down in resolution takes away from the HSI: a first guess of Σ, shape (K, K)."""
    total, pixels = 0.0, 0
    for s in seen:
        y = s.y.double().cpu().numpy()
        _, h, w = y.shape
        step = int(np.clip(round(ratio), 2, max(2, min(h, w) // 3)))
        axes = [Axis(step, (step - 1) / 2, max(n // step, 1), n) for n in (h, w)]
        blur, up = [psf_matrix(a, step / 2) for a in axes], [cubic_matrix(a) for a in axes]
        detail = (y - up[0] @ (blur[0] @ y @ blur[1].T) @ up[1].T).reshape(len(y), -1)
        total = total + detail @ detail.T
        pixels += detail.shape[1]
    return symmetric(np.asarray(total / pixels))
