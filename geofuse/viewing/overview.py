"""The whole scene at a glance, for a report: both images and the fused one, its quality and its uncertainty, at the size of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geofuse.cube.bands import BandTable
from geofuse.cube.flags import counted, shares
from geofuse.cube.georef import crs_name
from geofuse.cube.normalise import MAIN_VARIABLE
from geofuse.cube.schema import as_cube, geobox
from geofuse.io.write.formats import format_of
from geofuse.pair.scene import Scene
from geofuse.reporting.pictures import encoded_flags, encoded_map, excerpt, metres_of
from geofuse.viewing.small import read_small, thinned

SIDE = 480  # pixels along the longer side
MOST_BANDS = 24  # of which a map of the uncertainty is the mean
MOST_READ = 2 * 10**8  # fine pixels that are read for a picture of the MSI; a larger one is not shown


def overview_of_files(scene: Scene, raster: Path, uncertainty: Path | None, quality: NDArray[np.uint8]) -> dict[str, Any]:
    """``scene`` of a report, of a written image; read from overviews, so that it takes no more memory for a larger one.

    Parameters
    ----------
    scene : Scene
        Of the two images that it was made of.
    raster, uncertainty : path
        What was written.
    quality : ndarray of uint8, shape (H, W)
        The quality layer, which may lie on the disk.
    """
    table = format_of(raster).describe(raster).table
    fused = read_small(raster, table.rgb(), SIDE)
    deviation = None if uncertainty is None else read_small(uncertainty, _some(table), SIDE).mean(0)
    pictures = {"hsi": _hsi_on(scene, fused.shape[1:])} | ({} if np.prod(scene.pair.output.shape) > MOST_READ else {"msi": _msi_of(scene)})
    return _placed(scene.pair.output_geobox, pictures, fused) | _layers(deviation, _every(quality))


def overview_of_cube(fused: xr.DataArray | xr.Dataset) -> dict[str, Any]:
    """``scene`` of a report, and its ``quality``, of an image in memory; empty where it is lazy, because looking at it would compute it."""
    image = as_cube(fused)
    layers: dict[str, xr.DataArray] = {}
    if isinstance(fused, xr.Dataset) and MAIN_VARIABLE in fused:
        layers = {name: fused[name] for name in ("uncertainty", "quality") if name in fused}
    if any(cube.chunks is not None for cube in (image, *layers.values())):
        return {}
    table = BandTable.from_cube(image)
    deviation = thinned(as_cube(layers["uncertainty"]), _some(table), SIDE).mean(0) if "uncertainty" in layers else None
    quality = layers["quality"].values if "quality" in layers else None
    scene = _placed(geobox(image), {}, thinned(image, table.rgb(), SIDE)) | _layers(deviation, None if quality is None else _every(quality))
    return {"scene": scene} | ({} if quality is None else {"quality": shares(counted(quality))})


def _placed(box: Any, pictures: dict[str, NDArray[Any]], fused: NDArray[Any]) -> dict[str, Any]:
    west, south, east, north = box.boundingbox
    found = excerpt(pictures.get("hsi"), pictures.get("msi"), fused, (west, east, south, north), crs_name(box.crs.proj))
    return found | {"metres": metres_of(box.crs.proj)}


def _layers(deviation: NDArray[Any] | None, quality: NDArray[np.uint8] | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if deviation is None else {"uncertainty": encoded_map(deviation)}
    return found | ({} if quality is None else {"quality": encoded_flags(quality)})


def _some(table: BandTable) -> list[int]:
    good = np.flatnonzero(table.good)
    return good[np.unique(np.linspace(0, len(good) - 1, MOST_BANDS).astype(int))].tolist() if len(good) else [0]


def _every(quality: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every so many pixels of a quality layer: flags have no mean."""
    step = max(1, -(-max(quality.shape) // SIDE))
    return np.asarray(quality[::step, ::step])


def _msi_of(scene: Scene) -> NDArray[np.float32]:
    window = scene.pair.output.offset(scene.pair.fine_window.top, scene.pair.fine_window.left)
    rows, cols = window.slices
    return thinned(scene.msi.isel(y=rows, x=cols), BandTable.from_cube(scene.msi).rgb(), SIDE)


def _hsi_on(scene: Scene, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The HSI at the pixels of a picture of the output: the nearest coarse ones."""
    rows, cols = scene.pair.coarse_window.slices
    small = thinned(scene.hsi.isel(y=rows, x=cols), scene.bands.rgb(), SIDE)
    output = scene.pair.output
    centres = [
        (np.arange(n) + 0.5) * size / n - 0.5 + first for n, size, first in zip(shape, output.shape, (output.top, output.left), strict=True)
    ]
    at = scene.pair.to_coarse(*np.meshgrid(*centres, indexing="ij"))
    step = max(1, -(-max(scene.pair.coarse.shape) // SIDE))
    nearest = [np.rint(a / step).astype(int) for a in at]
    inside = np.all([(a >= -0.5) & (a <= n - 0.5) for a, n in zip(at, scene.pair.coarse.shape, strict=True)], axis=0)
    picked = small[:, *(np.clip(a, 0, n - 1) for a, n in zip(nearest, small.shape[1:], strict=True))]
    return np.where(inside, picked, np.float32(np.nan))
