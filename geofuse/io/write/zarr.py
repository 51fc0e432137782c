"""Write a cube as a Zarr store (version 3, sharded, consolidated): streamed, verified, complete or absent, and gone on with.

Tiles go into the same draft as for a COG (`geofuse.io.write.cog`), by the same journal, and the overviews are the same numbers. When all tiles
are there, shards are filled from the draft one after the other, read back and compared, and the store appears by one rename.

The root group holds the image and nothing else, so that whoever opens the store sees it; overviews are the groups ``1``, ``2``, …, each of
which xarray opens by itself, and the group ``statistics`` holds those of the bands. What says where it lies: `geofuse.io.geozarr`.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import CRS_COORD
from geofuse.cube.schema import geobox, wrap
from geofuse.errors import OutputRefused, RunFailed
from geofuse.io.geozarr import array_attributes, chunking, level_geobox, root_attributes
from geofuse.io.write.cog import BLOCK, Receipt, write_raster
from geofuse.io.write.output import is_zarr
from geofuse.io.write.staging import Corner, Draft
from geofuse.io.write.statistics import BandStatistics

VARIABLE, FLAGS_VARIABLE = "reflectance", "quality"
STATISTICS = "statistics"


def write_zarr(
    cube: xr.DataArray,
    store: str | os.PathLike[str],
    *,
    dtype: str = "int16",
    overwrite: bool = False,
    progress: bool = True,
    block: int = BLOCK,
    resume: bool = True,
) -> Receipt:
    """Write a cube as a Zarr store without ever holding it.

    Parameters
    ----------
    cube : xarray.DataArray
        As for `geofuse.io.write.cog.write_cog`.
    store : str or path
        The folder, whose name ends in ``.zarr``. It appears when it is complete and verified, or not at all. ``s3://bucket/key.zarr`` is
        made in the temporary folder first; its root ``zarr.json`` is uploaded last.
    dtype, progress, resume
        As for `geofuse.io.write.cog.write_cog`.
    overwrite : bool
        Replace an existing store.
    block : int
        Pixels along the side of a shard, a power of two from 64 to 4096; chunks within are half as wide, at most 256 pixels.

    Returns
    -------
    Receipt

    Raises
    ------
    InvalidCube
        ``cube`` is not a cube.
    OutputRefused
        The package zarr is missing, the name does not end in ``.zarr``, or see `geofuse.io.write.output.check_output`,
        `geofuse.io.write.space.check_space` and `geofuse.io.write.workspace.workspace`; nothing was computed.
    RunFailed
        Writing failed, or what was read back differs.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from geofuse.io.read.open import open_msi
    >>> msi = open_msi(files("geofuse") / "data" / "berlin_hires_3p6m.tif")
    >>> folder = tempfile.TemporaryDirectory()
    >>> receipt = write_zarr(msi[:, :64, :64], Path(folder.name) / "corner.zarr", progress=False)
    >>> receipt.windows_checked, xr.open_zarr(receipt.path).reflectance.shape
    (4, (4, 64, 64))
    """
    check_zarr(store)
    return write_raster(cube, store, dtype=dtype, overwrite=overwrite, progress=progress, block=block, resume=resume)


def check_zarr(store: str | os.PathLike[str]) -> None:
    """Refuse a store that cannot be written for its name, or for want of the package zarr.

    Raises
    ------
    OutputRefused
    """
    if not is_zarr(store):
        raise OutputRefused(f"The output {os.fspath(store)} must end in .zarr: it is a Zarr store.")
    try:
        import zarr
    except ImportError as error:
        raise OutputRefused("Writing Zarr needs the package zarr: pip install 'geofuse[zarr]'.") from error
    if int(zarr.__version__.split(".")[0]) < 3:
        raise OutputRefused(f"Writing Zarr needs zarr 3 or newer, found {zarr.__version__}: pip install 'geofuse[zarr]'.")


def fill_store(store: Path, draft: Draft, cube: xr.DataArray, statistics: BandStatistics, tags: dict[str, str]) -> None:
    """Make a store of a complete draft; what lies at its place goes.

    Parameters
    ----------
    store : pathlib.Path
    draft : Draft
        With all its overviews.
    cube : xarray.DataArray
        Of which the grid and the band table are taken.
    statistics : BandStatistics
        Of the stored numbers.
    tags : dict
        Of the store, beside the attributes that say where it lies.
    """
    import zarr

    shutil.rmtree(store, ignore_errors=True)
    with _as_settled():
        for level in range(draft.levels + 1):
            _describe(store, draft, cube, level)
            array = _stored(store, level, "r+")
            for corner, region in _shards(draft, level, array.shards):
                array[region] = _window(draft, level, region[0], corner)
            if level:
                zarr.consolidate_metadata(store, path=str(level))
        _add_statistics(store, cube, statistics)
        zarr.open_group(store, mode="r+").attrs.update(tags | root_attributes(geobox(cube), draft.levels, VARIABLE))
        zarr.consolidate_metadata(store)


def _add_statistics(store: Path, cube: xr.DataArray, statistics: BandStatistics) -> None:
    """A group of its own: beside the image it would be a second variable to those who look for one."""
    columns = {name: ("band", column) for name, column in statistics.table().items()}
    names = np.array(BandTable.from_cube(cube).names, dtype=object)
    table = xr.Dataset(columns, {"band": names}, {"long_name": "statistics of the stored numbers"})
    table.to_zarr(store, group=STATISTICS, zarr_format=3, consolidated=False)


def _group(level: int) -> str | None:
    return str(level) if level else None


def _describe(store: Path, draft: Draft, cube: xr.DataArray, level: int) -> None:
    """Write the group of a level, without its pixels."""
    import dask.array as da
    from zarr.codecs import BloscCodec

    table, grid, stored = BandTable.from_cube(cube), level_geobox(geobox(cube), level), draft.stored
    chunk, shard = chunking(draft.shape[0], draft.side, draft.itemsize)
    described = wrap(
        da.empty((draft.shape[0], *grid.shape), chunks=shard, dtype=np.float32),
        transform=grid.affine,
        crs=cube.spatial_ref.attrs["crs_wkt"],
        names=table.names,
        wavelength=table.wavelength,
        fwhm=table.fwhm,
        good=table.good,
        attrs={"long_name": cube.attrs.get("long_name", "surface reflectance"), **array_attributes(grid)},
        **({} if level else {"y": cube.y.values, "x": cube.x.values}),
    )
    name = FLAGS_VARIABLE if stored.flags else VARIABLE
    if stored.flags:
        described.attrs |= {key: value for key, value in cube.attrs.items() if key.startswith("flag_")}
    # as objects: Zarr 3 has a type for text of any length, and none for text of one length
    dataset = described.assign_coords(band=described.band.astype(object)).to_dataset(name=name)
    dataset[name].encoding = {
        "dtype": stored.dtype,
        "_FillValue": np.dtype(stored.dtype).type(stored.nodata),
        "fill_value": np.dtype(stored.dtype).type(stored.nodata),
        **({"scale_factor": stored.scale, "add_offset": 0.0} if stored.scale != 1 else {}),
        "chunks": chunk,
        "shards": shard,
        "compressors": [BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")],
        # CRS_COORD among them: a plain open_zarr then shows the CRS to rioxarray, which looks for it among the coordinates
        "coordinates": f"wavelength fwhm good {CRS_COORD}",
        "grid_mapping": CRS_COORD,
    }
    dataset.to_zarr(store, group=_group(level), zarr_format=3, consolidated=False, compute=False)


def _shards(draft: Draft, level: int, shard: tuple[int, ...]) -> Iterator[tuple[Corner, tuple[slice, slice, slice]]]:
    """Every shard of a level: the window that it covers, and its bands, rows and columns."""
    shape = (draft.shape[0], *draft.size(level))
    for first in product(*(range(0, length, step) for length, step in zip(shape, shard, strict=True))):
        b, r, c = (slice(start, min(start + step, length)) for start, step, length in zip(first, shard, shape, strict=True))
        yield (r.start, c.start, r.stop - r.start, c.stop - c.start), (b, r, c)


def _window(draft: Draft, level: int, bands: slice, corner: Corner) -> NDArray[Any]:
    window = np.empty((bands.stop - bands.start, *corner[2:]), draft.stored.dtype)
    file = os.open(draft.path(level), os.O_RDONLY)
    try:
        for plane, band in zip(window, range(bands.start, bands.stop), strict=True):
            plane[...] = draft.read(file, level, band, corner)
    finally:
        os.close(file)
    return window


def _stored(store: Path, level: int, mode: Any = "r") -> Any:
    import zarr

    return zarr.open_array(store, path=f"{level}/{_variable(store)}" if level else _variable(store), mode=mode, zarr_format=3)


def _variable(store: Path) -> str:
    return FLAGS_VARIABLE if (store / FLAGS_VARIABLE).is_dir() else VARIABLE


def stored_window(store: Path, corner: Corner) -> Iterator[NDArray[Any]]:
    """Stored numbers of a window of the image, band by band; read a chunk of bands at a time."""
    array, (top, left, height, width) = _stored(store, 0), corner
    for first in range(0, array.shape[0], array.chunks[0]):
        yield from np.ascontiguousarray(array[first : first + array.chunks[0], top : top + height, left : left + width])


def check_store(store: Path, draft: Draft, cube: xr.DataArray) -> None:
    """Read back what a store says of itself, and its overviews.

    Raises
    ------
    RunFailed
        Grid, bands, scale, nodata value or an overview differs.
    """
    with _as_settled(), xr.open_zarr(store, consolidated=True, mask_and_scale=False, chunks=None) as dataset:
        image, table = dataset[_variable(store)], BandTable.from_cube(cube)
        expected = {"_FillValue": draft.stored.nodata, "scale_factor": draft.stored.scale, "add_offset": 0.0}
        found = {"scale_factor": 1.0, "add_offset": 0.0} | image.attrs
        same = all(np.array_equal(found[key], value, equal_nan=True) for key, value in expected.items())
        written = tuple(map(float, image.spatial_ref.attrs["GeoTransform"].split()))
        same &= written == geobox(cube).affine.to_gdal() and image.spatial_ref.attrs["crs_wkt"] == cube.spatial_ref.attrs["crs_wkt"]
        same &= all(np.array_equal(image[dim], cube[dim]) for dim in ("y", "x"))
        same &= tuple(map(str, image.band.values)) == table.names
        same &= all(np.array_equal(image[key], getattr(table, key), equal_nan=True) for key in ("wavelength", "fwhm", "good"))
    if not same:
        raise RunFailed("the grid, the bands or the scale read back differ from what was written; nothing was left")
    for level in range(1, draft.levels + 1):
        array = _stored(store, level)
        for corner, region in _shards(draft, level, array.shards):
            if not np.array_equal(array[region], _window(draft, level, region[0], corner), equal_nan=draft.stored.dtype == "float32"):
                raise RunFailed(f"overview {level} read back differs from what was written, in {region}; nothing was left")


@contextmanager
def _as_settled() -> Iterator[None]:
    """Without the warning that consolidated metadata are not in the specification yet: all readers that look for them find them so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        yield
