"""A few pixels of a cube, looked at before the work, which show whether they are reflectance and every band shows something."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geofuse.cube.compute import compute_here
from geofuse.cube.values import NOT_REFLECTANCE, StoredType
from geofuse.errors import InvalidInput

# Squares of so many pixels a side, at so many places along each axis.
_SIDE, _PLACES = 64, 4
_SMALL = 2**26  # values


def windows(cube: xr.DataArray) -> Iterator[NDArray[np.float32]]:
    """Squares of all bands, spread over the cube, always the same ones; each is read when it is asked for.

    Parameters
    ----------
    cube : xarray.DataArray
        Dims (band, y, x), eager or lazy.

    Yields
    ------
    numpy.ndarray
        Shape (band, at most 64, at most 64).
    """
    starts = [np.unique(np.linspace(0, max(size - _SIDE, 0), _PLACES).astype(int)).tolist() for size in cube.shape[1:]]
    places = list(product(*starts))
    for k in np.random.default_rng(0).permutation(len(places)):
        top, left = places[k]
        (block,) = compute_here(cube.data[:, top : top + _SIDE, left : left + _SIDE])
        yield np.asarray(block)


def typical(cube: xr.DataArray) -> float | None:
    """Median of the first window that holds data; None where none does.

    Examples
    --------
    >>> typical(xr.DataArray(np.full((2, 9, 9), 0.25), dims=("band", "y", "x")))
    0.25
    """
    for block in windows(cube):
        values = block[np.isfinite(block)]
        if values.size:
            return float(np.median(values))
    return None


def nodata_share(cube: xr.DataArray) -> float:
    """Share of values that are nodata, 0 … 1: of all of them, or of the windows in four bands where the cube holds more than 2**26."""
    few = np.unique(np.linspace(0, cube.shape[0] - 1, 4).astype(int))
    parts = [np.asarray(cube.data)] if cube.size <= _SMALL else windows(cube.isel(band=few))
    counts = [(int(np.isnan(part).sum()), part.size) for part in parts]
    return sum(missing for missing, _ in counts) / sum(size for _, size in counts)


def constant_bands(cube: xr.DataArray) -> NDArray[np.bool_]:
    """Bands that hold one and the same number wherever they were looked at, zero in most cases: they show nothing of the ground.

    Bands without data are none of these. Where no band varies nothing is said, because the scene itself may be uniform.

    Returns
    -------
    numpy.ndarray
        Bool, shape (band,).

    Examples
    --------
    >>> values = np.random.default_rng(0).random((3, 9, 9))
    >>> values[1] = 0
    >>> constant_bands(xr.DataArray(values, dims=("band", "y", "x")))
    array([False,  True, False])
    """
    low, high = np.full(cube.shape[0], np.inf), np.full(cube.shape[0], -np.inf)
    for block in windows(cube):
        finite = np.isfinite(block)
        low = np.minimum(low, np.where(finite, block, np.inf).min((1, 2)))
        high = np.maximum(high, np.where(finite, block, -np.inf).max((1, 2)))
        if (low < high).all():
            break
    varies = low < high
    return (low == high) & varies.any()


def check_storable(cube: xr.DataArray, dtype: str, name: str) -> None:
    """Reject what is no reflectance where the stored type could not hold it; looks at a few pixels.

    Parameters
    ----------
    cube : xarray.DataArray
    dtype : str
        Of the output.
    name : str
        What to call the image in the message.

    Raises
    ------
    InvalidInput
    """
    limit = StoredType.named(dtype).limit
    level = typical(cube) if limit < math.inf else None
    if level is not None and level > NOT_REFLECTANCE:
        raise InvalidInput(
            f"{name}: values around {level:.4g} are not reflectance (1.0 = 100 %), and {dtype} holds at most {limit:.3g}. Multiply by the scale "
            "in Python (0.01 for percent), or set it in the file, e.g. with gdal_edit.py -scale …; float32 holds any number "
            "(dtype='float32', --dtype float32).",
            code="hsi-not-reflectance",
        )
