"""Expectation-maximisation: prior covariances and MSI noise from the two images themselves.

Each round solves for the MAP image and sets every covariance to the scatter of that image around its prior mean plus the
posterior covariance, which keeps the prior from shrinking to the solution at hand. Posterior covariances use the
spectrum of AAᵀ: of the N fine pixels, as many combinations as there are coarse pixels are seen by the HSI, the others not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.gem.blends import ALIKE
from geofuse.methods.gem.coordinates import Coordinates
from geofuse.methods.gem.noise import FLOOR, MIN_RELATIVE_MSI_NOISE
from geofuse.methods.gem.observation import Observation, encode
from geofuse.methods.gem.posterior import GivenMsi, Prior, Solution, given_msi, solve
from geofuse.pair.images import as_like, mix
from geofuse.pair.patch import Patch

JITTER = 1e-3
FIT_TOLERANCE = 1e-3


def calibrate(
    patches: Sequence[Patch], coordinates: Coordinates, covariance: np.ndarray, rounds: int, held: int = 0
) -> tuple[Coordinates, np.ndarray]:
    """Homogeneous EM for the prior covariance and the MSI noise.

    Parameters
    ----------
    patches : sequence of Patch
        Sample of the scene.
    coordinates : Coordinates
        Starting coordinates; their ``msi_sigma`` is refined.
    covariance : ndarray, shape (K, K)
        Starting prior covariance.
    rounds : int
    held : int
        Of these, so many first rounds leave the noise as it is: what a covariance that is still too small does not explain is no noise, and noise
        that has grown stays large.

    Returns
    -------
    Coordinates, ndarray of shape (K, K)
    """
    counts = [float(p.msi_valid.sum()) for p in patches]
    level = np.sqrt(sum(n * mean_square(p.msi, p.msi_valid) for n, p in zip(counts, patches, strict=True)) / sum(counts))
    lowest = np.maximum(MIN_RELATIVE_MSI_NOISE * level, FLOOR)
    seen = [encode(p, coordinates) for p in patches]
    bases = [s.psf.upsample(s.y) for s in seen]
    for number in range(rounds):
        mixing = coordinates.mixing
        prior = Prior.single(covariance)
        given = given_msi(prior, mixing)
        inside = posterior_covariance(given.covariance[0], seen)
        scatter, residual, pixels = np.zeros_like(covariance), np.zeros(len(mixing)), 0
        for s, base in zip(seen, bases, strict=True):
            z = solve(s, base, torch.ones_like(base[:1]), prior, mixing, tolerance=FIT_TOLERANCE).z
            scatter = scatter + second_moment(s.masked(z - base))
            residual = residual + s.masked(s.m - mix(as_like(mixing, z), z)).square().sum((1, 2)).double().cpu().numpy()
            pixels += s.known_pixels
        covariance = symmetric(scatter / pixels + inside)
        if number < held:
            continue
        variance = residual / pixels + np.einsum("mk,kl,ml->m", mixing, inside, mixing)
        factor = np.maximum(np.sqrt(variance), lowest / coordinates.msi_sigma)
        coordinates = coordinates.with_msi_sigma(coordinates.msi_sigma * factor)
        seen = [replace(s, m=s.m / as_like(factor, s.m)[:, None, None]) for s in seen]
    return coordinates, covariance


def refine_classes(
    seen: Sequence[Observation],
    bases: Sequence[Tensor],
    weights: Sequence[Tensor],
    prior: Prior,
    mixing: np.ndarray,
    rounds: int,
    shrinkage: float,
) -> tuple[Prior, list[Solution]]:
    """Class-wise EM for covariances and means around given prior mean images.

    Parameters
    ----------
    seen, bases, weights : sequences
        Per patch: observation, prior mean image (K, H, W), soft class weights (J, H, W).
    prior : Prior
        Starting prior; its classes are refined.
    mixing : ndarray, shape (M, K)
    rounds : int
    shrinkage : float
        Pixels' worth of the pooled statistics that every class is given.

    Returns
    -------
    Prior, list of Solution
        The refined prior, and the MAP estimate of every patch under it.
    """
    starts: list[Tensor | None] = [None] * len(seen)

    def solve_all() -> list[Solution]:
        inputs = zip(seen, bases, weights, starts, strict=True)
        return [solve(s, b, w, prior, mixing, tolerance=FIT_TOLERANCE, alike=ALIKE, start=x) for s, b, w, x in inputs]

    for _ in range(rounds):
        given = given_msi(prior, mixing)
        solutions = solve_all()
        starts = [s.x for s in solutions]
        deviations = [s.z - b for s, b in zip(solutions, bases, strict=True)]
        prior = _update(prior, given, deviations, weights, seen, shrinkage)
    return prior, solve_all()


def _update(
    prior: Prior,
    given: GivenMsi,
    deviations: list[Tensor],
    weights: Sequence[Tensor],
    seen: Sequence[Observation],
    shrinkage: float,
) -> Prior:
    classes = len(prior.covariance)
    weights = [s.masked(w) for s, w in zip(seen, weights, strict=True)]
    count = sum(w.sum((1, 2)).double().cpu().numpy() for w in weights)
    count = np.maximum(count, 1e-6)
    means, scatters = [], []
    for j in range(classes):
        total = sum((w[j] * d).sum((1, 2)).double().cpu().numpy() for d, w in zip(deviations, weights, strict=True))
        mean = total / (count[j] + shrinkage)
        moment = sum(second_moment(d - as_like(mean, d)[:, None, None], w[j]) for d, w in zip(deviations, weights, strict=True))
        means.append(mean)
        scatters.append(moment / count[j] + posterior_covariance(given.covariance[j], seen))
    scatter = np.stack(scatters)
    pooled = np.tensordot(count, scatter, 1) / count.sum()
    blend = (count / (count + shrinkage))[:, None, None]
    covariance = np.stack([symmetric(c) for c in blend * scatter + (1 - blend) * pooled])
    return Prior(covariance, np.stack(means), count / count.sum())


def posterior_covariance(given_covariance: np.ndarray, seen: Sequence[Observation]) -> np.ndarray:
    """Mean posterior covariance over the pixels of all patches, when each pixel's covariance given the MSI is known."""
    value, vector = np.linalg.eigh(given_covariance)
    value = np.maximum(value, 0)
    pixels = sum(s.pixels for s in seen)
    spectrum = np.concatenate([s.psf.spectrum.double().cpu().numpy().ravel() for s in seen])
    left = (value[:, None] / (1 + spectrum[None] * value[:, None])).sum(1)
    return (vector * (((pixels - len(spectrum)) * value + left) / pixels)) @ vector.T


def second_moment(image: Tensor, weight: Tensor | None = None) -> np.ndarray:
    """Σ w d dᵀ over pixels, shape (K, K), in float64 on the host."""
    flat = image.flatten(1)
    right = flat if weight is None else flat * weight.flatten()
    return (right @ flat.T).double().cpu().numpy()


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """The symmetric part, kept away from singular."""
    return (matrix + matrix.T) / 2 + JITTER * np.eye(len(matrix))


def mean_square(image: Tensor, valid: Tensor) -> np.ndarray:
    """Mean square of every channel over valid pixels, shape (channels,)."""
    count = max(float(valid.sum()), 1.0)
    return (image.square() * valid).sum((1, 2)).double().cpu().numpy() / count
