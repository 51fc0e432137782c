"""Pixels that do not lie where their grid has them, interpolated at its centres.

Simple kriging within five by five pixels (ordinary kriging, with unknown mean: Matheron 1963, doi:10.2113/gsecongeo.58.8.1246). The covariance is
a Gaussian as wide as a pixel, about that of what a PSF of the usual width lets through; nothing is estimated from the image, so that the weights
depend on the places alone.
"""

from __future__ import annotations

import numpy as np

NEAR = 2  # pixels on each side
LENGTH, NUGGET = 1.0, 1e-2  # standard deviation of the covariance, pixels; noise, as a share of the variance


def scattered_taps(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of every pixel of a grid, and their weights.

    Parameters
    ----------
    offsets : ndarray, shape (2, h, w)
        Rows and columns, in pixels, from the grid's centres to where its pixels lie; NaN for those that are not to be used.

    Returns
    -------
    index : ndarray of int, shape (h · w, 25)
        Into the flattened grid.
    weight : ndarray, shape (h · w, 25)
        Rows sum to 1. A pixel that has no neighbour to be used, itself included, keeps its value.

    Examples
    --------
    >>> index, weight = scattered_taps(np.full((2, 5, 5), 0.5))  # the middle of the grid lies between four pixels
    >>> weight[12].reshape(5, 5)[1:3, 1:3].round(2)
    array([[0.34, 0.37],
           [0.37, 0.4 ]])
    """
    at, index = _neighbours(offsets)
    known = np.isfinite(at[0])
    at = np.where(known, at, 0)
    squared = ((at[:, :, :, None] - at[:, :, None]) ** 2).sum(0)
    covariance = np.exp(-0.5 * squared / LENGTH**2) * (known[:, :, None] & known[:, None])
    diagonal = np.arange(covariance.shape[1])
    covariance[:, diagonal, diagonal] += np.where(known, NUGGET, 1)
    right = np.stack([np.exp(-0.5 * (at**2).sum(0) / LENGTH**2) * known, known], axis=-1)
    towards, mean = np.moveaxis(np.linalg.solve(covariance, right), -1, 0)
    total = np.maximum(mean.sum(1), 1e-12)
    weight = (towards + ((1 - towards.sum(1)) / total)[:, None] * mean) * known
    alone = ~known.any(1)
    weight[alone, weight.shape[1] // 2] = 1
    return index, weight


def _neighbours(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixels around each pixel lie, from its centre, (2, n, 25), NaN beyond the edges, and their index (n, 25)."""
    _, h, w = offsets.shape
    steps = [(i, j) for i in range(-NEAR, NEAR + 1) for j in range(-NEAR, NEAR + 1)]
    padded = np.pad(offsets, ((0, 0), (NEAR, NEAR), (NEAR, NEAR)), constant_values=np.nan)
    number = np.pad(np.arange(h * w).reshape(h, w), NEAR)
    around = [(slice(NEAR + i, NEAR + i + h), slice(NEAR + j, NEAR + j + w)) for i, j in steps]
    at = np.stack([padded[:, *part] + np.array(step)[:, None, None] for part, step in zip(around, steps, strict=True)], axis=-1)
    return at.reshape(2, h * w, -1), np.stack([number[part] for part in around], axis=-1).reshape(h * w, -1)
