"""Tanager orthorectified surface reflectance (asset ``ortho_sr_hdf5``): one HDF-EOS5 file with a cube on a UTM grid.

*Planet Tanager Imagery Product Specification* and the *HDF-EOS5 Data Model* (NASA ESDS-RFC-008): ``StructMetadata.0`` holds the outer corners
of the grid, and the attribute ``epsg_code`` its CRS.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from affine import Affine

from geofuse.cube.masks import Mask
from geofuse.errors import InvalidCube
from geofuse.io.read.base import Description
from geofuse.io.read.fingerprint import content_stamp
from geofuse.io.read.hdf5 import check_line, dataset, listed, numeric, text
from geofuse.io.read.items import utc_text
from geofuse.io.read.products.gridded import GriddedArray, GriddedFlags, GriddedReader
from geofuse.io.read.products.spectra import ordered

_HYP = "HDFEOS/GRIDS/HYP"
_FIELDS, _STRUCTURE = f"{_HYP}/Data Fields", "HDFEOS INFORMATION/StructMetadata.0"
_PIXELS, _NODATA = f"{_FIELDS}/surface_reflectance", f"{_FIELDS}/nodata_pixels"
_NEEDED = (_PIXELS, _STRUCTURE)
_LAYERS = (("beta_cloud_mask", Mask.CLOUD), ("beta_cirrus_mask", Mask.CIRRUS))
_CORNER = r"{}\s*=\s*\(\s*(-?[\d.eE+]+)\s*,\s*(-?[\d.eE+]+)\s*\)"
# Scenes are named by their time, such as 20250123_185518_92_4001.
_NAME = re.compile(r"(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)_")


def _described(file: Any, path: Path) -> Description:
    pixels = dataset(file, _PIXELS, 3, "f")
    check_line(pixels)
    good = listed(pixels, "good_wavelengths") != 0 if "good_wavelengths" in pixels.attrs else None
    order, table = ordered(listed(pixels, "wavelengths"), listed(pixels, "fwhm"), count=pixels.shape[0], good=good)
    fill = numeric(pixels, "_FillValue") if "_FillValue" in pixels.attrs else -9999.0
    size, stamp = pixels.shape[1:], content_stamp(path)
    present = [name for name in ("nodata_pixels", *(name for name, _ in _LAYERS)) if f"{_FIELDS}/{name}" in file]
    for name in present:
        if dataset(file, f"{_FIELDS}/{name}", 2, "iu").shape != size:
            raise InvalidCube(f"{name} has another shape than the cube, {size}; the product is damaged")
    layers = tuple((f"{_FIELDS}/{name}", int(flag)) for name, flag in _LAYERS if name in present)
    flags = GriddedFlags(str(path.absolute()), stamp, layers, size)
    transform = _transform(file, *size)
    tall, wide = pixels.chunks[1:] if pixels.chunks else (1, size[1])
    empty = _NODATA if "nodata_pixels" in present else None
    return Description(
        str(path),
        GriddedArray(str(path.absolute()), stamp, _PIXELS, tuple(order.tolist()), size, fill, empty),
        table,
        transform,
        f"EPSG:{int(numeric(file[_HYP], 'epsg_code'))}",
        (min(tall, size[0]), min(wide, size[1])),
        sensor="Tanager L2A",
        mask=flags if layers else None,
        encoding={"dtype": pixels.dtype.name, "_FillValue": fill, "masks": flags.names},
        about={"href": str(path), "id": path.stem, "datetime": _time(path), "gsd": transform.a},
    )


def _transform(file: Any, rows: int, cols: int) -> Affine:
    """The grid by its outer corners.

    Raises
    ------
    InvalidCube
        The structure does not give them.
    """
    structure = text(file, _STRUCTURE)
    found = [re.search(_CORNER.format(name), structure) for name in ("UpperLeftPointMtrs", "LowerRightMtrs")]
    if found[0] is None or found[1] is None:
        raise InvalidCube("its StructMetadata.0 gives no corners of a grid; the product is damaged")
    left, top, right, bottom = (float(number) for match in found if match for number in match.groups())
    return Affine((right - left) / cols, 0.0, left, 0.0, (bottom - top) / rows, top)


def _time(path: Path) -> str | None:
    match = _NAME.match(path.name)
    return utc_text("{}-{}-{}T{}:{}:{}Z".format(*match.groups())) if match else None


TANAGER = GriddedReader("Tanager L2A", _NEEDED, _described)
