"""What a cube is: a `DataArray` of reflectance with dims ``(band, y, x)``, a CRS, a regular north-up grid and a band table.

`wrap` is the only place that writes dims, coordinates and CRS. `geobox` reads the grid back, exactly. `check_cube` rejects
what is not a cube without touching a pixel. `as_cube` makes cubes of arrays from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from affine import Affine
from numpy.typing import ArrayLike, NDArray

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import CENTRES, CRS_COORD, centres, crs_of, lattice, plain_crs
from geofuse.cube.masks import MASK, attributes
from geofuse.cube.normalise import parts, plain_attrs
from geofuse.errors import InvalidCube

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

DIMS = ("band", "y", "x")


def wrap(
    data: Any,
    *,
    transform: Affine,
    crs: Any,
    names: Sequence[str],
    wavelength: ArrayLike | None = None,
    fwhm: ArrayLike | None = None,
    good: ArrayLike | None = None,
    attrs: Mapping[str, Any] | None = None,
    encoding: Mapping[str, Any] | None = None,
    y: NDArray[Any] | None = None,
    x: NDArray[Any] | None = None,
    time: Any = None,
    mask: Any = None,
    centre_y: Any = None,
    centre_x: Any = None,
) -> xr.DataArray:
    """Make a cube of reflectance values and what is known about them.

    Parameters
    ----------
    data : numpy.ndarray or dask.array.Array
        Reflectance (1.0 = 100 %), shape ``(band, y, x)``; NaN where there is no data. Becomes float32; dask stays lazy.
    transform : affine.Affine
        From pixel corners (column, row) to CRS coordinates; north up, no rotation.
    crs : Any
        Anything that pyproj understands, or a rasterio or odc-geo CRS.
    names : sequence of str
        Band names; empty ones are numbered, repeated ones made unique.
    wavelength, fwhm : array_like, optional
        Band centre and full width at half maximum, nm, shape ``(band,)``; NaN where unknown.
    good : array_like, optional
        Bool, shape ``(band,)``; by default False in strong water-vapour absorption.
    attrs : mapping, optional
        Metadata to keep; only plain JSON values are.
    encoding : mapping, optional
        ``scale_factor``, ``add_offset``, ``_FillValue`` and ``dtype`` of the source.
    y, x : numpy.ndarray, optional
        Pixel centres, where they are known to the last bit: those of the image that this one is a part of. By default those that
        rioxarray computes from the transform.
    time : numpy.datetime64, optional
        When it was acquired, UTC; becomes the scalar coordinate ``time``.
    mask : numpy.ndarray or dask.array.Array, optional
        Flags of `geofuse.cube.masks.Mask`, uint8, shape ``(y, x)``; become the coordinate ``mask``.
    centre_y, centre_x : numpy.ndarray or dask.array.Array, optional
        Where the pixels truly lie, if they were moved onto this grid unchanged, as a geometry lookup table moves those of a swath: shape
        ``(y, x)``, in units of the CRS. NaN where there is no pixel, and where the same one is shown by a nearer pixel of the grid too. At
        most one pixel from the grid's own centres (`geofuse.pair.grid.FARTHEST`). Both, or neither.

    Returns
    -------
    xarray.DataArray
        The cube, as ``docs/architecture.md`` describes it.

    Raises
    ------
    InvalidCube
        No CRS, a rotated or flipped grid, or shapes that do not fit each other, those of true centres included.

    Examples
    --------
    >>> from affine import Affine
    >>> cube = wrap(np.zeros((2, 3, 4)), transform=Affine(10, 0, 5e5, 0, -10, 6e6), crs=32633, names=["blue", "red"])
    >>> cube.dims, cube.dtype.name, cube.sel(band="red").shape
    (('band', 'y', 'x'), 'float32', (3, 4))
    """
    if data.ndim != 3 or 0 in data.shape:
        raise InvalidCube(f"a cube has dims (band, y, x) with at least one pixel, got an array of shape {data.shape}")
    bands, rows, cols = data.shape
    if not (transform.a > 0 and transform.e < 0 and transform.b == transform.d == 0):
        raise InvalidCube(f"the grid must be north up and not rotated, got the transform {tuple(transform)[:6]}; warp it first")
    table = BandTable.make(names, wavelength, fwhm, good)
    if len(table) != bands:
        raise InvalidCube(f"{bands} bands of data but {len(table)} band names")
    reference = plain_crs(crs)
    axes = {axis.get("axis", ""): axis for axis in reference.cs_to_cf()}
    coords: dict[str, Any] = {
        "band": ("band", np.array(table.names, dtype=np.str_)),
        "wavelength": ("band", table.wavelength, {"units": "nm", "long_name": "band centre"}),
        "fwhm": ("band", table.fwhm, {"units": "nm", "long_name": "full width at half maximum"}),
        "good": ("band", table.good, {"long_name": "band carries usable signal"}),
        "y": ("y", centres(transform.f, transform.e, rows) if y is None else y, axes.get("Y", {})),
        "x": ("x", centres(transform.c, transform.a, cols) if x is None else x, axes.get("X", {})),
        CRS_COORD: ((), np.int64(0), _crs_attrs(reference, transform)),
    }
    if time is not None:
        coords["time"] = ((), np.datetime64(time, "ns"), {"long_name": "time of acquisition (UTC)"})
    if mask is not None:
        coords[MASK] = (("y", "x"), mask, attributes())
    coords |= _true_centres(centre_y, centre_x, (rows, cols), [axes.get(axis, {}).get("units", "") for axis in "YX"])
    cube = xr.DataArray(data.astype(np.float32, copy=False), dims=DIMS, coords=coords, name="reflectance")
    cube.attrs = {**plain_attrs(attrs or {}), "units": "1"}
    cube.encoding = {**(encoding or {}), "grid_mapping": CRS_COORD}
    return cube


def as_cube(obj: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Turn a DataArray or Dataset from elsewhere into a cube, lazily. A cube comes back as it is, its grid refreshed.

    Accepted are dims named ``wavelength``, ``bands``, ``lat``, ``lon`` and the like, in any order; rasters opened with rioxarray,
    odc-stac or stackstac; grids that run north or west (turned); a Dataset with one 3-D variable or with one 2-D variable a band, or
    ``dataset.to_array()``. Layers of classes among the bands (``SCL``, ``QA_PIXEL``, masks) are no bands; the two named become the
    coordinate ``mask``. Wavelengths are read from band names where nothing else gives them.

    Parameters
    ----------
    obj : xarray.DataArray or xarray.Dataset
        With a CRS, pixel-centre coordinates, and reflectance (floats as they are; integers by their scale, or 1e-4 with a warning).

    Raises
    ------
    InvalidCube
        It cannot be read as one; the message says why.

    Examples
    --------
    >>> import rioxarray
    >>> array = xr.DataArray(np.ones((2, 2, 1)), dims=("lat", "lon", "wavelength"),
    ...                      coords={"lat": [50.0, 50.1], "lon": [8.0, 8.1], "wavelength": [0.65]})
    >>> cube = as_cube(array.rio.write_crs("EPSG:4326"))
    >>> cube.dims, cube.wavelength.item(), cube.y.values
    (('band', 'y', 'x'), 650.0, array([50.1, 50. ]))
    """
    return wrap(**parts(obj))


