"""Layers of classes as masks of cubes: read window by window, translated into flags, and brought to the pixels of the cube."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geofuse.cube.georef import centres, crs_of, plain_crs
from geofuse.cube.masks import MASK, attributes, flags_of
from geofuse.cube.normalise import is_lazy
from geofuse.errors import InvalidCube
from geofuse.io.read.base import BandHints, FlagArray, MaskPart, Request, check_description
from geofuse.io.read.raster import RasterArray, natural_chunks
from geofuse.io.read.registry import reader_of

_BLOCK = 2048  # rows and columns of a task, at most


def lazy_flags(mask: FlagArray, like: Any) -> Any:
    """Flags as dask, in the chunks of an image (band, y, x) where that is lazy; else as numpy."""
    if not is_lazy(like):
        return mask[:, :]
    import dask.array as da

    return da.from_array(mask, chunks=like.chunks[1:], lock=False, asarray=False, meta=np.empty((0, 0), np.uint8))


def stored_layer(href: str) -> xr.DataArray:
    """A raster's stored numbers, lazy: dims (band, y, x), float32; scale, offset and nodata of the file are not applied.

    Raises
    ------
    InvalidCube
        It is no raster of a place.
    """
    found = reader_of(href, named=True).describe(href, Request("MSI", hints=BandHints(scale=[1.0], offset=[0.0])))
    array = getattr(found, "array", None)
    if not isinstance(array, RasterArray):
        raise InvalidCube("expected a raster file, as a mask is one")
    check_description(found)  # type: ignore[arg-type]
    array = replace(array, scale=(1.0,) * array.shape[0], offset=(0.0,) * array.shape[0], nodata=(np.nan,) * array.shape[0])
    import dask.array as da

    chunks = array.shape[0], *(min(_BLOCK, n) for n in natural_chunks(array.shape, found.block)[1:])  # type: ignore[union-attr]
    data = da.from_array(array, chunks=chunks, lock=False, asarray=False, fancy=True, meta=np.empty((0, 0, 0), np.float32))
    t = found.transform  # type: ignore[union-attr]
    coords = {"y": centres(t.f, t.e, array.shape[1]), "x": centres(t.c, t.a, array.shape[2])}
    return xr.DataArray(data, dims=("band", "y", "x"), coords=coords, attrs={"crs": found.crs})  # type: ignore[union-attr]


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


def _on_grid(layer: xr.DataArray, cube: xr.DataArray, name: str) -> Any:
    """Flags of the layer's pixel in which the centre of each pixel of the cube lies; none where there is none."""
    if plain_crs(layer.attrs["crs"]) != crs_of(cube):
        raise InvalidCube("it is in another CRS than the bands")
    size = max(abs(float(layer[dim][1] - layer[dim][0])) if layer.sizes[dim] > 1 else 0.0 for dim in ("y", "x"))
    flags = layer.data.map_blocks(_translated, drop_axis=0, dtype=np.uint8, layer=name, meta=np.empty((0, 0), np.uint8))
    found = xr.DataArray(flags, dims=("y", "x"), coords={dim: layer[dim] for dim in ("y", "x")})
    placed = found.reindex(y=cube.y, x=cube.x, method="nearest", tolerance=size * (0.5 + 1e-6), fill_value=np.uint8(0)).data
    return np.asarray(placed) if cube.chunks is None else placed.rechunk(cube.chunks[1:])


def _translated(block: NDArray[np.float32], layer: str) -> NDArray[np.uint8]:
    return flags_of(layer, block)
