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
import rasterio
import xarray as xr
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import crs_of
from geofuse.cube.normalise import only_array
from geofuse.cube.schema import as_cube, check_cube, geobox, wrap
from geofuse.cube.values import NOT_REFLECTANCE
from geofuse.errors import InvalidCube, NotReflectance, RunFailed
from geofuse.io.read import envi, geotiff
from geofuse.io.read.assets import Part, parts_of
from geofuse.io.read.fingerprint import local_name
from geofuse.io.read.metadata import BandHints, Described, describe, spectral
from geofuse.io.read.raster import RasterArray, claims_too_much, first_data, gdal, lazy, natural_chunks
from geofuse.io.read.zarr import describe_store
from geofuse.io.write.output import is_store, is_zarr

if TYPE_CHECKING:
    from pystac import Asset, Item

    Source = str | os.PathLike[str] | xr.DataArray | xr.Dataset | Item | Asset

# GDAL's own spellings of a source: /vsizip/…, NETCDF:"file":variable, https://…
_NOT_A_PATH = re.compile(r"^(/vsi|[A-Za-z0-9_+]{2,}:)")


def open_hsi(source: Source, *, chunks: Any = "auto") -> xr.DataArray:
    """Open a hyperspectral raster as a lazy cube of reflectance.

    Parameters
    ----------
    source : str, path, pystac.Item, pystac.Asset, xarray.DataArray or xarray.Dataset
        A GeoTIFF, an ENVI data file or header, anything else that GDAL reads with band metadata, by path or URL; or an object.
    chunks : Any
        ``"auto"`` for chunks that suit the file (all bands together), a dict by dim name, or None to read everything now.

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
    cube = _open(source, "HSI", None, chunks)
    if not BandTable.from_cube(cube).has_wavelength:
        warnings.warn(
            "the HSI has no wavelengths: bands cannot be matched to those of the MSI by name, and water-vapour bands are not known; "
            "add a 'wavelength' tag (nm) to each band if you can",
            UserWarning,
            stacklevel=2,
        )
    return cube


def open_msi(source: Source, *, bands: Sequence[str | int] | str | int | None = None, chunks: Any = "auto") -> xr.DataArray:
    """Open a multispectral raster as a lazy cube of reflectance.

    Parameters
    ----------
    source : str, path, pystac.Item, pystac.Asset, xarray.DataArray or xarray.Dataset
        As in `open_hsi`. Wavelengths are not needed.
    bands : sequence of str or int, optional
        Bands to take, in this order: names, or numbers from 1; for a STAC item also asset keys and common names. By default all but an
        alpha band, which counts as a mask.
    chunks : Any
        As in `open_hsi`.

    Returns
    -------
    xarray.DataArray
        As `open_hsi`.

    Raises
    ------
    InvalidCube
        As `open_hsi`; also for a band that is not there.

    Examples
    --------
    >>> from importlib.resources import files
    >>> msi = open_msi(files("geofuse") / "data" / "berlin_hires_3p6m.tif", bands=[3, "558.40 nm"])
    >>> msi.band.values.tolist()
    ['646.50 nm', '558.40 nm']
    """
    wanted = [bands] if isinstance(bands, str | int) else None if bands is None else list(bands)
    return _open(source, "MSI", wanted, chunks)


def _open(source: Source, role: str, bands: list[str | int] | None, chunks: Any) -> xr.DataArray:
    if isinstance(source, xr.DataArray | xr.Dataset):
        cube = _from_array(source, role, bands, chunks)
    elif hasattr(source, "assets") or hasattr(source, "href"):
        cube = _from_stac(source, role, bands, chunks)  # type: ignore[arg-type]
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
        cube = cube.isel(band=_positions(BandTable.from_cube(cube), bands))
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
        with warnings.catch_warnings(), gdal(), rasterio.open(path) as file:
            warnings.simplefilter("ignore")
            table = describe(file, every_band=False).table.take(np.atleast_1d(numbers.values) - 1)
    except (RasterioError, InvalidCube, IndexError):
        return cube
    columns = {key: ("band", getattr(table, key), cube.coords[key].attrs) for key in ("wavelength", "fwhm", "good")}
    return cube.assign_coords(columns)


def _from_stac(source: Item | Asset, role: str, bands: list[str | int] | None, chunks: Any) -> xr.DataArray:
    parts = parts_of(source, bands)
    if len(parts) == 1:
        chosen: list[str | int] | None = list(parts[0].indexes) if parts[0].indexes else bands
        return _from_file(parts[0].href, role, chosen, chunks, parts[0].hints)
    return _stacked(parts, [str(band) for band in bands or []], role, chunks)


def _stacked(parts: list[Part], names: list[str], role: str, chunks: Any) -> xr.DataArray:
    """Join bands that lie in one file each; they must be on one grid, since nothing is resampled here."""
    cubes = [_from_file(part.href, role, list(part.indexes or (1,)), chunks, part.hints) for part in parts]
    grids = [geobox(cube) for cube in cubes]
    if any(grid != grids[0] for grid in grids):
        sizes = ", ".join(f"{name} {abs(grid.transform.a):g}" for name, grid in zip(names, grids, strict=True))
        raise InvalidCube(f"{role}: the bands are not on one grid (pixel sizes: {sizes}); choose bands of one resolution")
    import dask.array as da

    join: Callable[..., Any] = np.concatenate if chunks is None else da.concatenate
    columns = {key: np.concatenate([cube.coords[key].values for cube in cubes]) for key in ("wavelength", "fwhm", "good")}
    return wrap(
        join([cube.data for cube in cubes], axis=0),
        transform=grids[0].transform,
        crs=crs_of(cubes[0]),
        names=names,
        **columns,
        attrs=cubes[0].attrs,
        encoding=cubes[0].encoding,
    )


def _from_file(path: str, role: str, bands: list[str | int] | None, chunks: Any, hints: BandHints | None = None) -> xr.DataArray:
    """Open one file; messages of refusals start with its path."""
    try:
        place = _locate(path)
        if Path(place).is_dir():
            return _from_store(place, bands, chunks)
        with warnings.catch_warnings(), gdal():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            if Path(place).is_file() and geotiff.is_tiff(Path(place)):
                geotiff.check_complete(Path(place))
            try:
                file = rasterio.open(place)
            except (RasterioError, OSError) as error:
                reason = str(error).removeprefix(f"'{place}' ")
                expected = "expected a GeoTIFF, or an ENVI file with its header"
                raise InvalidCube(f"GDAL cannot read it as a raster ({reason}); {expected}") from None
            with file:
                return _from_open(file, place, role, bands, chunks, hints)
    except InvalidCube as error:
        raise InvalidCube(f"{path}: {error}") from None


def _locate(path: str) -> str:
    """Return what to hand to GDAL, once it is sure that a local file is there."""
    path = local_name(path)
    if _NOT_A_PATH.match(path) and not Path(path).exists():
        if "://" in path and is_zarr(path):
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
    described = describe(file, every_band=role == "HSI", hints=hints)
    chosen = np.flatnonzero(spectral(file)) if bands is None else np.array(_positions(described.table, bands))
    if not chosen.size:
        raise InvalidCube("no band but an alpha band, which shows nothing of the ground; give a file with spectral bands")
    array = _array(file, place, described, chosen)
    natural = natural_chunks(array.shape, file.block_shapes[0], sequential=envi.is_compressed(file))
    _look(array, natural, place)
    encoding = _encoding(array, file.dtypes[0], place) | _blocks(file.block_shapes[0])
    return _cube(array, chunks, natural, transform, file.crs, described.table.take(chosen), described.attrs, encoding)


def _from_store(place: str, bands: list[str | int] | None, chunks: Any) -> xr.DataArray:
    store = describe_store(Path(place))
    chosen = np.arange(len(store.table)) if bands is None else np.array(_positions(store.table, bands))
    array = store.array.take(chosen)
    natural = natural_chunks(array.shape, store.chunk)
    _look(array, natural, place)
    encoding = store.encoding | _blocks(store.chunk)
    return _cube(array, chunks, natural, store.transform, store.crs, store.table.take(chosen), store.attrs, encoding)


def _look(array: RasterArray, natural: tuple[int, int, int], place: str) -> None:
    """Refuse what is damaged or empty, and warn of what is no reflectance, as far as a few blocks tell."""
    try:
        array[-1:, -1:, -1:]  # the last pixel of the last band: what is cut off or damaged is usually the end
        seen = first_data(array, natural)
    except RunFailed as error:
        raise InvalidCube(f"truncated or damaged: {error.__cause__}; fetch the file again") from None
    if seen is None:
        raise InvalidCube(f"no data: every pixel is nodata ({array.nodata[0]:g}) or not finite; check the nodata value of the file")
    typical = np.median(seen[np.isfinite(seen)]) if np.isfinite(seen).any() else 0.0
    if typical > NOT_REFLECTANCE:
        warnings.warn(
            f"{place}: values around {typical:.4g} are not reflectance (1.0 = 100 %); set the scale in the file, e.g. with gdal_edit.py -scale …",
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
    )


def _check_pixels(file: Any, place: str) -> None:
    """Refuse a file that has no bands of real numbers, or fewer bytes than its pixels need."""
    if file.count == 0:
        inside = ", ".join(file.subdatasets[:8]) or "nothing"
        raise InvalidCube(f"no raster bands at the top of this file; it holds {inside}: pass one of these, or open it with xarray")
    if any(dtype.startswith("complex") for dtype in file.dtypes):
        raise InvalidCube(f"complex numbers ({file.dtypes[0]}) are not reflectance")
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
    if file.crs is None:
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
    return RasterArray(path, tuple((chosen + 1).tolist()), file.height, file.width, **columns, has_mask=own_mask, alpha=alpha)


def _encoding(array: RasterArray, dtype: str, place: str) -> dict[str, Any]:
    """How the source stores its numbers, in xarray's words; a scale that differs between bands cannot be said in them."""
    encoding: dict[str, Any] = {"source": place}
    if len(set(array.scale)) == len(set(array.offset)) == 1:
        encoding |= {"dtype": dtype, "scale_factor": array.scale[0], "add_offset": array.offset[0]}
        if not np.isnan(array.nodata[0]):
            encoding["_FillValue"] = array.nodata[0]
    return encoding


def _blocks(block: tuple[int, int]) -> dict[str, Any]:
    """Rows and columns that the source decodes at once, in xarray's words."""
    return {"preferred_chunks": {"y": block[0], "x": block[1]}}


def _positions(table: BandTable, bands: Sequence[str | int]) -> list[int]:
    """Positions of bands given by name or by number from 1."""
    positions = []
    for band in bands:
        if isinstance(band, int | np.integer) and not isinstance(band, bool) and 1 <= band <= len(table):
            positions.append(int(band) - 1)
        elif isinstance(band, str) and band in table.names:
            positions.append(table.names.index(band))
        else:
            shown = ", ".join(table.names[:20]) + (", …" if len(table) > 20 else "")
            raise InvalidCube(f"no band {band!r}; choose numbers from 1 to {len(table)} or names among {shown}")
    if not positions:
        raise InvalidCube("bands= is empty; name at least one band, or leave it out")
    return positions
