"""The signal subspace of the coarse image, which HySure works in and which detail injection is cleaned with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from geofuse.methods.gem.noise import hsi_noise
from geofuse.pair.images import as_like, mix


@dataclass(frozen=True)
class Subspace:
    """Principal components of the spectra, their bands divided by the bands' noise.

    Attributes
    ----------
    mean, sigma : ndarray, shape (B,)
        Mean spectrum and noise standard deviation, reflectance.
    vectors : ndarray, shape (B, K)
        Orthonormal, in units of ``sigma``.
    deviation : ndarray, shape (K,)
        Standard deviation of the scene along each of them, in units of its noise.
    """

    mean: np.ndarray
    sigma: np.ndarray
    vectors: np.ndarray
    deviation: np.ndarray

    def project(self, image: Tensor) -> Tensor:
        """What the subspace holds of an image (B, H, W)."""
        mean, sigma, vectors = (as_like(a, image) for a in (self.mean, self.sigma, self.vectors))
        whitened = (image - mean[:, None, None]) / sigma[:, None, None]
        return mix(sigma[:, None] * vectors, mix(vectors.T, whitened)) + mean[:, None, None]


def signal_subspace(hsi: Tensor, rank: int | None = None) -> Subspace:
    """Find the subspace of an image.

    Parameters
    ----------
    hsi : Tensor, shape (B, h, w)
        Reflectance, without gaps.
    rank : int, optional
        K; by default as many components as rise above the noise.

    Examples
    --------
    >>> import torch
    >>> found = signal_subspace(torch.rand(5, 8, 8), rank=2)
    >>> found.vectors.shape, found.deviation.shape
    ((5, 2), (2,))
    """
    pixels = hsi.flatten(1).double().cpu().numpy()
    sigma, estimated = hsi_noise(pixels)
    mean = pixels.mean(1)
    whitened = (pixels - mean[:, None]) / sigma[:, None]
    value, vector = np.linalg.eigh(whitened @ whitened.T / whitened.shape[1])
    count = min(rank or estimated, len(value))
    floor = 1e-12 * max(float(value[-1]), 1.0)  # a scene without any contrast has components of length zero
    return Subspace(mean, sigma, vector[:, ::-1][:, :count], np.sqrt(np.maximum(value[::-1][:count], floor)))


def denoise(fused: Tensor, hsi: Tensor) -> Tensor:
    """Project a fused image on the signal subspace of the HSI that it was made of.

    Detail injection hands on the HSI's noise, band by band; Yokoya, Grohnfeldt and Chanussot 2017 (doi:10.1109/MGRS.2016.2637824) clean its
    results before they compare them with methods that work in a subspace from the start.

    Parameters
    ----------
    fused : Tensor, shape (B, H, W)
        Reflectance.
    hsi : Tensor, shape (B, h, w)
        Reflectance, without gaps.

    Returns
    -------
    Tensor, shape (B, H, W)
    """
    return signal_subspace(hsi).project(fused)
