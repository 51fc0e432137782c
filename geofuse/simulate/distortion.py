"""A smooth distortion of the HSI against the MSI, as another terrain model or a drift of the attitude leaves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from geofuse.simulate.pairs import Simulation
from geofuse.simulate.swath import observed_at

Displacement = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From rows and columns in fine index coordinates to the displacement there, (2, …), fine pixels."""


def smooth_displacement(shape: tuple[int, int], largest: float) -> Displacement:
    """Waves about as long as the image, without a common shift.

    Parameters
    ----------
    shape : tuple of int
        Fine pixels.
    largest : float
        Length of the longest displacement, fine pixels.

    Examples
    --------
    >>> field = smooth_displacement((40, 60), 8.0)(*np.mgrid[:40, :60])
    >>> field.shape, np.hypot(*field).max().round(6), np.abs(field.mean((1, 2))).max() < 1e-9
    ((2, 40, 60), np.float64(8.0), np.True_)
    """

    def waves(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        u, v = (2 * np.pi * place / (size - 1) for place, size in zip((rows, cols), shape, strict=True))
        down = np.sin(0.6 * u + 0.35 * v + 0.5) + 0.3 * np.cos(0.8 * v - 0.3 * u)
        right = np.cos(0.45 * u - 0.55 * v + 1.2) - 0.3 * np.sin(0.9 * u)
        return np.stack([down, right])

    everywhere = waves(*np.mgrid[: shape[0], : shape[1]])
    mean = everywhere.mean((1, 2))
    scale = largest / np.hypot(*(everywhere - mean[:, None, None])).max()
    return lambda rows, cols: scale * (waves(rows, cols) - mean.reshape(2, *[1] * np.ndim(rows)))


def distorted(pair: Simulation, displacement: Displacement, seed: int = 0) -> Simulation:
    """The pair with an HSI whose pixels lie elsewhere than its grid says.

    Parameters
    ----------
    pair : Simulation
    displacement : callable
        Where they really lie, less where the grid has them.
    seed : int
        Of the noise, which is as strong as the pair's.

    Returns
    -------
    Simulation
        NaN for coarse pixels whose centre lies beyond the truth.
    """
    _, height, width = pair.truth.shape
    at = np.mgrid[: height // pair.ratio, : width // pair.ratio] * float(pair.ratio) + (pair.ratio - 1) / 2
    rows, cols = (at + displacement(*at)).reshape(2, -1)
    inside = (rows > -0.5) & (rows < height - 0.5) & (cols > -0.5) & (cols < width - 0.5)
    spectra = np.full((len(pair.truth), inside.size), np.nan)
    spectra[:, inside] = observed_at(pair.truth, rows[inside], cols[inside], pair.ratio / 2)
    spectra += np.random.default_rng(seed).normal(size=spectra.shape) * pair.hsi_noise[:, None]
    return replace(pair, hsi=spectra.reshape(pair.hsi.shape))


def displacement_error(pair: Simulation, truth: Displacement, found: Displacement) -> float:
    """Root mean square distance between where the coarse pixels of a distorted pair lie and where they were found, coarse pixels.

    Examples
    --------
    >>> from geofuse.simulate import simulate_pair
    >>> truth = np.random.default_rng(0).random((60, 32, 24))
    >>> pair = simulate_pair(truth, np.linspace(400, 1000, 60), ratio=4)
    >>> here, there = (lambda rows, cols, far=far: np.full((2, len(rows)), far) for far in (4.0, 0.0))
    >>> round(displacement_error(pair, here, there), 3)
    1.414
    """
    rows, cols = np.argwhere(np.isfinite(pair.hsi).all(0)).T * float(pair.ratio) + (pair.ratio - 1) / 2
    return float(np.sqrt(((found(rows, cols) - truth(rows, cols)) ** 2).sum(0).mean())) / pair.ratio
