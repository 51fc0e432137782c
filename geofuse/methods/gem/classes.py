"""Soft classes of fine pixels, from what the MSI shows: its leading components and its local detail energy.

A field and a roof differ in how far their spectra stray from the upsampled HSI, so each class gets a prior covariance of its
own. Everything here is estimated once on the sample and frozen; applying it is local.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from geofuse.methods.gem.observation import Observation
from geofuse.pair.images import as_like, blur, mix

COMPONENTS = 4
ENERGY_SIGMA = 0.8  # fine pixels
ENERGY_WEIGHT = 0.8
SOFTNESS = 0.7
SAMPLE = 60_000  # pixels that k-means sees
FLOOR = 1e-3
MIN_ENERGY = 1e-6  # of the noise's: a band without any detail has nothing to say


@dataclass(frozen=True)
class Classes:
    """Frozen classifier.

    Attributes
    ----------
    level : ndarray, shape (M,)
        Root mean square of the MSI bands in noise units: the scale of the features.
    offset : ndarray, shape (M,)
        Mean of the scaled bands.
    axes : ndarray, shape (C, M)
        Scaled principal axes.
    energy : ndarray, shape (M,)
        Mean detail energy of the bands.
    log_mean, log_std : float
        Standardisation of the log detail energy.
    centroids : ndarray, shape (J, C + 1)
    spread : float
        Mean squared distance within a class.
    """

    level: np.ndarray
    offset: np.ndarray
    axes: np.ndarray
    energy: np.ndarray
    log_mean: float
    log_std: float
    centroids: np.ndarray
    spread: float

    def components(self, m: Tensor) -> Tensor:
        """Scaled principal components of the MSI, shape (C, H, W)."""
        scaled = m / as_like(self.level, m)[:, None, None] - as_like(self.offset, m)[:, None, None]
        return mix(as_like(self.axes, m), scaled)

    def weights(self, seen: Observation) -> Tensor:
        """Soft class weights, shape (J, H, W), summing to 1 over classes."""
        log = (_log_energy(seen, self.energy) - self.log_mean) / self.log_std * ENERGY_WEIGHT
        features = torch.cat([self.components(seen.m), log[None]]).flatten(1)
        centroids = as_like(self.centroids, features)
        distance = (centroids.square().sum(1)[:, None] - 2 * centroids @ features) / (2 * SOFTNESS**2 * self.spread)
        return torch.softmax(-distance, 0).reshape(-1, *seen.m.shape[1:])

    def arrays(self) -> dict[str, np.ndarray]:
        """All members as arrays, for storage."""
        return {f.name: np.asarray(getattr(self, f.name), float) for f in fields(self)}

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> Classes:
        """Undo `arrays`."""
        members: dict[str, Any] = {f.name: float(arrays[f.name]) if f.type == "float" else arrays[f.name] for f in fields(Classes)}
        return Classes(**members)


def fit_classes(seen: Sequence[Observation], msi_sigma: np.ndarray, centre: np.ndarray, count: int, seed: int) -> Classes:
    """Estimate the classifier on a sample.

    Parameters
    ----------
    seen : sequence of Observation
    msi_sigma, centre : ndarray, shape (M,)
        Noise and mean of the MSI bands, reflectance: features are relative to the bands' brightness.
    count : int
        Number of classes; empty ones are dropped.
    seed : int
    """
    rng = np.random.default_rng(seed)
    bright = np.sqrt((centre / msi_sigma) ** 2 + np.mean([s.m.square().mean((1, 2)).double().cpu().numpy() for s in seen], axis=0))
    bright = np.maximum(bright, 1)  # a band darker than its noise must not be blown up
    energy = np.mean([_detail(s).square().mean((1, 2)).double().cpu().numpy() for s in seen], axis=0)
    energy = np.maximum(energy, MIN_ENERGY)
    pixels = np.concatenate([_flat(s.m, s) for s in seen], axis=1) / bright[:, None]
    offset = pixels.mean(1)
    vector, value, _ = np.linalg.svd((pixels - offset[:, None]) @ (pixels - offset[:, None]).T / pixels.shape[1])
    keep = min(COMPONENTS, len(value))
    spread = np.sqrt(np.maximum(value[:keep], 1e-12))
    # Minor components are lifted towards 0.35 of the first, by three times at most: they tell materials apart.
    lift = np.concatenate([[1.0], np.clip(0.35 / (spread[1:] / spread[0]), 1, 3)])
    axes = (lift / spread[0])[:, None] * vector[:, :keep].T
    log = np.concatenate([_flat(_log_energy(s, energy)[None], s) for s in seen], axis=1)[0]
    log_mean, log_std = float(log.mean()), float(log.std() + 1e-6)
    features = np.concatenate([axes @ (pixels - offset[:, None]), ((log - log_mean) / log_std * ENERGY_WEIGHT)[None]]).T
    sample = features[rng.choice(len(features), min(SAMPLE, len(features)), replace=False)]
    centroids, label = kmeans2(sample, min(count, len(sample)), iter=20, minit="++", rng=rng)
    used = np.flatnonzero(np.bincount(label, minlength=len(centroids)) > 0)
    within = np.mean([((sample[label == j] - centroids[j]) ** 2).sum(1).mean() for j in used])
    return Classes(bright, offset, axes, energy, log_mean, log_std, centroids[used], float(max(within, 1e-6)))


def _detail(seen: Observation) -> Tensor:
    return seen.m - seen.psf.upsample(seen.psf.forward(seen.m))


def _log_energy(seen: Observation, energy: np.ndarray) -> Tensor:
    relative = (_detail(seen).square() / as_like(energy, seen.m)[:, None, None]).mean(0, keepdim=True)
    reach = int(np.ceil(4 * ENERGY_SIGMA))
    offsets = torch.arange(-reach, reach + 1, dtype=relative.dtype, device=relative.device)
    kernel = torch.exp(-0.5 * (offsets / ENERGY_SIGMA) ** 2)
    smooth = blur(relative, kernel / kernel.sum(), mode="replicate")[0]
    return torch.log(smooth.clamp(min=0) + FLOOR)


def _flat(image: Tensor, seen: Observation) -> np.ndarray:
    """Pixels where both images hold data."""
    pixels = image.flatten(1) if seen.known is None else image[:, seen.known]
    return pixels.double().cpu().numpy()
