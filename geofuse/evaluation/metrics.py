"""Full-reference scores of a fused cube, in numpy and scipy.

Everything is computed in double precision and band by band: the structural indices subtract nearly equal numbers, and the
cube is never copied whole. The definitions are torchmetrics' (the tests compare), whose two-dimensional windows took minutes and
gigabytes on a 198-band cube where separable ones take seconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import correlate1d, maximum_filter

from geofuse.errors import InvalidInput

PEAK = 1.0  # reflectance
HALF_WINDOW, WINDOW_SIGMA = 5, 1.5  # pixels, of the structural indices
SSIM_CONSTANTS = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
UQI_GUARD = float(np.finfo(float).eps)
BLOCK_VALUES = 2**21


def score(reference: ArrayLike, estimate: ArrayLike, ratio: float) -> dict[str, float]:
    """Score an estimate against the truth.

    Pixels that are not finite in every band of both images are left out; the structural indices leave out every window that
    touches one.

    Parameters
    ----------
    reference, estimate : array_like, shape (B, H, W)
        Reflectance, 1.0 = 100 %.
    ratio : float
        Coarse pixel size over fine pixel size.

    Returns
    -------
    dict
        ``psnr_db``: peak signal-to-noise ratio, mean over bands of each band's own, peak 1.0 (infinite where a band is exact).
        ``sam_deg``: mean angle between spectra, degrees; a spectrum that is zero throughout has none and is left out.
        ``ergas``: 100 / ratio times the root mean square over bands of RMSE / mean (Wald 2000).
        ``ssim``: structural similarity (Wang et al. 2004; Gaussian window, 1.5 pixels), mean over bands.
        ``uqi``: universal quality index (Wang and Bovik 2002; same window), mean over bands.
        ``rmse``: root mean square error over all bands and pixels.
        ``ssim`` and ``uqi`` are NaN where no window is whole.

    Raises
    ------
    InvalidInput
        The images differ in shape, or have no valid pixel in common.

    Examples
    --------
    >>> truth = np.full((3, 16, 16), 0.5)
    >>> scores = score(truth, truth + 0.01, ratio=4)
    >>> round(scores["psnr_db"], 6), round(scores["rmse"], 6), round(scores["ergas"], 6)
    (40.0, 0.01, 0.5)
    """
    truth, guess = np.asarray(reference), np.asarray(estimate)
    valid = _common_pixels(truth, guess)
    whole = _whole_windows(valid)
    mse, mean, structure = np.empty(len(truth)), np.empty(len(truth)), np.empty((len(truth), 2))
    for b in range(len(truth)):
        t, g = (np.where(valid, a[b], 0.0).astype(float) for a in (truth, guess))
        mse[b], mean[b] = ((t - g)[valid] ** 2).mean(), t[valid].mean()
        structure[b] = _structure(t, g, whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        psnr, relative = 10 * np.log10(PEAK**2 / mse), mse / mean**2
    return {
        "psnr_db": float(psnr.mean()),
        "sam_deg": _spectral_angle(truth, guess, valid),
        "ergas": float(100 / ratio * np.sqrt(relative.mean())),
        "ssim": float(structure[:, 0].mean()),
        "uqi": float(structure[:, 1].mean()),
        "rmse": float(np.sqrt(mse.mean())),
    }


def _common_pixels(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    if truth.ndim != 3 or truth.shape != guess.shape:
        raise InvalidInput(
            f"the reference has shape {truth.shape} and the estimate {guess.shape}; expected the same (bands, rows, columns): "
            "bring both to the same grid and bands first"
        )
    valid = np.ones(truth.shape[1:], bool)
    for t, g in zip(truth, guess, strict=True):
        valid &= np.isfinite(t) & np.isfinite(g)
    if not valid.any():
        raise InvalidInput("no pixel is valid in every band of both images; mask bad bands before scoring")
    return valid


def _whole_windows(valid: np.ndarray) -> np.ndarray:
    """Centres of the windows that hold valid pixels only; at the edge of the image a window sees its mirror image."""
    if min(valid.shape) <= HALF_WINDOW:
        return np.zeros_like(valid)
    return ~maximum_filter(~valid, 2 * HALF_WINDOW + 1, mode="mirror")


def _structure(truth: np.ndarray, guess: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """SSIM and UQI of one band. By convention, UQI is averaged over windows inside the image, SSIM over all."""
    inner = whole[HALF_WINDOW:-HALF_WINDOW, HALF_WINDOW:-HALF_WINDOW]
    if not whole.any():
        return np.nan, np.nan
    mean_t, mean_g = _smooth(truth), _smooth(guess)
    power = mean_t**2 + mean_g**2
    product = mean_t * mean_g
    variance = np.maximum(_smooth(truth**2) - mean_t**2, 0) + np.maximum(_smooth(guess**2) - mean_g**2, 0)
    covariance = _smooth(truth * guess) - product
    c1, c2 = SSIM_CONSTANTS
    ssim = (2 * product + c1) * (2 * covariance + c2) / ((power + c1) * (variance + c2))
    uqi = (4 * product * covariance / (power * variance + UQI_GUARD))[HALF_WINDOW:-HALF_WINDOW, HALF_WINDOW:-HALF_WINDOW]
    return float(ssim[whole].mean()), float(uqi[inner].mean()) if inner.any() else np.nan


def _smooth(image: np.ndarray) -> np.ndarray:
    offset = np.arange(-HALF_WINDOW, HALF_WINDOW + 1)
    weight = np.exp(-0.5 * (offset / WINDOW_SIGMA) ** 2)
    weight /= weight.sum()
    return correlate1d(correlate1d(image, weight, 0, mode="mirror"), weight, 1, mode="mirror")


def _spectral_angle(truth: np.ndarray, guess: np.ndarray, valid: np.ndarray) -> float:
    """Mean spectral angle in degrees, some rows at a time."""
    total, count = 0.0, 0
    rows = max(1, BLOCK_VALUES // truth[:, 0].size)
    for start in range(0, truth.shape[1], rows):
        part = slice(start, start + rows)
        t, g = (a[:, part][:, valid[part]].astype(float) for a in (truth, guess))
        length = np.sqrt((t**2).sum(0) * (g**2).sum(0))
        defined = length > 0
        cosine = (t * g).sum(0)[defined] / length[defined]
        total, count = total + float(np.arccos(np.clip(cosine, -1, 1)).sum()), count + cosine.size
    return float(np.degrees(total / count)) if count else float("nan")
