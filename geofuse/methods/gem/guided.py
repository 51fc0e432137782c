"""The guided step: the current estimate, redrawn along the structures that the MSI shows.

A guided filter (He, Sun and Tang 2013, doi:10.1109/TPAMI.2012.213) regresses the coefficients on the MSI bands in a Gaussian
window around every pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geofuse.methods.gem.lattice import Lattice
from geofuse.pair.images import as_like

TRUNCATE = 2.5  # standard deviations
# Standard deviation of the window in steps of the lattice, at least. With 1.3 instead no score of twelve Wald tests moves by 0.002 dB.
FINENESS = 1.0


@dataclass(frozen=True)
class GuidedFilter:
    """Multichannel guided filter with frozen guide scaling.

    Averages over wide windows are smooth, so the regressions are solved on a lattice coarser than the pixels. (The fast guided filter of He and
    Sun 2015, arXiv:1505.00996, subsamples the images; here every pixel counts.)

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
    def step(self) -> int:
        """Fine pixels between points of the lattice."""
        return max(1, int(self.sigma / FINENESS))

    @property
    def _half(self) -> int:
        return int(TRUNCATE * self.sigma + 0.5)

    def __call__(self, image: Tensor, m: Tensor, origin: tuple[int, int] = (0, 0)) -> Tensor:
        """Filter ``image`` (K, H, W) along ``m`` (M, H, W); the lattice passes through the pixel ``-origin``, so that all tiles share one."""
        guide = m / as_like(self.scale, m)[:, None, None]
        rows, cols = (
            Lattice.along(size, self.sigma, self._half, self.step, -at % self.step, image)
            for size, at in zip(image.shape[1:], origin, strict=True)
        )
        slopes, intercept = self._regressed(image, guide, rows, cols)
        *slopes_across, across = [cols.spread(coefficient) for coefficient in (*slopes, intercept)]
        out = torch.empty_like(image)
        for fine, near, _, scatter in rows.stripes():
            stripe = scatter @ across[:, near]
            for slope, shown in zip(slopes_across, guide[:, fine], strict=True):
                stripe.addcmul_(scatter @ slope[:, near], shown)
            out[:, fine] = stripe
        return out

    def _regressed(self, image: Tensor, guide: Tensor, rows: Lattice, cols: Lattice) -> tuple[Tensor, Tensor]:
        """Slopes (M, K, h, w) and intercept (K, h, w) at the points of the lattice."""
        bands, channels = len(guide), len(image)
        sizes = [channels, bands, channels * bands, *range(bands, 0, -1)]
        sums = image.new_zeros(sum(sizes), rows.points, image.shape[2])
        for fine, near, gather, _ in rows.stripes():
            own, shown = image[:, fine], guide[:, fine]
            products = own, shown, *(own * band for band in shown), *(shown[i:] * shown[i] for i in range(bands))
            first = 0
            for product in products:
                sums[first : first + len(product), near] += gather @ product
                first += len(product)
        mean, guide_mean, cross, *covariance = torch.split(cols.averages(sums), sizes)
        slope = cross.view(bands, channels, *cross.shape[1:])
        for i in range(bands):
            slope[i].addcmul_(mean, guide_mean[i], value=-1)
            covariance[i].addcmul_(guide_mean[i:], guide_mean[i], value=-1)
        solve_spd_(covariance, slope, self.ridge)
        for i in range(bands):
            mean.addcmul_(slope[i], guide_mean[i], value=-1)
        return slope, mean


def solve_spd_(upper: Sequence[Tensor], right: Tensor, ridge: float) -> None:
    """Solve (C + ridge · 1) a = right for every pixel at once, by elimination over whole image planes; in place.

    Parameters
    ----------
    upper : sequence of Tensor
        Row i of the upper triangle of C: shape (M - i, H, W), starting at the diagonal. Lost.
    right : Tensor, shape (M, K, H, W)
        Becomes a.
    ridge : float
    """
    size = len(upper)
    for row in upper:
        row[0] += ridge
    for i in range(size):
        for j in range(i + 1, size):
            factor = upper[i][j - i] / upper[i][0]
            upper[j].addcmul_(upper[i][j - i :], factor, value=-1)
            right[j].addcmul_(right[i], factor, value=-1)
    for i in reversed(range(size)):
        for j in range(i + 1, size):
            right[i].addcmul_(right[j], upper[i][j - i], value=-1)
        right[i] /= upper[i][0]
