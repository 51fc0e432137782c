"""Open rasters as cubes: `open_hsi` and `open_msi`.

Everything that can be rejected is rejected here, before any work: what is not there, not a raster, not all there, without place
or without data, or with wavelengths that cannot be read. Pixels stay on disk, except a few blocks that are looked at. What a source is
and what it holds, a reader says (`geofuse.io.read.registry`); nothing here knows a format.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from geofuse.cube.bands import BandTable, as_list, positions
from geofuse.cube.georef import CENTRES, crs_of
from geofuse.cube.normalise import only_array
from geofuse.cube.schema import as_cube, check_cube, geobox, wrap
from geofuse.cube.values import NOT_REFLECTANCE
from geofuse.errors import InputWarning, InvalidCube, NotReflectance, RunError
from geofuse.io.read.assets import bands_without_masks
from geofuse.io.read.base import Description, NamesFiles, Parts, Request, check_description, is_turned
from geofuse.io.read.fingerprint import local_name
from geofuse.io.read.gdal import is_address, is_trusted, open_raster, trusting
from geofuse.io.read.hdf5 import sharing
from geofuse.io.read.items import described, name_of, on_one_grid
from geofuse.io.read.layers import layers_inside, lazy_flags, with_layers
from geofuse.io.read.metadata import describe
from geofuse.io.read.mosaic import mosaic
from geofuse.io.read.places import lazy_centres
from geofuse.io.read.raster import first_data, lazy, natural_chunks
from geofuse.io.read.registry import find_reader, reader_of
from geofuse.io.read.remote import is_hdf5, is_remote, local_copy, remote_file
from geofuse.io.read.turned import north_up
from geofuse.redact import redact

if TYPE_CHECKING:
    from pystac import Asset, Item

    Source = str | os.PathLike[str] | xr.DataArray | xr.Dataset | Item | Asset

# Decoded bytes in which data are looked for, and how many a file may hold for each of its own.
_LOOKED_AT, _MOST_COMPRESSED = 2**30, 2000
_SIDE = 512  # pixels along a side of what is looked at, where blocks are not larger
Bands = Sequence[str | int] | str | int | None


def open_hsi(source: Source, *, bands: Bands = None, chunks: Any = "auto", trust_input: bool = False) -> xr.DataArray:
    """Open a hyperspectral raster as a lazy cube of reflectance.

    Parameters
    ----------
    source : str, path, pystac.Item, pystac.Asset, xarray.DataArray or xarray.Dataset
        A GeoTIFF, a JPEG 2000, an ENVI data file or header, or the JSON of a STAC item, by path or URL; a Zarr store; a product of a sensor
        by its folder or any of its files (``docs/reference/sensors.md``); what a reader of an installed package recognises; or an object.
    bands : sequence of str or int, str or int, optional
        Bands to take, in this order: names; numbers from 1, ranges of them (``"1-50,60"``); ranges of wavelengths (``"450-900nm"``).
        By default all but an alpha band, which counts as a mask.
    chunks : Any
        ``"auto"`` for chunks that suit the file (all bands together), a dict by dim name, or None to read everything now.
    trust_input : bool
        Open whatever GDAL knows, with all files and addresses that it names: VRT, netCDF, HDF5, WMS, …; for files of your own making.

    Returns
    -------
    xarray.DataArray
        Dims ``(band, y, x)``, float32, NaN where there is no data; see `geofuse.cube.schema.wrap`. Integers are scaled by the scale of
        the file, else by what it declares in words, else by 1e-4 with a warning. Layers of a product are lazy coordinates: ``mask``, what
        it says of each pixel (`geofuse.cube.masks.Mask`), and ``centre_y`` and ``centre_x``, true places of the pixels of a swath.

    Raises
    ------
    InvalidCube
        Missing, not a raster, truncated, without CRS or place, without any data, or with unreadable wavelengths.

    Examples
    --------
    >>> from importlib.resources import files
    >>> hsi = open_hsi(files("geofuse") / "demo" / "data" / "berlin_enmap_30m.tif")
    >>> hsi.shape, float(hsi.wavelength[0]), float(hsi.fwhm[0])
    ((177, 80, 60), 460.0, 5.8)
    """
    with trusting(trust_input):
        cube = _open(source, Request("HSI", as_list(bands), chunks=chunks))
    if not BandTable.from_cube(cube).has_wavelength:
        message = (
            "the HSI has no wavelengths: bands cannot be matched to those of the MSI by name, and water-vapour bands are not known; "
            "add a 'wavelength' tag (nm) to each band if you can"
        )
        warnings.warn(InputWarning(message, "no-wavelengths"), stacklevel=2)
    return cube


def open_msi(
    source: Source | Sequence[Source],
    *,
    bands: Bands = None,
    resolution: float | None = None,
    chunks: Any = "auto",
    trust_input: bool = False,
) -> xr.DataArray:
    """Open a multispectral raster as a lazy cube of reflectance.

    Parameters
    ----------
    source : str, path, pystac.Item, pystac.Asset, xarray.DataArray or xarray.Dataset, or a list of these
        As in `open_hsi`. Wavelengths are not needed. Of several on one lattice of pixels a lazy mosaic is made: at each pixel the first that
        is usable there counts.
    bands : sequence of str or int, str or int, optional
        As in `open_hsi`; for a STAC item also asset keys and common names.
    resolution : float, optional
        Pixel size, in units of the CRS, onto which to bring the assets of a STAC item where they differ in it (Sentinel-2 at 10 and 20 m):
        larger pixels are repeated, smaller ones averaged. Without ``bands`` all reflectance assets are taken.
    chunks, trust_input
        As in `open_hsi`.

    Returns
    -------
    xarray.DataArray
        As `open_hsi`.

    Raises
    ------
    InvalidCube
        As `open_hsi`; also for a band that is not there, and for assets of different pixel size without ``resolution``.

    Examples
    --------
    >>> from importlib.resources import files
    >>> msi = open_msi(files("geofuse") / "demo" / "data" / "berlin_hires_3p6m.tif", bands=[3, "558.40 nm"])
    >>> msi.band.values.tolist()
    ['646.50 nm', '558.40 nm']
    """
    with trusting(trust_input):
        return _open(source, Request("MSI", as_list(bands), resolution, chunks))


def open_as(source: Source, request: Request, *, trust_input: bool = False) -> xr.DataArray:
    """Open a raster for what it is asked for; see `open_hsi`."""
    with trusting(trust_input):
        return _open(source, request)


@sharing()
def _open(source: Source | Sequence[Source], request: Request) -> xr.DataArray:
    if isinstance(source, xr.DataArray | xr.Dataset):
        cube = _from_array(source, request)
    elif isinstance(source, list | tuple) and source:
        cube = _mosaic(source, request)
    elif isinstance(source, str | os.PathLike):
        cube = _read(os.fspath(source), request)
    elif hasattr(source, "assets") or hasattr(source, "href"):
        cube = _read(source, request)
    else:
        raise InvalidCube(f"{request.role}: expected a path, a STAC item or asset, a DataArray or a Dataset, got {type(source).__name__}")
    check_cube(cube, request.role)
    return cube


def _mosaic(sources: Sequence[Any], request: Request) -> xr.DataArray:
    cubes = [_open(each, request) for each in sources]
    try:
        return mosaic(cubes).load() if request.chunks is None else mosaic(cubes)
    except InvalidCube as error:
        raise InvalidCube(f"{request.role}: {error}") from None


def cube_of(source: xr.DataArray | xr.Dataset, role: str) -> xr.DataArray:
    """A cube of an array from elsewhere, as `geofuse.cube.schema.as_cube`, with the wavelengths of the file where xarray opened one.

    Raises
    ------
    InvalidCube
        It cannot be read as a cube; the message starts with ``role``.
    """
    try:
        cube = as_cube(source)
    except InvalidCube as error:
        raise InvalidCube(f"{role}: {error}", code=error.code) from None
    return cube if BandTable.from_cube(cube).has_wavelength else _with_bands_of_file(cube, source)


def _from_array(source: xr.DataArray | xr.Dataset, request: Request) -> xr.DataArray:
    role, bands, chunks = request.role, request.bands, request.chunks
    cube = cube_of(source, role)
    if bands is not None:
        cube = cube.isel(band=positions(BandTable.from_cube(cube), bands))
    if isinstance(cube.data, np.ndarray) and not any(np.isfinite(plane).any() for plane in cube.data):
        raise InvalidCube(f"{role}: the array holds no data: every pixel is NaN or nodata; check its nodata value")
    return cube if chunks is None or (isinstance(chunks, str) and chunks == "auto") else cube.chunk(chunks)


def _with_bands_of_file(cube: xr.DataArray, source: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Add the band table of the file an array was opened from: rioxarray keeps the tags of one band only."""
    source = only_array(source) if isinstance(source, xr.Dataset) else source
    path, numbers = source.encoding.get("source"), source.coords.get("band")
    if not path or "rasterio_dtype" not in source.encoding or numbers is None or numbers.dtype.kind not in "iu":
        return cube
    try:
        with warnings.catch_warnings(), open_raster(path) as file:
            warnings.simplefilter("ignore")
            table = describe(file, every_band=False).table.take(np.atleast_1d(numbers.values) - 1)
    except (RasterioError, InvalidCube, IndexError):
        return cube
    columns = {key: ("band", getattr(table, key), cube.coords[key].attrs) for key in ("wavelength", "fwhm", "good")}
    return cube.assign_coords(columns)


