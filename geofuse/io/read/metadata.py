"""What a raster file says about its bands: names, wavelengths, widths, bad bands, scale, offset and nodata.

Read in this order: the ENVI header; per-band tags ``wavelength``, ``fwhm``, ``wavelength_units``; GDAL's ``IMAGERY`` domain, which
is last because GDAL rounds it to a nanometre for ENVI files.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geofuse.cube.bands import BandTable, default_good, in_nm, named_wavelengths, nm_per_unit, plain_name
from geofuse.cube.georef import COORDINATE_TAGS
from geofuse.cube.values import SCALE_KEYS, declared_scale, integer_scale
from geofuse.errors import InvalidCube
from geofuse.io.read.base import BandHints
from geofuse.io.read.envi import fields_of, header_list
from geofuse.io.write.output import RUN_TAG
from geofuse.redact import redact

# Tags about the file and not about the scene.
_HOUSEKEEPING = ("AREA_OR_POINT", "TIFFTAG_", "OVR_", "LAYOUT", "Band_", "wavelength_units", RUN_TAG, *SCALE_KEYS, *COORDINATE_TAGS)


@dataclass(frozen=True)
class Described:
    """Bands of a file and how its numbers become reflectance, one value a band."""

    table: BandTable
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    nodata: NDArray[np.float64]
    attrs: dict[str, Any] = field(default_factory=dict)


def spectral(source: rasterio.DatasetReader) -> NDArray[np.bool_]:
    """Which bands show the ground, shape ``(band,)``: all but those that say where there is data (alpha)."""
    return np.array([interpretation != ColorInterp.alpha for interpretation in source.colorinterp])


def describe(source: rasterio.DatasetReader, *, every_band: bool, hints: BandHints | None = None) -> Described:
    """Read the metadata of an open raster.

    Parameters
    ----------
    source : rasterio.DatasetReader
        The open file; no pixel is read.
    every_band : bool
        Wavelengths must be given for all spectral bands or for none (hyperspectral); else bands without one get NaN.
    hints : BandHints, optional
        What is known from elsewhere.

    Raises
    ------
    InvalidCube
        Wavelengths or widths that are there but cannot be read: not numbers, not positive, of an unknown unit, or too few.
    """
    hints = (hints or BandHints()).fitted(source.count)
    tags = [source.tags(band) for band in source.indexes]
    wavelength, factor = _wavelength(source, tags, every_band, hints)
    fwhm = _fwhm(source, tags, factor, hints)
    good = default_good(wavelength)
    bad_bands = header_list(fields_of(source), "bbl", source.count) or [tag.get("bbl", "1") for tag in tags]
    good &= np.array([_number(value) != 0 for value in bad_bands])
    # the tag that geofuse writes holds the decision itself, not only the file's list of bad bands
    good = np.array([flag if tag.get("good") not in ("0", "1") else tag["good"] == "1" for flag, tag in zip(good, tags, strict=True)])
    table = BandTable.make(_names(source, hints), wavelength, fwhm, good)
    scale, offset = _scaling(source, hints)
    nodata = [_first(value, *hints.nodata[i : i + 1]) for i, value in enumerate(source.nodatavals)]
    attrs = {key: value for key, value in source.tags().items() if not key.startswith(_HOUSEKEEPING)}
    if "description" in (header := fields_of(source)):
        attrs.setdefault("description", header["description"].strip("{} "))
    return Described(table, scale, offset, np.array([np.nan if v is None else v for v in nodata], dtype=np.float64), attrs)


def _first(*candidates: Any) -> Any:
    return next((value for value in candidates if value is not None), None)


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _names(source: rasterio.DatasetReader, hints: BandHints) -> list[str]:
    if source.driver == "ENVI":
        try:
            return header_list(fields_of(source), "band_names", source.count) or [plain_name(n or "") for n in _descriptions(source)]
        except InvalidCube:
            return [""] * source.count  # names with commas in them: the header cannot be split into one name a band
    return [_first(name or None, *hints.names[i : i + 1]) or "" for i, name in enumerate(_descriptions(source))]


def _descriptions(source: rasterio.DatasetReader) -> Sequence[str | None]:
    """Names of the bands; none where they are not UTF-8, as which rasterio reads them."""
    try:
        found: Sequence[str | None] = source.descriptions
    except UnicodeDecodeError:
        warnings.warn(f"{redact(source.name)}: the names of its bands are not UTF-8, and were left out", UserWarning, stacklevel=2)
        return [None] * int(source.count)
    return found


def _column(source: rasterio.DatasetReader, tags: list[dict[str, str]], key: str, imagery: str) -> tuple[list[str | None], str | None]:
    """Return one raw value a band, and the unit it is in where the place it was found in fixes that."""
    header = fields_of(source)
    if header.get("wavelength_units", "").strip().lower() == "index":
        return [None] * source.count, None  # ENVI numbers the bands where it knows no wavelengths
    listed = header_list(header, key, source.count)
    if listed is not None:
        return list(listed), None
    tagged: list[str | None] = [_ignoring_case(tag, key) for tag in tags]
    if any(value is not None for value in tagged):
        return tagged, None
    return [source.tags(band, ns="IMAGERY").get(imagery) for band in source.indexes], "um"


def _ignoring_case(tags: Mapping[str, str], key: str) -> str | None:
    return next((value for name, value in tags.items() if name.lower() == key), None)


def _wavelength(
    source: rasterio.DatasetReader, tags: list[dict[str, str]], every_band: bool, hints: BandHints
) -> tuple[NDArray[np.float64], float]:
    """Return band centres in nm, and the nm in a unit of the file."""
    values, unit = _column(source, tags, "wavelength", "CENTRAL_WAVELENGTH_UM")
    if all(value is None for value in values):
        values, unit = [None if v is None else str(v) for v in hints.wavelength_um] or values, "um"
    if all(value is None for value in values):
        named = named_wavelengths([name or "" for name in _descriptions(source)])
        if named is not None and not (every_band and np.isnan(named[spectral(source)]).any()):
            values, unit = [None if np.isnan(v) else repr(float(v)) for v in named], "nm"
    given, wanted = np.array([value is not None for value in values]), spectral(source)
    if every_band and given.any() and not given[wanted].all():
        raise InvalidCube(f"wavelengths are given for {given[wanted].sum()} of {wanted.sum()} bands; give all or none in the metadata")
    centre = _numbers(values, "wavelength", missing=math.nan)
    unreadable = wanted & np.isnan(centre)
    if every_band and given.any() and unreadable.any():
        raise InvalidCube(f"the wavelength of band {int(unreadable.argmax()) + 1} is not a number; correct the metadata")
    units = {text.strip().lower() for tag in tags if (text := _ignoring_case(tag, "wavelength_units"))}
    if unit is None and len(units) > 1:
        raise InvalidCube(f"wavelengths of one file in several units ({', '.join(sorted(units))}); give all in nanometres")
    declared = unit or next(iter(units), fields_of(source).get("wavelength_units"))
    factor = nm_per_unit(centre, declared) if given.any() else 1.0
    return in_nm(centre, factor), factor


def _fwhm(source: rasterio.DatasetReader, tags: list[dict[str, str]], factor: float, hints: BandHints) -> NDArray[np.float64]:
    values, unit = _column(source, tags, "fwhm", "FWHM_UM")
    if all(value is None for value in values):
        values, unit = [None if v is None else str(v) for v in hints.fwhm_um] or values, "um"
    width = in_nm(_numbers(values, "fwhm", missing=math.nan), factor if unit is None else 1000.0)
    if (width < 0).any():
        raise InvalidCube(f"a band cannot be {width[width < 0][0]:g} nm wide (fwhm); correct the metadata")
    return np.where(width > 0, width, np.nan)  # some writers put 0 for "not known"


def _numbers(values: Sequence[str | None], what: str, missing: float) -> NDArray[np.float64]:
    parsed = np.empty(len(values))
    for i, value in enumerate(values):
        try:
            parsed[i] = missing if value is None else float(value)
        except ValueError:
            raise InvalidCube(f"the {what} of band {i + 1} is {value!r}, which is not a number; correct the metadata") from None
    return parsed


def _scaling(source: rasterio.DatasetReader, hints: BandHints) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and offset: of the file, else of the hints, else declared in words, else 1e-4 for integers, with a warning."""
    scale, offset = np.array(source.scales, dtype=np.float64), np.array(source.offsets, dtype=np.float64)
    if not (np.isfinite(scale).all() and np.isfinite(offset).all() and (scale != 0).all()):
        raise InvalidCube("a band has a scale of zero or a scale or offset that is not a number; correct the metadata")
    if (scale != 1).any() or (offset != 0).any():
        return scale, offset
    if any(value is not None for value in hints.scale):
        offsets = hints.offset or [None] * len(hints.scale)
        return _filled(hints.scale, 1.0), _filled(offsets, 0.0)
    metadata = {**source.tags(), **fields_of(source)}
    if all(np.dtype(dtype).kind in "iu" for dtype in source.dtypes):
        return np.full_like(scale, integer_scale(metadata, redact(source.name))), offset
    return np.full_like(scale, declared_scale(metadata) or 1.0), offset


def _filled(values: Sequence[float | None], default: float) -> NDArray[np.float64]:
    return np.array([default if value is None else value for value in values], dtype=np.float64)
