"""Swaths shown on a grid through a geometric lookup table (GLT): for each pixel of the grid, the raw pixel that it shows.

A GLT holds row and column of the raw pixel, counted from 1, and 0 where there is none; negative numbers, as ENVI's convention has them for
pixels filled from their neighbours, mean the same raw pixel. Nothing is resampled: a pixel of the grid is one raw pixel, and several may
show the same. Raw pixels keep their own places, which `GltCentres` gives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geofuse.cube.values import decode
from geofuse.errors import InvalidCube
from geofuse.io.read.hdf5 import dataset, reading
from geofuse.io.read.windows import of_runs, selected

# Bytes of raw pixels that are held at once.
_SLAB_BYTES = 2**26
# Pixels of the grid that show one raw pixel lie within so many pixels of each other.
_APART = 16


@dataclass(frozen=True)
class Swath:
    """A file with a swath and its GLT; opened anew for each read."""

    path: str
    stamp: str | None
    shape: tuple[int, int]
    """Rows and columns of the grid."""
    raw: tuple[int, int]
    """Rows and columns of the swath."""
    row_table: str
    column_table: str

    def places(self, file: Any, rows: slice, cols: slice) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and column of the raw pixel shown at each pixel of a window of the grid, from 0; -1 where there is none.

        Raises
        ------
        InvalidCube
            The table points outside the swath.
        """
        window = [np.abs(dataset(file, name, 2, "iu")[rows, cols].astype(np.intp)) for name in (self.row_table, self.column_table)]
        shown = (window[0] > 0) & (window[1] > 0)
        row, col = (np.where(shown, table - 1, -1) for table in window)
        if row.max() >= self.raw[0] or col.max() >= self.raw[1]:
            raise InvalidCube(f"its GLT points at raw pixel ({row.max() + 1}, {col.max() + 1}) of {self.raw}; the product is damaged")
        return row, col