def _read(source: Any, request: Request, *, named: bool = False) -> xr.DataArray:
    """Read one source; messages about what is rejected start with its path. ``named``: by another source, so it must hold pixels."""
    path = source if isinstance(source, str) else None
    try:
        place = source if path is None else _spelt(path)
        if path is not None and not (is_address(place) or Path(place).exists()):
            raise InvalidCube("no such file; check the path")
        place = _here(place) if path is not None else place
        reader = reader_of(place, named=named)
        found = reader.describe(place, request)
        if isinstance(found, Parts) and named:
            raise InvalidCube(f"this is a source of the kind {reader.name}, which only names others; expected a raster")
        cube = with_layers(_cube(found, request), layers_inside(found)) if isinstance(found, Description) else None
    except InvalidCube as error:
        message = str(error).removeprefix(f"{redact(path or '')}: ")
        raise (error if path is None else InvalidCube(f"{path}: {message}", code=error.code)) from None
    if isinstance(found, Parts):
        cube = described(with_layers(_joined(found, request), found.masks), found.about)
    assert cube is not None
    sensor = found.sensor or cube.encoding.get("sensor")
    cube.encoding |= {"reader": reader.name} | ({"sensor": sensor} if sensor else {})
    return cube


def _here(place: str) -> str:
    """A copy of a file in HDF5 that a catalog names on a server: its readers read only what lies here; any other place as it is."""
    if is_remote(place) and not is_trusted() and is_hdf5(remote_file(place)) and (copy := local_copy(place)):
        return str(copy)
    return place


