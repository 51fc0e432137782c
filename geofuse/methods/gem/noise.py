"""Noise levels of both images, and the dimension of the signal subspace, from the images alone.

HSI: spectrally, by factor analysis (what a low-rank model cannot explain is noise, band by band), starting from the
regression of every band on its neighbours (Roger and Arnold 1996, doi:10.1080/01431169608949070). The rank comes from the
Marchenko-Pastur edge of the whitened singular values. MSI: spatially, from the flattest blocks of the image.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter

ROUNDS = 6
MIN_RANK, MAX_RANK = 10, 20
EDGE = 1.1  # singular values must exceed the Marchenko-Pastur edge by this factor
RELATIVE_FLOOR = 3e-3  # of a band's root mean square: no sensor is better calibrated than that
NOISY, AROUND = 3.0, 41  # times the level of that many bands around, beyond which a band is noisy
FLOOR = 1e-6  # reflectance: what is left of a band that is zero everywhere


def hsi_noise(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Noise standard deviation per band, and the rank of the signal.

    Parameters
    ----------
    pixels : ndarray, shape (B, N)
        Spectra of a sample of the scene, reflectance, without gaps.

    Returns
    -------
    sigma : ndarray, shape (B,)
        Noise standard deviation, reflectance.
    rank : int
        Number of components that rise above the noise, within what N samples can support.
    """
    bands, count = pixels.shape
    centred = pixels - pixels.mean(1, keepdims=True)
    start = sigma = neighbour_noise(centred)
    rank = min(MAX_RANK, bands, max(count // 4, 1))
    if count >= 2 * bands:
        for _ in range(ROUNDS):
            sigma, rank = _factor_round(centred, sigma, start)
    floor = RELATIVE_FLOOR * np.sqrt((pixels**2).mean(1))
    supported = max(1, min(bands, count // 4))
    return np.maximum(sigma, np.maximum(floor, FLOOR)), min(max(rank, MIN_RANK), MAX_RANK, supported)


def neighbour_noise(centred: np.ndarray, neighbours: int = 3) -> np.ndarray:
    """Residual standard deviation of each band regressed on its ``neighbours`` nearest on either side; shape (B,)."""
    bands, count = centred.shape
    covariance = centred @ centred.T / count
    left, passed = np.empty(bands), np.eye(bands)
    for b in range(bands):
        near = [i for i in range(b - neighbours, b + neighbours + 1) if i != b and 0 <= i < bands][: max(1, count // 3)]
        block = covariance[np.ix_(near, near)]
        ridge = 1e-9 * np.trace(block) / len(near) + 1e-30
        weight = np.linalg.solve(block + ridge * np.eye(len(near)), covariance[near, b])
        residual = covariance[b, b] - weight @ covariance[near, b]
        left[b] = max(residual, 0) * count / max(count - len(near), 1)
        passed[b, near] = weight**2
    # The prediction carries the neighbours' own noise. Equal levels are assumed for this first guess, but of bands that are far noisier.
    equal = np.sqrt(left / passed.sum(1))
    # Least squares: bands that are copies of each other make the system singular.
    apart = np.sqrt(np.clip(np.linalg.lstsq(passed, left)[0], 0, left))
    sigma = np.where(apart > NOISY * median_filter(apart, AROUND, mode="nearest"), apart, equal)
    return np.maximum(sigma, 1e-2 * np.median(sigma) + 1e-9)


def _factor_round(centred: np.ndarray, sigma: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, int]:
    bands, count = centred.shape
    whitened = centred / sigma[:, None]
    value, vector = np.linalg.eigh(whitened @ whitened.T / count)
    value, vector = value[::-1], vector[:, ::-1]
    edge = (1 + np.sqrt(bands / count)) ** 2
    rank = min(max(int((value > EDGE * edge).sum()), 4), bands // 2)
    signal = vector[:, :rank]
    total = (whitened**2).mean(1)
    residual = total - (signal**2 * value[:rank]).sum(1)
    freedom = max(count - rank, 1) / count * np.clip(1 - (signal**2).sum(1), 0.2, None)
    sigma = sigma * np.sqrt(np.maximum(residual, 1e-12) / freedom)
    smooth = median_filter(sigma, 15, mode="nearest")
    # A band that its neighbours cannot predict may well be that noisy. Held down to what is usual it would become a component of its own, and
    # its noise signal.
    highest = np.maximum(4 * smooth, 2 * start)
    return np.clip(sigma, np.maximum(0.4 * smooth, 0.05 * np.median(sigma)), highest), rank


def msi_noise(images: list[np.ndarray], block: int = 8, quantile: float = 0.1) -> np.ndarray:
    """First guess of the MSI noise: second differences in the flattest blocks.

    Parameters
    ----------
    images : list of ndarray, each of shape (M, H, W)
        Samples of the MSI, reflectance; NaN where there is no data.

    Returns
    -------
    ndarray, shape (M,)
        Noise standard deviation, reflectance, never below a thousandth of the band's root mean square.
    """
    energies, power = [], []
    for image in images:
        mixed = (image[:, 1:, 1:] - image[:, :-1, 1:] - image[:, 1:, :-1] + image[:, :-1, :-1]) / 2
        m, rows, cols = mixed.shape
        size = max(1, min(block, rows, cols))
        rows, cols = rows // size * size, cols // size * size
        blocks = (mixed[:, :rows, :cols] ** 2).reshape(m, rows // size, size, cols // size, size).mean((2, 4)).reshape(m, -1)
        energies.append(blocks[:, np.isfinite(blocks).all(0)])
        power.append(np.nanmean(image**2, axis=(1, 2)))
    energy = np.concatenate(energies, axis=1)
    level = np.maximum(np.sqrt(np.mean(power, axis=0)), 1e3 * FLOOR)
    if energy.shape[1] == 0:
        return 0.01 * level
    # 1.22 undoes the bias of taking a low quantile of 64-pixel means.
    return np.maximum(np.sqrt(1.22 * np.quantile(energy, quantile, axis=1)), 1e-3 * level)
