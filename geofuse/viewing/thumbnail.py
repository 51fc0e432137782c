"""A small picture of a written raster, for catalogs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.image import imsave

from geofuse.io.read.gdal import open_raster
from geofuse.io.write.formats import format_of

SIDE, OVERVIEW_SIDE = 256, 1024  # pixels along the longer side


def write_thumbnail(raster: Path, path: Path, side: int = SIDE) -> Path:
    """Red, green and blue of a GeoTIFF as PNG, stretched between the percentiles 2 and 98; transparent where there is no data.

    Parameters
    ----------
    raster : pathlib.Path
        Its overviews are read.
    path : pathlib.Path
        To write; it ends in ``.png``.
    side : int
        Pixels along the longer side at most.
    """
    bands = [position + 1 for position in format_of(raster).describe(raster).table.rgb()]
    with open_raster(raster) as file:
        step = max(1.0, max(file.height, file.width) / side)
        shape = len(bands), max(1, round(file.height / step)), max(1, round(file.width / step))
        values = file.read(bands, out_shape=shape, masked=True).astype("float32").filled(np.nan)
    valid = np.isfinite(values).all(0)
    picture = np.zeros((*valid.shape, 4), np.float32)
    if valid.any():
        low, high = np.percentile(values[:, valid], (2, 98), axis=1)
        scaled = (values - low[:, None, None]) / np.maximum(high - low, 1e-6)[:, None, None]
        picture[..., :3] = np.where(valid, np.clip(scaled, 0, 1), 0).transpose(1, 2, 0)
    picture[..., 3] = valid
    imsave(path, picture)
    return path
