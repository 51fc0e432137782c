"""AVIRIS-NG, AVIRIS-3 and AVIRIS-5 L2A surface reflectance in NetCDF-4 (``*_RFL_ORT.nc``): orthorectified lines on a UTM grid.

User guides of the ORNL DAAC, *AVIRIS-3 L2A Orthocorrected Surface Reflectance* and *AVIRIS-5 L2A*: ``reflectance/reflectance`` has the axes
wavelength, northing, easting; the grid mapping ``transverse_mercator`` holds CRS and GeoTransform. Lines in ENVI format: `geofuse.io.read.products.lines`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from affine import Affine

from geofuse.errors import InvalidCube
from geofuse.io.read.base import Description
from geofuse.io.read.fingerprint import content_stamp
from geofuse.io.read.hdf5 import attribute, check_line, dataset, numbers, numeric
from geofuse.io.read.items import utc_text
from geofuse.io.read.products.gridded import GriddedArray, GriddedReader
from geofuse.io.read.products.spectra import ordered

_PIXELS, _WAVELENGTH, _FWHM, _GRID = "reflectance/reflectance", "reflectance/wavelength", "reflectance/fwhm", "transverse_mercator"
_NEEDED = (_PIXELS, _WAVELENGTH, _FWHM, _GRID)


def _described(file: Any, path: Path) -> Description:
    pixels, mapping = dataset(file, _PIXELS, 3, "f"), file[_GRID]
    check_line(pixels)
    order, table = ordered(numbers(file, _WAVELENGTH), numbers(file, _FWHM), count=pixels.shape[0])
    transform = _transform(attribute(mapping, "GeoTransform"))
    fill = numeric(pixels, "_FillValue") if "_FillValue" in pixels.attrs else -9999.0
    height, width = pixels.shape[1:]
    tall, wide = pixels.chunks[1:] if pixels.chunks else (1, width)
    instrument = re.search(
        r"AVIRIS-(NG|[0-9])", " ".join(str(attribute(file, key) or "") for key in ("title", "instrument", "sensor", "source"))
    )
    return Description(
        str(path),
        GriddedArray(str(path.absolute()), content_stamp(path), _PIXELS, tuple(order.tolist()), (height, width), fill),
        table,
        transform,
        attribute(mapping, "crs_wkt") or attribute(mapping, "spatial_ref"),
        (min(tall, height), min(wide, width)),
        sensor=f"{instrument[0] if instrument else 'AVIRIS'} L2A",
        encoding={"dtype": pixels.dtype.name, "_FillValue": fill},
        about={
            "href": str(path),
            "id": path.stem,
            "datetime": utc_text(str(attribute(file, "time_coverage_start") or "")),
            "gsd": abs(transform.a),
        },
    )


def _transform(text: Any) -> Affine:
    """The six numbers of GDAL's GeoTransform, which stand in a text."""
    try:
        return Affine.from_gdal(*(float(number) for number in str(text).split()))
    except (TypeError, ValueError):
        raise InvalidCube(f"its GeoTransform is {str(text)[:40]!r}; expected six numbers, the product is damaged") from None


AVIRIS = GriddedReader("AVIRIS L2A", _NEEDED, _described)
