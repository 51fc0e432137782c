"""Per-band fields of a STAC asset, read from the raster itself.

STAC 1.1 describes bands in one array, `bands`, whose objects hold the fields of the eo and raster extensions (both version 2). The arrays
`eo:bands` and `raster:bands` of earlier versions are forbidden by these; what reads names from nowhere else numbers the bands in file order.
"""

from __future__ import annotations

import math
from typing import Any

from geofuse.io.write.base import Written, WrittenBand


def band_fields(written: Written, spatial_resolution: float | None = None) -> dict[str, list[dict[str, Any]]]:
    """`bands` of a raster's asset.

    Statistics are those of the stored numbers; scale and offset turn them into reflectance. In a Zarr store the bands are places along
    one array, which `bands` says as STAC's best practices for Zarr have it: ``reflectance[band=…]``.

    Parameters
    ----------
    written : Written
        What the raster says of itself.
    spatial_resolution : float, optional
        Pixel size in metres.

    Returns
    -------
    dict
        The array, with one object a band, in file order.
    """
    table, bands = written.table, []
    for index, (name, band) in enumerate(zip(table.names, written.bands, strict=True)):
        spectral = _spectral(table.wavelength[index], table.fwhm[index])
        raster = {"scale": band.scale, "offset": band.offset}
        if spatial_resolution is not None:
            raster["spatial_resolution"] = spatial_resolution
        about = {"name": f"{written.variable}[band={name}]" if written.variable else name, "description": _sentence(spectral)}
        fields = {f"eo:{k}": v for k, v in spectral.items()} | {f"raster:{k}": v for k, v in raster.items()}
        bands.append(about | _values(band) | fields)
    return {"bands": bands}


def _values(band: WrittenBand) -> dict[str, Any]:
    fields: dict[str, Any] = {"data_type": band.dtype}
    if band.nodata is not None:
        fields["nodata"] = _json_number(band.nodata)
    fields["unit"] = band.unit  # reflectance is dimensionless: UCUM spells that "1"
    return fields | ({"statistics": dict(band.statistics)} if band.statistics else {})


def _spectral(wavelength_nm: float, fwhm_nm: float) -> dict[str, float]:
    """Centre wavelength and full width at half maximum in micrometres, as far as they are known."""
    known = {"center_wavelength": wavelength_nm, "full_width_half_max": fwhm_nm}
    return {field: round(float(nm) / 1000, 7) for field, nm in known.items() if math.isfinite(nm)}


def _sentence(spectral: dict[str, float]) -> str:
    if "center_wavelength" not in spectral:
        return "Reflectance, wavelength unknown"
    text = f"Reflectance at {spectral['center_wavelength'] * 1000:.2f} nm"
    if "full_width_half_max" in spectral:
        text += f" (FWHM {spectral['full_width_half_max'] * 1000:.2f} nm)"
    return text


def _json_number(value: float) -> int | float | str:
    """JSON has no NaN nor infinities: STAC spells them as strings; whole numbers lose their point."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if value == int(value) else value
