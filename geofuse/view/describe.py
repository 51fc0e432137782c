"""A cube in words."""

from __future__ import annotations

import numpy as np
import xarray as xr

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import crs_name
from geofuse.cube.schema import geobox


def describe(cube: xr.DataArray, name: str) -> str:
    """What geofuse sees in a cube: grid, bands, wavelengths, scaling; a few lines. Reads no pixels."""
    box, table = geobox(cube), BandTable.from_cube(cube)
    left, bottom, right, top = box.boundingbox
    crs = box.crs
    assert crs is not None  # `geobox` refuses cubes without one
    lines = [
        f"file        {name}",
        f"grid        {box.shape[0]} rows x {box.shape[1]} columns of {abs(box.affine.a):g} x {abs(box.affine.e):g}, {crs_name(crs.proj)}",
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
    encoding = {k: cube.encoding[k] for k in ("dtype", "scale_factor", "add_offset", "_FillValue") if k in cube.encoding}
    lines.append("stored as   " + ", ".join(f"{k} {v}" for k, v in encoding.items()))
    return "\n".join(lines)
