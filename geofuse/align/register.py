"""Sub-pixel shift and PSF width, from the pair itself.

Seen through the right PSF the MSI becomes a linear function of the HSI. So for each trial (sigma, dy, dx) the MSI is brought
to the coarse grid, regressed on the leading components of the HSI (variable projection: the linear part is eliminated), and
the unexplained share of its variance is what the search makes small. No spectral response needs to be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from geofuse.errors import PairMismatch
from geofuse.grid import GridPair, Window
from geofuse.response.psf import PsfBuilder
from geofuse.solve.patch import fill_gaps

COMPONENTS = 12
# Searched range: sigma in coarse pixels, shift in coarse pixels.
SIGMA_RANGE = (0.2, 1.2)
MAX_SHIFT = 1.5
# Two images of one place share at least half of their coarse variance; unrelated ones far less.
MAX_UNEXPLAINED = 0.5


@dataclass(frozen=True)
class Sample:
    """One window of the raw pair: arrays with NaN gaps, and where it lies on the working grids."""

    hsi: np.ndarray
    msi: np.ndarray
    fine: Window
    coarse: Window


@dataclass(frozen=True)
class Registration:
    """Estimated geometry.

    Attributes
    ----------
    sigma : float
        Standard deviation of the Gaussian PSF, fine pixels.
    shift : tuple of float
        (dy, dx): where the coarse image really lies, relative to its georeference, fine pixels (rows down, columns right).
    unexplained : float
        Share of the MSI's variance at the coarse scale that no linear map of the HSI explains.
    at_limit : bool
        Whether the search ended at the edge of its range, so that the figure is a bound and not an estimate.
    """

    sigma: float
    shift: tuple[float, float]
    unexplained: float
    at_limit: bool = False


def register(pair: GridPair, samples: Sequence[Sample]) -> Registration:
    """Estimate PSF width and shift.

    Parameters
    ----------
    pair : GridPair
    samples : sequence of Sample
        Windows of the scene.

    Raises
    ------
    PairMismatch
        The two images have too little in common, even at the best geometry.
    """
    misfit = _Misfit(pair, samples)
    ratio = pair.ratio
    # A coarse net first: the misfit has side minima when the shift exceeds half a coarse pixel.
    steps = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]) * ratio
    start = min(((misfit(0.5 * ratio, dy, dx), dy, dx) for dy in steps for dx in steps), key=lambda t: t[0])
    simplex = np.array([0.5 * ratio, start[1], start[2]]) + 0.15 * ratio * np.vstack([np.zeros(3), np.eye(3)])
    best = minimize(
        lambda p: misfit(*p), simplex[0], method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 2e-3 * ratio, "fatol": 1e-7, "maxfev": 160}
    )
    sigma, dy, dx = (float(v) for v in best.x)
    unexplained = float(misfit(sigma, dy, dx))
    if unexplained > MAX_UNEXPLAINED:
        raise PairMismatch(
            f"The two images do not show the same thing: at best {100 * (1 - unexplained):.0f} % of the MSI's variance at the HSI's "
            f"resolution is explained by the HSI; expected more than {100 * (1 - MAX_UNEXPLAINED):.0f} %. "
            "Check that both show the same place and season, that clouds are masked, and that the georeference is right to a coarse pixel."
        )
    low, high = (s * ratio for s in SIGMA_RANGE)
    at_limit = not low * 1.01 < sigma < high * 0.99 or max(abs(dy), abs(dx)) > 0.99 * MAX_SHIFT * ratio
    return Registration(sigma, (dy, dx), unexplained, at_limit)


class _Misfit:
    """Unexplained share of the coarse MSI's variance as a function of the geometry."""

    def __init__(self, pair: GridPair, samples: Sequence[Sample]) -> None:
        self.pair = pair
        self.windows = samples
        spectra = np.concatenate([s.hsi[:, np.isfinite(s.hsi).all(0)] for s in samples], axis=1)
        mean = spectra.mean(1, keepdims=True)
        scale = spectra.std(1, keepdims=True) + 1e-6
        _, vector = np.linalg.eigh((spectra - mean) / scale @ ((spectra - mean) / scale).T)
        keep = min(COMPONENTS, len(vector), max(1, spectra.shape[1] // 8))
        self.components = [np.tensordot(vector[:, ::-1][:, :keep].T, (s.hsi - mean[:, :, None]) / scale[:, :, None], 1) for s in samples]
        self.msi, self.msi_valid = zip(*(_filled(s.msi) for s in samples), strict=True)

    def __call__(self, sigma: float, dy: float, dx: float) -> float:
        ratio = self.pair.ratio
        bounded = float(np.clip(sigma, SIGMA_RANGE[0] * ratio, SIGMA_RANGE[1] * ratio))
        outside = max(0.0, abs(dy) - MAX_SHIFT * ratio) + max(0.0, abs(dx) - MAX_SHIFT * ratio) + abs(sigma - bounded)
        builder = PsfBuilder(self.pair, bounded, (dy, dx))
        left, right = [], []
        for sample, msi, msi_valid, components in zip(self.windows, self.msi, self.msi_valid, self.components, strict=True):
            valid = np.isfinite(components).all(0)
            psf = builder.build(sample.fine, sample.coarse, valid, msi)
            # Coarse pixels whose footprint is mostly without MSI say nothing about the geometry.
            used = (psf.observed * (psf.forward(msi_valid)[0] > 0.95)).numpy() > 0
            left.append(components[:, used])
            right.append(psf.forward(msi).numpy()[:, used])
        x, y = np.concatenate(left, axis=1), np.concatenate(right, axis=1)
        if x.shape[1] < 2 * len(x) + 2:
            return 1.0 + outside / ratio
        return unexplained_share(x, y) * (1 + outside / ratio) + outside / ratio


def unexplained_share(x: np.ndarray, y: np.ndarray) -> float:
    """Mean over the rows of ``y`` (M, N) of the variance share that a linear map of ``x`` (C, N) and a constant leave over.

    Corrected for the degrees of freedom, so that unrelated rows give 1 whatever N is.
    """
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    weight = np.linalg.lstsq(x.T, y.T, rcond=None)[0]
    left = ((y - weight.T @ x) ** 2).sum(1) / np.maximum((y**2).sum(1), 1e-20)
    return float(left.mean() * (x.shape[1] - 1) / max(x.shape[1] - 1 - len(x), 1))


def _filled(msi: np.ndarray) -> tuple[Tensor, Tensor]:
    valid = torch.as_tensor(np.isfinite(msi).all(0))
    mean = np.nanmean(msi, axis=(1, 2), keepdims=True)
    image = fill_gaps(torch.as_tensor(np.nan_to_num(msi - mean)), valid)
    return image, valid[None].to(image.dtype)
