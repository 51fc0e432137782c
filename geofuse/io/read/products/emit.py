"""EMIT L2A surface reflectance (EMITL2ARFL, version 001): the swath of 60 m pixels, shown on the product's own grid.

Read by the *EMIT L2A Algorithm Theoretical Basis Document*, version 1, the LP DAAC's *EMIT L2A User Guide*, version 1, and NASA's
*EMIT-Data-Resources*, which orthorectify as is done here: each pixel of the grid takes the raw pixel that the GLT names, counted from 1.
Flags come from the mask file (EMITL2AMASK) beside it, matched by the names of their bands, whose order differs between versions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from geofuse.cube.masks import Mask, names_of
from geofuse.errors import InvalidCube
from geofuse.io.read.base import Description, Request
from geofuse.io.read.fingerprint import content_stamp
from geofuse.io.read.hdf5 import attribute, check_line, dataset, granules, holds, is_hdf5, numbers, numeric, one_of, open_hdf5, texts
from geofuse.io.read.items import about_file
from geofuse.io.read.products.folder import leads_to
from geofuse.io.read.products.glt import GltArray, GltCentres, GltMask, Swath
from geofuse.io.read.products.spectra import ordered

_REFLECTANCE, _BANDS, _LOCATION = "reflectance", "sensor_band_parameters", "location"
_NEEDED = (_REFLECTANCE, f"{_BANDS}/wavelengths", f"{_LOCATION}/glt_x", f"{_LOCATION}/glt_y")
_MASK_NEEDED = ("mask", f"{_BANDS}/mask_bands")
# Names of the files of a granule differ by these parts only.
_NAMES = {"reflectance": "_L2A_RFL_", "mask": "_L2A_MASK_", "uncertainty": "_L2A_RFLUNCERT_"}
_FLAGS = {
    "cloud flag": Mask.CLOUD,
    "dilated cloud flag": Mask.CLOUD,
    "spectf-cloud flag": Mask.CLOUD,
    "cirrus flag": Mask.CIRRUS,
    "water flag": Mask.WATER,
    "spacecraft flag": Mask.DEFECT,
}
_KEPT = ("title", "summary", "product_version", "processing_level", "software_delivery_version", "day_night_flag", "instrument", "platform")


class EmitReader:
    """A granule: its reflectance file, the mask or uncertainty beside that, or a folder with one granule."""

    name = "EMIT L2A"

    def recognises(self, source: str) -> bool:
        """Whether it is a granule, or leads to one."""
        return leads_to(source, _granules)

    def describe(self, source: str, request: Request) -> Description:
        """Read the metadata."""
        path = one_of(_granules(Path(source)), "EMIT")
        with open_hdf5(path) as file:
            found = _described(file, path)
        beside = _mask_of(path)
        if beside is None:
            return found
        with open_hdf5(beside) as file:
            return _with_mask(found, file, beside)

    def files(self, source: str, request: Request) -> list[str]:
        """The reflectance file, and the mask where there is one."""
        path = one_of(_granules(Path(source)), "EMIT")
        beside = _mask_of(path)
        return [str(path)] if beside is None else [str(path), str(beside)]


EMIT = EmitReader()


def _granules(path: Path) -> list[Path]:
    """Reflectance files that a source leads to."""
    found = granules(path, *_NEEDED)
    if found or not is_hdf5(path):
        return found
    beside = (path.with_name(path.name.replace(_NAMES[kind], _NAMES["reflectance"])) for kind in ("mask", "uncertainty"))
    return [file for file in beside if file != path and holds(file, *_NEEDED)][:1]


def _mask_of(path: Path) -> Path | None:
    beside = path.with_name(path.name.replace(_NAMES["reflectance"], _NAMES["mask"]))
    return beside if beside != path and holds(beside, *_MASK_NEEDED) else None


def _described(file: Any, path: Path) -> Description:
    pixels = dataset(file, _REFLECTANCE, 3, "f")
    check_line(pixels)
    swath = _swath(file, path, pixels.shape[:2])
    good = numbers(file, f"{_BANDS}/good_wavelengths") == 1 if f"{_BANDS}/good_wavelengths" in file else None
    order, table = ordered(numbers(file, f"{_BANDS}/wavelengths"), numbers(file, f"{_BANDS}/fwhm"), count=pixels.shape[2], good=good)
    corners = attribute(file, "geotransform")
    if not isinstance(corners, np.ndarray) or corners.size != 6 or not np.isfinite(corners).all():
        raise InvalidCube("its attribute geotransform is no list of six numbers; the product is damaged")
    transform = Affine.from_gdal(*corners.tolist())
    fill = numeric(pixels, "_FillValue") if "_FillValue" in pixels.attrs else -9999.0
    when = str(attribute(file, "time_coverage_start") or "")
    return Description(
        str(path),
        GltArray(swath, _REFLECTANCE, tuple(order.tolist()), fill),
        table,
        transform,
        attribute(file, "spatial_ref") or "EPSG:4326",  # that of all granules
        (64, 64),
        sensor="EMIT L2A",
        centres=GltCentres(swath, transform, f"{_LOCATION}/lat", f"{_LOCATION}/lon"),
        attrs={key: value for key in _KEPT if isinstance(value := attribute(file, key), str)},
        encoding={"dtype": "float32", "_FillValue": fill},
        about=about_file(str(path), {"time_coverage_start": when}) | {"id": path.stem, "gsd": 60.0},
    )


def _swath(file: Any, path: Path, raw: tuple[int, int]) -> Swath:
    tables = [dataset(file, f"{_LOCATION}/{name}", 2, "iu") for name in ("glt_y", "glt_x")]
    places = [dataset(file, f"{_LOCATION}/{name}", 2, "f") for name in ("lat", "lon")]
    if tables[0].shape != tables[1].shape or any(place.shape != raw for place in places):
        shapes = [table.shape for table in (*tables, *places)]
        raise InvalidCube(f"glt_y, glt_x, lat and lon have the shapes {shapes} and the swath {raw}; the product is damaged")
    return Swath(str(path.absolute()), content_stamp(path), tables[0].shape, raw, f"{_LOCATION}/glt_y", f"{_LOCATION}/glt_x")


def _with_mask(found: Description, file: Any, path: Path) -> Description:
    assert isinstance(found.array, GltArray)
    swath, source = found.array.swath, dataset(file, "mask", 3)
    check_line(source)
    names = [" ".join(name.lower().split()) for name in texts(file, f"{_BANDS}/mask_bands")]
    if source.shape[:2] != swath.raw or len(names) != source.shape[2]:
        raise InvalidCube(f"the mask beside it, {path.name}, has the shape {source.shape}, and the swath {swath.raw}; fetch it again")
    flags = tuple((band, int(_FLAGS[name])) for band, name in enumerate(names) if name in _FLAGS)
    mask = GltMask(swath, str(path.absolute()), content_stamp(path), "mask", flags)
    return replace(found, mask=mask, encoding=found.encoding | {"masks": names_of({flag for _, flag in flags})})
