"""AVIRIS lines of the known scene: L2A of AVIRIS-5 in NetCDF-4, as the ORNL DAAC describes it, and rotated ones in ENVI format, as JPL's are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS

from geofuse.simulate.products import truth
from geofuse.simulate.products.netcdf import fix_texts, h5netcdf

GSD, FILL = 6.4, -9999.0
NAME = "AV520250508t173511_000_L2A_OE_0a1b2c3d_RFL_ORT.nc"
WAVELENGTHS = np.linspace(377.2, 2500.6, 60)
# Of lines in ENVI format: Classic stores reflectance times 10000, NG reflectance itself.
CLASSIC, NG = "f130503t01p00r11rdn_refl_img_corr", "ang20160831t201002_corr_v1n2_img"
ROTATION = 24.0  # degrees


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


def write_envi(folder: Path, name: str = NG, *, rows: int = 40, cols: int = 36, fields: str = "") -> Path:
    """Write a rotated line in ENVI format, whose spectrometers overlap and have bad bands, and return its data file.

    Parameters
    ----------
    folder : pathlib.Path
    name : str
        Of the data file; that of the header has ``.hdr`` added.
    rows, cols : int
    fields : str
        Lines to add to the header.
    """
    path, nm = folder / name, spectrometers()
    line = (
        Affine.translation(*truth.CENTRE) @ Affine.rotation(ROTATION) @ Affine.scale(GSD, -GSD) @ Affine.translation(-cols / 2, -rows / 2)
    )
    x, y = line @ tuple(np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5))
    values = truth.footprint(x, y, nm, GSD, samples=3)
    values = np.round(values * 1e4).astype("int16") if name.startswith("f") else values.astype("float32")
    values[:, :2] = FILL
    profile = {
        "driver": "ENVI",
        "count": nm.size,
        "width": cols,
        "height": rows,
        "dtype": values.dtype,
        "nodata": FILL,
        "interleave": "bil",
    }
    with rasterio.open(path, "w", **profile, crs=truth.CRS, transform=line) as file:
        file.write(values)
    path.with_name(f"{name}.aux.xml").unlink(missing_ok=True)  # of GDAL
    header = path.with_suffix(".hdr")
    listed = {"wavelength": nm, "fwhm": np.full(nm.size, 8.2), "bbl": (nm < 1300) | (nm > 1400)}
    lines = [f"{key} = {{{', '.join(f'{number:g}' for number in numbers)}}}" for key, numbers in listed.items()]
    header.write_text("\n".join([header.read_text().rstrip(), "wavelength units = Nanometers", *lines, fields, ""]))
    return path


def spectrometers() -> np.ndarray:
    """Wavelengths (nm) in the order of the file: four spectrometers, each of which begins below where the one before ends."""
    return np.concatenate([np.linspace(*limits, 8) for limits in ((370, 690), (660, 1270), (1250, 1880), (1870, 2500))]).round(2)
