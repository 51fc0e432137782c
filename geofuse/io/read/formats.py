"""Readers of what GDAL opens: GeoTIFF, JPEG 2000 and ENVI, recognised by their first bytes, and last whatever else GDAL knows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from geofuse.cube.georef import tagged_centres
from geofuse.errors import InvalidCube
from geofuse.io.read import envi, geotiff
from geofuse.io.read.access import current_access
from geofuse.io.read.base import Description, Request, check_extent, check_place, is_turned
from geofuse.io.read.fingerprint import content_stamp
from geofuse.io.read.gdal import is_address, is_tiff, is_trusted, open_raster
from geofuse.io.read.items import about_file
from geofuse.io.read.metadata import Described, describe, spectral
from geofuse.io.read.raster import RasterArray, claims_too_much
from geofuse.io.read.registry import expected
from geofuse.io.read.remote import is_remote, remote_file
from geofuse.redact import redact

# A box of the type "jP  ", or a bare codestream: ISO/IEC 15444-1, annexes A and I.
_JPEG2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")


@dataclass(frozen=True)
class GDALReader:
    """A format that GDAL opens. Files are recognised by their content; addresses, of which nothing was fetched yet, by their ending."""

    name: str
    is_its: Callable[[Path], bool]
    """Whether a local file is one of this format."""
    suffixes: tuple[str, ...] = ()
    """Endings of addresses."""
    check: Callable[[Path], None] = envi.check_size
    """Rejects a local file that is not safe to open, or not all there."""

    def recognises(self, source: str) -> bool:
        """Whether it is a file of the format, or an address that ends like one."""
        try:
            if is_address(source):
                return urlsplit(source).path.lower().endswith(self.suffixes)
            return Path(source).is_file() and self.is_its(Path(source))
        except (OSError, ValueError):
            return False

    def describe(self, source: str, request: Request) -> Description:
        """Read the metadata."""
        place = source if is_address(source) else str(envi.data_file(Path(source)))
        if Path(place).is_file():
            self.check(Path(place))
        elif is_remote(place) and not is_trusted():
            geotiff.check_remote(remote_file(place))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with open_raster(place) as file:
                    return _described(file, place, request)
        except (RasterioError, OSError) as error:
            reason = str(error).removeprefix(f"'{place}' ")
            raise InvalidCube(f"GDAL cannot read it as a raster ({reason}); {expected()}") from None


def _is_jpeg2000(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8).startswith(_JPEG2000)


GEOTIFF = GDALReader("GeoTIFF", is_tiff, (".tif", ".tiff"), geotiff.check_complete)
JPEG2000 = GDALReader("JPEG 2000", _is_jpeg2000, (".jp2", ".j2k"))
ENVI = GDALReader("ENVI", envi.is_envi)
ANY = GDALReader("GDAL", lambda path: True, ("",))
"""Addresses that do not say their format, and what is opened with ``trust_input``; GDAL looks at the content."""


def _described(file: Any, place: str, request: Request) -> Description:
    _check_pixels(file, place)
    transform = _placed(file, request.crs)
    known = describe(file, every_band=request.role == "HSI", hints=request.hints)
    array, shown = _array(file, place, known), spectral(file)
    masks = ["alpha"] if array.alpha or not shown.all() else ["mask"] if array.has_mask else []
    place_of = {"y": (transform.f, transform.e, file.height), "x": (transform.c, transform.a, file.width)}
    coords = {} if is_turned(transform) else {dim: tagged_centres(file.tags(), dim, *numbers) for dim, numbers in place_of.items()}
    if coords and transform.e > 0:
        coords["y"] = coords["y"][::-1]
    return Description(
        place,
        array,
        known.table,
        transform,
        file.crs or request.crs,
        file.block_shapes[0],
        sequential=envi.is_compressed(file),
        spectral=shown,
        attrs=known.attrs,
        encoding={
            "source": redact(place),
            "dtype": file.dtypes[0],
            "scale_factor": known.scale,
            "add_offset": known.offset,
            "_FillValue": known.nodata,
            "masks": masks,
        },
        coords=coords,
        about=about_file(place, file.tags() | file.tags(ns="IMAGERY") | file.tags(ns="ENVI")),
    )


def _check_pixels(file: Any, place: str) -> None:
    """Reject a file that has no bands of real numbers, or fewer bytes than its pixels need."""
    if file.count == 0:
        inside = ", ".join(file.subdatasets[:8]) or "nothing"
        raise InvalidCube(f"no raster bands at the top of this file; it holds {inside}: pass one of these, or open it with xarray")
    if any(dtype.startswith("complex") for dtype in file.dtypes):
        raise InvalidCube(f"complex numbers ({file.dtypes[0]}) are not reflectance")
    check_extent(file.height, file.width)
    local = Path(place)
    if local.is_file():
        size = local.stat().st_size
    elif is_remote(place) and not is_trusted():
        size = remote_file(place).size
    else:
        return
    claimed = file.count * file.height * file.width * np.dtype(file.dtypes[0]).itemsize
    if file.driver != "VRT" and claims_too_much(claimed, size):
        raise InvalidCube(f"its header claims {claimed / 1e12:.1f} TB of pixels in {size} bytes; it is damaged")
    if file.driver == "ENVI":
        envi.check_complete(local, file)


def _placed(file: Any, assumed: Any) -> Affine:
    """Transform of the file, once it is sure that its pixels have a place; ``assumed`` is the CRS of a file without one, or None."""
    try:
        crs = file.crs
    except CRSError as error:
        raise InvalidCube(
            f"its CRS cannot be read ({error}); write a valid one into the file, e.g. with gdal_edit.py -a_srs EPSG:…"
        ) from None
    check_place(crs or assumed, file.transform)
    return Affine(*(value + 0.0 for value in tuple(file.transform)[:6]))  # + 0.0: ENVI headers give -0.0


def _array(file: Any, place: str, known: Described) -> RasterArray:
    own_mask = any(flag in flags for flags in file.mask_flag_enums for flag in (MaskFlags.per_dataset, MaskFlags.alpha))
    # GDAL takes an alpha band for a mask where it holds unsigned integers and no nodata value is given.
    alpha = None if own_mask else next((int(band) + 1 for band in np.flatnonzero(~spectral(file))), None)
    columns: dict[str, NDArray[np.float64]] = {key: getattr(known, key) for key in ("scale", "offset", "nodata")}
    # read later, perhaps from another folder
    path = str(Path(place).absolute()) if Path(place).exists() else place
    return RasterArray(
        path,
        tuple(range(1, file.count + 1)),
        file.height,
        file.width,
        **{key: tuple(column.tolist()) for key, column in columns.items()},
        has_mask=own_mask,
        alpha=alpha,
        trusted=is_trusted(),
        stamp=content_stamp(place),
        access=current_access(),
    )
