"""The guided step: the current estimate, redrawn along the structures that the MSI shows.

A guided filter (He, Sun and Tang 2013, doi:10.1109/TPAMI.2012.213) regresses the coefficients on the MSI bands in a Gaussian
window around every pixel; a bilateral average mixes each pixel with the neighbours that look like it to the MSI.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geofuse.response.images import as_like, blur

TRUNCATE = 2.5  # standard deviations
BILATERAL_REACH, BILATERAL_SIGMA, BILATERAL_RANGE = 2, 1.2, 0.2


@dataclass(frozen=True)
class GuidedFilter:
    """Multichannel guided filter with frozen guide scaling.

    Attributes
    ----------
    scale : ndarray, shape (M,)
        Standard deviation of the MSI bands over the scene, in noise units.
    sigma : float
        Standard deviation of the window, fine pixels.
    ridge : float
        Regularisation in units of the guide's variance.
    """

    scale: np.ndarray
    sigma: float
    ridge: float

    @property
    def reach(self) -> int:
        """Fine pixels that the filter reaches: two windows, one behind the other."""
        return 2 * self._half

    @property
    def _half(self) -> int:
        return int(TRUNCATE * self.sigma + 0.5)

    def __call__(self, image: Tensor, m: Tensor) -> Tensor:
        """Filter ``image`` (K, H, W) along ``m`` (M, H, W)."""
        offsets = torch.arange(-self._half, self._half + 1, dtype=image.dtype, device=image.device)
        kernel = torch.exp(-0.5 * (offsets / self.sigma) ** 2)
        kernel = kernel / kernel.sum()

        def average(x: Tensor) -> Tensor:
            return blur(x, kernel, mode="replicate")

        guide = m / as_like(self.scale, m)[:, None, None]
        bands = len(guide)
        guide_mean, image_mean = average(guide), average(image)
        covariance = [average(guide[i:] * guide[i]) - guide_mean[i:] * guide_mean[i] for i in range(bands)]
        cross = torch.stack([average(image * guide[i]) - image_mean * guide_mean[i] for i in range(bands)])
        slope = solve_spd(covariance, cross, self.ridge)
        intercept = image_mean - (slope * guide_mean[:, None]).sum(0)
        out = average(intercept)
        for i in range(bands):
            out += average(slope[i]) * guide[i]
        return out


def solve_spd(upper: list[Tensor], right: Tensor, ridge: float) -> Tensor:
    """Solve (C + ridge · 1) a = right for every pixel at once, by elimination over whole image planes.

    Parameters
    ----------
    upper : list of Tensor
        Row i of the upper triangle of C: shape (M - i, H, W), starting at the diagonal.
    right : Tensor, shape (M, K, H, W)
    ridge : float

    Returns
    -------
    Tensor, shape (M, K, H, W)
    """
    size = len(upper)
    rows = [u.clone() for u in upper]
    for i in range(size):
        rows[i][0] += ridge
    a = right.clone()
    for i in range(size):
        pivot = rows[i][0]
        for j in range(i + 1, size):
            factor = rows[i][j - i] / pivot
            rows[j] -= factor * rows[i][j - i :]
            a[j] -= factor * a[i]
    for i in reversed(range(size)):
        for j in range(i + 1, size):
            a[i] -= rows[i][j - i] * a[j]
        a[i] /= rows[i][0]
    return a


def bilateral(image: Tensor, features: Tensor) -> Tensor:
    """Average of the neighbours that look alike, the pixel itself left out.

    Parameters
    ----------
    image : Tensor, shape (K, H, W)
    features : Tensor, shape (C, H, W)
        What "alike" is measured in.
    """
    reach = BILATERAL_REACH
    height, width = image.shape[1:]
    padded, around = (F.pad(t[None], (reach,) * 4, mode="replicate")[0] for t in (image, features))
    total, weight_sum = torch.zeros_like(image), torch.zeros_like(image[0])
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy == dx == 0:
                continue
            there = slice(reach + dy, reach + dy + height), slice(reach + dx, reach + dx + width)
            distance = (features - around[(slice(None), *there)]).square().sum(0)
            weight = torch.exp(-distance / (2 * BILATERAL_RANGE**2) - (dy**2 + dx**2) / (2 * BILATERAL_SIGMA**2)) + 1e-9
            total.addcmul_(weight, padded[(slice(None), *there)])
            weight_sum += weight
    return total / weight_sum
