"""An AVIRIS-5 L2A line of the known scene in NetCDF-4, as the ORNL DAAC describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS

from geofuse.simulate.products import truth
from geofuse.simulate.products.netcdf import fix_texts, h5netcdf

GSD, FILL = 6.4, -9999.0
NAME = "AV520250508t173511_000_L2A_OE_0a1b2c3d_RFL_ORT.nc"
WAVELENGTHS = np.linspace(377.2, 2500.6, 60)


def write(folder: Path, *, rows: int = 40, cols: int = 36, **changes: Any) -> Path:
    """Write a file and return its path; ``changes`` are attributes of the grid mapping to replace."""
    path = folder / NAME
    left, top = truth.CENTRE[0] - cols // 2 * GSD, truth.CENTRE[1] + rows // 2 * GSD
    easting, northing = left + (np.arange(cols) + 0.5) * GSD, top - (np.arange(rows) + 0.5) * GSD
    x, y = np.meshgrid(easting, northing)
    values = truth.footprint(x, y, WAVELENGTHS, GSD, samples=3).astype(np.float32)
    values[:, np.add.outer(np.arange(rows), np.arange(cols)) < 12] = FILL
    with h5netcdf.File(path, "w") as file:
        file.attrs["title"] = "AVIRIS-5 L2A Orthocorrected Surface Reflectance"
        file.attrs["Conventions"], file.attrs["time_coverage_start"] = "CF-1.6", "2025-05-08T17:35:11Z"
        file.dimensions = {"easting": cols, "northing": rows}
        for name, numbers in (("easting", easting), ("northing", northing)):
            file.create_variable(name, (name,), data=numbers)
        mapping = file.create_variable("transverse_mercator", (), dtype="i4")
        attrs = {
            "grid_mapping_name": "transverse_mercator",
            "crs_wkt": CRS.from_user_input(truth.CRS).to_wkt("WKT1_GDAL"),
            "GeoTransform": f"{left} {GSD} 0 {top} 0 {-GSD}",
        }
        mapping.attrs.update(attrs | changes)
        group = file.create_group("reflectance")
        group.dimensions["wavelength"] = WAVELENGTHS.size
        group.create_variable("wavelength", ("wavelength",), data=WAVELENGTHS.astype(np.float32))
        group.create_variable("fwhm", ("wavelength",), data=np.full(WAVELENGTHS.size, 8.2, np.float32))
        dims = ("wavelength", "northing", "easting")
        pixels = group.create_variable("reflectance", dims, dtype="f4", fillvalue=FILL, chunks=(60, 16, 16), compression="gzip")
        pixels[:] = values
    fix_texts(path)
    return path
