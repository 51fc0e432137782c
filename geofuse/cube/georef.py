"""Where the pixels of an array are: CRS and transform, from the conventions of rioxarray, odc-geo, CF and stackstac."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from pyproj.exceptions import CRSError

from geofuse.errors import InvalidCube

CRS_COORD = "spatial_ref"
# Coordinates (y, x) of a cube whose pixels were moved onto its grid: where they truly lie.
CENTRES = ("centre_y", "centre_x")

# Coordinates may deviate from an even spacing by this part of a pixel, and by the rounding of their type: degrees in float32
# are only good to 4e-6, a tenth of a 3 m pixel.
_IRREGULAR = 0.05
# A GeoTransform takes precedence over the coordinates where both agree this well (in pixels): it has no rounding.
_SAME_LATTICE = 1e-4
# Coordinates that differ from those of the geotransform by less than this part of a pixel differ by rounding only.
_ROUNDING = 1e-6
_TAG = {"y": "geofuse_y", "x": "geofuse_x"}
COORDINATE_TAGS = tuple(_TAG.values())


def crs_of(array: xr.DataArray | xr.Dataset) -> pyproj.CRS | None:
    """CRS of a cube or of an array from elsewhere; None if there is none."""
    found = next((declared for declared in _declared_crs(array) if declared), None)
    return None if found is None else plain_crs(found)


def _declared_crs(array: xr.DataArray | xr.Dataset) -> Iterator[Any]:
    """Where a CRS may be written, the most explicit place first."""
    mapping = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping")
    scalars = {name: coord for name, coord in array.coords.items() if coord.ndim == 0}
    for name in sorted(scalars, key=lambda name: (name != mapping, name != CRS_COORD)):
        attrs = scalars[name].attrs
        yield attrs.get("crs_wkt") or attrs.get("spatial_ref")
        if "grid_mapping_name" in attrs:
            yield pyproj.CRS.from_cf(attrs)
    yield array.attrs.get("crs")
    yield from (coord.attrs.get("crs") for coord in array.coords.values())
    yield from (scalars[key].item() for key in ("epsg", "proj:epsg", "proj:code") if key in scalars)


def plain_crs(crs: Any) -> pyproj.CRS:
    """Return the CRS as pyproj has it, by its EPSG code where it is that one under another name (ESRI spellings in ENVI headers)."""
    if crs is None:
        raise InvalidCube("no CRS; add one, e.g. with array.rio.write_crs('EPSG:32633') or gdal_edit.py -a_srs")
    try:
        # rasterio's default is WKT 1, which loses the order of axes and the area of use
        given = pyproj.CRS.from_wkt(crs.to_wkt(version="WKT2_2019")) if type(crs).__module__.startswith("rasterio") else None
        reference = given or pyproj.CRS.from_user_input(crs)
        code = reference.to_epsg(min_confidence=20)
        if code is not None:
            known = pyproj.CRS.from_epsg(code)
            reference = known if known.equals(reference, ignore_axis_order=True) else reference
    except CRSError as error:
        raise InvalidCube(f"the CRS {str(crs)[:80]!r} is not understood ({error}); write a valid one into the file") from None
    return reference


def crs_name(crs: pyproj.CRS) -> str:
    """What people call a CRS: its EPSG code, else its name.

    Examples
    --------
    >>> crs_name(pyproj.CRS(32633)), crs_name(pyproj.CRS("+proj=laea +lat_0=52 +type=crs"))
    ('EPSG:32633', 'unknown')
    """
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.name)


def lattice(array: xr.DataArray) -> Affine:
    """Transform of an array with dims ``y`` and ``x``, from its coordinates and its GeoTransform; may be flipped.

    Raises
    ------
    InvalidCube
        The coordinates are missing, two-dimensional or unevenly spaced, or the grid is rotated.
    """
    written = _geotransform(array)
    if labels_corners(array):
        corner = array.attrs["transform"]
        return Affine(corner[0], 0.0, float(array.x[0]), 0.0, corner[4], float(array.y[0]))
    if written is not None and (written.b or written.d):
        raise InvalidCube(
            "the grid is rotated (GeoTransform); open the file with geofuse.open_hsi, which takes it as it is, or warp it to a north-up grid first"
        )
    y = _axis(array, "y", None if written is None else (written.f, written.e))
    x = _axis(array, "x", None if written is None else (written.c, written.a))
    return Affine(x[1], 0.0, x[0], 0.0, y[1], y[0])


def labels_corners(array: xr.DataArray) -> bool:
    """Whether the coordinates are those of the upper left corners of pixels, as stackstac makes them and its ``transform`` shows.

    An array that says where its grid lies in the attribute ``transform`` has centres half a pixel off that grid, or corners on it.
    """
    given = array.attrs.get("transform")
    if CRS_COORD in array.coords or not {"y", "x"} <= set(array.coords) or not isinstance(given, tuple | list | Affine) or len(given) < 6:
        return False
    a, b, c, d, e, f = (float(value) for value in tuple(given)[:6])
    if b or d or a <= 0 or e >= 0 or array.x.ndim != 1 or array.y.ndim != 1:
        return False
    places = np.array([(array.x.values[0] - c) / a, (array.y.values[0] - f) / e])
    return bool(np.abs(places - np.round(places)).max() < _IRREGULAR)


def _geotransform(array: xr.DataArray) -> Affine | None:
    name = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping") or CRS_COORD
    text = array.coords[name].attrs.get("GeoTransform") if name in array.coords else None
    try:
        numbers = [float(value) for value in (text.split() if isinstance(text, str) else text or [])]
    except (TypeError, ValueError):
        return None
    return Affine.from_gdal(*numbers) if len(numbers) == 6 and np.isfinite(numbers).all() else None


def _axis(array: xr.DataArray, dim: str, written: tuple[float, float] | None) -> tuple[float, float]:
    """Outer edge and signed pixel size along one axis."""
    if dim not in array.coords:
        if written is None:
            raise InvalidCube(f"no {dim} coordinates and no GeoTransform, so pixels have no place; add coordinates of pixel centres")
        return written
    centres = np.asarray(array.coords[dim].values)
    if centres.ndim != 1 or centres.dtype.kind not in "iuf" or not np.isfinite(centres).all():
        found = f"{centres.ndim}-D {centres.dtype}"
        raise InvalidCube(f"{dim} coordinates must be finite numbers along {dim}, found {found}; warp to a regular grid")
    rounding = float(np.spacing(np.abs(centres).max())) if centres.dtype.kind == "f" else 0.0
    centres = centres.astype(np.float64)
    if len(centres) == 1 and written is None:
        raise InvalidCube(f"one pixel along {dim} and no GeoTransform, so its size is unknown; write one with array.rio.write_transform(…)")
    step = (centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else written[1]  # type: ignore[index]
    even = centres[0] + np.arange(len(centres)) * step
    if step == 0 or np.abs(centres - even).max() > _IRREGULAR * abs(step) + rounding:
        raise InvalidCube(f"{dim} coordinates are not evenly spaced; resample to a regular grid first")
    if written is not None:
        pixels = (centres[0] - written[0]) / written[1] - 0.5
        tolerance = _SAME_LATTICE + 2 * rounding / abs(written[1])
        if abs(step - written[1]) * len(centres) <= tolerance * abs(written[1]) and abs(pixels - round(pixels)) <= tolerance:
            return written[0] + round(pixels) * written[1], written[1]
    return float(centres[0] - step / 2), float(step)


def centres(edge: float, step: float, count: int) -> NDArray[Any]:
    """Pixel centres along an axis, to the last bit as rioxarray and odc-geo compute them from a geotransform.

    Examples
    --------
    >>> centres(500000.0, 10.0, 3)
    array([500005., 500015., 500025.])
    """
    return np.arange(count) * step + (edge + step / 2)


def coordinate_tags(cube: xr.DataArray, transform: Affine) -> dict[str, str]:
    """What a GeoTIFF has to say beside its geotransform for the coordinates of a cube to come back to the last bit.

    A part of an image has another origin than the whole, and sums from there round differently (3.6 m, degrees): by units in the last
    place, which the tags list. They are empty where the geotransform says it all.

    Parameters
    ----------
    cube : xarray.DataArray
        With coordinates ``y`` and ``x``.
    transform : affine.Affine
        As written into the file.
    """
    tags = {}
    for dim, edge, step in (("y", transform.f, transform.e), ("x", transform.c, transform.a)):
        own = cube[dim].values.astype(np.float64)
        nominal = centres(edge, step, own.size)
        if not np.array_equal(own, nominal) and np.abs(own - nominal).max() < _ROUNDING * abs(step):
            places = own.view(np.int64) - nominal.view(np.int64)
            tags[_TAG[dim]] = base64.b64encode(zlib.compress(places.astype("<i8").tobytes(), 9)).decode()
    return tags


def tagged_centres(tags: Mapping[str, str], dim: str, edge: float, step: float, count: int) -> NDArray[Any]:
    """Pixel centres of a file along an axis, as `coordinate_tags` wrote them; those of its geotransform where it says nothing sensible."""
    nominal = centres(edge, step, count)
    try:
        unpacked = zlib.decompressobj().decompress(base64.b64decode(tags.get(_TAG[dim], ""), validate=True), 8 * count)
        places = np.frombuffer(unpacked, "<i8")
    except (binascii.Error, zlib.error, ValueError):
        return nominal
    if places.size != count:
        return nominal
    with np.errstate(over="ignore", invalid="ignore"):
        own = (nominal.view(np.int64) + places).view(np.float64)
        return own if np.abs(own - nominal).max() < _ROUNDING * abs(step) else nominal
