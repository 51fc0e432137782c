"""Two cubes become a scene. A run does this once, and every later stage takes the scene."""

from __future__ import annotations

import xarray as xr

from geofuse.cube.schema import check_cube
from geofuse.cube.sources import with_time
from geofuse.io.read.mask import Source, check_overlap, open_mask
from geofuse.io.read.open import cube_of
from geofuse.pair.masking import with_masks
from geofuse.pair.scene import Scene
from geofuse.pair.selection import without_bands_beyond, without_constant_bands

Cube = xr.DataArray | xr.Dataset


def pair(hsi: Cube, msi: Cube, mask: Source | None = None) -> Scene:
    """Check two cubes and pair their grids; metadata only, no pixel of a lazy cube is read.

    Parameters
    ----------
    hsi, msi : DataArray or Dataset
        Hyperspectral (coarse) and multispectral (fine) image of one place. What their coordinate ``mask`` says is unusable is left out.
    mask : str, path or DataArray, optional
        What else to leave out of both, on any grid: fine pixels in it, and coarse pixels that lie in it for the most part.

    Raises
    ------
    InvalidCube
        One of them is not a usable cube.
    InvalidPair
        They do not form a pair.
    """
    cubes = with_time(cube_of(hsi, "HSI"), hsi), with_time(cube_of(msi, "MSI"), msi)
    for cube, role in zip(cubes, ("HSI", "MSI"), strict=True):
        check_cube(cube, role)
    return _masked(without_bands_beyond(Scene.of(*cubes)), mask)


def _masked(scene: Scene, mask: Source | None) -> Scene:
    if mask is None:
        return with_masks(scene)
    opened = open_mask(mask)
    check_overlap(opened, scene.msi)
    return with_masks(scene, opened.on(scene.hsi, mostly=True), opened.on(scene.msi))


def checked_pair(hsi: Cube, msi: Cube, mask: Source | None = None) -> Scene:
    """Pair two cubes, as `pair`, and read a few of their pixels: bands that hold one and the same number are left out, with a warning.

    Parameters
    ----------
    hsi, msi, mask
        As for `pair`.

    Raises
    ------
    InvalidCube
        One of them is not a usable cube.
    InvalidPair
        They do not form a pair.
    """
    return without_constant_bands(pair(hsi, msi, mask))
