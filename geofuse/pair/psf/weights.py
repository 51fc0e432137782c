"""Weights between one direction of the fine and of the coarse grid: of the PSF, and of interpolation.

The PSF is a generalised Gaussian along each direction, exp(-(|d| / α)ᵖ) with α such that the standard deviation is 1 (Nadarajah 2005,
doi:10.1080/02664760500079464): a Gaussian for p = 2, near a box for large p, with heavier tails for small p. Or it is what a detector sees through
diffraction-limited optics: along each direction a box, whose standard deviation is 1, blurred by the line spread of a round aperture (its modulation transfer
function is the autocorrelation of a disc; Goodman 2005, "Introduction to Fourier Optics", section 6.3), of a cut-off in cycles to the box.
Cubic convolution is that of Keys (1981, doi:10.1109/TASSP.1981.1163711).
At the edge of the fine image the PSF is reflected (half-sample symmetric), as if the scene continued as its mirror image.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import gamma

from geofuse.pair.grid import Axis

REACH_SIGMAS, OPTICS_REACH = 4.0, 9.0  # the second beside optics, whose tails fall off with the square of the distance
FINE, FREQUENCIES = 200, 256  # points to a standard deviation of a line spread that is interpolated, and of the integral behind it
GAUSSIAN = 2.0  # exponent
LOWEST = 700.0  # of a logarithm that is still a number
TAPS = 8  # points of the polynomial through a lattice of the blurred image
CUBIC = -0.5  # Keys' third-order-accurate parameter


def psf_matrix(axis: Axis, sigma: float, shift: float = 0.0) -> np.ndarray:
    """One direction of the PSF.

    Parameters
    ----------
    axis : Axis
        Where the coarse pixels lie on the fine grid.
    sigma : float
        Standard deviation of the Gaussian, in fine pixels.
    shift : float
        Displacement of the coarse image against its georeference, in fine pixels.

    Returns
    -------
    ndarray, shape (coarse, fine)
        Rows sum to 1. A coarse pixel whose centre lies off the fine grid has a row all the same; callers mask it.

    Examples
    --------
    >>> psf_matrix(Axis(2.0, 0.5, 2, 4), sigma=0.5).round(3)
    array([[0.5  , 0.491, 0.009, 0.   ],
           [0.   , 0.009, 0.491, 0.5  ]])
    """
    return banded_psf(axis, sigma, shift, slice(0, axis.coarse), slice(0, axis.fine))


def cubic_matrix(axis: Axis, shift: float = 0.0) -> np.ndarray:
    """One direction of the cubic interpolation from coarse to fine pixels; shape (fine, coarse), rows sum to 1."""
    return banded_cubic(axis, shift, slice(0, axis.fine), slice(0, axis.coarse))


def cubic_taps(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Four neighbours and their weights of cubic convolution at ``position`` (any shape): two arrays (..., 4)."""
    base = np.floor(position)
    t = (position - base)[..., None]
    distance = np.abs(t - np.array([-1.0, 0.0, 1.0, 2.0]))
    near = (CUBIC + 2) * distance**3 - (CUBIC + 3) * distance**2 + 1
    far = CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return base[..., None].astype(int) + np.arange(-1, 3), np.where(distance <= 1, near, far)


