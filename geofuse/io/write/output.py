"""Where an output may be written."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from rasterio.errors import RasterioError

from geofuse.errors import GeofuseError, OutputRefused
from geofuse.io.read import geotiff
from geofuse.io.read.gdal import is_tiff, open_raster

# Says which run wrote an output: a checksum of the command and its inputs, among the tags of a COG or the attributes of a store.
RUN_TAG = "GEOFUSE_RUN"


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Whether a path or address names a Zarr store, which is a folder.

    Examples
    --------
    >>> is_zarr("fused.zarr"), is_zarr("s3://bucket/fused.tif")
    (True, False)
    """
    return os.fspath(path).lower().endswith(".zarr")


def is_store(folder: Path) -> bool:
    """Whether a folder is a node of a Zarr store, of any version."""
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def run_of(path: Path) -> str | None:
    """What an output says of the run that wrote it; None where it says nothing, or is not whole."""
    try:
        if is_zarr(path):
            found = json.loads((path / "zarr.json").read_bytes())["attributes"].get(RUN_TAG)
        elif is_tiff(path):
            geotiff.check_complete(path)
            with open_raster(path) as file:
                found = file.tags().get(RUN_TAG)
        else:
            return None
    except (OSError, RasterioError, ValueError, LookupError, AttributeError, TypeError, GeofuseError):
        return None
    return found if isinstance(found, str) else None


def check_output(path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Refuse an output that cannot be written, before anything is computed.

    Parameters
    ----------
    path : str or path
        Where the output shall appear.
    overwrite : bool
        Allow an existing file (where the path ends in ``.zarr``: an existing store); it stays as it is until the new one is complete.

    Returns
    -------
    pathlib.Path
        The absolute path.

    Raises
    ------
    OutputRefused
        The file exists, is a folder (or the store is none), or its folder is missing or not writable.
    """
    target = Path(path).expanduser().absolute()
    folder = target.parent
    check_vacant(target, overwrite=overwrite)
    if not folder.is_dir():
        raise OutputRefused(f"the folder {folder} does not exist; create it first")
    try:
        # Trying is the only sure test: access rights say nothing about read-only mounts, quotas or user 0. A file without a name, where
        # the system has such, so that nothing is left of it when the process is killed just now.
        tempfile.TemporaryFile(prefix=f".{target.name}.geofuse-", dir=folder).close()
    except OSError as error:
        raise OutputRefused(f"cannot write into {folder} ({error.strerror}); choose another folder or change its permissions") from None
    return target


def check_vacant(target: Path, *, overwrite: bool = False) -> None:
    """Refuse a place that is taken, or by what could not be replaced: a folder by a file, a folder that is no store by a store.

    Raises
    ------
    OutputRefused
    """
    if not target.exists():
        return
    if target.is_dir() and not is_zarr(target):
        raise OutputRefused(f"{target} is a folder; give the name of a file")
    if is_zarr(target) and not is_store(target):
        raise OutputRefused(f"{target} exists and is no Zarr store; give another name, or remove it first")
    if not overwrite:
        raise OutputRefused(f"{target} exists; give another name, or allow to replace it (overwrite=True, --overwrite)")