def _spelt(path: str) -> str:
    """The path that is meant, or the address."""
    path = local_name(path)
    return path if is_address(path) else str(Path(path).expanduser())


def _cube(found: Description, request: Request) -> xr.DataArray:
    """The cube of what was described: bands that are asked for, looked at, in chunks, rows running south."""
    if found.crs is None:
        found = replace(found, crs=request.crs)
    check_description(found)
    found = found.take(_chosen(found, request.bands))
    bands, *pixels = found.shape
    natural = (bands, *natural_chunks((bands + request.beside, pixels[0], pixels[1]), found.block, sequential=found.sequential)[1:])
    _look(found, natural)
    if is_turned(found.transform):
        found = north_up(found)
        natural = natural_chunks((bands + request.beside, *found.shape[1:]), found.block)
        natural = (bands, *natural[1:])
    data, transform = lazy(found.array, request.chunks, natural), found.transform
    mask = None if found.mask is None else lazy_flags(found.mask, data)
    if transform.e > 0:
        data, mask = data[:, ::-1], None if mask is None else mask[::-1]
        transform = Affine(transform.a, 0.0, transform.c, 0.0, -transform.e, transform.f + found.shape[1] * transform.e)
    blocks = {"preferred_chunks": {"y": found.block[0], "x": found.block[1]}}
    cube = wrap(
        data,
        transform=transform,
        crs=found.crs,
        names=found.table.names,
        wavelength=found.table.wavelength,
        fwhm=found.table.fwhm,
        good=found.table.good,
        attrs=found.attrs,
        encoding={"source": redact(found.place)} | _encoding(found) | blocks,
        mask=mask,
        **lazy_centres(found, data),
        **found.coords,
    )
    return described(cube, {"href": found.place} | found.about)


def _chosen(found: Description, bands: list[str | int] | None) -> NDArray[np.intp]:
    """Positions of the bands that are asked for; by default of those that show the ground: no alpha band, and no layer of classes."""
    if bands is not None:
        return np.array(positions(found.table, bands))
    spectral = np.ones(len(found.table), dtype=bool) if found.spectral is None else found.spectral
    shown = [name for name, shows in zip(found.table.names, spectral, strict=True) if shows]
    masks = {layer.name for layer in layers_inside(found)}  # become the mask of the cube
    wanted = bands_without_masks([name for name in shown if name not in masks] or shown, found.place)
    if not wanted:
        raise InvalidCube("no band but an alpha band, which shows nothing of the ground; give a file with spectral bands")
    return np.array([k for k, name in enumerate(found.table.names) if name in wanted], dtype=np.intp)


