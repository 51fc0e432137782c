"""How far a pixel of the MSI is from what the HSI around it, and the scene's own detail, lead to expect.

Under the prior of the first stage the innovation m - L b̃ of a pixel is normal with covariance L Σ_j Lᵀ + 1, so its squared Mahalanobis
distance d² is chi-square with M degrees of freedom. Most pixels of a scene follow that; a few per mille do not: a pool, a car, a roof of a kind that
the fit has hardly seen. Their spectra are extrapolated and their errors are larger: on scenes with a known truth 10 to 30 times the claimed
variance where d² is ten times M. Beyond what chance does to one pixel in ten thousand a pixel is called far, and its variance is scaled by

    1 + (d² - q) / M,     q the 99.99 % quantile,

the excess per degree of freedom, as if the covariance were locally that much larger (a scale mixture of normals, of which the Student-t is one).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2
from torch import Tensor

from geofuse.methods.gem.observation import Observation
from geofuse.methods.gem.posterior import Prior
from geofuse.pair.images import as_like, mix

FAR = 1e-4  # share of pixels that chance alone brings so far


def innovation_distance(seen: Observation, weights: Tensor, prior: Prior, mixing: np.ndarray) -> Tensor:
    """Squared Mahalanobis distance of every pixel's innovation, shape (H, W); 0 where there is no MSI.

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
    return squared if seen.valid is None else squared * seen.valid


def widening(distance: Tensor, bands: int) -> Tensor:
    """Factor of the variance at these squared distances of so many MSI bands, 1 or more."""
    return 1 + (distance - chi2.ppf(1 - FAR, bands)).clamp(min=0) / bands


def is_far(distance: Tensor, bands: int) -> Tensor:
    """Where the distance is beyond what chance does to one pixel in ten thousand."""
    return distance > float(chi2.ppf(1 - FAR, bands))
