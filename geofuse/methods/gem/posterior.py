"""The MAP estimate under a class-wise Gaussian prior.

Per fine pixel the prior is N(b̃, Σ_j) in class j, around one mean b̃ = b + Σ_j w_j μ_j. Conditioning on the MSI is local to the pixel,
and soft class weights w blend its outcome, C = Σ_j w_j C_j; conditioning on the HSI couples pixels through the PSF and is solved on
the *coarse* grid:

    C_j = Σ_j - Σ_j Lᵀ (L Σ_j Lᵀ + 1)⁻¹ L Σ_j          posterior covariance given the MSI
    t   = b̃ + Σ_j w_j C_j Lᵀ (m - L b̃)                 posterior mean given the MSI
    (A C Aᵀ + 1) x = y - A t                            one unknown per coarse pixel and component
    z   = t + C Aᵀ x

With one class the coarse system is diagonalised exactly (Wei, Dobigeon and Tourneret 2015, doi:10.1109/TIP.2015.2458572);
with several, conjugate gradients converge in a few steps with that solution as preconditioner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.gem.blends import Covariances, blend, class_mix
from geofuse.methods.gem.observation import Observation
from geofuse.pair.images import as_like, mix
from geofuse.pair.psf.builder import Psf

Linear = Callable[[Tensor], Tensor]
MAX_ITERATIONS = 60


@dataclass(frozen=True)
class Prior:
    """Class-wise Gaussian prior of the deviation from the prior mean image.

    Attributes
    ----------
    covariance : ndarray, shape (J, K, K)
    mean : ndarray, shape (J, K)
    share : ndarray, shape (J,)
        Share of the scene's pixels in each class.
    """

    covariance: np.ndarray
    mean: np.ndarray
    share: np.ndarray

    @staticmethod
    def single(covariance: np.ndarray) -> Prior:
        """One class without mean: the homogeneous prior."""
        return Prior(covariance[None], np.zeros((1, len(covariance))), np.ones(1))

    @property
    def pooled(self) -> np.ndarray:
        """Share-weighted mean covariance, shape (K, K)."""
        return np.tensordot(self.share, self.covariance, 1)


@dataclass(frozen=True)
class GivenMsi:
    """The prior conditioned on the MSI: ``gain`` (J, K, M), ``covariance`` (J, K, K), and the pooled covariance's eigenpairs."""

    gain: np.ndarray
    covariance: np.ndarray
    value: np.ndarray
    vector: np.ndarray


def given_msi(prior: Prior, mixing: np.ndarray) -> GivenMsi:
    """Condition every class on the MSI; all matrices are K × K or smaller."""
    projected = mixing @ prior.covariance
    innovation = projected @ mixing.T + np.eye(len(mixing))
    gain = np.linalg.solve(innovation, projected).transpose(0, 2, 1)
    covariance = prior.covariance - gain @ projected
    covariance = (covariance + covariance.transpose(0, 2, 1)) / 2
    value, vector = np.linalg.eigh(np.tensordot(prior.share, covariance, 1))
    return GivenMsi(gain, covariance, np.maximum(value, 1e-9), vector)


@dataclass
class Solution:
    """MAP estimate ``z`` (K, H, W), the coarse dual ``x`` (K, h, w) that explains it, and the iterations it took."""

    z: Tensor
    x: Tensor
    iterations: int


