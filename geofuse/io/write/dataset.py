"""An image with the layers that `geofuse.fuse` returned with it: all of them are written, or none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from geofuse.cube.normalise import MAIN_VARIABLE
from geofuse.cube.sampling import check_storable
from geofuse.cube.schema import as_cube
from geofuse.io.write.base import OutputFormat
from geofuse.io.write.destinations import destination_of
from geofuse.io.write.formats import check_suffix
from geofuse.io.write.layer import beside, write_quality

LAYERS = ("uncertainty", "quality")
"""What `geofuse.fuse` may return beside the image."""


def layers_of(fused: xr.DataArray | xr.Dataset, place: str | Path) -> dict[str, tuple[str, xr.DataArray]]:
    """Layers that a Dataset holds beside the image, by name, and where each goes: ``OUT_uncertainty.tif``, ``OUT_quality.tif``."""
    if not isinstance(fused, xr.Dataset) or MAIN_VARIABLE not in fused:
        return {}
    return {name: (beside(place, name), fused[name]) for name in LAYERS if name in fused}


def write_all(
    write: Callable[..., Any], output_format: OutputFormat, fused: xr.DataArray | xr.Dataset, place: str | Path, dtype: str, **options: Any
) -> Path | str:
    """Write an image, and before it the layers that belong to it.

    Parameters
    ----------
    write : callable
        ``write(cube, place, dtype=…, **options)``, such as `geofuse.io.write.cog.write_cog`.
    output_format : OutputFormat
    fused : DataArray or Dataset
    place : str or path
    dtype : str
    **options : Any
        ``overwrite``, ``progress`` and ``resume``, as for ``write``.

    Returns
    -------
    Path or str
        Where the image is.
    """
    check_suffix(place, output_format)
    image, layers = as_cube(fused), layers_of(fused, place)
    check_storable(image, dtype, Path(place).name)
    destination = destination_of(place, output_format)
    for other in (destination_of(path, output_format) for path, _ in layers.values()):  # all of them, before the first is written
        other.check(overwrite=options["overwrite"], resume=options["resume"])
    if layers:
        destination.check(overwrite=options["overwrite"], resume=options["resume"])
    made: list[Path] = []
    try:
        for name, (path, layer) in layers.items():
            if name == "quality":
                receipt = write_quality(layer.data, image, path, overwrite=options["overwrite"], progress=options["progress"])
            else:
                receipt = write(as_cube(layer), path, dtype=dtype, **options)
            made.append(receipt.path)
        write(image, place, dtype=dtype, **options)
    except BaseException:  # Ctrl-C too
        for file in made:
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        raise
    return destination.place
