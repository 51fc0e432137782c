"""The effective spectral response, from the pair.

Each MSI band, brought to the coarse grid, is explained by a smooth, non-negative combination of the HSI bands. One scene does
not determine the *shape* of a response (many shapes reproduce the MSI equally well), so what is found is an effective response
for this pair, gain included, and never a statement about the sensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

SMOOTHNESS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
FOLDS = 5
# The smoothest response is taken whose cross-validation error is within this factor of the best: shape is cheap to smooth, being undetermined.
TOLERANCE = 1.02
# A constant difference is part of the response only where it is plainly there.
MIN_OFFSET = 2e-3
OFFSET_SIGMAS = 5.0


@dataclass(frozen=True)
class EffectiveResponse:
    """How the HSI bands make up the MSI bands.

    Attributes
    ----------
    matrix : ndarray, shape (M, B)
        Non-negative weights, including the gain between the sensors.
    offset : ndarray, shape (M,)
        Constant difference MSI minus HSI, reflectance.
    residual : ndarray, shape (M,)
        Relative root-mean-square misfit of each MSI band at the coarse scale.
    method : str
        ``estimated``, or the name of the table it came from.
    """

    matrix: np.ndarray
    offset: np.ndarray
    residual: np.ndarray
    method: str = "estimated"


def estimate_response(hsi: np.ndarray, msi: np.ndarray, good: np.ndarray | None = None, seed: int = 0) -> EffectiveResponse:
    """Estimate the effective response from co-located coarse pixels.

    Parameters
    ----------
    hsi : ndarray, shape (B, N)
        Reflectance spectra of the coarse pixels.
    msi : ndarray, shape (M, N)
        The MSI seen through the PSF at the same pixels.
    good : ndarray of bool, shape (B,), optional
        Bands that may take part; the others get weight zero.
    seed : int
        For the folds of the cross-validation that chooses the smoothness.

    Returns
    -------
    EffectiveResponse
    """
    good = np.ones(len(hsi), bool) if good is None or not good.any() else good
    x, n = hsi[good], hsi.shape[1]
    order = np.random.default_rng(seed).permutation(n)
    folds = [order[k::FOLDS] for k in range(FOLDS)] if n >= 4 * FOLDS else []
    gram, cross = x @ x.T, x @ msi.T
    matrix, offset = np.zeros((len(msi), len(hsi))), np.zeros(len(msi))
    for b, band in enumerate(msi):
        smooth = _choose_smoothness(x, band, gram, cross[:, b], folds)
        weight = _fit(gram, cross[:, b], smooth)
        left = band - weight @ x
        if abs(left.mean()) > max(MIN_OFFSET, OFFSET_SIGMAS * left.std() / np.sqrt(n)):
            centred = x - x.mean(1, keepdims=True)
            weight = _fit(centred @ centred.T + 1e-6 * gram, centred @ (band - band.mean()) + 1e-6 * cross[:, b], smooth)
            offset[b] = float((band - weight @ x).mean())
        matrix[b, good] = weight
    return EffectiveResponse(matrix, offset, relative_misfit(matrix, offset, hsi, msi))


def non_negative_response(hsi: np.ndarray, msi: np.ndarray) -> np.ndarray:
    """A smooth, non-negative response (M, B) of middling smoothness, from spectra (B, N) and (M, N): quick, where its shape does not matter."""
    hsi, smooth = np.asarray(hsi, np.float64), SMOOTHNESS[len(SMOOTHNESS) // 2]  # in float32 few materials without noise are not positive
    gram = hsi @ hsi.T
    return np.stack([_fit(gram, hsi @ band, smooth) for band in msi])


def scaled_table(table: np.ndarray, hsi: np.ndarray, msi: np.ndarray, name: str) -> EffectiveResponse:
    """A response table (M, B), its rows normalised, with gain and offset towards the data left as they are."""
    matrix = table / table.sum(1, keepdims=True)
    offset = np.zeros(len(matrix))
    return EffectiveResponse(matrix, offset, relative_misfit(matrix, offset, hsi, msi), name)


def relative_misfit(matrix: np.ndarray, offset: np.ndarray, hsi: np.ndarray, msi: np.ndarray) -> np.ndarray:
    """Root-mean-square of MSI minus response times HSI, relative to the MSI's own root mean square, per band."""
    error = msi - matrix @ hsi - offset[:, None]
    return np.sqrt((error**2).mean(1) / np.maximum((msi**2).mean(1), 1e-20))


def _choose_smoothness(x: np.ndarray, band: np.ndarray, gram: np.ndarray, cross: np.ndarray, folds: list[np.ndarray]) -> float:
    if not folds:
        return SMOOTHNESS[len(SMOOTHNESS) // 2]

    def score(smooth: float) -> float:
        total = 0.0
        for fold in folds:
            out, target = x[:, fold], band[fold]
            weight = _fit(gram - out @ out.T, cross - out @ target, smooth)
            total += float(((target - weight @ out) ** 2).sum())
        return total

    scores = {smooth: score(smooth) for smooth in SMOOTHNESS}
    return max(smooth for smooth, value in scores.items() if value <= TOLERANCE * min(scores.values()))


def _fit(gram: np.ndarray, cross: np.ndarray, smooth: float) -> np.ndarray:
    """Non-negative least squares of normal equations with a penalty on second differences along the spectrum."""
    size = len(gram)
    difference = np.diff(np.eye(size), n=min(2, size - 1), axis=0) if size > 1 else np.zeros((0, 1))
    scale = np.trace(gram) / size
    system = gram + smooth * scale * (difference.T @ difference) * size / 10 + 1e-9 * scale * np.eye(size)
    factor = np.linalg.cholesky((system + system.T) / 2)
    return nnls(factor.T, np.linalg.solve(factor, cross), maxiter=30 * size)[0]
