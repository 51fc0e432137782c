"""An image whose rows and columns do not run along the axes of its CRS, on a grid that is north up, without a pixel being changed.

Every pixel of the grid shows the pixel of the image in which its centre lies, and true centres say where that one really is, as for a swath
behind a geometry lookup table (`geofuse.cube.schema.wrap`). Airborne scanners deliver such images (``rotation`` in the ``map info`` of an ENVI header).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geofuse.errors import InvalidCube
from geofuse.io.read.base import LONGEST_AXIS, Description, FlagArray, PixelArray

SIDE = 256  # pixels of the grid that are read at once along each side: of a turned image these need twice as many


@dataclass(frozen=True)
class Turn:
    """Between an image of a shape (rows, columns) and its north-up grid.

    Attributes
    ----------
    image, grid : affine.Affine
        From pixel corners (column, row) to CRS coordinates.
    shape, grid_shape : tuple of int
        Rows and columns of both.
    """

    image: Affine
    grid: Affine
    shape: tuple[int, int]
    grid_shape: tuple[int, int]

    @staticmethod
    def of(image: Affine, shape: tuple[int, int]) -> Turn:
        """The smallest grid that holds an image, with square pixels of the same area.

        Raises
        ------
        InvalidCube
            It has more than `LONGEST_AXIS` pixels along a side.

        Examples
        --------
        >>> Turn.of(Affine.translation(500, 900) @ Affine.rotation(90) @ Affine.scale(2, 2), (3, 4)).grid_shape
        (4, 3)
        """
        rows, cols = shape
        x, y = zip(*(image @ corner for corner in product((0, cols), (0, rows))), strict=True)
        with np.errstate(all="ignore"):
            size = np.sqrt(np.float64(abs(image.determinant)))
            spans = np.array([max(v) - min(v) for v in (y, x)]) / size
        if not (np.isfinite(size) and (spans <= LONGEST_AXIS).all()):
            raise InvalidCube(
                f"its rotated geotransform spans {max(spans):.3g} pixels of a north-up grid along a side; expected at most {LONGEST_AXIS}, correct it"
            )
        height, width = (int(np.ceil(span - 1e-6)) for span in spans)
        size = float(size)
        return Turn(image, Affine(size, 0.0, min(x), 0.0, -size, max(y)), shape, (height, width))

    def shown(self, rows: NDArray[Any], cols: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
        """Row and column of the pixel that each pixel of the grid shows, and whether there is one; arrays of one shape."""
        back = ~self.image @ self.grid
        row = np.floor(back.d * (cols + 0.5) + back.e * (rows + 0.5) + back.f).astype(int)
        col = np.floor(back.a * (cols + 0.5) + back.b * (rows + 0.5) + back.c).astype(int)
        on_grid = (rows >= 0) & (rows < self.grid_shape[0]) & (cols >= 0) & (cols < self.grid_shape[1])
        return row, col, on_grid & (row >= 0) & (row < self.shape[0]) & (col >= 0) & (col < self.shape[1])

    def fill(self, out: NDArray[Any], read: Callable[[slice, slice], NDArray[Any]], rows: NDArray[np.intp], cols: NDArray[np.intp]) -> None:
        """Put the pixels that rows and columns of the grid show into ``out`` (c, rows, columns), as far as there are any.

        ``read`` takes slices of rows and columns of the image and returns (c, h, w); of a large window it is asked part by part.
        """
        for down, right in product(_runs(np.size(rows)), _runs(np.size(cols))):
            row, col, there = self.shown(*np.meshgrid(np.atleast_1d(rows)[down], np.atleast_1d(cols)[right], indexing="ij"))
            if there.any():
                row, col = row[there], col[there]
                top, left = int(row.min()), int(col.min())
                block = read(slice(top, int(row.max()) + 1), slice(left, int(col.max()) + 1))
                out[:, down, right][:, there] = block[:, row - top, col - left]

    def centres(self, rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[np.float64]:
        """Where the pixels that the grid shows truly lie, y and x, (2, …); NaN where there is none, or another shows it from nearer."""
        row, col, counts = self.shown(rows, cols)
        y, x = (v[0] * (col + 0.5) + v[1] * (row + 0.5) + v[2] for v in ((self.image.d, self.image.e, self.image.f), self.image[:3]))

        def distance(r: NDArray[Any], c: NDArray[Any]) -> NDArray[np.float64]:
            at_y, at_x = self.grid.f + self.grid.e * (r + 0.5), self.grid.c + self.grid.a * (c + 0.5)
            return np.asarray(np.hypot(at_y - y, at_x - x))

        own = distance(rows, cols)
        for down, right in product((-1, 0, 1), repeat=2):
            if down or right:
                other_row, other_col, there = self.shown(rows + down, cols + right)
                same, away = there & (other_row == row) & (other_col == col), distance(rows + down, cols + right)
                tie = np.isclose(away, own, rtol=1e-9) & ((down, right) < (0, 0))  # of two as near the first one
                counts = counts & ~(same & (tie | (away < own * (1 - 1e-9))))
        return np.where(counts, np.stack([y, x]), np.nan)


@dataclass(frozen=True)
class TurnedArray:
    """Pixels of an image on its north-up grid, NaN where it has none; reads what it is asked for, as the array behind it does."""

    array: PixelArray
    turn: Turn

    dtype = np.dtype(np.float32)
    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns of the grid."""
        return self.array.shape[0], *self.turn.grid_shape

    def take(self, bands: NDArray[np.intp]) -> TurnedArray:
        """Some of the bands."""
        return replace(self, array=self.array.take(bands))

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Read what is selected: an integer, slice or list along each axis, each axis by itself."""
        bands, rows, cols = (np.arange(size)[item] for item, size in zip(key, self.shape, strict=True))
        out = np.full((np.size(bands), np.size(rows), np.size(cols)), np.nan, np.float32)
        self.turn.fill(out, lambda down, right: self.array[np.atleast_1d(bands), down, right], rows, cols)
        return out.reshape([chosen.size for chosen in (bands, rows, cols) if chosen.ndim])


@dataclass(frozen=True)
class TurnedCentres:
    """True centres of the pixels of a turned image, y and x, shape (2, rows, columns) of the grid; worked out when it is indexed."""

    turn: Turn

    dtype = np.dtype(np.float64)
    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Two, rows and columns of the grid."""
        return 2, *self.turn.grid_shape

    def __getitem__(self, key: Any) -> NDArray[np.float64]:
        """Work out what is selected: an integer, slice or list along each axis, each axis by itself."""
        along, rows, cols = (np.arange(size)[item] for item, size in zip(key, self.shape, strict=True))
        found = self.turn.centres(*np.meshgrid(rows, cols, indexing="ij"))[along]
        return np.asarray(found).reshape([chosen.size for chosen in (along, rows, cols) if chosen.ndim])


