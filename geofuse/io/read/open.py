"""Open rasters as cubes: `open_hsi` and `open_msi`.

Everything that can be refused is refused here, before any work: what is not there, not a raster, not all there, without place
or without data, or with wavelengths that cannot be read. Pixels stay on disk, except a few blocks that are looked at.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from geofuse.cube.bands import BandTable, as_list, positions
from geofuse.cube.georef import crs_of, tagged_centres
from geofuse.cube.normalise import only_array
from geofuse.cube.schema import as_cube, check_cube, geobox, wrap
from geofuse.cube.values import NOT_REFLECTANCE
from geofuse.errors import InvalidCube, NotReflectance, RunFailed
from geofuse.io.read import envi, geotiff
from geofuse.io.read.assets import Part, bands_without_masks, parts_of
from geofuse.io.read.fingerprint import content_stamp, local_name
from geofuse.io.read.gdal import is_tiff, is_trusted, open_raster, trusting
from geofuse.io.read.items import about_file, about_item, described, is_item, on_one_grid, read_item
from geofuse.io.read.metadata import BandHints, Described, describe, spectral
from geofuse.io.read.raster import LONGEST_AXIS, RasterArray, claims_too_much, first_data, lazy, natural_chunks
from geofuse.io.read.zarr import describe_store, is_store
from geofuse.redact import redact

if TYPE_CHECKING:
    from pystac import Asset, Item

    Source = str | os.PathLike[str] | xr.DataArray | xr.Dataset | Item | Asset

# GDAL's own spellings of a source: /vsizip/…, NETCDF:"file":variable, https://…
_NOT_A_PATH = re.compile(r"^(/vsi|[A-Za-z0-9_+]{2,}:)")


# Decoded bytes in which data are looked for, and how many a file may hold for each of its own.
_LOOKED_AT, _MOST_COMPRESSED = 2**30, 2000
# What is opened without more ado, and how the rest is.
_EXPECTED = (
    "expected a GeoTIFF, a JPEG 2000 or an ENVI file with its header; formats that may name other files or addresses, such as VRT, netCDF, "
    "HDF5 and WMS, are opened where you trust the file: trust_input=True, --trust-input"
)
Bands = Sequence[str | int] | str | int | None


def open_hsi(source: Source, *, bands: Bands = None, chunks: Any = "auto", trust_input: bool = False) -> xr.DataArray:
    """Open a hyperspectral raster as a lazy cube of reflectance.

    Parameters
    ----------
    source : str, path, pystac.Item, pystac.Asset, xarray.DataArray or xarray.Dataset
        A GeoTIFF, a JPEG 2000, an ENVI data file or header, or the JSON of a STAC item, by path or URL; a Zarr store; or an object.
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
        the file, else by what it declares in words, else by 1e-4 with a warning.

    Raises
    ------
    InvalidCube
        Missing, not a raster, truncated, without CRS or place, without any data, or with unreadable wavelengths.

    Examples
    --------
    >>> from importlib.resources import files
    >>> hsi = open_hsi(files("geofuse") / "data" / "berlin_enmap_30m.tif")
    >>> hsi.shape, float(hsi.wavelength[0]), float(hsi.fwhm[0])
    ((177, 80, 60), 460.0, 5.8)
    """
    with trusting(trust_input):
        cube = _open(source, "HSI", as_list(bands), chunks)
    if not BandTable.from_cube(cube).has_wavelength:
        warnings.warn(
            "the HSI has no wavelengths: bands cannot be matched to those of the MSI by name, and water-vapour bands are not known; "
            "add a 'wavelength' tag (nm) to each band if you can",
            UserWarning,
            stacklevel=2,
        )
    return cube


def open_msi(
    source: Source, *, bands: Bands = None, resolution: float | None = None, chunks: Any = "auto", trust_input: bool = False
) -> xr.DataArray:
    """Open a multispectral raster as a lazy cube of reflectance.

    Parameters
    ----------
    source : str, path, pystac.Item, pystac.Asset, xarray.DataArray or xarray.Dataset
        As in `open_hsi`. Wavelengths are not needed.
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
    >>> msi = open_msi(files("geofuse") / "data" / "berlin_hires_3p6m.tif", bands=[3, "558.40 nm"])
    >>> msi.band.values.tolist()
    ['646.50 nm', '558.40 nm']
    """
    with trusting(trust_input):
        return _open(source, "MSI", as_list(bands), chunks, resolution)


def _open(source: Source, role: str, bands: list[str | int] | None, chunks: Any, resolution: float | None = None) -> xr.DataArray:
    if isinstance(source, str | os.PathLike) and is_item(os.fspath(source)):
        source = read_item(os.fspath(source))
    if isinstance(source, xr.DataArray | xr.Dataset):
        cube = _from_array(source, role, bands, chunks)
    elif hasattr(source, "assets") or hasattr(source, "href"):
        cube = _from_stac(source, role, bands, chunks, resolution)  # type: ignore[arg-type]
    elif isinstance(source, str | os.PathLike):
        cube = _from_file(os.fspath(source), role, bands, chunks)
    else:
        raise InvalidCube(f"{role}: expected a path, a STAC item or asset, a DataArray or a Dataset, got {type(source).__name__}")
    check_cube(cube, role)
    return cube


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
        raise InvalidCube(f"{role}: {error}") from None
    return cube if BandTable.from_cube(cube).has_wavelength else _with_bands_of_file(cube, source)


def _from_array(source: xr.DataArray | xr.Dataset, role: str, bands: list[str | int] | None, chunks: Any) -> xr.DataArray:
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


def _from_stac(source: Item | Asset, role: str, bands: list[str | int] | None, chunks: Any, resolution: float | None) -> xr.DataArray:
    parts, names = parts_of(source, bands, all_bands=resolution is not None)
    if len(parts) == 1:
        chosen: list[str | int] | None = list(parts[0].indexes) if parts[0].indexes else bands
        cube = _from_file(parts[0].href, role, chosen, chunks, parts[0].hints)
    else:
        cube = _stacked(parts, names, role, chunks, resolution)
    return described(cube, about_item(source))


def _stacked(parts: list[Part], names: list[str], role: str, chunks: Any, resolution: float | None) -> xr.DataArray:
    """Join bands that lie in one file each, on one grid."""
    cubes = [_from_file(part.href, role, list(part.indexes or (1,)), chunks, part.hints) for part in parts]
    try:
        cubes = on_one_grid(cubes, names, resolution)
    except InvalidCube as error:
        raise InvalidCube(f"{role}: {error}") from None
    import dask.array as da

    join: Callable[..., Any] = np.concatenate if chunks is None else da.concatenate
    columns = {key: np.concatenate([cube.coords[key].values for cube in cubes]) for key in ("wavelength", "fwhm", "good")}
    return wrap(
        join([cube.data for cube in cubes], axis=0),
        transform=geobox(cubes[0]).affine,
        crs=crs_of(cubes[0]),
        names=names,
        **columns,
        attrs=cubes[0].attrs,
        encoding=cubes[0].encoding,
        y=cubes[0].y.values,
        x=cubes[0].x.values,
    )


def _from_file(path: str, role: str, bands: list[str | int] | None, chunks: Any, hints: BandHints | None = None) -> xr.DataArray:
    """Open one file; messages of refusals start with its path."""
    try:
        place = _locate(path)
        if Path(place).is_dir():
            return _from_store(place, bands, chunks)
        if Path(place).is_file():
            (geotiff.check_complete if is_tiff(Path(place)) else envi.check_size)(Path(place))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with open_raster(place) as file:
                    return _from_open(file, place, role, bands, chunks, hints)
        except (RasterioError, OSError) as error:
            reason = str(error).removeprefix(f"'{place}' ")
            raise InvalidCube(f"GDAL cannot read it as a raster ({reason}); {_EXPECTED}") from None
    except InvalidCube as error:
        raise InvalidCube(f"{path}: {error}") from None


def _locate(path: str) -> str:
    """Return what to hand to GDAL, once it is sure that a local file is there."""
    path = local_name(path)
    if _NOT_A_PATH.match(path) and not Path(path).exists():
        if "://" in path and path.lower().endswith(".zarr"):
            raise InvalidCube("a Zarr store is read from a local folder only; open it with xarray.open_zarr, and pass the Dataset")
        return path
    local = Path(path).expanduser()
    if not local.exists():
        raise InvalidCube("no such file; check the path")
    if local.is_dir() and is_store(local):
        return str(local)
    if local.is_dir():
        raise InvalidCube("this is a folder; pass the raster file in it")
    return str(envi.data_file(local))


def _from_open(file: Any, place: str, role: str, bands: list[str | int] | None, chunks: Any, hints: BandHints | None) -> xr.DataArray:
    _check_pixels(file, place)
    transform = _placed(file)
    about = describe(file, every_band=role == "HSI", hints=hints)
    chosen = _shown(about.table.names, spectral(file), place) if bands is None else np.array(positions(about.table, bands))
    if not chosen.size:
        raise InvalidCube("no band but an alpha band, which shows nothing of the ground; give a file with spectral bands")
    array = _array(file, place, about, chosen)
    natural = natural_chunks(array.shape, file.block_shapes[0], sequential=envi.is_compressed(file))
    _look(array, natural, place)
    encoding = _encoding(array, file.dtypes[0], place) | _blocks(file.block_shapes[0])
    encoding["masks"] = ["alpha"] if array.alpha or not spectral(file).all() else ["mask"] if array.has_mask else []
    place_of = {"y": (transform.f, transform.e, file.height), "x": (transform.c, transform.a, file.width)}
    coords = {dim: tagged_centres(file.tags(), dim, *numbers) for dim, numbers in place_of.items()}
    if transform.e > 0:
        coords["y"] = coords["y"][::-1]
    cube = _cube(array, chunks, natural, transform, file.crs, about.table.take(chosen), about.attrs, encoding, coords)
    return described(cube, about_file(place, file.tags() | file.tags(ns="IMAGERY") | file.tags(ns="ENVI")))


def _shown(names: tuple[str, ...], spectral: NDArray[np.bool_], place: str) -> NDArray[np.intp]:
    """Bands that show the ground: no alpha band, and no layer of classes."""
    wanted = bands_without_masks([name for name, shows in zip(names, spectral, strict=True) if shows], place)
    return np.array([k for k, name in enumerate(names) if name in wanted], dtype=np.intp)


def _from_store(place: str, bands: list[str | int] | None, chunks: Any) -> xr.DataArray:
    store = describe_store(Path(place))
    chosen = np.arange(len(store.table)) if bands is None else np.array(positions(store.table, bands))
    array = store.array.take(chosen)
    natural = natural_chunks(array.shape, store.chunk)
    _look(array, natural, place)
    encoding = store.encoding | _blocks(store.chunk)
    cube = _cube(array, chunks, natural, store.transform, store.crs, store.table.take(chosen), store.attrs, encoding, store.coords)
    return described(cube, about_file(place, {}))


def _look(array: RasterArray, natural: tuple[int, int, int], place: str) -> None:
    """Refuse what is damaged or empty, and warn of what is no reflectance, as far as a few blocks tell."""
    try:
        array[-1:, -1:, -1:]  # the last pixel of the last band: what is cut off or damaged is usually the end
        local = Path(place)
        # a file of few bytes holds little, whatever it claims; in it nothing is looked for long
        held = local.stat().st_size * _MOST_COMPRESSED if local.is_file() else _LOOKED_AT
        seen = first_data(array, natural, min(max(held, _LOOKED_AT // 16), _LOOKED_AT))
    except RunFailed as error:
        raise InvalidCube(f"truncated or damaged: {error.__cause__ or error}; fetch the file again") from None
    if seen is None:
        raise InvalidCube(f"no data: every pixel is nodata ({array.nodata[0]:g}) or not finite; check the nodata value of the file")
    typical = np.median(seen[np.isfinite(seen)]) if np.isfinite(seen).any() else 0.0
    if typical > NOT_REFLECTANCE:
        warnings.warn(
            f"{redact(place)}: values around {typical:.4g} are not reflectance (1.0 = 100 %); set the scale in the file, e.g. with gdal_edit.py -scale …",
            NotReflectance,
            stacklevel=6,
        )


def _cube(
    array: RasterArray,
    chunks: Any,
    natural: tuple[int, int, int],
    transform: Affine,
    crs: Any,
    table: BandTable,
    attrs: dict[str, Any],
    encoding: dict[str, Any],
    coords: dict[str, NDArray[Any]],
) -> xr.DataArray:
    data = lazy(array, chunks, natural)
    if transform.e > 0:
        data, transform = data[:, ::-1], Affine(transform.a, 0.0, transform.c, 0.0, -transform.e, transform.f + array.height * transform.e)
    return wrap(
        data,
        transform=transform,
        crs=crs,
        names=table.names,
        wavelength=table.wavelength,
        fwhm=table.fwhm,
        good=table.good,
        attrs=attrs,
        encoding=encoding,
        **coords,
    )


def _check_pixels(file: Any, place: str) -> None:
    """Refuse a file that has no bands of real numbers, or fewer bytes than its pixels need."""
    if file.count == 0:
        inside = ", ".join(file.subdatasets[:8]) or "nothing"
        raise InvalidCube(f"no raster bands at the top of this file; it holds {inside}: pass one of these, or open it with xarray")
    if any(dtype.startswith("complex") for dtype in file.dtypes):
        raise InvalidCube(f"complex numbers ({file.dtypes[0]}) are not reflectance")
    if max(file.height, file.width) > LONGEST_AXIS:
        raise InvalidCube(
            f"its header claims {file.height} x {file.width} pixels; expected at most {LONGEST_AXIS} along a side, cut it first"
        )
    local = Path(place)
    if not local.is_file():
        return
    claimed = file.count * file.height * file.width * np.dtype(file.dtypes[0]).itemsize
    if file.driver != "VRT" and claims_too_much(claimed, local.stat().st_size):
        raise InvalidCube(f"its header claims {claimed / 1e12:.1f} TB of pixels in {local.stat().st_size} bytes; it is damaged")
    if file.driver == "ENVI":
        envi.check_complete(local, file)


def _placed(file: Any) -> Affine:
    """Transform of the file, once it is sure that its pixels have a place."""
    try:
        crs = file.crs
    except CRSError as error:
        raise InvalidCube(
            f"its CRS cannot be read ({error}); write a valid one into the file, e.g. with gdal_edit.py -a_srs EPSG:…"
        ) from None
    if crs is None:
        raise InvalidCube("no CRS, so its pixels have no place; write one into the file, e.g. with gdal_edit.py -a_srs EPSG:…")
    transform = file.transform
    if transform == Affine.identity():
        raise InvalidCube("no geotransform, so its pixels have no place; warp it to a grid first, e.g. with gdalwarp")
    if transform.b or transform.d or transform.a <= 0 or transform.e == 0:
        raise InvalidCube("a rotated or mirrored grid; warp it to a north-up grid first, e.g. with gdalwarp")
    return Affine(*(value + 0.0 for value in tuple(transform)[:6]))  # + 0.0: ENVI headers give -0.0


def _array(file: Any, place: str, described: Described, chosen: np.ndarray) -> RasterArray:
    from rasterio.enums import MaskFlags

    own_mask = any(flag in flags for flags in file.mask_flag_enums for flag in (MaskFlags.per_dataset, MaskFlags.alpha))
    # GDAL takes an alpha band for a mask where it holds unsigned integers and no nodata value is given.
    alpha = None if own_mask else next((int(band) + 1 for band in np.flatnonzero(~spectral(file))), None)
    columns = {key: tuple(getattr(described, key)[chosen].tolist()) for key in ("scale", "offset", "nodata")}
    # read later, perhaps from another folder
    path = str(Path(place).absolute()) if Path(place).exists() else place
    return RasterArray(
        path,
        tuple((chosen + 1).tolist()),
        file.height,
        file.width,
        **columns,
        has_mask=own_mask,
        alpha=alpha,
        trusted=is_trusted(),
        stamp=content_stamp(place),
    )


def _encoding(array: RasterArray, dtype: str, place: str) -> dict[str, Any]:
    """How the source stores its numbers, in xarray's words; a scale that differs between bands cannot be said in them."""
    encoding: dict[str, Any] = {"source": redact(place)}
    if len(set(array.scale)) == len(set(array.offset)) == 1:
        encoding |= {"dtype": dtype, "scale_factor": array.scale[0], "add_offset": array.offset[0]}
        if not np.isnan(array.nodata[0]):
            encoding["_FillValue"] = array.nodata[0]
    return encoding


def _blocks(block: tuple[int, int]) -> dict[str, Any]:
    """Rows and columns that the source decodes at once, in xarray's words."""
    return {"preferred_chunks": {"y": block[0], "x": block[1]}}


def files_of(source: str, bands: Bands = None, resolution: float | None = None) -> list[str]:
    """Files that are read when a source is opened by its path or address: itself, and the assets that are meant where it is a STAC item."""
    if not is_item(source):
        return [source]
    parts, _ = parts_of(read_item(source), as_list(bands), all_bands=resolution is not None)
    return [source, *(part.href for part in parts)]
