"""A cube in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import CENTRES, crs_name
from geofuse.cube.sampling import nodata_share
from geofuse.cube.schema import geobox
from geofuse.stac.item import pixel_size_m


def describe(cube: xr.DataArray, name: str) -> str:
    """What geofuse sees in a cube: grid, bands, wavelengths, scaling; a few lines. Reads no pixels."""
    box, table = geobox(cube), BandTable.from_cube(cube)
    left, bottom, right, top = box.boundingbox
    crs = box.crs
    assert crs is not None  # `geobox` rejects cubes without one
    lines = [
        f"file        {name}",
        *(f"{key:12s}{cube.encoding[key]}" for key in ("reader", "sensor") if key in cube.encoding),
        f"grid        {box.shape[0]} rows x {box.shape[1]} columns of {abs(box.affine.a):g} x {abs(box.affine.e):g}, {crs_name(crs.proj)}",
        *(["            pixels moved onto it, with their true centres"] if CENTRES[0] in cube.coords else []),
        f"extent      x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}",
        f"bands       {len(table)}: {', '.join(table.names[:4])}{', ...' if len(table) > 4 else ''}",
    ]
    if table.has_wavelength:
        widths = table.fwhm[np.isfinite(table.fwhm)]
        fwhm = f", FWHM {widths.min():.4g} to {widths.max():.4g} nm" if widths.size else ", FWHM unknown"
        lines.append(f"wavelength  {table.wavelength.min():.5g} to {table.wavelength.max():.5g} nm{fwhm}")
    else:
        unknown = int(np.isnan(table.wavelength).sum())
        lines.append("wavelength  unknown" + (f" for {unknown} of {len(table)} bands" if unknown < len(table) else ""))
    lines.append(f"good bands  {int(table.good.sum())} of {len(table)}")
    if cube.encoding.get("masks"):
        lines.append(f"masks       {', '.join(cube.encoding['masks'])}")
    if "time" in cube.coords:
        lines.append(f"acquired    {_when(cube)}")
    encoding = {k: cube.encoding[k] for k in ("dtype", "scale_factor", "add_offset", "_FillValue") if k in cube.encoding}
    lines.append("stored as   " + ", ".join(f"{k} {v}" for k, v in encoding.items()))
    return "\n".join(lines)


def facts(cube: xr.DataArray) -> dict[str, Any]:
    """What geofuse sees in a cube, as plain JSON values: what ``geofuse info --json`` prints.

    Returns
    -------
    dict
        ``sensor`` (None where it is not known), ``shape`` [bands, rows, columns], ``crs``, ``transform`` (six numbers, rows of the matrix),
        ``gsd_m``, ``datetime`` (UTC, or None), ``names``, ``wavelength_nm`` and ``fwhm_nm`` (None where unknown), ``good``,
        ``nodata_percent`` of all values (of a sample, where the image is large), and ``masks``, the layers that decided about nodata, or the flags of the
        coordinate ``mask``.
    """
    box, table = geobox(cube), BandTable.from_cube(cube)
    crs = box.crs
    assert crs is not None  # `geobox` rejects cubes without one
    return {
        "sensor": cube.encoding.get("sensor"),
        "shape": list(cube.shape),
        "crs": crs_name(crs.proj) if crs.to_epsg() else crs.to_wkt(),
        "transform": [float(value) for value in tuple(box.affine)[:6]],
        "gsd_m": pixel_size_m(box),
        "datetime": _when(cube) if "time" in cube.coords else None,
        "names": list(table.names),
        "wavelength_nm": [float(value) if np.isfinite(value) else None for value in table.wavelength],
        "fwhm_nm": [float(value) if np.isfinite(value) else None for value in table.fwhm],
        "good": table.good.tolist(),
        "nodata_percent": round(100 * nodata_share(cube), 4),
        "masks": list(cube.encoding.get("masks", [])),
    }


def _when(cube: xr.DataArray) -> str:
    return f"{np.datetime_as_string(cube.time.values, unit='s')}Z"
