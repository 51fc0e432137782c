"""Small crops of the embedded Berlin pair, read and written by rasterio alone, and ways to change them.

16 x 14 coarse pixels and the fine pixels around them are enough for every stage of a fusion, which then takes two or three seconds.
"""

from __future__ import annotations

import atexit
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject
from rasterio.windows import Window

import geofuse

DATA = Path(__file__).resolve().parent.parent / "geofuse" / "demo" / "data"
COARSE = Window(20, 20, 14, 16)  # column, row, width, height: houses, streets, trees and water
MARGIN = 10  # fine pixels beyond the coarse crop
NODATA = -99


@dataclass(frozen=True)
class Raster:
    """The whole content of a small GeoTIFF: int16 reflectance x 10000 (bands, rows, columns), and what is written about it."""

    values: np.ndarray
    transform: Affine
    crs: str | None
    names: tuple[str, ...]
    tags: tuple[dict[str, str], ...]
    file_tags: dict[str, str]

    def write(self, path: Path) -> Path:
        """Write it as a GeoTIFF."""
        count, height, width = self.values.shape
        profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": self.values.dtype.name}
        with rasterio.open(path, "w", **profile, nodata=NODATA, crs=self.crs, transform=self.transform) as file:
            file.write(self.values)
            file.descriptions = self.names
            file.update_tags(**self.file_tags)
            for band, tags in enumerate(self.tags, start=1):
                file.update_tags(band, **tags)
        return path

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> Raster:
        """Change the reflectance (float), nodata kept."""
        changed = np.rint(change(self.values / 1e4) * 1e4).astype("int16")
        return replace(self, values=np.where(self.values == NODATA, self.values, changed))

    def holed(self, *holes: tuple[slice, slice]) -> Raster:
        """Without data in some rectangles of pixels."""
        values = self.values.copy()
        for rows, cols in holes:
            values[:, rows, cols] = NODATA
        return replace(self, values=values)

    def bands(self, *kept: int) -> Raster:
        """Some of the bands only."""
        return replace(
            self, values=self.values[list(kept)], names=tuple(self.names[k] for k in kept), tags=tuple(self.tags[k] for k in kept)
        )

    def tagged(self, change: Callable[[dict[str, str]], dict[str, str]]) -> Raster:
        """With other tags on every band."""
        return replace(self, tags=tuple(change(dict(t)) for t in self.tags))

    def warped(self, crs: str, pixel: float) -> Raster:
        """On a grid of another CRS, by GDAL's cubic resampling."""
        count, height, width = self.values.shape
        left, bottom, right, top = rasterio.transform.array_bounds(height, width, self.transform)
        transform, cols, rows = calculate_default_transform(self.crs, crs, width, height, left, bottom, right, top, resolution=pixel)
        values = np.full((count, rows, cols), NODATA, "int16")
        grids = {"src_transform": self.transform, "src_crs": self.crs, "dst_transform": transform, "dst_crs": crs}
        reproject(self.values, values, **grids, src_nodata=NODATA, dst_nodata=NODATA, resampling=Resampling.cubic)
        return replace(self, values=values, transform=transform, crs=crs)


def read(path: Path, window: Window | None = None) -> Raster:
    """Read a raster, or a window of it."""
    with rasterio.open(path) as file:
        window = window or Window(0, 0, file.width, file.height)
        # statistics are those of the whole file
        tags = tuple({k: v for k, v in file.tags(b).items() if not k.startswith("STATISTICS")} for b in file.indexes)
        where = file.window_transform(window)
        return Raster(file.read(window=window), where, file.crs.to_string(), file.descriptions, tags, file.tags())


@cache
def small_pair(coarse: Window = COARSE) -> tuple[Raster, Raster]:
    """A crop of the hyperspectral image, and the multispectral image around it."""
    hsi = read(DATA / "berlin_enmap_30m.tif", coarse)
    with rasterio.open(DATA / "berlin_hires_3p6m.tif") as file:
        left, top = ~file.transform * (hsi.transform.c, hsi.transform.f)
        right, bottom = ~file.transform * (hsi.transform * (coarse.width, coarse.height))
        first = math.floor(left) - MARGIN, math.floor(top) - MARGIN
        last = math.ceil(right) + MARGIN, math.ceil(bottom) + MARGIN
        around = Window(*first, last[0] - first[0], last[1] - first[1]).intersection(Window(0, 0, file.width, file.height))
    return hsi, read(DATA / "berlin_hires_3p6m.tif", around)


@cache
def folder() -> Path:
    """A folder that lives as long as the tests."""
    made = tempfile.TemporaryDirectory(prefix="geofuse-tests-")
    atexit.register(made.cleanup)
    return Path(made.name)


@cache
def small_files() -> tuple[Path, Path]:
    """The crops as files."""
    hsi, msi = small_pair()
    return hsi.write(folder() / "coarse.tif"), msi.write(folder() / "fine.tif")


def small_cubes(*, chunks: Any = "auto") -> tuple[Any, Any]:
    """The crops as cubes."""
    hsi, msi = small_files()
    return geofuse.open_hsi(hsi, chunks=chunks), geofuse.open_msi(msi, chunks=chunks)


@cache
def few_files() -> tuple[Path, Path]:
    """The crops as files, with every ninth band of the hyperspectral one: for what is the same whatever the number of bands."""
    hsi, _ = small_pair()
    return hsi.bands(*range(0, len(hsi.names), 9)).write(folder() / "few.tif"), small_files()[1]


def few_cubes() -> tuple[Any, Any]:
    """The crops with few bands as cubes."""
    hsi, msi = few_files()
    return geofuse.open_hsi(hsi), geofuse.open_msi(msi)


@cache
def few_model(method: str = "sylvester", *, uncertainty: bool = False) -> geofuse.Model:
    """A model fitted to the crops with few bands, once for all tests."""
    return geofuse.fit(*few_cubes(), method=method, uncertainty=uncertainty, progress=False)


@cache
def small_model(method: str = "gem") -> geofuse.Model:
    """A model fitted to the crops, once for all tests."""
    return geofuse.fit(*small_cubes(), method=method, progress=False)