def gather(source: Any, row: NDArray[np.intp], col: NDArray[np.intp], bands: slice, fill: float) -> NDArray[Any]:
    """Raw pixels at places, in slabs of rows, so that memory stays bounded wherever the places are.

    Parameters
    ----------
    source : h5py.Dataset
        Axes row, column and, where it has three, band.
    row, col : numpy.ndarray
        Places, -1 for none; any shape S.
    bands : slice
        Bands to take, with start and stop.
    fill : float
        What is put where there is no raw pixel.

    Returns
    -------
    numpy.ndarray
        Shape ``(band, *S)``, of the type of the dataset.
    """
    count = bands.stop - bands.start
    out = np.full((count, *row.shape), fill, source.dtype)
    shown = row >= 0
    if not shown.any():
        return out
    left, right = int(col[shown].min()), int(col[shown].max()) + 1
    first, last = int(row[shown].min()), int(row[shown].max()) + 1
    line = (right - left) * count * source.dtype.itemsize
    tall = source.chunks[0] if source.chunks else 1
    step = max(1, _SLAB_BYTES // line)
    step = max(tall, step // tall * tall) if tall * line <= 4 * _SLAB_BYTES else step  # whole chunks: each is decoded once
    for top in range(first // step * step, last, step):
        inside = shown & (row >= top) & (row < top + step)
        if inside.any():
            window = source[top : min(top + step, last), left:right, *((bands,) if source.ndim == 3 else ())]
            out[:, inside] = window[row[inside] - top, col[inside] - left].reshape(-1, count).T
    return out


@dataclass(frozen=True)
class GltArray:
    """Reflectance of a swath on its grid; a `geofuse.io.read.base.PixelArray`."""

    swath: Swath
    name: str
    bands: tuple[int, ...]
    fill: float

    dtype = np.dtype(np.float32)
    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""
        return len(self.bands), *self.swath.shape

    def take(self, bands: NDArray[np.intp]) -> Self:
        """Some of the bands."""
        return replace(self, bands=tuple(self.bands[band] for band in bands))

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Read what is selected."""
        return selected(key, self.shape, self.dtype, self._read)

    def _read(self, bands: NDArray[np.intp], rows: slice, cols: slice) -> NDArray[np.float32]:
        with reading(self.swath.path, self.swath.stamp) as file:
            source, (row, col) = dataset(file, self.name, 3, "f"), self.swath.places(file, rows, cols)
            raw = of_runs(np.array([self.bands[band] for band in bands]), lambda run: gather(source, row, col, run, self.fill))
        return decode(raw, 1.0, 0.0, self.fill)


@dataclass(frozen=True)
class GltMask:
    """Flags of a swath on its grid, uint8: sums of `geofuse.cube.masks.Mask`; a `geofuse.io.read.base.FlagArray`."""

    swath: Swath
    path: str
    stamp: str | None
    name: str
    flags: tuple[tuple[int, int], ...]
    """Band of the mask file, and the flag that it raises where it is 1."""

    dtype = np.dtype(np.uint8)
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.swath.shape

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Read what is selected."""
        return selected(key, self.shape, self.dtype, self._read)

    def _read(self, rows: slice, cols: slice) -> NDArray[np.uint8]:
        with reading(self.swath.path, self.swath.stamp) as file:
            row, col = self.swath.places(file, rows, cols)
        out = np.zeros(row.shape, np.uint8)
        if not self.flags:
            return out
        numbers = [band for band, _ in self.flags]
        with reading(self.path, self.stamp) as file:
            layers = gather(dataset(file, self.name, 3), row, col, slice(min(numbers), max(numbers) + 1), 0)
        for band, flag in self.flags:
            out[layers[band - min(numbers)] == 1] |= flag
        return out


@dataclass(frozen=True)
class GltCentres:
    """True places of the raw pixels of a swath on a geographic grid, each once; see `geofuse.io.read.base.Description.centres`."""

    swath: Swath
    transform: Affine
    y_name: str
    x_name: str

    dtype = np.dtype(np.float64)
    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Two (y and x), rows and columns."""
        return 2, *self.swath.shape

    def __getitem__(self, key: Any) -> NDArray[np.float64]:
        """Read what is selected."""
        return selected(key, self.shape, self.dtype, self._read)

    def _read(self, axes: NDArray[np.intp], rows: slice, cols: slice) -> NDArray[np.float64]:
        around = [
            slice(max(part.start - _APART, 0), min(part.stop + _APART, size))
            for part, size in zip((rows, cols), self.swath.shape, strict=True)
        ]
        with reading(self.swath.path, self.swath.stamp) as file:
            row, col = self.swath.places(file, *around)
            places = [gather(dataset(file, name, 2, "f"), row, col, slice(0, 1), np.nan)[0] for name in (self.y_name, self.x_name)]
        y, x = (np.where(np.abs(values) <= 360, values, np.nan).astype(np.float64) for values in places)  # the fill value is -9999
        at_y = self.transform.f + (np.arange(around[0].start, around[0].stop) + 0.5)[:, None] * self.transform.e
        at_x = self.transform.c + (np.arange(around[1].start, around[1].stop) + 0.5) * self.transform.a
        distance = np.hypot(y - at_y, (x - at_x) * np.cos(np.radians(at_y)))
        counts = _nearest_of_each(row * self.swath.raw[1] + col, distance, (row >= 0) & np.isfinite(distance))
        inside = (
            slice(rows.start - around[0].start, rows.stop - around[0].start),
            slice(cols.start - around[1].start, cols.stop - around[1].start),
        )
        return np.stack([np.where(counts, values, np.nan)[inside] for values in (y, x)])[axes]


def _nearest_of_each(number: NDArray[np.intp], distance: NDArray[np.float64], usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of the usable pixels with the same number, the one of the smallest distance, the first of equals; bool, of the same shape."""
    at = np.flatnonzero(usable)
    order = at[np.lexsort((at, distance.ravel()[at], number.ravel()[at]))]
    first = np.ones(order.size, bool)
    first[1:] = np.diff(number.ravel()[order]) != 0
    chosen = np.zeros(number.size, bool)
    chosen[order[first]] = True
    return chosen.reshape(number.shape)
