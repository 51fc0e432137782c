"""Overviews: an image at half its size, as often as it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def halved(plane: NDArray[Any], nodata: float) -> NDArray[Any]:
    """Average blocks of 2 × 2 pixels with data; nodata where none of them has any.

    Parameters
    ----------
    plane : ndarray, shape (rows, cols)
        Stored numbers; integers come out rounded to the nearest, halves up.
    nodata : float
        The number that stands for no data; NaN in a floating-point plane.

    Returns
    -------
    ndarray, shape (ceil(rows / 2), ceil(cols / 2))
        Of the same type.

    Examples
    --------
    >>> halved(np.array([[1, 2, 9], [4, -1, -1]], dtype="int16"), -1)
    array([[2, 9]], dtype=int16)
    """
    gaps = np.isnan(plane) if plane.dtype.kind == "f" else plane == nodata
    wide = np.float64 if plane.dtype.kind == "f" else np.int32
    if not gaps.any() and plane.shape[0] % 2 == plane.shape[1] % 2 == 0:
        total = _quadruples(plane, wide)
        return (total / 4).astype(plane.dtype) if wide is np.float64 else ((total + 2) >> 2).astype(plane.dtype)
    edge = [(0, size % 2) for size in plane.shape]
    total = _quadruples(np.pad(np.where(gaps, plane.dtype.type(0), plane), edge), wide)
    count = _quadruples(np.pad(~gaps, edge), np.int32)
    some = np.maximum(count, 1)
    mean = total / some if wide is np.float64 else (2 * total + some) // (2 * some)
    return np.where(count > 0, mean, nodata).astype(plane.dtype)


def every_other(plane: NDArray[Any]) -> NDArray[Any]:
    """Every other row and column, for numbers of which no mean can be taken; as many as `halved` gives.

    Examples
    --------
    >>> every_other(np.array([[1, 2, 9], [4, 8, 16]], dtype="uint8"))
    array([[1, 9]], dtype=uint8)
    """
    return plane[::2, ::2]


def _quadruples(plane: NDArray[Any], wide: Any) -> NDArray[Any]:
    """Sum over blocks of 2 × 2."""
    pairs = np.add(plane[::2], plane[1::2], dtype=wide)
    total: NDArray[Any] = pairs[:, ::2] + pairs[:, 1::2]
    return total


def overview_factors(rows: int, cols: int, side: int) -> list[int]:
    """Halve until one block of ``side`` pixels holds the image, or its shorter side is one pixel.

    Examples
    --------
    >>> overview_factors(2048, 1000, 512), overview_factors(400, 512, 512)
    ([2, 4], [])
    """
    factors = [2**power for power in range(1, 32)]
    return [factor for factor in factors if max(rows, cols) > side * factor // 2 and min(rows, cols) >= factor]
