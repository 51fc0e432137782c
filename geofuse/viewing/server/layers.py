"""Images that the viewer shows: each is read by windows, thinned where it is seen from afar, and sampled on any grid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.overlap import compute_reproject_roi
from pyproj import Transformer
from rasterio.windows import Window

from geofuse.cube.bands import BandTable, positions
from geofuse.cube.georef import crs_of
from geofuse.cube.schema import geobox
from geofuse.cube.values import decode
from geofuse.errors import InvalidCube
from geofuse.io.read.base import Description, Request
from geofuse.io.read.formats import ENVI, GEOTIFF, JPEG2000
from geofuse.io.read.raster import RasterArray
from geofuse.io.read.registry import reader_of
from geofuse.viewing.server.threads import opened

if TYPE_CHECKING:
    from pyproj import CRS

# Values that a tile may be made of, where an image has no overviews to read instead: what a laptop reads within seconds.
MOST_VALUES = 2**26


class TooFar(Exception):
    """The window is too large to be read without overviews."""


@dataclass(frozen=True, eq=False)
class Layer:
    """An image in memory, or one that its reader reads by windows."""

    cube: xr.DataArray

    @cached_property
    def box(self) -> GeoBox:
        """Its grid."""
        return geobox(self.cube)

    @cached_property
    def crs(self) -> CRS:
        """Its CRS."""
        crs = crs_of(self.cube)
        assert crs is not None  # `geobox` rejects cubes without one
        return crs

    @cached_property
    def table(self) -> BandTable:
        """What its bands are."""
        return BandTable.from_cube(self.cube)

    @cached_property
    def seen_from_afar(self) -> bool:
        """Whether it can be seen from any distance: it is in memory, or small."""
        return isinstance(self.cube.data, np.ndarray) or self._is_small

    @property
    def _is_small(self) -> bool:
        return 3 * self.cube.sizes["y"] * self.cube.sizes["x"] <= MOST_VALUES

    def read(self, bands: Sequence[int], rows: slice, columns: slice, step: int) -> NDArray[np.float32]:
        """Reflectance of bands in a window, about every ``step``-th row and column of it; NaN where there is no data.

        Raises
        ------
        TooFar
            The window is too large, and there are no overviews.
        """
        if not self.seen_from_afar and len(bands) * (rows.stop - rows.start) * (columns.stop - columns.start) > MOST_VALUES:
            raise TooFar
        thinned = self.cube[list(bands), _every(rows, step), _every(columns, step)].data
        values: NDArray[np.float32] = np.asarray(thinned if isinstance(thinned, np.ndarray) else thinned.compute(scheduler="threads"))
        return values

    def pixel_at(self, x: float, y: float, crs: CRS) -> tuple[int, int] | None:
        """Row and column of the pixel at a place, given in ``crs``; None outside the image."""
        if crs != self.crs:
            x, y = transformer(crs.to_wkt(), self.crs.to_wkt()).transform(x, y)
        column, row = ~self.box.affine * (x, y)
        height, width = self.box.shape
        return (int(row), int(column)) if 0 <= row < height and 0 <= column < width else None

    def spectrum(self, row: int, column: int) -> NDArray[np.float32]:
        """Reflectance of all bands of a pixel."""
        return self.read(range(len(self.table)), slice(row, row + 1), slice(column, column + 1), 1)[:, 0, 0]


@dataclass(frozen=True, eq=False)
class FileLayer(Layer):
    """An image whose pixels lie in a raster file as they are: its overviews are read where it has them."""

    array: RasterArray

    @cached_property
    def seen_from_afar(self) -> bool:
        """Whether it can be seen from any distance: it has overviews, or is small."""
        with opened(self.array.path, trusted=self.array.trusted) as file:
            return bool(file.overviews(1)) or self._is_small

    def read(self, bands: Sequence[int], rows: slice, columns: slice, step: int) -> NDArray[np.float32]:
        """As `Layer.read`."""
        array, window = self.array, Window.from_slices(rows, columns)
        if not self.seen_from_afar and len(bands) * window.height * window.width > MOST_VALUES:
            raise TooFar
        indexes = [array.indexes[band] for band in bands]
        shape = len(indexes), -(-int(window.height) // step), -(-int(window.width) // step)
        with opened(array.path, trusted=array.trusted) as file:
            raw = file.read(indexes, window=window, out_shape=shape)
            mask = file.read_masks(indexes, window=window, out_shape=shape) if array.has_mask else None
            if array.alpha is not None:
                mask = np.broadcast_to(file.read(array.alpha, window=window, out_shape=shape[1:]), shape)
        values = decode(raw, *([column[band] for band in bands] for column in (array.scale, array.offset, array.nodata)))
        return values if mask is None else np.where(mask == 0, np.float32(np.nan), values)


def layer_of(cube: xr.DataArray, place: str | None = None) -> Layer:
    """The layer of a cube: a `FileLayer` where the cube is all of a raster file.

    Parameters
    ----------
    cube : DataArray, dims (band, y, x)
        In memory, or as `geofuse.open_hsi` or `geofuse.open_msi` opened it.
    place : str, optional
        Path or address that it was opened from; by default the local file that it says.
    """
    place = place or str(cube.encoding.get("source", ""))
    if place and cube.encoding.get("reader") in {GEOTIFF.name, JPEG2000.name, ENVI.name} and not isinstance(cube.data, np.ndarray):
        try:
            array = _array_behind(cube, place)
        except InvalidCube:  # an address without its credentials, or a file that has gone
            array = None
        if array is not None:
            return FileLayer(cube, array)
    return Layer(cube)


def _array_behind(cube: xr.DataArray, place: str) -> RasterArray | None:
    """The array of a file whose grid and bands are those of the cube."""
    table = BandTable.from_cube(cube)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what opening has warned of already
        found = reader_of(place).describe(place, Request("HSI"))
    if not isinstance(found, Description) or not isinstance(found.array, RasterArray):
        return None
    box = geobox(cube)
    if found.shape[1:] != box.shape or not found.transform.almost_equals(box.affine, 1e-6 * abs(box.affine.a)):
        return None
    return found.array.take(np.array(positions(found.table, list(table.names))))


def unscaled(layer: Layer) -> Layer:
    """A layer of flags, which opening took for scaled reflectance: the stored numbers."""
    scale = float(layer.cube.encoding.get("scale_factor", 1.0))
    if isinstance(layer, FileLayer):
        return replace(layer, array=replace(layer.array, scale=(1.0,) * len(layer.array.scale)))
    return replace(layer, cube=layer.cube.copy(data=np.rint(layer.cube.data / scale)))


def sampled(layer: Layer, bands: Sequence[int], box: GeoBox) -> NDArray[np.float32]:
    """Bands of a layer on another grid: the nearest pixel, of an overview where the grid is coarser.

    Returns
    -------
    ndarray, shape (bands, *box.shape)
        NaN where there is no data.

    Raises
    ------
    TooFar
        See `Layer.read`.
    """
    out = np.full((len(bands), *box.shape), np.nan, np.float32)
    found = compute_reproject_roi(layer.box, box)
    rows, columns = (slice(part.start, part.stop) for part in found.roi_src)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return out
    step = max(1, int(found.scale + 1e-6))
    values = layer.read(bands, rows, columns, step)
    place = tuple(slice(part.start, part.stop) for part in found.roi_dst)
    if found.paste_ok and values.shape[1:] == out[0][place].shape:
        out[:, *place] = values
        return out
    row, column, inside = _nearest(layer.box[rows, columns].zoom_to(values.shape[1:]), box)
    out[:, inside] = values[:, row[inside], column[inside]]
    return out


def _nearest(source: GeoBox, box: GeoBox) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Row and column of the pixel of ``source`` at the centre of each pixel of a grid, and where there is one.

    Not by GDAL's warper: rasterio (1.4.4) calls it with filters of warnings set, which belong to all threads at once.
    """
    height, width = source.shape
    columns, rows = np.meshgrid(np.arange(box.shape[1]) + 0.5, np.arange(box.shape[0]) + 0.5)
    x, y = _applied(box.affine, columns, rows)
    if source.crs != box.crs:
        x, y = transformer(str(box.crs), str(source.crs)).transform(x, y)
    column, row = _applied(~source.affine, x, y)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)  # false where a place has no coordinates there: inf
    return np.where(inside, row, 0).astype(np.intp), np.where(inside, column, 0).astype(np.intp), inside


def _applied(affine: Affine, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


@cache
def transformer(source: str, target: str) -> Transformer:
    """From one CRS to another, x before y."""
    return Transformer.from_crs(source, target, always_xy=True)


def _every(run: slice, step: int) -> slice:
    """Every ``step``-th of a run, each in the middle of those that it stands for; as many as fit, the last one included."""
    return slice(run.start + min(step // 2, (run.stop - run.start - 1) % step), run.stop, step)
