"""Noise levels of both images, and the dimension of the signal subspace, from the images alone.

HSI: spectrally, by factor analysis (what a low-rank model cannot explain is noise, band by band), starting from the
regression of every band on its neighbours (Roger and Arnold 1996, doi:10.1080/01431169608949070). The rank comes from the
Marchenko-Pastur edge of the whitened singular values. MSI: what its bands do not tell of each other within small windows, where few
materials mix.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import median_filter
from scipy.stats import chi2

ROUNDS = 6
NEIGHBOURS = 3
MIN_RANK, MAX_RANK = 10, 20
EDGE = 1.1  # singular values must exceed the Marchenko-Pastur edge by this factor
RELATIVE_FLOOR = 3e-3  # of a band's root mean square: no sensor is better calibrated than that
NOISY, AROUND = 3.0, 41  # times the level of that many bands around, beyond which a band is noisy
FLOOR = 1e-6  # reflectance: what is left of a band that is zero everywhere
# MSI: the side of a window, the degrees of freedom that its regressions leave at least, the quantile of the windows that is taken for noise, and
# how many windows of an image are looked at.
WINDOW, FREEDOM, QUANTILE, MOST_WINDOWS = 7, 16, 0.05, 8000
MIN_RELATIVE_MSI_NOISE = 1e-3  # of a band's root mean square
REPEATED = 0.4  # share of neighbours of one value, beyond which the pixels of a band are repeated: half, where each is shown two by two
ALIKE = 1.5  # times the median of the bands, relative to their brightness: no band of a sensor is noisier
# Of a band's root mean square: a signal-to-noise ratio of 100, as sensors are specified, after atmospheric correction.
USUAL_MSI_NOISE = 1e-2


def hsi_noise(pixels: np.ndarray, measured: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """Noise standard deviation per band, and the rank of the signal.

    Parameters
    ----------
    pixels : ndarray, shape (B, N)
        Spectra of a sample of the scene, reflectance, without gaps.
    measured : ndarray, shape (B,), optional
        In how many of them each band was measured; in the others it was completed, which adds no noise. None: in all.

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
    if count >= 2 * bands:
        for _ in range(ROUNDS):
            sigma, rank = _factor_round(centred, sigma, start)
    else:
        rank = signal_rank(np.linalg.eigvalsh(np.cov(centred / sigma[:, None], bias=True)), count)
    if measured is not None:
        sigma = sigma * np.sqrt(count / np.maximum(measured, 1))
    floor = RELATIVE_FLOOR * np.sqrt((pixels**2).mean(1))
    supported = max(1, min(bands, count // 4))
    return np.maximum(sigma, np.maximum(floor, FLOOR)), min(max(rank, MIN_RANK), MAX_RANK, supported)


def signal_rank(value: np.ndarray, count: int) -> int:
    """Eigenvalues of whitened spectra that rise above what noise alone makes of so many: beyond the Marchenko-Pastur edge."""
    return int((value > EDGE * (1 + np.sqrt(len(value) / count)) ** 2).sum())


def neighbour_noise(centred: np.ndarray) -> np.ndarray:
    """Residual standard deviation of each band regressed on its `NEIGHBOURS` nearest on either side; shape (B,)."""
    bands, count = centred.shape
    covariance = centred @ centred.T / count
    left, passed = np.empty(bands), np.eye(bands)
    for b in range(bands):
        near = [i for i in range(b - NEIGHBOURS, b + NEIGHBOURS + 1) if i != b and 0 <= i < bands][: max(1, count // 3)]
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
    rank = min(max(signal_rank(value, count), 4), bands // 2)
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


def msi_noise(images: list[np.ndarray]) -> np.ndarray:
    """First guess of the MSI noise: the geometric mean of what the images allow at most and of what is usual, where that is less.

    The pair itself hardly tells noise from detail that the model cannot explain, so that expectation-maximisation stays near where it starts;
    and images allow two to nine times the noise where every pixel is another mixture (`python -m benchmarks.noise`).

    Parameters
    ----------
    images : list of ndarray, each of shape (M, H, W)
        Samples of the MSI, reflectance; NaN where there is no data.

    Returns
    -------
    ndarray, shape (M,)
        Noise standard deviation, reflectance, never below a thousandth of the band's root mean square.
    """
    repeated = repeated_bands(images)
    most, level = _bound(images, repeated)
    guess = np.where(repeated, most, np.sqrt(most * np.minimum(most, USUAL_MSI_NOISE * level)))
    return np.asarray(np.maximum(guess, MIN_RELATIVE_MSI_NOISE * level))


def msi_noise_bound(images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """How much noise the bands of the MSI hold at most, and the bands' root mean squares; both of shape (M,), reflectance.

    Where few materials mix, every band is an affine function of the others and of the place, but for noise. So each band is regressed on them in
    small windows, and the windows that leave least tell: their residual is the band's noise, and that of the others which the regression
    carries over. A band that the others do not predict (near infrared beside visible bands) is held to half as much again as the
    median of the bands, relative to their brightness: a sensor's bands are alike in this.

    Bands of larger pixels that were repeated (Sentinel-2's of 20 m among those of 10 m) predict each other, but not what their pixels average out.
    These tell nothing of the others, and what the others tell that they lack counts as their noise, over all windows.

    Parameters
    ----------
    images : list of ndarray, each of shape (M, H, W)
        Samples of the MSI, reflectance; NaN where there is no data.
    """
    return _bound(images, repeated_bands(images))


def _bound(images: list[np.ndarray], repeated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    level = np.sqrt(np.mean([np.nanmean(image**2, axis=(1, 2)) for image in images], axis=0))
    level = np.maximum(level, 1e3 * FLOOR)
    bands = len(level)
    side = WINDOW
    while side**2 - 3 - (bands - 1) < FREEDOM:
        side += 2
    found = [part for image in images if len(part := _windows(image, side, MOST_WINDOWS // len(images)))]
    if not found:
        return USUAL_MSI_NOISE * level, level
    windows = np.concatenate(found)
    own, most = np.flatnonzero(~repeated), np.empty(bands)
    variance, freedom = _unpredicted(windows[..., own], side)
    # The low quantile of windows that hold nothing but noise lies this far below their mean.
    most[own] = np.sqrt(np.quantile(variance, QUANTILE, axis=0) * freedom / chi2.ppf(QUANTILE, freedom))
    most[own] = np.minimum(most[own], ALIKE * np.median(most[own] / level[own]) * level[own])
    for band in np.flatnonzero(repeated):
        most[band] = np.sqrt(_unpredicted(windows[..., [*own, band]], side)[0][:, -1].mean())
    return most, level


def repeated_bands(images: list[np.ndarray]) -> np.ndarray:
    """Bands of larger pixels than the others, each of which was repeated to fill theirs; bool, shape (M,). None, where all are alike.

    Examples
    --------
    >>> fine, coarse = np.random.default_rng(0).random((2, 12, 12))
    >>> repeated_bands([np.stack([fine, np.kron(coarse[:6, :6], np.ones((2, 2)))])]).tolist()
    [False, True]
    """
    shares = []
    for axis in (1, 2):
        steps = [np.diff(image, axis=axis).reshape(len(image), -1) for image in images]
        known = sum(np.isfinite(step).sum(1) for step in steps)
        shares.append(sum((step == 0).sum(1) for step in steps) / np.maximum(known, 1))
    found = np.asarray(np.minimum(*shares) > REPEATED)
    return found & ~found.all()


def _windows(image: np.ndarray, side: int, count: int) -> np.ndarray:
    """Windows without gaps, spread evenly over an image (M, H, W); shape (N, side², M)."""
    bands, height, width = image.shape
    if min(height, width) < side:
        return np.empty((0, side**2, bands))
    step = max(2, int(np.ceil(np.sqrt((height - side + 1) * (width - side + 1) / max(count, 1)))))
    view = sliding_window_view(image, (side, side), axis=(1, 2))[:, ::step, ::step]
    flat = view.transpose(1, 2, 3, 4, 0).reshape(-1, side**2, bands)
    return flat[np.isfinite(flat).all((1, 2))]


def _unpredicted(windows: np.ndarray, side: int) -> tuple[np.ndarray, int]:
    """Variance of every band in every window, given the other bands and the place, (N, M); and the degrees of freedom behind it."""
    row, col = np.mgrid[:side, :side].reshape(2, -1) - (side - 1) / 2
    plane = np.stack([np.ones(side**2), row, col], 1)
    plane /= np.linalg.norm(plane, axis=0)
    left = windows - plane @ (plane.T @ windows)
    products = left.transpose(0, 2, 1) @ left
    bands = products.shape[-1]
    ridge = 1e-12 * np.trace(products, axis1=1, axis2=2) + FLOOR**2
    precision = np.linalg.inv(products + ridge[:, None, None] * np.eye(bands))
    freedom = side**2 - 3 - (bands - 1)
    return 1 / np.diagonal(precision, axis1=1, axis2=2) / freedom, freedom
