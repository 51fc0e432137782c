"""GEM, the guided EM-calibrated MAP: the estimator of geofuse, fitted on a sample and applied anywhere in the scene.

    prior mean                                     prior covariance
    stage A   upsampled HSI                        12 soft classes, EM
    stage B   A, guided by the MSI                 scatter around it, EM
    stage C   B, half guided, half bilateral       scatter around it, EM          (with up to 5 MSI bands)

Every stage ends in the same MAP solve, so that the result explains both observations whatever the guide proposed.
`fit` estimates; what it returns is frozen, and `Gem.apply` is a local operator of known reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geofuse.solve.classes import Classes, fit_classes
from geofuse.solve.coordinates import Coordinates
from geofuse.solve.em import calibrate, refine_classes, second_moment
from geofuse.solve.guided import GuidedFilter, bilateral
from geofuse.solve.patch import Observation, Patch
from geofuse.solve.posterior import Prior, solve
from geofuse.solve.start import detail_covariance, start_coordinates
from geofuse.solve.trust import Trust, harmonised, measure_trust

CLASSES = 12
SHRINKAGE = 300.0  # pixels' worth of the pooled statistics in every class
FEW_BANDS = 5


@dataclass(frozen=True)
class Stage:
    """One stage: how its prior mean is made of the estimate before it (``upsample``, ``guided`` or ``mixed``), and its prior."""

    kind: str
    prior: Prior


@dataclass(frozen=True)
class Gem:
    """The frozen estimator.

    Attributes
    ----------
    coordinates : Coordinates
    trust : Trust
        How far the two images contradict each other, and how the MSI is harmonised to the HSI.
    classes : Classes
    guide : GuidedFilter
    stages : tuple of Stage
    """

    coordinates: Coordinates
    trust: Trust
    classes: Classes
    guide: GuidedFilter
    stages: tuple[Stage, ...]

    def apply(self, patch: Patch) -> Tensor:
        """MAP coefficients of a patch, shape (K, H, W)."""
        seen = self.observe(patch)
        weights = self.classes.weights(seen)
        z = torch.empty(0)
        for stage in self.stages:
            z = solve(seen, self.base(stage.kind, seen, z), weights, stage.prior, self.coordinates.mixing).z
        return z

    def observe(self, patch: Patch) -> Observation:
        """Encode a patch and harmonise its MSI."""
        return harmonised(patch.encode(self.coordinates), self.coordinates, self.trust)

    def base(self, kind: str, seen: Observation, z: Tensor) -> Tensor:
        """Prior mean image of a stage, from the estimate ``z`` of the one before it."""
        if kind == "upsample":
            return seen.psf.upsample(seen.y)
        guided = self.guide(z, seen.m)
        if kind == "guided":
            return guided
        return (guided + bilateral(z, self.classes.components(seen.m))) / 2


def fit_gem(patches: Sequence[Patch], srf: np.ndarray, msi_offset: np.ndarray, ratio: float, *, seed: int = 0) -> Gem:
    """Fit the estimator on a sample of the scene."""
    coordinates = start_coordinates(patches, srf, msi_offset)
    covariance = detail_covariance([p.encode(coordinates) for p in patches], ratio)
    coordinates, covariance = calibrate(patches, coordinates, covariance, rounds=20)
    trust = measure_trust([p.encode(coordinates) for p in patches], coordinates, covariance)
    coordinates, covariance = forgive(coordinates, covariance, trust.rho)
    coordinates, covariance = calibrate(patches, coordinates, covariance, rounds=8)
    seen = [harmonised(p.encode(coordinates), coordinates, trust) for p in patches]
    centre = coordinates.srf @ coordinates.mean + coordinates.msi_offset
    classes = fit_classes(seen, coordinates.msi_sigma, centre, CLASSES, seed)
    bands = len(coordinates.msi_sigma)
    pixels = sum(s.pixels for s in seen)
    variance = sum((s.m - s.m.mean((1, 2), keepdim=True)).square().sum((1, 2)).double().cpu().numpy() for s in seen) / pixels
    guide = GuidedFilter(np.sqrt(np.maximum(variance, 1e-6)), ratio / 2, 1e-2 if bands <= FEW_BANDS else 1e-3)
    gem = Gem(coordinates, trust, classes, guide, ())
    weights = [classes.weights(s) for s in seen]
    kinds = ("upsample", "guided", "mixed") if bands <= FEW_BANDS else ("upsample", "guided")
    images = [torch.empty(0)] * len(seen)
    start = covariance
    for kind in kinds:
        bases = [gem.base(kind, s, z) for s, z in zip(seen, images, strict=True)]
        if kind != "upsample":
            scatter = sum(second_moment(z - b) for z, b in zip(images, bases, strict=True)) / pixels
            start = scatter + 0.1 * covariance
        share = sum(w.sum((1, 2)).double().cpu().numpy() for w in weights) / pixels
        prior = Prior(np.repeat(start[None], len(share), 0), np.zeros((len(share), len(start))), share)
        prior, solutions = refine_classes(seen, bases, weights, prior, coordinates.mixing, 8 if kind == "upsample" else 3, SHRINKAGE)
        images = [s.z for s in solutions]
        gem = replace(gem, stages=(*gem.stages, Stage(kind, prior)))
    return gem


def forgive(coordinates: Coordinates, covariance: np.ndarray, rho: float) -> tuple[Coordinates, np.ndarray]:
    """Inflate the HSI noise by ρ²Σ, absorbed in a change of coordinates after which it is white again."""
    value, vector = np.linalg.eigh(np.eye(len(covariance)) + rho**2 * covariance)
    forward, backward = (vector / np.sqrt(value)) @ vector.T, (vector * np.sqrt(value)) @ vector.T
    return coordinates.rotated(forward, backward), forward @ covariance @ forward
