"""A user's mask: a raster or an array on any grid, brought to the pixels of an image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr, xr_reproject
from pyproj.exceptions import ProjError

from geofuse.cube.georef import crs_name, plain_crs
from geofuse.cube.normalise import is_lazy, plane
from geofuse.cube.schema import geobox
from geofuse.errors import InvalidCube
from geofuse.io.read.fingerprint import local_name
from geofuse.io.read.gdal import is_address
from geofuse.io.read.layers import stored_layer
from geofuse.io.read.raster import lazy

Source = str | os.PathLike[str] | xr.DataArray
_CHUNK = 1024  # rows and columns of a task, at least
MOSTLY = 0.5  # share of a coarse pixel that is masked, above which the pixel is


@dataclass(frozen=True)
class UserMask:
    """What is masked, on a grid of its own.

    Attributes
    ----------
    data : numpy.ndarray or dask.array.Array, shape (y, x)
        Bool.
    grid : GeoBox
    """

    data: Any
    grid: GeoBox

    def on(self, cube: xr.DataArray, *, mostly: bool = False) -> Any:
        """Which pixels of a cube are masked, bool (y, x), lazy where the cube is.

        Parameters
        ----------
        cube : DataArray
        mostly : bool
            A pixel is masked where more than half of its area is; by default where its centre is (nearest neighbour).
        """
        found = self._on(geobox(cube), mostly, cube.chunks)
        return found if cube.chunks is not None else np.asarray(found)

    def _on(self, grid: GeoBox, mostly: bool, chunks: Any) -> Any:
        if self.grid == grid:
            return self.data
        how: dict[str, Any] = {"resampling": "average" if mostly else "nearest"}
        if is_lazy(self.data) and chunks is not None:
            how["chunks"] = (_CHUNK, _CHUNK)
        flags = wrap_xr(self.data.astype(np.float32 if mostly else np.uint8), self.grid)
        found = xr_reproject(flags, grid, dst_nodata=np.nan if mostly else 0, **how).data
        return found > MOSTLY if mostly else found != 0


def open_mask(source: Source) -> UserMask:
    """Open a mask; metadata only, where it is a file.

    Parameters
    ----------
    source : str, path or DataArray
        One layer of bool or of numbers; all but 0, nodata and NaN are masked.

    Raises
    ------
    InvalidCube
        It is not there, has several layers or no place.
    """
    try:
        if isinstance(source, xr.DataArray):
            values, transform, crs = plane(source)
            values = (values != 0) & (values == values)  # NaN is no mask
            return UserMask(values, _box(values.shape, transform, crs))
        if not isinstance(source, str | os.PathLike):
            raise InvalidCube(f"expected a path or a DataArray, found {type(source).__name__}")
        place = local_name(source)
        place = place if is_address(place) else str(Path(place).expanduser())
        if not (is_address(place) or Path(place).exists()):
            raise InvalidCube("no such file; check the path")
        layer = stored_layer(place, keep_nodata=True)
        if layer.array.shape[0] != 1:
            raise InvalidCube(f"{layer.array.shape[0]} bands; expected one, of which all but 0 is masked")
        chunks = (1, *(_CHUNK if block <= _CHUNK else block for block in layer.block))
        values = lazy(layer.array, chunks, layer.array.shape)[0]
        return UserMask((values != 0) & (values == values), _box(values.shape, layer.transform, layer.crs))
    except InvalidCube as error:
        named = f"mask {source}" if isinstance(source, str | os.PathLike) else "mask"
        raise InvalidCube(f"{named}: {error}") from None


def check_overlap(mask: UserMask, cube: xr.DataArray) -> None:
    """Reject a mask of another place.

    Raises
    ------
    InvalidCube
    """
    box, grid = geobox(cube), mask.grid
    assert box.crs is not None  # both have a place
    assert grid.crs is not None
    try:
        apart = not grid.extent.to_crs(box.crs).intersects(box.extent)
    except (ProjError, ValueError):
        apart = True
    if apart:
        raise InvalidCube(
            f"mask: it does not overlap the images (it is in {crs_name(grid.crs.proj)}); expected a mask of this place, check its CRS"
        )


def _box(shape: tuple[int, ...], transform: Any, crs: Any) -> GeoBox:
    return GeoBox((shape[0], shape[1]), transform, plain_crs(crs).to_wkt())
