"""Rasters read small: from their overviews, so that what is held does not grow with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofuse.cube.compute import compute_here
from geofuse.cube.normalise import is_lazy
from geofuse.cube.schema import as_cube
from geofuse.io.read.gdal import open_raster


def read_small(raster: Path, bands: Sequence[int], side: int) -> NDArray[np.float32]:
    """Bands (positions) of a raster that geofuse wrote, in a size with the longer side near ``side`` pixels; NaN where there is no data.

    Parameters
    ----------
    raster : pathlib.Path
        A GeoTIFF, or a Zarr store.
    bands : sequence of int
    side : int

    Returns
    -------
    ndarray, shape (bands, rows, columns), float32
        Values as their scale makes them.
    """
    return _of_store(raster, bands, side) if raster.is_dir() else _of_tiff(raster, bands, side)


def _of_tiff(raster: Path, bands: Sequence[int], side: int) -> NDArray[np.float32]:
    with open_raster(raster) as file:
        step = max(1.0, max(file.height, file.width) / side)
        shape = len(bands), max(1, round(file.height / step)), max(1, round(file.width / step))
        numbers = [band + 1 for band in bands]
        values = file.read(numbers, out_shape=shape, masked=True).astype("float32").filled(np.nan)
        scale, offset = (np.array([column[band] for band in bands], np.float32)[:, None, None] for column in (file.scales, file.offsets))
    small: NDArray[np.float32] = values * scale + offset
    return small


def _of_store(raster: Path, bands: Sequence[int], side: int) -> NDArray[np.float32]:
    import xarray as xr
    import zarr

    levels = sorted(int(name) for name in zarr.open_group(raster, mode="r").group_keys() if name.isdigit())
    for level in reversed(levels):  # the smallest that is large enough, else the image itself
        with xr.open_zarr(raster, group=str(level), consolidated=False) as store:
            if max(store.sizes["y"], store.sizes["x"]) >= side:
                return thinned(as_cube(store), bands, side)
    with xr.open_zarr(raster) as store:
        return thinned(as_cube(store), bands, side)


def thinned(cube: Any, bands: Sequence[int], side: int) -> NDArray[np.float32]:
    """Every so many pixels of some bands of a cube, so that neither side exceeds ``side``; of a lazy one what they lie in is read block by block."""
    step = max(1, -(-max(cube.shape[1:]) // side))
    data = cube.isel(band=list(bands), y=slice(None, None, step), x=slice(None, None, step)).data
    if is_lazy(data):
        data = data.map_blocks(np.copy)  # a view would keep all the pixels of its block
    values: NDArray[np.float32] = compute_here(data)[0]
    return values
