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
from geofuse.io.read.fingerprint import content_sha256
from geofuse.io.write.engine import Receipt, StagedRaster, write_raster
from geofuse.io.write.formats import format_of
from geofuse.io.write.workspace import Workspace

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
        Its ending says the format (`geofuse.io.write.formats.format_of`); also ``s3://…``.
    overwrite, progress : bool
        As for `geofuse.io.write.cog.write_cog`.
    """
    import dask.array as da

    data = plane if hasattr(plane, "__dask_graph__") else da.from_array(plane, chunks=_BLOCK, name=False)
    box = geobox(like)
    cube = wrap(
        da.where(data == flags.NODATA, np.float32(np.nan), data.astype(np.float32))[None],
        transform=box.affine,
        crs=box.crs,
        names=["quality"],
        attrs=flags.attributes(),
    )
    return write_raster(cube, path, format_of(path), dtype="flags", overwrite=overwrite, progress=progress, block=_BLOCK, resume=False)


def write_quality_once(staged: StagedRaster, work: Workspace, path: Path) -> dict[str, int]:
    """Write the quality layer that was computed with an image, unless a run that was interrupted has.

    It is made in the workspace of the image and copied from there: what is taken back when a later step fails need not be made again.

    Parameters
    ----------
    staged : StagedRaster
        The image, staged with its quality layer.
    work : Workspace
    path : pathlib.Path
        Where the layer shall appear, beside the image.

    Returns
    -------
    dict of str to int
        Pixels that bear each flag, as `geofuse.cube.flags.counted` counts them.
    """
    done, made = work.journal.get("quality"), work.folder / f"layer{path.suffix}"
    if done is None or not any(file.exists() and content_sha256(file) == done["sha256"] for file in (made, path)):
        receipt = write_quality(staged.quality, staged.cube, made, overwrite=True, progress=False)
        done = {"sha256": receipt.sha256, "size": receipt.size, "counts": flags.counted(staged.quality)}
        work.journal.append("quality", **done)
    if made.exists():
        _copy_into_place(made, path, work.folder)
    counts: dict[str, int] = done["counts"]
    return counts


def _copy_into_place(made: Path, path: Path, folder: Path) -> None:
    """Copy a raster (a file, or a folder) so that it appears at once; ``folder`` lies on the same file system and holds the copy meanwhile."""
    part = folder / f"copy{path.suffix}"
    if made.is_dir():
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(made, part)
        shutil.rmtree(path, ignore_errors=True)
    else:
        shutil.copyfile(made, part)
    os.replace(part, path)
