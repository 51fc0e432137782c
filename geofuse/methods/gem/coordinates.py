"""Noise-whitened subspace coordinates: the frame in which the estimator works.

In these coordinates the HSI noise is white with variance 1, the MSI noise has variance 1 in every band, and a spectrum
is a vector of K coefficients z around the scene's mean:

    coarse pixel   y = A z + n       n ~ N(0, 1)
    fine pixel     m = L z + e       e ~ N(0, 1)
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from torch import Tensor

from geofuse.pair.images import as_like, mix


@dataclass(frozen=True)
class Coordinates:
    """The frozen change of coordinates.

    Attributes
    ----------
    sigma : ndarray, shape (B,)
        Noise standard deviation of the HSI bands, reflectance.
    mean : ndarray, shape (B,)
        Mean spectrum, reflectance.
    basis : ndarray, shape (B, K)
        Subspace, in units of ``sigma``.
    analysis : ndarray, shape (K, B)
        Left inverse of ``basis``.
    srf : ndarray, shape (M, B)
        Effective spectral response of the MSI bands.
    msi_offset : ndarray, shape (M,)
        Constant difference MSI minus ``srf`` times HSI, reflectance.
    msi_sigma : ndarray, shape (M,)
        Noise standard deviation of the MSI bands, reflectance.
    """

    sigma: np.ndarray
    mean: np.ndarray
    basis: np.ndarray
    analysis: np.ndarray
    srf: np.ndarray
    msi_offset: np.ndarray
    msi_sigma: np.ndarray

    @property
    def rank(self) -> int:
        """K, the number of coefficients."""
        return self.basis.shape[1]

    @property
    def mixing(self) -> np.ndarray:
        """L, shape (M, K): what the coefficients contribute to the MSI bands, in units of their noise."""
        return (self.srf * self.sigma) @ self.basis / self.msi_sigma[:, None]

    def encode_hsi(self, hsi: Tensor) -> Tensor:
        """Reflectance (B, h, w) to coefficients (K, h, w)."""
        analysis = as_like(self.analysis / self.sigma, hsi)
        return mix(analysis, hsi) - (analysis @ as_like(self.mean, hsi))[:, None, None]

    def encode_msi(self, msi: Tensor) -> Tensor:
        """Reflectance (M, H, W) to whitened deviations from the mean spectrum (M, H, W)."""
        centre = self.srf @ self.mean + self.msi_offset
        return (msi - as_like(centre, msi)[:, None, None]) / as_like(self.msi_sigma, msi)[:, None, None]

    def decode(self, coefficients: Tensor) -> Tensor:
        """Coefficients (K, H, W) to reflectance (B, H, W)."""
        synthesis = self.basis * self.sigma[:, None]
        return mix(as_like(synthesis, coefficients), coefficients).add_(as_like(self.mean, coefficients)[:, None, None])

    def rotated(self, forward: np.ndarray, backward: np.ndarray) -> Coordinates:
        """Coordinates in which the new coefficients are ``forward`` times the old ones."""
        return replace(self, basis=self.basis @ backward, analysis=forward @ self.analysis)

    def with_msi_sigma(self, msi_sigma: np.ndarray) -> Coordinates:
        """The same subspace with other MSI noise levels."""
        return replace(self, msi_sigma=msi_sigma)

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name, for storage."""
        return {f.name: getattr(self, f.name) for f in fields(self)}
