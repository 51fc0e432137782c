"""The quality layer as a raster of its own beside the image: written as the image is, verified and complete or absent."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geofuse.cube import flags
from geofuse.cube.schema import geobox, wrap
from geofuse.io.write.cog import Receipt, write_raster
from geofuse.io.write.output import is_zarr

_BLOCK = 512


def beside(path: str | Path, name: str) -> str:
    """Path or address of a raster that belongs to another one.

    Examples
    --------
    >>> beside("s3://bucket/fused.tif", "quality"), beside("a.b/fused", "quality")
    ('s3://bucket/fused_quality.tif', 'a.b/fused_quality')
    """
    folder, slash, file = str(path).rpartition("/")
    stem, dot, suffix = file.rpartition(".")
    return f"{folder}{slash}{stem or file}_{name}" + (f"{dot}{suffix}" if stem else "")


def write_quality(
    plane: NDArray[np.uint8] | Any, like: xr.DataArray, path: str | Path, *, overwrite: bool = False, progress: bool = True
) -> Receipt:
    """Write a quality layer.

    Parameters
    ----------
    plane : ndarray or dask.array.Array, shape (rows, columns)
        As `geofuse.cube.flags.plane_of` makes it.
    like : DataArray
        The cube that it describes: its grid is taken.
    path : str or path
        A COG (``.tif``) or a Zarr store (``.zarr``), also ``s3://…``.
    overwrite, progress : bool
        As for `geofuse.io.write.cog.write_cog`.
    """
    import dask.array as da

    data = plane if hasattr(plane, "__dask_graph__") else da.from_array(plane, chunks=_BLOCK, name=False)
    box, about = geobox(like), flags.attributes()
    cube = wrap(
        da.where(data == flags.NODATA, np.float32(np.nan), data.astype(np.float32))[None],
        transform=box.affine,
        crs=box.crs,
        names=["quality"],
        attrs=about,
    )
    tags = {"flag_masks": ",".join(map(str, about["flag_masks"])), "flag_meanings": about["flag_meanings"], "quality": flags.description()}
    extra = None if is_zarr(path) else tags
    return write_raster(cube, path, dtype="flags", overwrite=overwrite, progress=progress, block=_BLOCK, resume=False, extra_tags=extra)


def copy_into_place(made: Path, path: Path, folder: Path) -> None:
    """Copy a raster (a file, or a store) so that it appears at once; ``folder`` lies on the same file system and holds the copy meanwhile."""
    part = folder / f"copy{path.suffix}"
    if made.is_dir():
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(made, part)
        shutil.rmtree(path, ignore_errors=True)
    else:
        shutil.copyfile(made, part)
    os.replace(part, path)