def lagrange_taps(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours and weights of polynomial interpolation through `TAPS` lattice points at ``position`` (n,): two arrays (n, TAPS)."""
    base = np.floor(position)
    nodes = np.arange(TAPS) - (TAPS // 2 - 1)
    distance = (position - base)[:, None] - nodes
    weight = np.ones((len(position), TAPS))
    for k, node in enumerate(nodes):
        for j, other in enumerate(nodes):
            if j != k:
                weight[:, k] *= distance[:, j] / (node - other)
    return base[:, None].astype(int) + nodes, weight


def _reflect(index: np.ndarray, n: int) -> np.ndarray:
    """Half-sample symmetric reflection of indices into 0 … n-1."""
    folded = np.mod(index, 2 * n)
    return np.where(folded < n, folded, 2 * n - 1 - folded)


def reach_of(sigma: float, cutoff: float = 0.0) -> int:
    """Fine pixels from the centre of a PSF to where it ends."""
    return int(np.ceil((OPTICS_REACH if cutoff else REACH_SIGMAS) * sigma)) + 1


@lru_cache(maxsize=64)
def _line_spread(cutoff: float) -> np.ndarray:
    """A box of standard deviation 1 behind optics, at every `FINE`-th of it up to where it ends."""
    share = (np.arange(FREQUENCIES) + 0.5) / FREQUENCIES
    transfer = (np.arccos(share) - share * np.sqrt(1 - share**2)) * np.sinc(share * cutoff)
    distance = np.arange(OPTICS_REACH * FINE + 2) / FINE
    return np.asarray(np.cos(2 * np.pi * np.outer(distance, share) * cutoff / np.sqrt(12)) @ transfer)


def _kernel(distance: np.ndarray, exponent: float, cutoff: float = 0.0) -> np.ndarray:
    """Weights at distances in standard deviations, along the last axis; they sum to 1."""
    if cutoff:
        spread, far = _line_spread(cutoff), np.abs(distance)
        seen = np.where(far <= OPTICS_REACH, np.interp(far, np.arange(len(spread)) / FINE, spread), 0.0)
        return np.asarray(seen / seen.sum(-1, keepdims=True))
    alpha = np.sqrt(gamma(1 / exponent) / gamma(3 / exponent))
    near = np.minimum(np.abs(distance), REACH_SIGMAS)
    power = -0.5 * near**2 if exponent == GAUSSIAN else -((near / alpha) ** exponent)
    weight = np.where(np.abs(distance) <= REACH_SIGMAS, np.exp(np.maximum(power, -LOWEST)), 0.0)
    return np.asarray(weight / weight.sum(-1, keepdims=True))


def banded_psf(
    axis: Axis, sigma: float, shift: float, coarse: slice, fine: slice, exponent: float = GAUSSIAN, cutoff: float = 0.0
) -> np.ndarray:
    """Rows ``coarse`` and columns ``fine`` of `psf_matrix` without making the rest of it."""
    reach = reach_of(sigma, cutoff)
    centre = axis.centres(shift)[coarse]
    index = np.round(centre).astype(int)[:, None] + np.arange(-reach, reach + 1)[None]
    weight = _kernel((index - centre[:, None]) / sigma, exponent, cutoff)
    column = _reflect(index, axis.fine) - fine.start
    matrix = np.zeros((len(centre), fine.stop - fine.start))
    keep = (column >= 0) & (column < matrix.shape[1])
    row = np.broadcast_to(np.arange(len(centre))[:, None], column.shape)
    np.add.at(matrix, (row[keep], column[keep]), weight[keep])
    return matrix


def psf_energy(centre: np.ndarray, sigma: float, exponent: float = GAUSSIAN, cutoff: float = 0.0) -> np.ndarray:
    """Sum of the squared weights of the PSF along one axis, around places in fine index coordinates; of their shape."""
    reach = reach_of(sigma, cutoff)
    steps = np.arange(-reach, reach + 1) + np.round(centre)[..., None] - centre[..., None]
    return np.asarray((_kernel(steps / sigma, exponent, cutoff) ** 2).sum(-1))


def banded_cubic(axis: Axis, shift: float, fine: slice, coarse: slice) -> np.ndarray:
    """Rows ``fine`` and columns ``coarse`` of `cubic_matrix` without making the rest of it."""
    position = (np.arange(fine.start, fine.stop) - axis.first - shift) / axis.ratio
    index, weight = cubic_taps(position)
    # Clamp at the scene's edge first; inside the scene the window already holds every neighbour that its core needs.
    column = np.clip(np.clip(index, 0, axis.coarse - 1) - coarse.start, 0, coarse.stop - coarse.start - 1)
    matrix = np.zeros((len(position), coarse.stop - coarse.start))
    np.add.at(matrix, (np.arange(len(position))[:, None], column), weight)
    return matrix
