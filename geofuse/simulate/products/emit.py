"""An EMIT L2A granule of the known scene: the swath of a line that runs 12 degrees off north, slightly distorted, and its GLT.

Names, types, fill values and attributes are those of EMITL2ARFL and EMITL2AMASK, version 001 (EMIT L2A User Guide).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from scipy.spatial import cKDTree

from geofuse.simulate.products import truth
from geofuse.simulate.products.netcdf import fix_texts, h5netcdf, h5py

GSD, FILL, DEGREES = 60.0, -9999.0, 0.000542232520256367
HEADING = 12.0
GRANULE = "EMIT_L2A_{}_001_20220903T163129_2224611_012.nc"
WAVELENGTHS = 381.00558 + 7.4395 * np.arange(285)
MASK_BANDS = (
    "Cloud flag",
    "Cirrus flag",
    "Water flag",
    "Spacecraft Flag",
    "Dilated Cloud Flag",
    "AOD550",
    "H2O (g cm-2)",
    "Aggregate Flag",
)
# What strong water-vapour absorption leaves; the product writes -0.01 there.
ABSORBED = ((1320.0, 1440.0), (1770.0, 1960.0))


@dataclass(frozen=True)
class Swath:
    """Places of the raw pixels."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]


def swath(rows: int, cols: int, centre: tuple[float, float] = truth.CENTRE) -> Swath:
    """Centres of the raw pixels: a line off north, with a smooth distortion of up to 0.4 pixels."""
    down, across = np.mgrid[:rows, :cols].astype(float)
    along, right = GSD * (down - (rows - 1) / 2), GSD * (across - (cols - 1) / 2)
    right = right + 0.4 * GSD * np.sin(down / 9 + across / 23)
    along = along + 0.4 * GSD * np.sin(across / 11 + 1)
    angle = np.radians(HEADING)
    x = centre[0] + right * np.cos(angle) - along * np.sin(angle)
    y = centre[1] - right * np.sin(angle) - along * np.cos(angle)
    lon, lat = Transformer.from_crs(truth.CRS, "EPSG:4326", always_xy=True).transform(x, y)
    return Swath(x, y, lon, lat)


def lookup(places: Swath) -> tuple[NDArray[np.int32], NDArray[np.int32], tuple[float, ...]]:
    """GLT (columns, rows; from 1, 0 for none) of the grid around the swath, and the grid's GDAL transform."""
    left, top = places.lon.min() - DEGREES, places.lat.max() + DEGREES
    width = int(np.ceil((places.lon.max() + DEGREES - left) / DEGREES))
    height = int(np.ceil((top - places.lat.min() + DEGREES) / DEGREES))
    lat, lon = np.meshgrid(top - (np.arange(height) + 0.5) * DEGREES, left + (np.arange(width) + 0.5) * DEGREES, indexing="ij")
    shrink = np.cos(np.radians(lat.mean()))
    tree = cKDTree(np.column_stack([places.lon.ravel() * shrink, places.lat.ravel()]))
    distance, nearest = tree.query(np.column_stack([lon.ravel() * shrink, lat.ravel()]))
    row, col = np.unravel_index(nearest, places.lon.shape)
    inside = np.asarray(distance < 0.75 * DEGREES).reshape(lat.shape)
    glt_x, glt_y = (np.where(inside, axis.reshape(lat.shape) + 1, 0).astype(np.int32) for axis in (col, row))
    return glt_x, glt_y, (left, DEGREES, 0.0, top, 0.0, -DEGREES)


