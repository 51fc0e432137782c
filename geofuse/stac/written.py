"""What a written raster says of itself, whatever its format: grid, bands, stored numbers, statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.errors import RasterioIOError

from geofuse.cube.bands import BandTable
from geofuse.errors import InvalidCube
from geofuse.io.read.gdal import open_raster
from geofuse.io.read.metadata import describe
from geofuse.io.read.zarr import describe_store
from geofuse.io.write.output import is_zarr

STATISTICS = ("minimum", "maximum", "mean", "stddev", "valid_percent")


@dataclass(frozen=True)
class WrittenBand:
    """How one band is stored; statistics are those of the stored numbers."""

    dtype: str
    nodata: float | None
    scale: float
    offset: float
    unit: str
    statistics: Mapping[str, float]


@dataclass(frozen=True)
class Written:
    """A raster as it is on file.

    Attributes
    ----------
    geobox : GeoBox
    crs : rasterio.crs.CRS
    table : BandTable
    bands : tuple of WrittenBand
    tags : mapping of str to str
        Of the file.
    variable : str, optional
        Of a Zarr store: the array that the bands are in.
    """

    geobox: GeoBox
    crs: CRS
    table: BandTable
    bands: tuple[WrittenBand, ...]
    tags: Mapping[str, str]
    variable: str | None = None


def read_written(raster: Path) -> Written:
    """Read what a GeoTIFF or a Zarr store says of itself; no pixel is read.

    Raises
    ------
    InvalidCube
        It cannot be read, has no CRS, or wavelengths that cannot be read.
    """
    return _store(raster) if is_zarr(raster) else _geotiff(raster)


def _geotiff(raster: Path) -> Written:
    try:
        with open_raster(raster) as dataset:
            return _described(raster, dataset)
    except RasterioIOError as error:
        raise InvalidCube(f"Cannot describe {raster}: {error}. Expected a GeoTIFF that was written completely.") from error


def _described(raster: Path, dataset: Any) -> Written:
    if dataset.crs is None:
        raise InvalidCube(f"Cannot describe {raster}: it has no coordinate reference system. Write it with one.")
    columns = zip(dataset.dtypes, dataset.nodatavals, dataset.scales, dataset.offsets, dataset.units, strict=True)
    bands = tuple(
        WrittenBand(dtype, nodata, float(scale), float(offset), unit or "1", _tagged(dataset.tags(index)))
        for index, (dtype, nodata, scale, offset, unit) in enumerate(columns, start=1)
    )
    geobox = GeoBox(dataset.shape, dataset.transform, dataset.crs.to_wkt())
    return Written(geobox, dataset.crs, describe(dataset, every_band=False).table, bands, dataset.tags())


def _tagged(tags: Mapping[str, str]) -> dict[str, float]:
    """Statistics in GDAL's tags, as far as they are finite numbers: tags are free text and may hold anything."""
    return {key: number for key in STATISTICS if math.isfinite(number := _number(tags.get(f"STATISTICS_{key.upper()}")))}


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan


def _store(folder: Path) -> Written:
    try:
        store = describe_store(folder)
    except InvalidCube as error:
        raise InvalidCube(f"Cannot describe {folder}: {error}.") from None
    group, _, variable = store.array.name.rpartition("/")
    statistics = _stored_statistics(folder, group, len(store.table))
    dtype = np.dtype(store.encoding["dtype"])
    nodata = store.encoding.get("_FillValue", np.nan if dtype.kind == "f" else None)
    columns = zip(store.array.scale, store.array.offset, statistics, strict=True)
    bands = tuple(WrittenBand(dtype.name, nodata, scale, offset, "1", found) for scale, offset, found in columns)
    crs = CRS.from_wkt(store.crs.to_wkt())
    geobox = GeoBox((store.array.height, store.array.width), store.transform, store.crs.to_wkt())
    return Written(geobox, crs, store.table, bands, {}, variable)


def _stored_statistics(folder: Path, group: str, bands: int) -> list[dict[str, float]]:
    place = folder / group / "statistics"
    if not (place / "zarr.json").is_file():
        return [{} for _ in range(bands)]
    with xr.open_zarr(place, consolidated=False, chunks=None) as dataset:
        columns = {key: dataset[key].values for key in STATISTICS if key in dataset and dataset[key].shape == (bands,)}
    return [{key: float(column[band]) for key, column in columns.items() if np.isfinite(column[band])} for band in range(bands)]
