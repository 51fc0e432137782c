"""Show GDAL the staging raster as one raster: a VRT over plain files, with overviews and all that a reader shall find in the output."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement

import numpy as np

from geofuse.cube.bands import RED_GREEN_BLUE, BandTable
from geofuse.io.write.staging import StagingRaster
from geofuse.io.write.statistics import BandStatistics

_GDAL_TYPES = {"int16": "Int16", "float32": "Float32", "uint8": "Byte"}
_COLOUR_TOLERANCE_NM = 50.0


def write_vrt(
    staging: StagingRaster, table: BandTable, statistics: BandStatistics, transform: Any, crs_wkt: str, tags: dict[str, str]
) -> Path:
    """Write the VRTs of all levels, and return that of the image; numbers go in by `repr`, which reads back as the same double.

    Parameters
    ----------
    staging : StagingRaster
    table : BandTable
        Names, wavelengths and quality of the bands.
    statistics : BandStatistics
        Of the stored numbers.
    transform : affine.Affine
    crs_wkt : str
    tags : dict
        Tags of the file.
    """
    for level in range(1, staging.levels + 1):
        root = _dataset(staging, level)
        for band in range(staging.shape[0]):
            _raw_band(root, staging, level, band)
        ElementTree(root).write(_path(staging, level))
    root = _dataset(staging, 0)
    SubElement(root, "SRS").text = crs_wkt
    t = transform
    SubElement(root, "GeoTransform").text = ", ".join(repr(float(v)) for v in (t.c, t.a, t.b, t.f, t.d, t.e))
    # reflectance_scale says that the numbers of a float file are reflectance, whatever an extra tag seems to declare
    own = {"AREA_OR_POINT": "Area", "TIFFTAG_SOFTWARE": software()}
    if not staging.stored.flags:
        own["reflectance_scale"] = f"{1 / staging.stored.scale:.10g}"
    _metadata(root, {**tags, **own})
    colours = colours_of(table)
    for band in range(staging.shape[0]):
        element = _raw_band(root, staging, 0, band)
        SubElement(element, "Description").text = table.names[band]
        if band in colours:
            SubElement(element, "ColorInterp").text = colours[band]
        SubElement(element, "Offset").text, SubElement(element, "Scale").text = "0.0", repr(staging.stored.scale)
        plain, imagery = _band_tags(table, band)
        _metadata(element, plain | statistics.tags(band))
        _metadata(element, imagery, "IMAGERY")
        for level in range(1, staging.levels + 1):
            overview = SubElement(element, "Overview")
            SubElement(overview, "SourceFilename", relativeToVRT="1").text = _path(staging, level).name
            SubElement(overview, "SourceBand").text = str(band + 1)
    ElementTree(root).write(_path(staging, 0))
    return _path(staging, 0)


def colours_of(table: BandTable) -> dict[int, str]:
    """Which band viewers shall show as red, green and blue: those nearest to 665, 560 and 490 nm, no more than 50 nm away.

    Parameters
    ----------
    table : BandTable

    Returns
    -------
    dict of int to str
        GDAL's name of the colour, by position of the band; empty where one of the three is missing.

    Examples
    --------
    >>> colours_of(BandTable.make(["b", "g", "r", "nir"], [484.3, 558.4, 646.5, 804.6]))
    {2: 'Red', 1: 'Green', 0: 'Blue'}
    >>> colours_of(BandTable.make(["a", "b", "c"], [1610.0, 2190.0, 10_900.0]))
    {}
    """
    if not np.isfinite(table.wavelength).any():
        return {}
    chosen = table.rgb()
    near = np.abs(table.wavelength[list(chosen)] - RED_GREEN_BLUE) <= _COLOUR_TOLERANCE_NM
    return dict(zip(chosen, ("Red", "Green", "Blue"), strict=True)) if near.all() and len(set(chosen)) == 3 else {}


def software() -> str:
    """Name and version of this library."""
    try:
        return f"geofuse {version('geofuse')}"
    except PackageNotFoundError:
        return "geofuse"


def _path(staging: StagingRaster, level: int) -> Path:
    return staging.path(level).with_suffix(".vrt")


def _dataset(staging: StagingRaster, level: int) -> Element:
    rows, cols = staging.size(level)
    return Element("VRTDataset", rasterXSize=str(cols), rasterYSize=str(rows))


def _raw_band(root: Element, staging: StagingRaster, level: int, band: int) -> Element:
    element = SubElement(root, "VRTRasterBand", dataType=_GDAL_TYPES[staging.stored.dtype], band=str(band + 1), subClass="VRTRawRasterBand")
    cols = staging.size(level)[1]
    SubElement(element, "NoDataValue").text = repr(staging.stored.nodata)
    SubElement(element, "SourceFilename", relativetoVRT="1").text = staging.path(level).name
    layout = {
        "ImageOffset": staging.place(level, band, 0, 0),
        "PixelOffset": staging.itemsize,
        "LineOffset": cols * staging.itemsize,
        "ByteOrder": "LSB" if sys.byteorder == "little" else "MSB",
    }
    for name, value in layout.items():
        SubElement(element, name).text = str(value)
    return element


def _metadata(parent: Element, values: dict[str, str], domain: str = "") -> None:
    if values:
        element = SubElement(parent, "Metadata", {"domain": domain} if domain else {})
        for key, value in values.items():
            SubElement(element, "MDI", key=key).text = value


def _band_tags(table: BandTable, band: int) -> tuple[dict[str, str], dict[str, str]]:
    """Wavelengths as geofuse and ENVI write them, in nm, and as GDAL's IMAGERY domain wants them, in µm."""
    columns = {"wavelength": float(table.wavelength[band]), "fwhm": float(table.fwhm[band])}
    known = {key: value for key, value in columns.items() if np.isfinite(value)}
    plain = {key: repr(value) for key, value in known.items()} | ({"wavelength_units": "nm"} if known else {})
    names = {"wavelength": "CENTRAL_WAVELENGTH_UM", "fwhm": "FWHM_UM"}
    return plain | {"good": str(int(table.good[band]))}, {names[key]: repr(value / 1000) for key, value in known.items()}
