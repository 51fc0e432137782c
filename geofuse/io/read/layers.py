"""Layers of classes as masks of cubes: read window by window, translated into flags, and brought to the pixels of the cube."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from geofuse.cube.georef import crs_of, plain_crs
from geofuse.cube.masks import MASK, attributes, flags_of, is_understood
from geofuse.cube.normalise import is_lazy
from geofuse.cube.schema import geobox
from geofuse.errors import InvalidCube
from geofuse.io.read.base import BandHints, Description, FlagArray, MaskPart, Request, check_description
from geofuse.io.read.raster import RasterArray
from geofuse.io.read.registry import reader_of


def lazy_flags(mask: FlagArray, like: Any) -> Any:
    """Flags as dask, in the chunks of an image (band, y, x) where that is lazy; else as numpy."""
    if not is_lazy(like):
        return mask[:, :]
    import dask.array as da

    return da.from_array(mask, chunks=like.chunks[1:], lock=False, asarray=False, meta=np.empty((0, 0), np.uint8))


@dataclass(frozen=True)
class Layer:
    """A raster's stored numbers (band, y, x), float32, the rows and columns that are decoded at once, and where they lie, rows as they are stored."""

    array: RasterArray
    block: tuple[int, int]
    transform: Affine
    crs: Any


def stored_layer(href: str, *, keep_nodata: bool = False) -> Layer:
    """The stored numbers of a raster, lazy; its scale and offset are not applied, its nodata only where asked for (as NaN).

    Raises
    ------
    InvalidCube
        It is no raster of a place.
    """
    found = reader_of(href, named=True).describe(href, Request("MSI", hints=BandHints(scale=[1.0], offset=[0.0])))
    if not isinstance(found, Description) or not isinstance(found.array, RasterArray):
        raise InvalidCube("expected a raster file, as a mask is one")
    check_description(found)
    count = found.shape[0]
    array = replace(found.array, scale=(1.0,) * count, offset=(0.0,) * count)
    if not keep_nodata:  # nor an alpha, for which GDAL takes the fourth of four layers
        array = replace(array, nodata=(np.nan,) * count, has_mask=False, alpha=None)
    return Layer(array, found.block, found.transform, found.crs)


def with_layers(cube: xr.DataArray, layers: Sequence[MaskPart]) -> xr.DataArray:
    """The cube with the coordinate ``mask``: all that its product's layers say. One that cannot be read is left out, with a warning."""
    found: list[tuple[str, Layer]] = []
    for part in layers:
        try:
            layer = stored_layer(part.href)
            if part.band is not None:
                layer = replace(layer, array=layer.array.take(np.array([part.band - 1])))
            if plain_crs(layer.crs) != crs_of(cube):
                raise InvalidCube("it is in another CRS than the bands")
            if layer.transform.b or layer.transform.d:
                raise InvalidCube("its rows and columns do not run along the axes of its CRS")
            found.append((part.name, layer))
        except InvalidCube as error:
            warnings.warn(f"{part.name.upper()} is left out, and nothing is masked by it: {part.href}: {error}", UserWarning, stacklevel=5)
    if not found:
        return cube
    flags = PlacedFlags(
        tuple((name, layer.array, layer.transform) for name, layer in found), geobox(cube).affine, (cube.sizes["y"], cube.sizes["x"])
    )
    made = cube.assign_coords({MASK: (("y", "x"), lazy_flags(flags, cube.data), attributes())})
    made.encoding = dict(cube.encoding) | {"masks": [*cube.encoding.get("masks", []), *(name.upper() for name, _ in found)]}
    return made


def layers_inside(found: Description) -> tuple[MaskPart, ...]:
    """Bands of a raster file that are layers of classes by their names, as tools that stack the bands of a product leave them in it."""
    if type(found.array) is not RasterArray or found.mask is not None:
        return ()
    bands = zip(found.table.names, found.array.indexes, strict=True)
    return tuple(MaskPart(found.place, name, band) for name, band in bands if is_understood(name))


@dataclass(frozen=True)
class PlacedFlags:
    """All that layers of classes say, in the pixels of another grid: of the layer's pixel in which the centre of each lies. Reads only the window."""

    layers: tuple[tuple[str, RasterArray, Affine], ...]
    """Name, stored numbers, and where they lie."""
    grid: Affine
    shape: tuple[int, int]

    dtype = np.dtype(np.uint8)
    ndim = 2

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Flags of rows and columns."""
        rows, cols = (np.arange(size)[index] + 0.5 for size, index in zip(self.shape, key, strict=True))
        y, x = self.grid.f + self.grid.e * rows, self.grid.c + self.grid.a * cols
        found = np.zeros((rows.size, cols.size), np.uint8)
        for name, array, t in self.layers:
            (down, within), (across, between) = _indices(y, t.f, t.e, array.height), _indices(x, t.c, t.a, array.width)
            if down.size and across.size:
                window = array[:, down.min() : down.max() + 1, across.min() : across.max() + 1]
                flags = flags_of(name, window)[np.ix_(down - down.min(), across - across.min())]
                found |= np.where(within[:, None] & between, flags, np.uint8(0))
        return found


def _indices(centres: NDArray[np.float64], edge: float, step: float, size: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """In which pixels along an axis places lie, and whether they lie in one."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.floor(np.nan_to_num((centres - edge) / step, nan=-1.0) + 1e-6)
    return np.clip(found, 0, size - 1).astype(np.intp), (found >= 0) & (found < size)
