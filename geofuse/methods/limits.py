"""Physical limits of a fused spectrum: no reflectance below zero, none above a white sheet, but for noise and for what the images show.

A linear estimator extrapolates: where the MSI shows a spectrum unlike those that the fit learned from, bands that no MSI band measures leave the
physical range. There every band is set to the nearest limit, the Euclidean projection on what is possible. A projection never moves away from
any point of a convex set, so that no error grows in any band. (Moving the other bands along, by the posterior covariance, is what a constrained
MAP would do; on scenes with a known truth it lost 0.2 to 0.4 dB: docs/research/limits.md.)

Limits of a pixel are the widest of the physical ones and of what either image shows at the place:

    lower   -σ_b, the noise of the HSI in the band; less where the HSI itself, interpolated, is lower
    upper   1, or the brightest band of the MSI in the pixel, or of the HSI around it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.base import EVERYTHING, FittedMethod, Inner, KnowsNoise
from geofuse.methods.gem.noise import hsi_noise
from geofuse.pair.images import as_like
from geofuse.pair.patch import Patch

NOISES = 1.0  # standard deviations of the HSI's noise that a value may be below zero
WHITE = 1.0  # reflectance
SAMPLE, FEWEST = 20_000, 8  # coarse pixels to estimate the noise from where no estimator did


@dataclass(frozen=True)
class Limits:
    """Limits of the inner pixels of a patch.

    Attributes
    ----------
    physical : Tensor, shape (B,)
        Lowest reflectance that noise explains.
    shown : dict of int to Tensor, shape (rows, columns)
        How much lower the HSI is at the place, 0 or less, for bands in which it is anywhere.
    highest : Tensor, shape (rows, columns)
    """

    physical: Tensor
    shown: dict[int, Tensor]
    highest: Tensor

    def bound(self, image: Tensor) -> Tensor:
        """Clip an image (B, rows, columns) in place; returns where a band was outside the physical range, bool (rows, columns).

        One band after the other: nothing as large as the image is made.
        """
        outside = torch.zeros(image.shape[1:], dtype=torch.bool, device=image.device)
        for band, plane in enumerate(image):
            lowest = self.physical[band]
            outside |= (plane < lowest) | (plane > self.highest)
            lower = lowest + self.shown[band] if band in self.shown else lowest.expand_as(self.highest)
            torch.clamp(plane, lower, self.highest, out=plane)
        return outside


def fuse_within_limits(fitted: FittedMethod, patch: Patch, noise: np.ndarray, inner: Inner = EVERYTHING) -> tuple[Tensor, Tensor]:
    """What a method makes of a patch, within physical limits (B, rows, columns), and where it was outside of them (rows, columns)."""
    image = fitted.apply(patch, inner)
    return image, limits_of(patch, noise, inner).bound(image)


def noise_of(fitted: FittedMethod, patches: Sequence[Patch]) -> np.ndarray:
    """Noise of the HSI, (B,): what the method found, else what its bands do not predict of each other."""
    if isinstance(fitted, KnowsNoise):
        return fitted.noise
    pixels = np.concatenate([p.hsi[:, p.hsi_valid].double().cpu().numpy() for p in patches], axis=1)
    if pixels.shape[1] < FEWEST:
        return np.zeros(len(pixels))
    return hsi_noise(pixels[:, :: max(1, -(-pixels.shape[1] // SAMPLE))])[0]


def limits_of(patch: Patch, noise: np.ndarray, inner: Inner = EVERYTHING) -> Limits:
    """Limits of a patch.

    Parameters
    ----------
    patch : Patch
    noise : ndarray, shape (B,)
        Standard deviation of the HSI's noise, reflectance.
    inner : tuple of slice
        Rows and columns that are wanted.
    """
    physical = as_like(-NOISES * noise, patch.hsi)
    # What lies beyond is interpolated alone: where the HSI stays within, nothing is added, whatever lies around it.
    below = (patch.hsi - physical[:, None, None]).clamp(max=0)
    above = (patch.hsi.amax(0, keepdim=True) - WHITE).clamp(min=0)
    lower = below.flatten(1).amin(1) < 0
    bands = [band for band, any_lower in enumerate(lower) if bool(any_lower)] if bool(lower.any()) else []
    highest = patch.msi[:, *inner].amax(0).clamp(min=WHITE)
    if bool(above.any()):
        highest = torch.maximum(highest, WHITE + patch.psf.upsample(above)[0, *inner])
    shown = {b: patch.psf.upsample(below[b : b + 1])[0, *inner].clamp(max=0) for b in bands}
    return Limits(physical, shown, highest)
