"""The effective spectral response, from the pair.

Each MSI band, brought to the coarse grid, is explained by a smooth, non-negative combination of the HSI bands. One scene does
not determine the *shape* of a response (many shapes reproduce the MSI equally well), so what is found is an effective response
for this pair, gain included, and never a statement about the sensor. Where the sensor's response is known it is the prior: the
estimate leaves it only as far as the pair clearly asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.optimize import nnls

from geofuse.pair.radiometry import Radiometry, measure_radiometry

ESTIMATED = "estimated"
"""The method of a response that comes from the pair and from no table."""
SMOOTHNESS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
FOLDS = 5
# The smoothest response is taken whose cross-validation error is within this factor of the best: shape is cheap to smooth, being undetermined.
TOLERANCE = 1.02
# Towards a prior there are stiffer ones, and more tolerance: the best predictor of the MSI from a noisy HSI averages over its noise, and is broader
# than the response. With 1.02, 1.1 and 1.3 ten bands at ratio 8 gain 0.06, 0.09 and 0.12 dB (docs/research/response.md).
STIFFNESS, PRIOR_TOLERANCE = (*SMOOTHNESS, 1.0, 10.0), 1.3
# A constant is part of the response where it takes this share off the cross-validation error. Without one weights far from the band make up for it, at
# a cost; where there is none, noise makes it explain up to 0.17 on six scenes, and 0.01 reflectance explains 0.2 to 0.9 on five of them.
WORTHWHILE = 0.2


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
    prior : str
        Where the prior came from; empty where there was none.
    moved : ndarray, shape (M,), optional
        Share of each band's weight that lies elsewhere than the prior's, 0 to 1; NaN where there was none.
    radiometry : Radiometry, optional
        Gain and offset towards what the prior or the table makes of the HSI, those applied being in ``matrix`` and ``offset``; None where there
        is neither.
    """

    matrix: np.ndarray
    offset: np.ndarray
    residual: np.ndarray
    method: str = ESTIMATED
    prior: str = ""
    moved: np.ndarray | None = None
    radiometry: Radiometry | None = None


def estimate_response(
    hsi: np.ndarray, msi: np.ndarray, good: np.ndarray | None = None, seed: int = 0, prior: np.ndarray | None = None
) -> EffectiveResponse:
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
    prior : ndarray, shape (M, B), optional
        The sensor's response, in any scale; rows of zeros where it is unknown.

    Returns
    -------
    EffectiveResponse
    """
    good = np.ones(len(hsi), bool) if good is None or not good.any() else good
    x = hsi[good]
    spectra, centred = _Spectra.of(x, seed), _Spectra.of(x - x.mean(1, keepdims=True), seed)
    rows = np.full((len(msi), len(x)), np.nan) if prior is None else normalised(prior[:, good])
    radiometry = measure_radiometry(rows @ x, msi)
    matrix, offset, moved = np.zeros((len(msi), len(hsi))), np.where(radiometry.applied, radiometry.offset, 0.0), np.full(len(msi), np.nan)
    for b, band in enumerate(msi):
        near = radiometry.gain[b] * rows[b] if radiometry.applied[b] else _scaled(rows[b], x, band)
        compared = np.isfinite(radiometry.gain_error[b])
        matrix[b, good], constant = _of_band(spectra, None if compared else centred, band - offset[b], near)
        offset[b] += constant
        if near is not None:
            moved[b] = _moved(matrix[b, good], near)
    found = EffectiveResponse(matrix, offset, relative_misfit(matrix, offset, hsi, msi))
    return found if prior is None else replace(found, moved=moved, radiometry=radiometry)


def _of_band(spectra: _Spectra, centred: _Spectra | None, band: np.ndarray, near: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Weights (B,) of one band, and a constant difference where it is looked for, in centred spectra, and plainly there."""
    smooth, error = _choose_smoothness(spectra, band, near)
    weight, offset = spectra.fitted(band, smooth, near), 0.0
    if centred is not None:
        smooth, with_constant = _choose_smoothness(centred, band - band.mean(), near)
        if with_constant < (1 - WORTHWHILE) * error:
            weight = centred.fitted(band - band.mean(), smooth, near)
            offset = float((band - weight @ spectra.x).mean())
    return weight, offset


def with_guides(response: EffectiveResponse, seen: np.ndarray, level: np.ndarray) -> EffectiveResponse:
    """The response with MSI bands among its own that the HSI does not see: rows of zeros, and their mean ``level`` (M,) as a constant.

    Bands whose rows are zeros say nothing of spectra; ``seen`` (M,) tells the others.
    """

    def among(values: np.ndarray, absent: float | np.ndarray = np.nan) -> np.ndarray:
        out = np.full((len(seen), *values.shape[1:]), absent, values.dtype)
        out[seen] = values
        return out

    radiometry = response.radiometry
    if radiometry is not None:
        members = {f.name: getattr(radiometry, f.name) for f in fields(radiometry)}
        radiometry = Radiometry(**{name: among(values, False if values.dtype == bool else np.nan) for name, values in members.items()})
    return replace(
        response,
        matrix=among(response.matrix, 0.0),
        offset=among(response.offset, level),
        residual=among(response.residual),
        moved=None if response.moved is None else among(response.moved),
        radiometry=radiometry,
    )


