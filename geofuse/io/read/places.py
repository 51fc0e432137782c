"""True places of the raw pixels of a swath that is shown on a grid, as the lazy coordinates ``centre_y`` and ``centre_x`` of the cube."""

from __future__ import annotations

from typing import Any

import numpy as np

from geofuse.cube.georef import CENTRES
from geofuse.cube.normalise import is_lazy
from geofuse.io.read.base import Description


def lazy_centres(found: Description, data: Any) -> dict[str, Any]:
    """The true places that a description brings, by the name of their coordinate, chunked as the pixels are; none where it brings none.

    Parameters
    ----------
    found : Description
        Rows run as they are stored.
    data : numpy.ndarray or dask.array.Array, shape (band, y, x)
        Its pixels; rows run south.
    """
    if found.centres is None:
        return {}
    north = found.transform.e > 0
    if is_lazy(data):
        import dask.array as da

        rows, cols = data.chunks[1:]
        chunks = 2, rows[::-1] if north else rows, cols
        centres = da.from_array(found.centres, chunks=chunks, lock=False, asarray=False, fancy=True, meta=np.empty((0, 0, 0)))
    else:
        centres = found.centres[:, :, :]
    return dict(zip(CENTRES, centres[:, ::-1] if north else centres, strict=True))
