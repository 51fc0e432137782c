"""Products whose image and quality layers are rasters on one grid: reflectance without defects, and flags of the layers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geofuse.cube.bands import BandTable
from geofuse.cube.masks import Mask, names_of
from geofuse.errors import InvalidCube, RunError
from geofuse.io.read.base import Description, Request, check_description
from geofuse.io.read.fingerprint import content_stamp
from geofuse.io.read.gdal import is_trusted, open_raster
from geofuse.io.read.raster import RasterArray
from geofuse.io.read.registry import reader_of
from geofuse.io.read.windows import selected


@dataclass(frozen=True)
class Layer:
    """A raster of numbers that mean something, with a stamp of its content."""

    path: str
    stamp: str | None
    count: int
    trusted: bool = False
    """Open it with every driver of GDAL."""

    def read(self, bands: Sequence[int], window: Window) -> NDArray[Any]:
        """Stored numbers of bands (from 1) in a window.

        Raises
        ------
        RunError
            It is damaged, or was changed.
        """
        try:
            with open_raster(self.path, trusted=self.trusted) as file:
                found: NDArray[Any] = file.read(list(bands), window=window)
        except (RasterioError, OSError) as error:
            raise RunError(f"{self.path}: could not be read ({error}); the file is damaged or was changed while in use") from error
        if content_stamp(self.path) != self.stamp:
            raise RunError(f"{self.path} was replaced or changed while it was in use; run again once the inputs stay as they are")
        return found


@dataclass(frozen=True)
class Rule:
    """Where a band of a layer raises a flag: at some values, or where one of some bits is set but not all of others."""

    layer: Layer
    flag: int
    band: int = 1
    values: tuple[int, ...] = ()
    bits: int = 0
    unless: int = 0
    """Bits that are all set where the layer says nothing."""

    def holds(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the flag is raised, by the stored numbers."""
        if self.values:
            return np.isin(stored, self.values)
        said = (stored & self.unless) != self.unless if self.unless else True
        return np.asarray(((stored & self.bits) != 0) & said)


@dataclass(frozen=True)
class ScreenedArray(RasterArray):
    """Reflectance of a raster file, NaN also where a layer of as many bands calls the value defective."""

    defects: Layer | None = None

    def _read(self, bands: NDArray[np.intp], window: Window) -> NDArray[np.float32]:
        values = super()._read(bands, window)
        if self.defects is not None:
            values[self.defects.read([self.indexes[band] for band in bands], window) == 1] = np.nan
        return values


@dataclass(frozen=True)
class RasterFlags:
    """Flags of the layers of a product, uint8: sums of `geofuse.cube.masks.Mask`; a `geofuse.io.read.base.FlagArray`.

    A pixel is a defect where at least half of the good bands are: single values are nodata already.
    """

    shape: tuple[int, int]
    rules: tuple[Rule, ...]
    defects: Layer | None = None
    good: tuple[int, ...] = ()

    dtype = np.dtype(np.uint8)
    ndim = 2

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Read what is selected."""
        return selected(key, self.shape, self.dtype, self._read)

    def _read(self, rows: slice, cols: slice) -> NDArray[np.uint8]:
        window = Window.from_slices(rows, cols)
        out = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
        for rule in self.rules:
            out[rule.holds(rule.layer.read([rule.band], window)[0])] |= rule.flag
        if self.defects is not None and self.good:
            share = np.mean(self.defects.read(self.good, window) == 1, 0)
            out[share >= 0.5] |= int(Mask.DEFECT)
        return out

    @property
    def names(self) -> list[str]:
        """Names of the flags that the product gives."""
        given = {rule.flag for rule in self.rules} | ({int(Mask.DEFECT)} if self.defects else set())
        return names_of(given)


def described_raster(path: Path) -> Description:
    """A raster of a product as its file describes it.

    Raises
    ------
    InvalidCube
        It is no complete raster in a place.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scale and wavelengths are the product's
        found = reader_of(str(path), named=True).describe(str(path), Request("MSI"))
    if not isinstance(found, Description) or not isinstance(found.array, RasterArray):
        raise InvalidCube(f"{path.name} is no raster; fetch the whole delivery")
    check_description(found)
    return found


def layer_of(path: Path | None, image: Description, count: int = 1) -> Layer | None:
    """A layer on the grid of an image; None, with a warning, where it cannot be used.

    Parameters
    ----------
    path : pathlib.Path or None
        None where the delivery lacks it.
    image : Description
    count : int
        Bands that it must have at least.
    """
    if path is None:
        return None
    try:
        found = described_raster(path)
        if found.shape[1:] != image.shape[1:] or found.shape[0] < count or not found.transform.almost_equals(image.transform, 1e-3):
            raise InvalidCube(f"{found.shape[0]} bands on another grid than that of the image")
        if np.dtype(str(found.encoding["dtype"])).kind not in "iu":
            raise InvalidCube(f"it holds {found.encoding['dtype']}; expected integers")
    except InvalidCube as error:
        warnings.warn(f"{path.name} is left out, and nothing is masked by it: {error}", UserWarning, stacklevel=7)
        return None
    return Layer(str(path.absolute()), content_stamp(path), found.shape[0], is_trusted())


def screened(
    image: Description,
    order: NDArray[np.intp],
    table: BandTable,
    *,
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    nodata: float,
    rules: tuple[Rule, ...],
    defects: Layer | None,
) -> Description:
    """The description of an image with what its product says: bands in an order, scale and offset of each, flags and defects.

    Parameters
    ----------
    image : Description
        As `described_raster` gives it.
    order : ndarray of int, shape (band,)
        Positions in the file.
    table : BandTable
        In that order.
    scale, offset : ndarray
        In the order of the file.
    nodata : float
    rules : tuple of Rule
    defects : Layer, optional
        With a band for each of the file.
    """
    count = image.shape[0]
    if scale.size != count or order.max() >= count:
        raise InvalidCube(f"{count} bands in the image, and {scale.size} in its metadata; fetch the delivery again")
    if not (np.isfinite(scale) & np.isfinite(offset) & (scale > 0)).all():
        raise InvalidCube("gains that are not positive, or offsets that are no numbers, in its metadata; fetch the delivery again")
    known: Any = {field.name: getattr(image.array, field.name) for field in fields(RasterArray)}
    known |= {"scale": tuple(scale.tolist()), "offset": tuple(offset.tolist()), "nodata": (nodata,) * count}
    array = ScreenedArray(**known, defects=defects).take(order)
    flags = RasterFlags(image.shape[1:], rules, defects, tuple(int(band) + 1 for band in order[table.good]))
    encoding = {**image.encoding, "scale_factor": scale[order], "add_offset": offset[order], "_FillValue": np.full(order.size, nodata)}
    names = flags.names
    return replace(image, array=array, table=table, mask=flags if names else None, spectral=None, encoding=encoding | {"masks": names})
