"""How far a pixel of the MSI is from what the HSI around it, and the scene's own detail, lead to expect.

Under the prior of the first stage the innovation m - L b̃ of a pixel is normal with covariance L Σ_j Lᵀ + 1, so its squared Mahalanobis
distance has M degrees of freedom. Most pixels of a scene follow that; a few per mille do not: a pool, a car, a roof of a kind that the fit
has hardly seen. Their spectra are extrapolated, and the errors grow with the distance: on scenes with a known truth the squared error over the
claimed variance is 10 to 30 where d² is ten times M. So the variance is scaled by d² / M wherever that exceeds 1: the maximum-likelihood estimate
of a local scale of the covariance, as in a scale mixture of normals (Andrews and Mallows 1974), of which the Student-t is one.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2
from torch import Tensor

from geofuse.response.images import as_like, mix
from geofuse.solve.patch import Observation
from geofuse.solve.posterior import Prior

BY_CHANCE = 1e-4  # share of pixels that chance alone may call far


def innovation_scale(seen: Observation, weights: Tensor, prior: Prior, mixing: np.ndarray) -> Tensor:
    """Squared Mahalanobis distance of every pixel's innovation over its degrees of freedom, shape (H, W); 1 on average, 0 without MSI.

    Parameters
    ----------
    seen : Observation
    weights : Tensor, shape (J, H, W)
        Soft class weights.
    prior : Prior
        Around the upsampled HSI.
    mixing : ndarray, shape (M, K)
    """
    expected = mix(as_like(mixing, seen.m), seen.psf.upsample(seen.y))
    precision = as_like(np.linalg.inv(mixing @ prior.covariance @ mixing.T + np.eye(len(mixing))), seen.m)
    centre = as_like(prior.mean @ mixing.T, seen.m)
    squared = seen.m.new_zeros(seen.m.shape[1:])
    for weight, matrix, mean in zip(weights, precision, centre, strict=True):
        innovation = seen.m - expected - mean[:, None, None]
        squared += weight * (innovation * mix(matrix, innovation)).sum(0)
    squared /= len(mixing)
    return squared if seen.valid is None else squared * seen.valid


def far_limit(bands: int) -> float:
    """`innovation_scale` of so many MSI bands that chance exceeds in one of ten thousand pixels.

    Examples
    --------
    >>> round(far_limit(4), 2)
    5.88
    """
    return float(chi2.ppf(1 - BY_CHANCE, bands) / bands)
