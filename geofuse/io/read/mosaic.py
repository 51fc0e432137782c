"""Several images of one ground as one, lazily: on one lattice of pixels, nothing is resampled, and at each pixel one of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import CENTRES, crs_name, crs_of
from geofuse.cube.masks import MASK, UNUSABLE
from geofuse.cube.schema import geobox, wrap
from geofuse.errors import InvalidCube
from geofuse.io.read.base import LONGEST_AXIS

_ALIGNED = 1e-3  # pixels by which two lattices may differ, as `geofuse.io.read.items.on_one_grid` has it


def mosaic(cubes: Sequence[xr.DataArray]) -> xr.DataArray:
    """One cube that covers all of them.

    At each pixel the first cube that is usable there counts (it holds data, and its mask calls them neither cloud, shadow nor defect), else
    the first that holds data.

    Parameters
    ----------
    cubes : sequence of DataArray, dims (band, y, x)
        Of the same bands; the best first, whose lattice, band table and attributes are taken.

    Raises
    ------
    InvalidCube
        Other bands, another CRS, pixels that do not lie on the lattice of the first, or too many of them along a side.
    """
    first, *others = cubes
    if not others:
        return first
    for cube in others:
        _check(first, cube)
    grid = geobox(first).affine
    starts = [_start(grid, cube) for cube in cubes]
    top, left = (min(start[k] for start in starts) for k in (0, 1))
    ends = [(row + cube.sizes["y"], col + cube.sizes["x"]) for (row, col), cube in zip(starts, cubes, strict=True)]
    shape = max(end[0] for end in ends) - top, max(end[1] for end in ends) - left
    if max(shape) > LONGEST_AXIS:
        raise InvalidCube(
            f"images so far apart that they span {shape[0]} x {shape[1]} pixels cannot be taken as one; give those of one scene"
        )
    places = [(row - top, col - left) for row, col in starts]
    data, mask = _joined(cubes, places, shape)
    table = BandTable.from_cube(first)
    return wrap(
        data,
        transform=grid * Affine.translation(left, top),
        crs=crs_of(first),
        names=table.names,
        wavelength=table.wavelength,
        fwhm=table.fwhm,
        good=table.good,
        attrs=first.attrs,
        encoding={key: value for key, value in first.encoding.items() if key != "source"},
        time=first.coords["time"].values if "time" in first.coords else None,
        mask=mask,
    )


def _check(first: xr.DataArray, other: xr.DataArray) -> None:
    names = [list(map(str, cube.band.values)) for cube in (first, other)]
    if names[0] != names[1]:
        raise InvalidCube(
            f"images of different bands cannot be taken as one: {', '.join(names[0][:20])}; {', '.join(names[1][:20])}; choose bands that all have"
        )
    if any(name in cube.coords for cube in (first, other) for name in CENTRES):
        raise InvalidCube("swaths whose pixels have true places of their own cannot be taken as one; give one of them")
    crs = [crs_of(cube) for cube in (first, other)]
    if crs[0] != crs[1]:
        both = ", ".join(crs_name(each) for each in crs if each is not None)
        raise InvalidCube(f"images in different CRS ({both}) cannot be taken as one without resampling; give those of one CRS")
    one, two = (geobox(cube).affine for cube in (first, other))
    offset = np.round([(two.c - one.c) / one.a, (two.f - one.f) / one.e], 9) + 0.0  # no minus before a zero
    sizes = np.array([two.a / one.a, two.e / one.e]) - 1
    if np.abs(sizes).max() * max(*first.shape, *other.shape) > _ALIGNED or np.abs(offset - np.round(offset)).max() > _ALIGNED:
        raise InvalidCube(
            f"pixels of {one.a:g} and of {two.a:g} that do not lie on one lattice (offset {offset[0]:g}, {offset[1]:g} pixels) cannot be taken as one "
            "without resampling; bring them onto one grid first"
        )


def _start(grid: Affine, cube: xr.DataArray) -> tuple[int, int]:
    """Row and column of the first pixel on the lattice."""
    own = geobox(cube).affine
    return round((own.f - grid.f) / grid.e), round((own.c - grid.c) / grid.a)


def _joined(cubes: Sequence[xr.DataArray], places: Sequence[tuple[int, int]], shape: tuple[int, int]) -> tuple[Any, Any]:
    """Pixels and masks of all; no mask where none has one."""
    import dask.array as da

    data = [da.asarray(cube.data) for cube in cubes]
    sizes = (-1, *(max(sizes) for sizes in data[0].chunks[1:]))
    layers = [_placed(each, place, shape, sizes, np.float32(np.nan)) for each, place in zip(data, places, strict=True)]
    masked = any(MASK in cube.coords for cube in cubes)
    flags = [
        _placed(
            da.asarray(cube.coords[MASK].data) if MASK in cube.coords else da.zeros(cube.shape[1:], dtype=np.uint8),
            place,
            shape,
            sizes[1:],
            np.uint8(0),
        )
        for cube, place in zip(cubes, places, strict=True)
    ]
    which = da.map_blocks(_first, *layers, *flags, count=len(cubes), dtype=np.uint8, drop_axis=0)
    pixels = da.map_blocks(_taken, which[None], *layers, dtype=np.float32, chunks=layers[0].chunks)
    return pixels, da.map_blocks(_taken, which, *flags, dtype=np.uint8) if masked else None


def _placed(array: Any, place: tuple[int, int], shape: tuple[int, int], chunks: tuple[int, ...], fill: Any) -> Any:
    """An array at its place in a larger one, in the chunks of that."""
    import dask.array as da

    around = [(0, 0)] * (array.ndim - 2) + [
        (start, size - start - own) for start, size, own in zip(place, shape, array.shape[-2:], strict=True)
    ]
    return da.pad(array, around, constant_values=fill).rechunk(chunks)


def _first(*blocks: NDArray[Any], count: int) -> NDArray[np.uint8]:
    """Number of the layer that counts at each pixel."""
    layers, flags = blocks[:count], blocks[count:]
    held = np.stack([np.isfinite(layer).any(0) for layer in layers])
    usable = held & np.stack([(flag & np.uint8(UNUSABLE)) == 0 for flag in flags])
    seen = np.stack([held, usable])
    which = seen.argmax(1)  # the first
    found: NDArray[np.uint8] = np.where(seen[1].any(0), which[1], which[0]).astype(np.uint8)
    return found


def _taken(which: NDArray[np.uint8], *layers: NDArray[Any]) -> NDArray[Any]:
    made = layers[0].copy()
    for number, layer in enumerate(layers[1:], start=1):
        np.copyto(made, layer, where=which == number)
    return made
