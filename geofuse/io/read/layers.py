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
from geofuse.cube.masks import MASK, attributes, flags_of
from geofuse.cube.normalise import is_lazy
from geofuse.errors import InvalidCube
from geofuse.io.read.base import BandHints, Description, FlagArray, MaskPart, Request, check_description
from geofuse.io.read.raster import RasterArray, natural_chunks
from geofuse.io.read.registry import reader_of

_BLOCK = 2048  # rows and columns of a task, at most


def lazy_flags(mask: FlagArray, like: Any) -> Any:
    """Flags as dask, in the chunks of an image (band, y, x) where that is lazy; else as numpy."""
    if not is_lazy(like):
        return mask[:, :]
    import dask.array as da

    return da.from_array(mask, chunks=like.chunks[1:], lock=False, asarray=False, meta=np.empty((0, 0), np.uint8))


@dataclass(frozen=True)
class Layer:
    """A raster's stored numbers: dask (band, y, x), float32, and where they lie, rows as they are stored."""

    data: Any
    transform: Affine
    crs: Any


def stored_layer(href: str, *, keep_nodata: bool = False) -> Layer:
    """The stored numbers of a raster, lazy; its scale and offset are not applied, its nodata only where asked for (as NaN).

    Raises
    ------
    InvalidCube
        It is no raster of a place.
    """
    import dask.array as da

    found = reader_of(href, named=True).describe(href, Request("MSI", hints=BandHints(scale=[1.0], offset=[0.0])))
    if not isinstance(found, Description) or not isinstance(found.array, RasterArray):
        raise InvalidCube("expected a raster file, as a mask is one")
    check_description(found)
    count = found.shape[0]
    array = replace(found.array, scale=(1.0,) * count, offset=(0.0,) * count)
    if not keep_nodata:
        array = replace(array, nodata=(np.nan,) * count)
    chunks = count, *(min(_BLOCK, size) for size in natural_chunks(found.shape, found.block)[1:])
    data = da.from_array(array, chunks=chunks, lock=False, asarray=False, fancy=True, meta=np.empty((0, 0, 0), np.float32))
    return Layer(data, found.transform, found.crs)


def with_layers(cube: xr.DataArray, layers: Sequence[MaskPart]) -> xr.DataArray:
    """The cube with the coordinate ``mask``: all that its product's layers say. One that cannot be read is left out, with a warning."""
    masks, names = [], []
    for part in layers:
        try:
            masks.append(_on_grid(stored_layer(part.href), cube, part.name))
            names.append(part.name.upper())
        except InvalidCube as error:
            warnings.warn(f"{part.name.upper()} is left out, and nothing is masked by it: {part.href}: {error}", UserWarning, stacklevel=5)
    if not masks:
        return cube
    flags = masks[0]
    for mask in masks[1:]:
        flags = flags | mask
    made = cube.assign_coords({MASK: (("y", "x"), flags, attributes())})
    made.encoding = dict(cube.encoding) | {"masks": [*cube.encoding.get("masks", []), *names]}
    return made


def _on_grid(layer: Layer, cube: xr.DataArray, name: str) -> Any:
    """Flags of the layer's pixel in which the centre of each pixel of the cube lies; none where there is none."""
    if plain_crs(layer.crs) != crs_of(cube):
        raise InvalidCube("it is in another CRS than the bands")
    flags = layer.data.map_blocks(_translated, drop_axis=0, dtype=np.uint8, layer=name, meta=np.empty((0, 0), np.uint8))
    t = layer.transform
    rows, within = _indices(cube.y.values, t.f, t.e, flags.shape[0])
    cols, between = _indices(cube.x.values, t.c, t.a, flags.shape[1])
    placed = flags[rows][:, cols] * (within[:, None] & between[None])
    return np.asarray(placed) if cube.chunks is None else placed.rechunk(cube.chunks[1:])


def _indices(centres: NDArray[np.float64], edge: float, step: float, size: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """In which pixels along an axis places lie, and whether they lie in one."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.floor(np.nan_to_num((centres - edge) / step, nan=-1.0) + 1e-6)
    return np.clip(found, 0, size - 1).astype(np.intp), (found >= 0) & (found < size)


def _translated(block: NDArray[np.float32], layer: str) -> NDArray[np.uint8]:
    return flags_of(layer, block)