@dataclass(frozen=True)
class TurnedFlags:
    """Flags of the pixels of a turned image on its grid, 0 where it has none."""

    flags: FlagArray
    turn: Turn

    dtype = np.dtype(np.uint8)
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return self.turn.grid_shape

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Read what is selected: an integer or slice along each axis."""
        rows, cols = (np.arange(size)[item] for item, size in zip(key, self.shape, strict=True))
        out = np.zeros((1, np.size(rows), np.size(cols)), np.uint8)
        self.turn.fill(out, lambda down, right: self.flags[down, right][None], rows, cols)
        return out.reshape([chosen.size for chosen in (rows, cols) if chosen.ndim])


def north_up(found: Description) -> Description:
    """The description of a turned image on its north-up grid, with true centres; nothing is read.

    Raises
    ------
    InvalidCube
        The grid has too many pixels along a side.
    """
    turn = Turn.of(found.transform, found.shape[1:])
    block = min(SIDE, turn.grid_shape[0]), min(SIDE, turn.grid_shape[1])
    flags = None if found.mask is None else TurnedFlags(found.mask, turn)
    array, centres = TurnedArray(found.array, turn), TurnedCentres(turn)
    return replace(found, array=array, transform=turn.grid, block=block, coords={}, centres=centres, mask=flags)


def _runs(size: int) -> Iterator[slice]:
    return (slice(start, min(start + SIDE, size)) for start in range(0, size, SIDE))