def write(folder: Path, *, rows: int = 40, cols: int = 36, mask: bool = True, bands: int = 285, **changes: Any) -> Path:
    """Write a granule and return its reflectance file; ``changes`` are datasets to replace, by their path."""
    places = swath(rows, cols)
    nm = WAVELENGTHS[:: max(1, 285 // bands)][:bands]
    absorbed = np.any([(nm > low) & (nm < high) for low, high in ABSORBED], 0)
    values = np.moveaxis(truth.footprint(places.x, places.y, nm, GSD), 0, -1).astype(np.float32)
    values[..., absorbed] = -0.01
    values[0, 0] = FILL
    path = folder / GRANULE.format("RFL")
    with h5netcdf.File(path, "w") as file:
        _root(file, places, "EMIT L2A Estimated Surface Reflectance 60 m V001", changes)
        file.dimensions["bands"] = nm.size
        _put(
            file,
            "reflectance",
            ("downtrack", "crosstrack", "bands"),
            changes.get("reflectance", values),
            fill=FILL,
            chunks=(16, cols, nm.size),
        )
        group = file.create_group("sensor_band_parameters")
        _put(group, "wavelengths", ("bands",), changes.get("wavelengths", nm.astype(np.float32)), units="nm")
        _put(group, "fwhm", ("bands",), changes.get("fwhm", np.full(nm.size, 8.5, np.float32)), units="nm")
        _put(group, "good_wavelengths", ("bands",), (~absorbed).astype(np.float32))
        _location(file, places, changes)
    fix_texts(path)
    if mask:
        _write_mask(folder / GRANULE.format("MASK"), places)
    return path


def _write_mask(path: Path, places: Swath) -> None:
    """A cloud in the north-west, cirrus in the south, water in a column, one pixel hidden by the spacecraft."""
    rows, cols = places.x.shape
    values = np.zeros((rows, cols, len(MASK_BANDS)), np.float32)
    values[2:8, 3:9, 0] = values[1:9, 2:10, 4] = values[-4:, :, 1] = values[:, cols // 2, 2] = values[rows // 2, cols // 3, 3] = 1
    values[..., 5], values[..., 6] = 0.2, 1.9
    values[..., 7] = values[..., [0, 1, 2, 3, 4]].max(-1)
    values[0, 0] = FILL
    with h5netcdf.File(path, "w") as file:
        _root(file, places, "EMIT L2A Masks 60 m V001", {})
        file.dimensions["bands"] = len(MASK_BANDS)
        _put(file, "mask", ("downtrack", "crosstrack", "bands"), values, fill=FILL, chunks=(16, cols, 8))
        group = file.create_group("sensor_band_parameters")
        names = group.create_variable("mask_bands", ("bands",), dtype=h5py.string_dtype())
        names[:] = np.array(MASK_BANDS, dtype=object)
        _location(file, places, {})
    fix_texts(path)


def _root(file: Any, places: Swath, title: str, changes: dict[str, Any]) -> None:
    glt_x, _, transform = lookup(places)
    file.dimensions = {
        "downtrack": places.x.shape[0],
        "crosstrack": places.x.shape[1],
        "ortho_y": glt_x.shape[0],
        "ortho_x": glt_x.shape[1],
    }
    attrs = {
        "ncei_template_version": "NCEI_NetCDF_Swath_Template_v2.0",
        "Conventions": "CF-1.63",
        "instrument": "EMIT",
        "platform": "ISS",
        "title": title,
        "product_version": "V001",
        "processing_level": "L2A",
        "time_coverage_start": "2022-09-03T16:31:29+0000",
        "time_coverage_end": "2022-09-03T16:31:41+0000",
        "day_night_flag": "Day",
        "spatial_ref": CRS.from_epsg(4326).to_wkt("WKT1_GDAL"),
        "spatialResolution": DEGREES,
        "geotransform": np.array(transform),
    }
    file.attrs.update(attrs | {key: value for key, value in changes.items() if key in attrs})


def _location(file: Any, places: Swath, changes: dict[str, Any]) -> None:
    glt_x, glt_y, _ = lookup(places)
    group = file.create_group("location")
    for name, values in (("lon", places.lon), ("lat", places.lat), ("elev", np.full_like(places.lon, 35.0))):
        _put(group, name, ("downtrack", "crosstrack"), changes.get(name, values), fill=FILL)
    for name, table in (("glt_x", glt_x), ("glt_y", glt_y)):
        _put(group, name, ("ortho_y", "ortho_x"), changes.get(name, table), fill=0)


def _put(
    group: Any, name: str, dims: tuple[str, ...], values: Any, *, fill: float | None = None, chunks: Any = None, units: str | None = None
) -> None:
    values = np.asarray(values)
    made = group.create_variable(name, dims, dtype=values.dtype, fillvalue=fill, chunks=chunks, compression="gzip")
    made[:] = values
    if units:
        made.attrs["units"] = units
