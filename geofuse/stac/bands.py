"""Per-band fields of a STAC asset, read from the raster itself, in today's and in the older spelling.

STAC 1.1 describes bands in one array, `bands`. Readers in use today (odc-stac 0.5, pystac 1.15) take the names of the bands of a
file from `eo:bands` and its value fields from `raster:bands`, so an item carries all three. The version 2 schemas of the eo and
raster extensions forbid the older arrays, and the version 1.1 schemas leave `bands` alone: an item with all three declares 1.1.
"""

from __future__ import annotations

import math
from typing import Any

import rasterio

from geofuse.io.metadata import describe

_STATISTICS = {
    "minimum": "STATISTICS_MINIMUM",
    "maximum": "STATISTICS_MAXIMUM",
    "mean": "STATISTICS_MEAN",
    "stddev": "STATISTICS_STDDEV",
    "valid_percent": "STATISTICS_VALID_PERCENT",
}


def band_fields(dataset: rasterio.DatasetReader, spatial_resolution: float | None = None) -> dict[str, list[dict[str, Any]]]:
    """`bands`, `eo:bands` and `raster:bands` of a raster's asset.

    Statistics are those of the stored numbers, as GDAL writes them; scale and offset turn them into reflectance.

    Parameters
    ----------
    dataset : rasterio.DatasetReader
        The open raster; descriptions, scales, offsets, nodata, units and tags are read, no pixel is.
    spatial_resolution : float, optional
        Pixel size in metres.

    Returns
    -------
    dict
        The three arrays, each with one object a band, in file order.

    Raises
    ------
    geofuse.errors.InvalidCube
        If wavelengths are there and cannot be read.
    """
    table = describe(dataset, every_band=False).table
    bands, eo_bands, raster_bands = [], [], []
    for index, name in enumerate(table.names, start=1):
        values = _values(dataset, index)
        spectral = _spectral(table.wavelength[index - 1], table.fwhm[index - 1])
        raster = {"scale": float(dataset.scales[index - 1]), "offset": float(dataset.offsets[index - 1])}
        if spatial_resolution is not None:
            raster["spatial_resolution"] = spatial_resolution
        about = {"name": name, "description": _sentence(spectral)}
        bands.append(about | values | {f"eo:{k}": v for k, v in spectral.items()} | {f"raster:{k}": v for k, v in raster.items()})
        eo_bands.append(about | spectral)
        raster_bands.append(values | raster)
    return {"bands": bands, "eo:bands": eo_bands, "raster:bands": raster_bands}


def _values(dataset: rasterio.DatasetReader, index: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"data_type": dataset.dtypes[index - 1]}
    nodata = dataset.nodatavals[index - 1]
    if nodata is not None:
        fields["nodata"] = _json_number(nodata)
    fields["unit"] = dataset.units[index - 1] or "1"  # reflectance is dimensionless: UCUM spells that "1"
    tags = dataset.tags(index)
    statistics = {key: number for key, tag in _STATISTICS.items() if (number := _number(tags.get(tag))) is not None}
    if statistics:
        fields["statistics"] = statistics
    return fields


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


def _number(text: str | None) -> float | None:
    """A finite number from a tag, or None: tags are free text and may hold anything."""
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _json_number(value: float) -> int | float | str:
    """JSON has no NaN nor infinities: STAC spells them as strings; whole numbers lose their point."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if value == int(value) else value
