"""A small picture of a written raster, for catalogs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.image import imsave

from geofuse.io.write.formats import format_of
from geofuse.reporting.pictures import limits_of, stretched
from geofuse.viewing.small import read_small

SIDE, OVERVIEW_SIDE = 256, 1024  # pixels along the longer side


def write_thumbnail(raster: Path, path: Path, side: int = SIDE) -> Path:
    """Red, green and blue of a raster that geofuse wrote, as PNG, stretched between the percentiles 2 and 98; transparent where there is no data.

    Parameters
    ----------
    raster : pathlib.Path
        Its overviews are read.
    path : pathlib.Path
        To write; it ends in ``.png``.
    side : int
        Pixels along the longer side at most.
    """
    values = read_small(raster, format_of(raster).describe(raster).table.rgb(), side)
    valid = np.isfinite(values).all(0)
    picture = np.zeros((*valid.shape, 4), np.float32)
    picture[..., :3] = np.where(valid, stretched(values, limits_of(values)), 0).transpose(1, 2, 0)
    picture[..., 3] = valid
    imsave(path, picture)
    return path
