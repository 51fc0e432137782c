"""How far the two images contradict each other, and whom to believe.

Seen through the other's operator both images should be the same: L y ≈ A m up to noise. What is left beyond noise is measured by

    ρ² = excess variance of L y - A m, relative to the prior variance tr(L Σ Lᵀ).

ρ near zero: the pair is consistent. ρ above 0.05: the geometry is wrong or the sensors saw different things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geofuse.solve.coordinates import Coordinates
from geofuse.solve.em import as_like
from geofuse.solve.patch import Observation, mix

WARNING_RHO = 0.05


@dataclass(frozen=True)
class Trust:
    rho: float
    gain: np.ndarray


def contradiction(seen: Sequence[Observation], mixing: np.ndarray):
    errors = []
    for s in seen:
        e = mix(as_like(mixing, s.y), s.y) - s.psf.forward(s.m)
        errors.append(e[:, s.psf.observed > 0].double().cpu().numpy())
    return np.concatenate(errors, 1)


def measure_trust(seen: Sequence[Observation], coordinates: Coordinates, covariance: np.ndarray) -> Trust:
    mixing = coordinates.mixing
    e = contradiction(seen, mixing)
    gain = np.mean([s.psf.gain for s in seen])
    noise = mixing @ mixing.T + gain * np.eye(len(mixing))
    cov = np.cov(e)
    excess = cov - noise
    rho2 = max(np.trace(excess), 0) / np.trace(mixing @ covariance @ mixing.T)
    return Trust(float(np.sqrt(rho2)), np.zeros((len(mixing), len(mixing))))


def harmonised(seen: Observation, coordinates: Coordinates, trust: Trust) -> Observation:
    return seen
