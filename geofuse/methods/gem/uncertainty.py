"""How far the fused spectra may be off: a standard deviation per pixel and band.

The estimator is Bayesian and knows its posterior covariance in every class. Two things make it too small. The
last stage stands around a mean drawn from the observations themselves and calls itself too certain; the first stands around the
upsampled HSI alone and calls itself too uncertain: the geometric mean of both variances is taken. And a model is only a model: one
factor, found where the truth is known, one resolution step down on the same scene, makes nine tenths of its pixels lie within the
interval that says nine tenths. To that comes what the subspace leaves out, which nothing but the noise of the HSI bounds.

Where the MSI is far from what was to be expected the variance is scaled by how far (`geofuse.methods.gem.innovation`): spectra are extrapolated there.

Where only one image is used, since the other shows a cloud, the variance is that of what remains unknown: of the detail that the HSI does
not resolve, or of all that the scene's spectra may be when their values in the MSI's bands are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from geofuse.methods.gem.em import posterior_covariance
from geofuse.methods.gem.estimator import Gem
from geofuse.methods.gem.posterior import Prior, given_msi
from geofuse.pair.images import as_like, mix
from geofuse.pair.patch import Patch

NOMINAL, NORMAL_QUANTILE = 0.9, 1.6449  # nine tenths of a normal distribution lie within so many standard deviations
# Natural logarithm of the factor: half of what the reduced scene says, which has few pixels and another ratio, and not beyond limits. Intervals that
# are too narrow mislead more than those that are too wide.
WEIGHT_OF_REDUCED, NARROWEST, WIDEST = 0.5, -0.35, 1.5
UNCHECKED = 2.5  # the factor of a scene that is too small to be reduced: its covariance rests on few coarse pixels


@dataclass(frozen=True)
class Uncertainty:
    """Frozen standard deviations.

    Attributes
    ----------
    variance : ndarray, shape (J, B)
        Posterior variance of every class, reflectance squared, before calibration.
    floor : ndarray, shape (B,)
        Variance that the subspace leaves out, reflectance squared.
    hsi_only, msi_only : ndarray, shape (B,)
        Variance where the other image is left out, reflectance squared.
    factor : float
        Calibration of ``variance``.
    """

    variance: np.ndarray
    floor: np.ndarray
    hsi_only: np.ndarray
    msi_only: np.ndarray
    factor: float = 1.0

    def deviation(self, weights: Tensor, valid: Tensor | None = None, known: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
        """Standard deviation, reflectance, shape (B, H, W).

        Parameters
        ----------
        weights : Tensor, shape (J, H, W)
            Soft class weights.
        valid, known : Tensor of bool, shape (H, W), optional
            Pixels where the MSI, and where both images are used; None: all of them.
        factor : Tensor, shape (H, W), optional
            Of the variance where the MSI is far from what was to be expected (see `Gem.widening`).
        """
        total = mix(as_like(self.factor * self.variance.T, weights), weights)
        if factor is not None:
            total *= factor
        if known is not None:
            total = torch.where(known, total, as_like(self.msi_only, total)[:, None, None])
        if valid is not None:
            total = torch.where(valid, total, as_like(self.hsi_only, total)[:, None, None])
        return (total + as_like(self.floor, weights)[:, None, None]).sqrt()

    def arrays(self) -> dict[str, np.ndarray]:
        """All members as arrays, for storage."""
        return {f.name: np.asarray(getattr(self, f.name), float) for f in fields(self)}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> Uncertainty:
        """Undo `arrays`."""
        return Uncertainty(**{name: array for name, array in arrays.items() if name != "factor"}, factor=float(arrays["factor"]))


def posterior_uncertainty(gem: Gem, patches: Sequence[Patch]) -> Uncertainty:
    """What the estimator itself says, not yet calibrated.

    Parameters
    ----------
    gem : Gem
        Fitted on ``patches``, or on others of the scene.
    patches : sequence of Patch
    """
    seen = [gem.observe(p) for p in patches]
    coordinates = gem.coordinates
    synthesis = coordinates.basis * coordinates.sigma[:, None]

    def of_bands(covariance: np.ndarray) -> np.ndarray:
        return np.einsum("bk,kl,bl->b", synthesis, covariance, synthesis)

    def variances(stage: int) -> np.ndarray:
        inside = given_msi(gem.stages[stage].prior, coordinates.mixing).covariance
        return np.stack([of_bands(posterior_covariance(c, seen)) for c in inside])

    detail = gem.stages[0].prior.pooled
    scene = Prior.single(detail + _covariance([s.y[:, s.psf.observed > 0] for s in seen]))
    return Uncertainty(
        np.sqrt(variances(0) * variances(-1)),
        coordinates.sigma**2,
        hsi_only=of_bands(posterior_covariance(detail, seen)),
        msi_only=of_bands(given_msi(scene, coordinates.mixing).covariance[0]),
    )


def _covariance(samples: Sequence[Tensor]) -> np.ndarray:
    """Of coefficients (K, n) of all patches, shape (K, K)."""
    return np.cov(torch.cat(list(samples), 1).double().cpu().numpy())


def calibration(gem: Gem, patch: Patch, fused: np.ndarray, truth: np.ndarray, noise: np.ndarray) -> float:
    """Factor of the variance with which nominal intervals hold what they promise on a scene whose truth is known.

    Parameters
    ----------
    gem : Gem
        Fitted on the reduced scene.
    patch : Patch
        The reduced scene.
    fused, truth : ndarray, shape (B, H, W)
        Reflectance; NaN where unknown.
    noise : ndarray, shape (B,)
        Standard deviation of the truth's own noise, reflectance.
    """
    own = posterior_uncertainty(gem, [patch])
    seen = gem.observe(patch)
    weights = gem.weights(seen)
    claimed = own.deviation(weights, factor=gem.widening(seen, weights))
    variance = claimed.square().double().cpu().numpy() - own.floor[:, None, None]
    error = (fused - truth) ** 2
    known = np.isfinite(error)
    error, variance, floor = error[known], variance[known], np.broadcast_to(noise[:, None, None] ** 2, error.shape)[known]

    def excess(log_factor: float) -> float:
        return float((error < NORMAL_QUANTILE**2 * (np.exp(log_factor) * variance + floor)).mean()) - NOMINAL

    low, high = NARROWEST / WEIGHT_OF_REDUCED, WIDEST / WEIGHT_OF_REDUCED
    if excess(low) >= 0 or excess(high) <= 0:
        return float(np.exp(NARROWEST if excess(low) >= 0 else WIDEST))
    return float(np.exp(WEIGHT_OF_REDUCED * brentq(excess, low, high, xtol=1e-3)))