def non_negative_response(hsi: np.ndarray, msi: np.ndarray) -> np.ndarray:
    """A smooth, non-negative response (M, B) of middling smoothness, from spectra (B, N) and (M, N): quick, where its shape does not matter."""
    hsi, smooth = np.asarray(hsi, np.float64), SMOOTHNESS[len(SMOOTHNESS) // 2]  # in float32 few materials without noise are not positive
    gram = hsi @ hsi.T
    return np.stack([_fit(gram, hsi @ band, smooth) for band in msi])


def normalised(table: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; NaN in those without any weight."""
    total = table.sum(1, keepdims=True)
    return np.where(total > 0, table / np.where(total > 0, total, 1), np.nan)


def scaled_table(table: np.ndarray, hsi: np.ndarray, msi: np.ndarray, name: str) -> EffectiveResponse:
    """A response table (M, B), its rows normalised, with gain and offset towards the data where these are significant."""
    matrix = normalised(table)
    radiometry = measure_radiometry(matrix @ hsi, msi)
    matrix = np.where(radiometry.applied, radiometry.gain, 1.0)[:, None] * matrix
    offset = np.where(radiometry.applied, radiometry.offset, 0.0)
    return EffectiveResponse(matrix, offset, relative_misfit(matrix, offset, hsi, msi), name, radiometry=radiometry)


def relative_misfit(matrix: np.ndarray, offset: np.ndarray, hsi: np.ndarray, msi: np.ndarray) -> np.ndarray:
    """Root-mean-square of MSI minus response times HSI, relative to the MSI's own root mean square, per band."""
    error = msi - matrix @ hsi - offset[:, None]
    return np.sqrt((error**2).mean(1) / np.maximum((msi**2).mean(1), 1e-20))


def _scaled(prior: np.ndarray, x: np.ndarray, band: np.ndarray) -> np.ndarray | None:
    """The prior of one band (B,) with the gain that it has towards the data; None where it shows nothing of them."""
    shown = prior @ x
    gain = float(shown @ band) / max(float(shown @ shown), 1e-20)
    return prior * gain if gain > 0 else None


def _moved(weight: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(weight / max(weight.sum(), 1e-20) - expected / expected.sum()).sum() / 2)


@dataclass(frozen=True)
class _Spectra:
    """Spectra (B, N), their Gram matrix, and for each fold of the cross-validation its pixels and the Gram matrix of the others."""

    x: np.ndarray
    gram: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]

    @staticmethod
    def of(x: np.ndarray, seed: int) -> _Spectra:
        order, gram = np.random.default_rng(seed).permutation(x.shape[1]), x @ x.T
        folds = [order[k::FOLDS] for k in range(FOLDS)] if len(order) >= 4 * FOLDS else []
        return _Spectra(x, gram, [(fold, gram - x[:, fold] @ x[:, fold].T) for fold in folds])

    def fitted(self, band: np.ndarray, smooth: float, near: np.ndarray | None) -> np.ndarray:
        """Weights of a band (N,)."""
        return _fit(self.gram, self.x @ band, smooth, near)


def _choose_smoothness(spectra: _Spectra, band: np.ndarray, near: np.ndarray | None) -> tuple[float, float]:
    """The smoothest or stiffest fit within the tolerance of the best, and the cross-validation error of the best."""
    values, tolerance = (SMOOTHNESS, TOLERANCE) if near is None else (STIFFNESS, PRIOR_TOLERANCE)
    if not spectra.folds:
        return values[len(values) // 2], 0.0
    cross, errors = spectra.x @ band, np.zeros(len(values))
    for fold, others in spectra.folds:
        out, target = spectra.x[:, fold], band[fold]
        left = cross - out @ target
        errors += [((target - _fit(others, left, smooth, near) @ out) ** 2).sum() for smooth in values]
    best = float(errors.min())
    return max(smooth for smooth, error in zip(values, errors, strict=True) if error <= tolerance * best), best


def _fit(gram: np.ndarray, cross: np.ndarray, smooth: float, near: np.ndarray | None = None) -> np.ndarray:
    """Non-negative least squares of normal equations with a penalty on second differences along the spectrum, or on what differs from ``near``."""
    size = len(gram)
    difference = np.diff(np.eye(size), n=min(2, size - 1), axis=0) if size > 1 else np.zeros((0, 1))
    scale = np.trace(gram) / size
    penalty = smooth * scale * (difference.T @ difference) * size / 10 + 1e-9 * scale * np.eye(size)
    if near is not None:
        penalty += smooth * scale * np.eye(size)
        cross = cross + penalty @ near
    system = gram + penalty
    factor = np.linalg.cholesky((system + system.T) / 2)
    return nnls(factor.T, np.linalg.solve(factor, cross), maxiter=30 * size)[0]
