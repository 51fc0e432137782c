"""Gain and offset of every MSI band against what its response makes of the HSI.

Two sensors differ by some per cent from band to band: other atmospheric correction, other calibration, other light. Seen through the PSF the MSI
should be what the response makes of the HSI; gain and offset are the line between the two. Both are in error (noise, a response that is not quite
right), so it is their reduced major axis. It is robust: pixels far from it (clouds, change) count for little. Pixels side by side share their errors,
so it is judged on runs of pixels that are left out one after the other (jackknife; Efron and Tibshirani 1993, "An Introduction to the Bootstrap",
chapter 11): these give the standard errors, and a gain and offset that do not clearly predict them better than none are not applied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCKS = 10
ROUNDS = 10  # of reweighting
SIGNIFICANT = 2.0  # standard errors of what is gained on the runs that are left out
# Share of a band's variance that the prediction must explain: of another band, or of other ground, gain and offset mean nothing.
MIN_EXPLAINED = 0.8
FEWEST = 60  # coarse pixels


@dataclass(frozen=True)
class Radiometry:
    """MSI = ``gain`` · response · HSI + ``offset``.

    Attributes
    ----------
    gain, offset : ndarray, shape (M,)
        Offset in reflectance; 1 and 0 of bands that cannot be compared.
    gain_error, offset_error : ndarray, shape (M,)
        Standard errors; NaN where there are none.
    applied : ndarray of bool, shape (M,)
        Whether they predict what they were not fitted to clearly better than none, so that the MSI is corrected by them.
    unlike : ndarray of bool, shape (M,)
        Bands that the prediction explains too little of to compare anything.
    """

    gain: np.ndarray
    offset: np.ndarray
    gain_error: np.ndarray
    offset_error: np.ndarray
    applied: np.ndarray
    unlike: np.ndarray


def measure_radiometry(predicted: np.ndarray, seen: np.ndarray) -> Radiometry:
    """Compare the images band by band.

    Parameters
    ----------
    predicted : ndarray, shape (M, N)
        What the response, its rows normalised, makes of the HSI at coarse pixels, neighbours side by side; NaN in bands whose response is unknown.
    seen : ndarray, shape (M, N)
        The MSI seen through the PSF there.

    Returns
    -------
    Radiometry

    Examples
    --------
    >>> surface = np.random.default_rng(0).uniform(0.1, 0.5, (1, 200))
    >>> found = measure_radiometry(surface, 1.08 * surface + 0.01)
    >>> found.gain.round(3), found.offset.round(3), found.applied
    (array([1.08]), array([0.01]), array([ True]))
    """
    bands = len(seen)
    none, errors = np.zeros(bands, bool), np.full(bands, np.nan)
    found = Radiometry(np.ones(bands), np.zeros(bands), errors, errors.copy(), none, none.copy())
    for band, (x, y) in enumerate(zip(predicted, seen, strict=True)):
        if len(x) < FEWEST or not np.isfinite(x).all() or np.ptp(x) == 0 or np.ptp(y) == 0:
            continue
        starts = np.linspace(0, len(x), BLOCKS, endpoint=False).astype(int)
        sums, weight = _sums(x, y, starts)
        line, explained = _axis(sums.sum(1))
        found.unlike[band] = explained < MIN_EXPLAINED
        if found.unlike[band]:
            continue
        without = np.stack([_axis(sums.sum(1) - block)[0] for block in sums.T])
        error = np.sqrt((BLOCKS - 1) * without.var(0))
        gain, offset = np.repeat(without, np.diff([*starts, len(x)]), axis=0).T
        gained = np.add.reduceat(weight * ((y - x) ** 2 - (y - gain * x - offset) ** 2), starts)
        found.gain[band], found.offset[band] = line
        found.gain_error[band], found.offset_error[band] = error
        found.applied[band] = gained.mean() > SIGNIFICANT * gained.std(ddof=1) / np.sqrt(BLOCKS)
    return found


def _sums(x: np.ndarray, y: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted moments 1, x, y, xx, yy, xy of every run of pixels, (6, BLOCKS), and the weights (N,): Cauchy's, a half at two robust deviations."""
    moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y])
    weight = np.ones(len(x))
    for _ in range(ROUNDS):
        (gain, offset), _ = _axis((moments * weight).sum(1))
        left = np.abs(y - gain * x - offset)
        weight = 1 / (1 + (left / max(1.4826 * float(np.median(left)), 1e-9)) ** 2 / 4)
    return np.add.reduceat(moments * weight, starts, axis=1), weight


def _axis(moments: np.ndarray) -> tuple[tuple[float, float], float]:
    """Gain and offset of y on x by the reduced major axis, and the share of the variance that a line explains."""
    total, x, y, xx, yy, xy = moments
    x, y = x / total, y / total
    xx, yy, xy = max(xx / total - x * x, 1e-20), max(yy / total - y * y, 1e-20), xy / total - x * y
    gain = float(np.sqrt(yy / xx))
    return (gain, float(y - gain * x)), float(max(xy, 0.0) ** 2 / (xx * yy))
