"""Tiles: what is shown of an image (three bands, or an index), its colours, and PNG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from affine import Affine
from matplotlib import colormaps
from matplotlib.image import imsave
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geofuse.cube.bands import BandTable
from geofuse.cube.flags import MEANINGS, Quality
from geofuse.reporting.pictures import limits_of, stretched
from geofuse.viewing.server.indices import catalogue
from geofuse.viewing.server.layers import Layer, TooFar, sampled
from geofuse.viewing.server.scene import NotThere, Scene

TILE = 256  # pixels along a side
_OVERVIEW = 512  # pixels along the longer side of what a stretch is taken from
# Distance (nm) at which a band still stands for a wavelength; bands that are broader reach further.
_NEAR = 40.0
# As in reports. The most serious flag of a pixel is shown; good pixels are left clear.
COLOURS = {Quality.FAR: "#d55e00", Quality.OUTSIDE_RANGE: "#cc79a7", Quality.ONE_IMAGE: "#e69f00", Quality.MASKED: "#8a949d"}
PRESETS = {"True colour": (665.0, 560.0, 490.0), "Colour infrared": (842.0, 665.0, 560.0), "Short-wave infrared": (2190.0, 1610.0, 842.0)}


@dataclass(frozen=True)
class Bands:
    """Three bands of the fused image, as red, green and blue; of another image those nearest to them in wavelength."""

    positions: tuple[int, int, int]

    def values(self, layer: Layer, scene: Scene, box: GeoBox) -> NDArray[np.float32] | None:
        """Reflectance (3, rows, columns) on a grid; None where the image has no such bands."""
        at = matching(self.positions, scene.fused.table, layer.table)
        return None if at is None else sampled(layer, at, box)


@dataclass(frozen=True)
class IndexOf:
    """A spectral index by its name, drawn in colours from dark to bright."""

    name: str

    def values(self, layer: Layer, scene: Scene, box: GeoBox) -> NDArray[np.float32] | None:
        """The index (1, rows, columns) on a grid; None where the image lacks a band for it."""
        index = catalogue()[self.name]
        at = index.bands(layer.table)
        if at is None:
            return None
        planes = sampled(layer, list(at.values()), box)
        return index.compute(dict(zip(at, planes, strict=True)), layer.table)[None]


Shown = Bands | IndexOf


def matching(positions: tuple[int, ...], fused: BandTable, other: BandTable) -> list[int] | None:
    """Bands of an image that stand for bands of the fused one: those nearest in wavelength; None where one is too far away.

    An image without wavelengths shows the same bands, if it has as many as the fused one, and else red, green and blue by its order.

    Examples
    --------
    >>> matching((2, 0), BandTable.make("abc", [490, 560, 2200]), BandTable.make("xy", [500, 2190]))
    [1, 0]
    >>> matching((2, 0), BandTable.make("abc", [490, 560, 2200]), BandTable.make("xy", [500, 800])) is None
    True
    """
    if other is fused or (len(other) == len(fused) and not other.has_wavelength):
        return list(positions)
    if not (fused.has_wavelength and np.isfinite(other.wavelength).any()):
        return list(other.rgb())[: len(positions)]
    found = [other.nearest(float(fused.wavelength[at]), good_only=True) for at in positions]
    reach = np.fmax(other.fwhm[found], _NEAR)
    far = np.abs(other.wavelength[found] - fused.wavelength[list(positions)]) > reach
    return None if far.any() else found


def presets(table: BandTable) -> dict[str, tuple[int, ...]]:
    """Bands of each preset that the image has, by its label; without wavelengths only what the order of the bands suggests."""
    if not table.has_wavelength:
        return {"First bands": table.rgb()}
    wanted = {label: BandTable.make([f"{nm:g}" for nm in nms], nms) for label, nms in PRESETS.items()}
    found = {label: matching((0, 1, 2), asked, table) for label, asked in wanted.items()}
    return {label: tuple(at) for label, at in found.items() if at is not None} or {"First bands": table.rgb()}


def levels(box: GeoBox) -> int:
    """How often the map halves its resolution until all of it fits into about two tiles a side.

    Examples
    --------
    >>> levels(GeoBox((2048, 1000), Affine(10, 0, 0, 0, -10, 0), 32633))
    2
    """
    return max(0, int(np.ceil(np.log2(max(box.shape) / (2 * TILE)))))


def tile_box(box: GeoBox, level: int, column: int, row: int) -> GeoBox:
    """Grid of a tile: 2**level pixels of the map a pixel, counted from the upper left corner; smaller at the edges of the map.

    Raises
    ------
    NotThere
        There is no such tile.
    """
    step = 2**level if 0 <= level <= levels(box) else 0
    height, width = box.shape
    if not (step and 0 <= column * TILE * step < width and 0 <= row * TILE * step < height):
        raise NotThere(f"no tile {level}/{column}/{row}")
    corner = Affine.translation(column * TILE * step, row * TILE * step) @ Affine.scale(step)
    rows, columns = (min(TILE, -(-(size - at * TILE * step) // step)) for size, at in ((height, row), (width, column)))
    return GeoBox((rows, columns), box.affine @ corner, box.crs)


def stretch(scene: Scene, shown: Shown, percent: float) -> list[tuple[float, float]]:
    """Black and white of each channel: percentiles of the whole fused image, which all images share so that they compare.

    Of an image that cannot be seen from so far, those of its middle.

    Raises
    ------
    NotThere
        It lacks a band for what is to be shown.
    """
    box = scene.box.zoom_to(_OVERVIEW) if max(scene.box.shape) > _OVERVIEW else scene.box
    try:
        values = shown.values(scene.fused, scene, box)
    except TooFar:
        top, left = (max(0, size - _OVERVIEW) // 2 for size in scene.box.shape)
        values = shown.values(scene.fused, scene, scene.box[top : top + _OVERVIEW, left : left + _OVERVIEW])
    if values is None:
        raise NotThere("the fused image lacks a band for this")
    return [(float(low), float(high)) for low, high in limits_of(values, (percent, 100 - percent))]


def picture(values: NDArray[np.float32], limits: list[tuple[float, float]]) -> NDArray[np.uint8]:
    """Red, green, blue and alpha (rows, columns, 4) of three bands, or of one number a pixel; clear where there is no data."""
    valid = np.isfinite(values).all(0)
    levels_of = np.rint(255 * stretched(np.where(valid, values, 0), np.array(limits, np.float32))).astype(np.uint8)
    out = np.zeros((*valid.shape, 4), np.uint8)
    out[..., :3] = ramp()[levels_of[0]] if len(values) == 1 else levels_of.transpose(1, 2, 0)
    out[..., 3] = np.where(valid, 255, 0)
    return out


@cache
def ramp() -> NDArray[np.uint8]:
    """The 256 colours of an index, from low to high: viridis, which keeps its order for people with colour-blindness and in grey."""
    return np.rint(255 * colormaps["viridis"](np.arange(256))[:, :3]).astype(np.uint8)


def flagged(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Picture of a quality layer: the colour of the most serious flag; clear where a pixel is good or holds no data."""
    out = np.zeros((*plane.shape, 4), np.uint8)
    for flag, colour in reversed(COLOURS.items()):
        out[(plane & flag) > 0] = (*bytes.fromhex(colour[1:]), 255)
    return out


def quality_plane(layer: Layer, box: GeoBox) -> NDArray[np.uint8]:
    """Flags on a grid."""
    values = sampled(layer, [0], box)[0]
    return np.where(np.isfinite(values), values, 0).astype(np.uint8)


def words(flags: int) -> list[str]:
    """What the flags of a pixel say.

    Examples
    --------
    >>> words(0)
    ['no data']
    """
    return [text for flag, text in MEANINGS.items() if flags & flag] or ["no data"]


def png(picture: NDArray[np.uint8]) -> bytes:
    """A picture as the PNG of a whole tile, clear where it ends."""
    tile, buffer = np.zeros((TILE, TILE, 4), np.uint8), BytesIO()
    tile[: picture.shape[0], : picture.shape[1]] = picture
    imsave(buffer, tile, format="png", pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


CLEAR = png(np.zeros((0, 0, 4), np.uint8))
