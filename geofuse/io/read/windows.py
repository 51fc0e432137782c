"""Selection from an image of which only rectangular windows can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FAR = 8  # bands between two that are read apart


def selected(key: Any, shape: tuple[int, ...], dtype: Any, read: Callable[..., NDArray[Any]]) -> NDArray[Any]:
    """Read what ``array[key]`` asks for, each axis by itself, through a function that reads windows.

    Parameters
    ----------
    key : Any
        An integer, a slice or a list for each axis; axes that it leaves out are taken whole.
    shape : tuple of int
        Of the array; the last two axes are rows and columns.
    dtype : Any
        Of the array, for what is empty.
    read : callable
        Takes positions along each axis before the last two (1-D arrays), then two slices of rows and columns; returns that window.

    Examples
    --------
    >>> array = np.arange(24).reshape(2, 3, 4)
    >>> selected((1, [2, 0]), array.shape, array.dtype, lambda bands, rows, cols: array[bands, rows, cols])
    array([[20, 21, 22, 23],
           [12, 13, 14, 15]])
    """
    full = (key if isinstance(key, tuple) else (key,)) + (slice(None),) * len(shape)
    chosen = [np.arange(size)[item] for item, size in zip(full, shape, strict=False)]
    if any(places.size == 0 for places in chosen):
        return np.empty([places.size for places in chosen if places.ndim], dtype)
    *before, rows, cols = chosen
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(cols.min()), int(cols.max()) + 1
    values = read(*map(np.atleast_1d, before), slice(top, bottom), slice(left, right))
    whole = (slice(None),) * len(before)
    values = values[(*whole, slice(None), _within(cols, left))][(*whole, _within(rows, top))]
    return values[tuple(slice(None) if places.ndim else 0 for places in before)]


def of_runs(bands: NDArray[np.intp], read: Callable[[slice], NDArray[Any]]) -> NDArray[Any]:
    """Bands at places in any order, along the first axis; neighbours are read together, and what lies far between is not read.

    Examples
    --------
    >>> of_runs(np.array([40, 2, 3]), lambda run: np.arange(50)[run])
    array([40,  2,  3])
    """
    ascending = np.unique(bands)
    runs = np.split(ascending, np.flatnonzero(np.diff(ascending) > _FAR) + 1)
    if len(runs) == 1:
        return read(slice(int(ascending[0]), int(ascending[-1]) + 1))[_within(bands, int(ascending[0]))]
    return np.concatenate([of_runs(run, read) for run in runs])[np.searchsorted(ascending, bands)]


def _within(places: NDArray[np.intp], start: int) -> Any:
    """Where places lie in a window that starts at ``start``; a run of neighbours is a view, not a copy."""
    run = places.ndim == 1 and np.array_equal(places, np.arange(start, start + places.size))
    return slice(None) if run else places - start