def _look(found: Description, natural: tuple[int, int, int]) -> None:
    """Reject what is damaged or empty, and warn of what is no reflectance, as far as a few blocks show."""
    rows, cols = (min(size, max(block, _SIDE)) for size, block in zip(natural[1:], found.block, strict=True))
    looked = natural if found.sequential else (natural[0], rows, cols)
    # the last pixel of the last band: what is cut off or damaged is usually the end. Of a single band with its block, which is decoded anyway
    alone = found.shape[0] == 1
    top, left = ((size - 1) // side * side if alone else -1 for size, side in zip(found.shape[1:], (rows, cols), strict=True))
    try:
        last = found.array[-1:, top:, left:]
        local = Path(found.place)
        # a file of few bytes holds little, whatever it claims; in it nothing is looked for long
        held = local.stat().st_size * _MOST_COMPRESSED if local.is_file() else _LOOKED_AT
        known = alone and np.isfinite(last).any()
        seen = last if known else first_data(found.array, looked, min(max(held, _LOOKED_AT // 16), _LOOKED_AT))
    except RunError as error:
        raise InvalidCube(f"truncated or damaged: {error.__cause__ or error}; fetch the file again") from None
    if seen is None:
        nodata = float(np.ravel(found.encoding.get("_FillValue", np.nan))[0])
        raise InvalidCube(f"no data: every pixel is nodata ({nodata:g}) or not finite; check the nodata value of the file")
    typical = np.median(seen[np.isfinite(seen)]) if np.isfinite(seen).any() else 0.0
    if typical > NOT_REFLECTANCE:
        warnings.warn(
            f"{redact(found.place)}: values around {typical:.4g} are not reflectance (1.0 = 100 %); set the scale in the file, e.g. with gdal_edit.py -scale …",
            NotReflectance,
            stacklevel=6,
        )


def _encoding(found: Description) -> dict[str, Any]:
    """How the source stores its numbers, in xarray's words; a scale that differs between bands cannot be said in them."""
    columns = {key: value for key, value in found.encoding.items() if isinstance(value, np.ndarray)}
    encoding = {key: value for key, value in found.encoding.items() if key not in columns}
    if any(len(set(columns[key].tolist())) > 1 for key in ("scale_factor", "add_offset") if key in columns):
        encoding.pop("dtype", None)
        return encoding
    first = {key: column[0].item() for key, column in columns.items()}
    return encoding | {key: value for key, value in first.items() if key != "_FillValue" or not np.isnan(value)}


def _joined(found: Parts, request: Request) -> xr.DataArray:
    """The cube of the files that a source names: of one, or of one a band, on one grid."""
    parts = [replace(request, bands=list(part.indexes) if part.indexes else None, hints=part.hints) for part in found.parts]
    if len(parts) == 1 and not (found.names and request.resolution):
        one = parts[0] if parts[0].bands else replace(parts[0], bands=request.bands)
        return _read(found.parts[0].href, one, named=True)
    parts = [replace(asked, beside=len(parts) - 1) for asked in parts]
    cubes = [_read(part.href, replace(asked, bands=asked.bands or [1]), named=True) for part, asked in zip(found.parts, parts, strict=True)]
    try:
        cubes = on_one_grid(cubes, found.names, request.resolution)
    except InvalidCube as error:
        raise InvalidCube(f"{request.role}: {error}") from None
    import dask.array as da

    join: Callable[..., Any] = np.concatenate if request.chunks is None else da.concatenate
    columns = {key: np.concatenate([cube.coords[key].values for cube in cubes]) for key in ("wavelength", "fwhm", "good")}
    return wrap(
        join([cube.data for cube in cubes], axis=0),
        transform=geobox(cubes[0]).affine,
        crs=crs_of(cubes[0]),
        names=found.names,
        **columns,
        attrs=cubes[0].attrs,
        encoding=cubes[0].encoding,
        y=cubes[0].y.values,
        x=cubes[0].x.values,
        **{name: cubes[0].coords[name].data for name in CENTRES if name in cubes[0].coords},
    )


@sharing()
def files_of(source: str | Item | tuple[Item, ...], bands: Bands = None, resolution: float | None = None) -> list[str]:
    """Files that are read when a source is opened: itself, where it is a path or an address, and the others that its reader names."""
    if isinstance(source, tuple):
        return [file for item in source for file in files_of(item, bands, resolution)]
    place: Any = _spelt(source) if isinstance(source, str) else source
    reader = find_reader(place)
    if not isinstance(reader, NamesFiles):  # what is not there is said when it is opened
        return [name_of(source)]
    try:
        named = reader.files(place, Request("MSI", as_list(bands), resolution))
    except InvalidCube as error:
        raise InvalidCube(f"{name_of(source)}: {error}") from None
    return [*([source] if isinstance(source, str) else []), *(file for file in named if file != place)]
