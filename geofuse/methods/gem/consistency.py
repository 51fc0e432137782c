"""How far the two images contradict each other, and which one decides.

Seen through the other's operator both images should be the same: L y ≈ A m up to noise. What is left beyond noise is measured by

    ρ² = excess variance of L y - A m, relative to the prior variance tr(L Σ Lᵀ).

ρ near zero: the pair is consistent. ρ above 0.05: the geometry is wrong, or the sensors saw different things. The HSI is then
taken for radiometry and the MSI for detail: the MSI is *harmonised* by a smooth field that carries the significant part
of the contradiction, and the HSI noise is inflated by what contradiction remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from torch import Tensor

from geofuse.methods.gem.coordinates import Coordinates
from geofuse.methods.gem.observation import Observation
from geofuse.pair.images import as_like, mix

WARNING_RHO = 0.05
# Interpolation passes on only part of a field that varies from pixel to pixel; this share of the loss is made good. Making good all
# of it (1.0) brings the fused radiometry from 2.6 % to 2.1 % of the HSI on the Berlin pair, but writes more of the contradiction
# into the MSI's detail (11.1 % to 12.4 %); see docs/explanation/consistency.md.
SHARPENING = 0.5


@dataclass(frozen=True)
class Consistency:
    """Frozen verdict on the pair.

    Attributes
    ----------
    rho : float
        Contradiction before harmonisation, relative to the detail that the prior expects.
    left : float
        The same after it: what inflates the HSI noise.
    relative : ndarray, shape (M,)
        Root mean square of the contradiction per MSI band, relative to the band's own.
    gain : ndarray, shape (M, M)
        Share of the contradiction (in reflectance) that is significant; the MSI is changed by its smooth interpolation.
    """

    rho: float
    left: float
    relative: np.ndarray
    gain: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """All members as arrays, for storage."""
        return {f.name: np.asarray(getattr(self, f.name), float) for f in fields(self)}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> Consistency:
        """Undo `arrays`."""
        return Consistency(float(arrays["rho"]), float(arrays["left"]), arrays["relative"], arrays["gain"])


def contradiction(seen: Observation, mixing: np.ndarray) -> Tensor:
    """L y - A m in units of the MSI noise, shape (M, h, w); zero where one of them holds no data, and in bands that the HSI does not see."""
    compared = as_like(mixing.any(1).astype(float), seen.y)[:, None, None]
    return (mix(as_like(mixing, seen.y), seen.y) - seen.psf.forward(seen.m)) * seen.complete * compared


def measure_consistency(seen: Sequence[Observation], coordinates: Coordinates, covariance: np.ndarray, harmonise: bool) -> Consistency:
    """Compare the images of a sample.

    Parameters
    ----------
    seen : sequence of Observation
        Not yet harmonised.
    coordinates : Coordinates
    covariance : ndarray, shape (K, K)
        Prior covariance Σ.
    harmonise : bool
        Whether the MSI may be moved towards the HSI. Not where the contradiction is a matter of geometry: a wrong PSF disagrees
        with the detail, and moving the MSI would write that error into every pixel.
    """
    mixing, sigma = coordinates.mixing, coordinates.msi_sigma
    expected = _expected(seen, mixing)
    error = _samples(seen, mixing)
    gain = _significant(np.atleast_2d(np.cov(error)), expected, error.shape[1]) if harmonise else np.zeros_like(expected)
    in_reflectance = sigma[:, None] * gain / sigma
    centre = coordinates.srf @ coordinates.mean + coordinates.msi_offset
    detail = np.mean([s.m.square().mean((1, 2)).double().cpu().numpy() for s in seen], axis=0)
    relative = error.std(1) * sigma / np.maximum(np.sqrt(centre**2 + detail * sigma**2), sigma)
    before = Consistency(_rho(error, expected, mixing, covariance), 0.0, relative, in_reflectance)
    after = _samples([harmonised(s, coordinates, before) for s in seen], mixing)
    return replace(before, left=_rho(after, expected, mixing, covariance))


def harmonised(seen: Observation, coordinates: Coordinates, consistency: Consistency) -> Observation:
    """The observation with its MSI moved towards the HSI by a smooth field; unchanged where the pair is consistent."""
    if not consistency.gain.any():
        return seen
    psf = seen.psf
    in_noise = consistency.gain * coordinates.msi_sigma / coordinates.msi_sigma[:, None]
    field = mix(as_like(in_noise, seen.y), contradiction(seen, coordinates.mixing))
    correction = field + SHARPENING * (field - psf.forward(psf.upsample(field)))
    return replace(seen, m=seen.m + psf.upsample(correction))


def _expected(seen: Sequence[Observation], mixing: np.ndarray) -> np.ndarray:
    gain = np.mean([s.psf.gain for s in seen])
    return mixing @ mixing.T + gain * np.eye(len(mixing))


def _samples(seen: Sequence[Observation], mixing: np.ndarray) -> np.ndarray:
    return np.concatenate([contradiction(s, mixing)[:, s.complete > 0].double().cpu().numpy() for s in seen], axis=1)


def _rho(error: np.ndarray, expected: np.ndarray, mixing: np.ndarray, covariance: np.ndarray) -> float:
    excess = error.var(1).sum() - np.diag(expected)[mixing.any(1)].sum()
    return float(np.sqrt(max(excess, 0) / np.trace(mixing @ covariance @ mixing.T)))


def _significant(found: np.ndarray, expected: np.ndarray, count: int) -> np.ndarray:
    """Wiener gain of the directions whose variance exceeds noise beyond chance (Marchenko-Pastur edge, doubled)."""
    factor = np.linalg.cholesky(expected)
    whitened = np.linalg.solve(factor, np.linalg.solve(factor, found).T)
    value, vector = np.linalg.eigh((whitened + whitened.T) / 2)
    edge = 2 * (1 + np.sqrt(len(expected) / count)) ** 2
    keep = np.where(value > edge, 1 - 1 / np.maximum(value, 1), 0)
    return factor @ (vector * keep) @ vector.T @ np.linalg.inv(factor)
