"""Layers that a product brings beside its bands, as lazy coordinates of the cube: ``mask``, and true ``centre_y`` and ``centre_x``."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geofuse.cube.masks import Mask
from geofuse.io.read.base import Description, LayerArray


def with_layers(cube: xr.DataArray, found: Description) -> xr.DataArray:
    """The cube with the layers of its description, chunked as its pixels are.

    Parameters
    ----------
    cube : xarray.DataArray
        Rows run south.
    found : Description
        Rows run as they are stored.
    """
    coords: dict[str, Any] = {}
    if found.mask is not None:
        coords["mask"] = (("y", "x"), _lazy(found.mask, cube, found), _flags())
    if found.centres is not None:
        centres = _lazy(found.centres, cube, found)
        for number, dim in enumerate("yx"):
            about = {
                "long_name": f"{dim} of the centre of the raw pixel shown here, once for each raw pixel",
                "units": cube.coords[dim].attrs.get("units", ""),
            }
            coords[f"centre_{dim}"] = (("y", "x"), centres[number], about)
    if not coords:
        return cube
    made = cube.assign_coords(coords)
    made.encoding = dict(cube.encoding)
    return made


def _flags() -> dict[str, Any]:
    """CF Conventions 1.11, section 3.5: flags that add up."""
    return {
        "long_name": "what the product says of the pixel",
        "flag_masks": np.array([flag.value for flag in Mask], np.uint8),
        "flag_meanings": " ".join(str(flag.name).lower() for flag in Mask),
    }


def _lazy(layer: LayerArray, cube: xr.DataArray, found: Description) -> Any:
    north = found.transform.e > 0
    if isinstance(cube.data, np.ndarray):
        values: NDArray[Any] = layer[(slice(None),) * layer.ndim]
        return values[..., ::-1, :] if north else values
    import dask.array as da

    rows, cols = cube.data.chunks[1:]
    before = ((size,) for size in layer.shape[:-2])
    chunks = (*before, rows[::-1] if north else rows, cols)
    meta = np.empty((0,) * layer.ndim, layer.dtype)
    lazy = da.from_array(layer, chunks=chunks, lock=False, asarray=False, fancy=True, meta=meta)
    return lazy[..., ::-1, :] if north else lazy