def geobox(cube: xr.DataArray) -> GeoBox:
    """Grid of a cube: shape, transform and CRS.

    The GeoTransform written by `wrap` is used where the coordinates lie on its lattice, so a slice of a cube has the exact grid
    of its pixels; elsewhere (shifted or thinned coordinates) the coordinates decide.

    Returns
    -------
    odc.geo.geobox.GeoBox

    Raises
    ------
    InvalidCube
        No CRS, or coordinates that are not a regular grid.
    """
    from odc.geo.geobox import GeoBox

    crs = crs_of(cube)
    if crs is None:
        raise InvalidCube("the cube has no CRS; add one with cube.rio.write_crs(…)")
    return GeoBox((cube.sizes["y"], cube.sizes["x"]), lattice(cube), crs.to_wkt())


def check_cube(cube: xr.DataArray, role: str) -> None:
    """Reject what is not a cube; reads metadata only, never a pixel.

    Parameters
    ----------
    cube : xarray.DataArray
        What was given.
    role : str
        What it was given as, e.g. ``"HSI"``, for the message.

    Raises
    ------
    InvalidCube
        Wrong dims or dtype, no pixel, no CRS, no regular north-up grid, or a band table that does not fit.
    """
    try:
        if not isinstance(cube, xr.DataArray) or cube.dims != DIMS:
            found = f"dims {cube.dims}" if isinstance(cube, xr.DataArray) else type(cube).__name__
            raise InvalidCube(f"expected a DataArray with dims (band, y, x), found {found}; open it with geofuse.open_hsi or open_msi")
        if cube.size == 0:
            raise InvalidCube(f"no pixel: shape {cube.shape}; check the selection that was made")
        if cube.dtype != np.float32:
            raise InvalidCube(f"expected float32 reflectance, found {cube.dtype}; open it with geofuse.open_hsi or open_msi")
        missing = [key for key in ("band", "wavelength", "fwhm", "good") if key not in cube.coords]
        if missing:
            raise InvalidCube(f"coordinates {missing} are missing; open it with geofuse.open_hsi or open_msi")
        if crs_of(cube) is None:
            raise InvalidCube("no CRS; add one with cube.rio.write_crs(…)", code="no-crs")
        transform = lattice(cube)
        if transform.a <= 0 or transform.e >= 0:
            raise InvalidCube("rows must run south and columns east; open it with geofuse.open_hsi or open_msi, which turn it")
        BandTable.from_cube(cube)
        y, x = (cube.coords[name].data if name in cube.coords else None for name in CENTRES)
        _true_centres(y, x, cube.shape[1:])
    except InvalidCube as error:
        raise InvalidCube(f"{role}: {error}", code=error.code) from None


