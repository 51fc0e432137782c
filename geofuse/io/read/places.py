"""True places of the raw pixels of a swath that is shown on a grid, as the lazy coordinates ``centre_y`` and ``centre_x`` of the cube."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from geofuse.cube.normalise import is_lazy
from geofuse.io.read.base import Description


def with_centres(cube: xr.DataArray, found: Description) -> xr.DataArray:
    """The cube with the true places of its description, chunked as its pixels are.

    Parameters
    ----------
    cube : xarray.DataArray
        Of this description; rows run south.
    found : Description
        Rows run as they are stored.
    """
    if found.centres is None:
        return cube
    centres = _read_lazily(found, cube)
    if found.transform.e > 0:
        centres = centres[:, ::-1]
    coords: dict[str, Any] = {}
    for number, dim in enumerate(("y", "x")):
        said = f"{dim} of the centre of the raw pixel shown here, once for each raw pixel"
        coords[f"centre_{dim}"] = (("y", "x"), centres[number], {"long_name": said, "units": cube.coords[dim].attrs.get("units", "")})
    made = cube.assign_coords(coords)
    made.encoding = dict(cube.encoding)
    return made


def _read_lazily(found: Description, cube: xr.DataArray) -> Any:
    assert found.centres is not None
    if not is_lazy(cube.data):
        return found.centres[:, :, :]
    import dask.array as da

    rows, cols = cube.chunks[1:]  # type: ignore[index]
    chunks = 2, rows[::-1] if found.transform.e > 0 else rows, cols
    return da.from_array(found.centres, chunks=chunks, lock=False, asarray=False, fancy=True, meta=np.empty((0, 0, 0)))