def solve(
    seen: Observation,
    base: Tensor,
    weights: Tensor,
    prior: Prior,
    mixing: np.ndarray,
    *,
    tolerance: float = 1e-5,
    alike: float = 0.0,
    start: Tensor | None = None,
) -> Solution:
    """MAP estimate of one patch.

    Parameters
    ----------
    seen : Observation
        Whitened observations.
    base : Tensor, shape (K, H, W)
        Prior mean image b.
    weights : Tensor, shape (J, H, W)
        Soft class weights, summing to 1 over classes.
    prior : Prior
    mixing : ndarray, shape (M, K)
    tolerance : float
        Relative residual at which conjugate gradients stop.
    alike : float
        Differences between the covariances of the classes that are ignored (see `Covariances.split`).
    start : Tensor, optional
        Dual of an earlier, similar solve.
    """
    given = given_msi(prior, mixing)
    covariances = Covariances.split(given.covariance, prior.share, alike, base)
    pooled, value, vector = (as_like(a, base) for a in (prior.pooled, given.value, given.vector))
    psf, valid = seen.psf, seen.valid

    def covary(image: Tensor, rows: slice = slice(None)) -> Tensor:
        mixed = covariances(weights[:, rows], image)
        return mixed if valid is None else torch.where(valid[rows], mixed, mix(pooled, image))  # without MSI nothing was learned from it

    def system(v: Tensor) -> Tensor:
        if valid is not None:
            return psf.sandwich(v, covary) + v
        # What the classes share needs no fine pixel.
        apart = psf.sandwich(mix(covariances.axes.T, v), lambda image, rows: class_mix(weights[:, rows], covariances.parts, image))
        return mix(covariances.common, psf.square(v)) + mix(covariances.axes, apart) + v

    precondition = _direct(psf, value, vector)
    if valid is not None:
        precondition = _between(precondition, _direct(psf, *torch.linalg.eigh(pooled)), psf.forward(valid[None].to(base.dtype)).clamp(0, 1))
    centre = _condition(seen, base, weights, as_like(prior.mean, base), as_like(given.gain, base), mixing)
    target = seen.y * psf.observed - psf.forward(centre)
    x, iterations = conjugate_gradients(system, precondition, target, tolerance, start)
    return Solution(centre.add_(covary(psf.adjoint(x))), x, iterations)


def expected_given_msi(seen: Observation, weights: Tensor, prior: Prior, mixing: np.ndarray) -> Tensor:
    """Posterior mean given the MSI alone, around the upsampled HSI, shape (K, H, W)."""
    base = seen.psf.upsample(seen.y)
    return _condition(seen, base, weights, as_like(prior.mean, base), as_like(given_msi(prior, mixing).gain, base), mixing)


def _condition(seen: Observation, base: Tensor, weights: Tensor, mean: Tensor, gain: Tensor, mixing: np.ndarray) -> Tensor:
    centre = blend(weights, mean).add_(base)
    centre += class_mix(weights, gain, seen.m - mix(as_like(mixing, base), centre))
    return centre if seen.valid is None else torch.where(seen.valid, centre, base)


def _direct(psf: Psf, value: Tensor, vector: Tensor) -> Linear:
    """Solution of the coarse system for one class, whose covariance has these eigenpairs."""

    def apply(v: Tensor) -> Tensor:
        return mix(vector, psf.inverse(mix(vector.T, v), value.clamp(min=0)))

    return apply


def _between(one: Linear, other: Linear, share: Tensor) -> Linear:
    """Blend of two symmetric operators that is symmetric again; ``share`` (1, h, w) of the first."""
    left, right = share.sqrt(), (1 - share).sqrt()

    def apply(v: Tensor) -> Tensor:
        return left * one(left * v) + right * other(right * v)

    return apply


def conjugate_gradients(
    system: Linear, precondition: Linear, target: Tensor, tolerance: float, start: Tensor | None = None
) -> tuple[Tensor, int]:
    """Preconditioned conjugate gradients for a symmetric positive definite ``system``; returns solution and iterations."""
    x = precondition(target) if start is None else start.clone()
    residual = target - system(x)
    limit = tolerance * float(target.norm()) + 1e-12
    direction, previous = None, 1.0
    for iteration in range(MAX_ITERATIONS):
        if float(residual.norm()) <= limit:
            return x, iteration
        scaled = precondition(residual)
        product = float((residual * scaled).sum())
        direction = scaled if direction is None else scaled + (product / previous) * direction
        previous = product
        image = system(direction)
        step = product / float((direction * image).sum())
        x = x + step * direction
        residual = residual - step * image
    return x, MAX_ITERATIONS