def _true_centres(centre_y: Any, centre_x: Any, shape: tuple[int, ...], units: Sequence[str] = ("", "")) -> dict[str, Any]:
    """Coordinates of the true centres of pixels; none where none are given."""
    given = {name: values for name, values in zip(CENTRES, (centre_y, centre_x), strict=True) if values is not None}
    if len(given) == 1 or any(values.shape != shape or values.dtype.kind != "f" for values in given.values()):
        found = ", ".join(f"{name} with shape {values.shape} of {values.dtype}" for name, values in given.items())
        raise InvalidCube(
            f"true centres of pixels are given as {found}; expected centre_y and centre_x, floats of shape {shape}; give both or none"
        )
    about = {name: {"long_name": f"true centre of the pixel, {name[-1]}", "units": unit} for name, unit in zip(CENTRES, units, strict=True)}
    return {name: (("y", "x"), values.astype(np.float64, copy=False), about[name]) for name, values in given.items()}


def _crs_attrs(crs: pyproj.CRS, transform: Affine) -> dict[str, Any]:
    wkt = crs.to_wkt()
    # repr: the shortest text that gives the same double again
    numbers = " ".join(repr(float(value)) for value in transform.to_gdal())
    try:
        mapping = crs.to_cf()
    except KeyError as error:  # pyproj takes a projection without one of its parameters
        raise InvalidCube(
            f"its CRS does not say the {error} of its projection; write a whole one, e.g. with gdal_edit.py -a_srs EPSG:…"
        ) from None
    return {**mapping, "crs_wkt": wkt, "spatial_ref": wkt, "GeoTransform": numbers}
