"""A scene: the two cubes and their grid pair, read window by window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from geofuse.cube.bands import BandTable
from geofuse.cube.compute import compute_here
from geofuse.cube.georef import CENTRES
from geofuse.cube.schema import geobox
from geofuse.errors import InvalidCube, InvalidPair
from geofuse.pair.grid import FARTHEST, GridPair, Window, pair_grids
from geofuse.pair.masking import hide


@dataclass(frozen=True)
class Sample:
    """One window of the raw pair.

    Attributes
    ----------
    hsi : ndarray, shape (B, h, w)
    msi : ndarray, shape (M, H, W)
        Reflectance, NaN where there is no data.
    fine, coarse : Window
        Where they lie on the working grids.
    gaps : ndarray of bool, shape (B, h, w), optional
        Where ``hsi`` holds what other bands say, since it was without data there; None: nowhere.
    positions : ndarray, shape (2, h, w), optional
        True centres of the coarse pixels in fine index coordinates (`GridPair.true_positions`); None: those of the grid.
    """

    hsi: np.ndarray
    msi: np.ndarray
    fine: Window
    coarse: Window
    gaps: np.ndarray | None = None
    positions: np.ndarray | None = None


@dataclass(frozen=True)
class Scene:
    """An HSI and an MSI of one place.

    Attributes
    ----------
    hsi, msi : DataArray
        Cubes (band, y, x), eager or lazy.
    pair : GridPair
    masks : tuple of tuple
        What masks the HSI, and the MSI: arrays (y, x) of bool or flags; see `geofuse.pair.masking.with_masks`.
    """

    hsi: xr.DataArray
    msi: xr.DataArray
    pair: GridPair
    masks: tuple[tuple[Any, ...], tuple[Any, ...]] = ((), ())

    @staticmethod
    def of(hsi: xr.DataArray, msi: xr.DataArray) -> Scene:
        """Pair two cubes; metadata only.

        Raises
        ------
        InvalidPair
            Fewer bands in the HSI than in the MSI, an MSI whose pixels were moved onto its grid, no overlap, swapped images, or a ratio out of range.
        """
        check_roles(hsi, msi)
        check_gridded(msi)
        return Scene(hsi, msi, pair_grids(geobox(hsi), geobox(msi), displaced=CENTRES[0] in hsi.coords))

    @cached_property
    def bands(self) -> BandTable:
        """Bands of the HSI, and of the fused image."""
        return BandTable.from_cube(self.hsi)

    @property
    def lazy(self) -> bool:
        """Whether either cube is backed by dask."""
        return self.hsi.chunks is not None or self.msi.chunks is not None

    @property
    def output_coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixel centres of the fused image along y and x: a slice of the MSI's own, to the last bit."""
        rows, cols = self.pair.output.offset(self.pair.fine_window.top, self.pair.fine_window.left).slices
        return self.msi.y.values[rows], self.msi.x.values[cols]

    @property
    def overlap(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Both cubes as far as they take part: what lies beyond may be a hundred times as large."""
        windows = self.pair.coarse_window.slices, self.pair.fine_window.slices
        hsi, msi = (cube.isel(y=rows, x=cols) for cube, (rows, cols) in zip((self.hsi, self.msi), windows, strict=True))
        return hsi, msi

    def hsi_window(self, coarse: Window) -> Any:
        """Pixels of the HSI (numpy or dask) in a window of the coarse working grid."""
        rows, cols = coarse.offset(self.pair.coarse_window.top, self.pair.coarse_window.left).slices
        return hide(self.hsi.data[:, rows, cols], [mask[rows, cols] for mask in self.masks[0]])

    @property
    def centres(self) -> tuple[Any, ...]:
        """True centres of the HSI's pixels, y and x (numpy or dask), in units of its CRS; empty where they are those of the grid."""
        return tuple(self.hsi.coords[name].data for name in CENTRES) if self.pair.displaced else ()

    def centres_window(self, coarse: Window) -> tuple[Any, ...]:
        """The part of `centres` in a window of the coarse working grid."""
        window = coarse.offset(self.pair.coarse_window.top, self.pair.coarse_window.left).slices
        return tuple(values[window] for values in self.centres)

    def msi_window(self, fine: Window) -> Any:
        """Pixels of the MSI (numpy or dask) in a window of the fine working grid."""
        rows, cols = fine.offset(self.pair.fine_window.top, self.pair.fine_window.left).slices
        return hide(self.msi.data[:, rows, cols], [mask[rows, cols] for mask in self.masks[1]])

    def read(self, windows: list[tuple[Window, Window]]) -> list[Sample]:
        """Read windows given as (fine, coarse) pairs; lazy cubes are computed in one go."""
        blocks = compute_here(*[(self.hsi_window(coarse), self.msi_window(fine), self.centres_window(coarse)) for fine, coarse in windows])
        return [
            Sample(pixels(h), pixels(m), fine, coarse, positions=self.pair.true_positions(np.stack(c), coarse) if c else None)
            for (h, m, c), (fine, coarse) in zip(blocks, windows, strict=True)
        ]


def check_roles(hsi: xr.DataArray, msi: xr.DataArray) -> None:
    """Reject an HSI with no more bands than the MSI.

    Raises
    ------
    InvalidPair
    """
    if hsi.sizes["band"] <= msi.sizes["band"]:
        raise InvalidPair(
            f"The HSI has {hsi.sizes['band']} bands and the MSI {msi.sizes['band']}; expected more bands in the HSI. "
            "Swap the two images, or give the HSI with all its bands.",
            code="swapped",
        )


def check_gridded(msi: xr.DataArray) -> None:
    """Reject an MSI whose pixels were moved onto its grid.

    Raises
    ------
    InvalidPair
    """
    if CENTRES[0] in msi.coords:
        raise InvalidPair(
            "The MSI's pixels do not lie on its grid: it is rotated or mirrored, or a swath. Expected fine pixels on a grid that runs along the axes "
            "of its CRS; warp it first, with a kernel that keeps detail, e.g. with gdalwarp -r cubicspline.",
            code="msi-not-gridded",
        )


def pixels(image: Any) -> np.ndarray:
    """Values as float32, NaN for infinite ones: arrays of users hold quotients by zero, and one of them would spoil every mean."""
    values = np.asarray(image, np.float32)
    infinite = np.isinf(values)
    return np.where(infinite, np.float32(np.nan), values) if infinite.any() else values


def usable(samples: list[Sample]) -> list[Sample]:
    """The samples in which both images hold data.

    Raises
    ------
    InvalidCube
        They never hold data in the same place, or no true centre lies near the grid.
    """
    kept = [s for s in samples if np.isfinite(s.hsi).all(0).sum() >= 4 and np.isfinite(s.msi).all(0).any()]
    if not kept:
        raise InvalidCube(
            "The two images never hold data in the same place. Check the nodata values and the overlap.", code="no-common-data"
        )
    if not any(s.positions is None or np.isfinite(s.positions).any() for s in kept):
        raise InvalidCube(
            f"No pixel of the HSI has its true centre within {FARTHEST:g} pixel of the grid's; expected centre_y and centre_x in units of the HSI's CRS. "
            "Correct them, or leave them out (hsi.drop_vars) to take the grid as true."
        )
    return kept
