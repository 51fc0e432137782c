"""Write a cube as a Zarr store (version 3, sharded, consolidated): streamed, verified, complete or absent, resumed.

Tiles go into the same staging raster as for a COG (`geofuse.io.write.engine`), by the same journal, and the overviews are the same numbers. When all tiles
are there, shards are filled from the staging raster one after the other, read back and compared, and the store appears by one rename.

The root group holds the image and nothing else, so that opening the store shows it; overviews are the groups ``1``, ``2``, …, each of
which xarray opens by itself, and the group ``statistics`` holds those of the bands. What says where it lies: `geofuse.io.geozarr`.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import CENTRES, CRS_COORD
from geofuse.cube.masks import MASK
from geofuse.cube.schema import geobox, wrap
from geofuse.errors import InvalidCube, InvalidOutput, RunError
from geofuse.io.geozarr import array_attributes, chunking, level_geobox, root_attributes
from geofuse.io.read.zarr import describe_store, is_store
from geofuse.io.write.base import BAND_STATISTICS, OutputFormat, Written, WrittenBand
from geofuse.io.write.engine import BLOCK, Receipt, write_raster
from geofuse.io.write.output import RUN_TAG
from geofuse.io.write.staging import Corner, StagingRaster
from geofuse.io.write.statistics import BandStatistics

VARIABLE, FLAGS_VARIABLE = "reflectance", "quality"
STATISTICS = "statistics"
_LAYERS = (*CENTRES, MASK)  # coordinates (y, x) that are kept


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
    InvalidOutput
        The package zarr is missing, the name does not end in ``.zarr``, or see `geofuse.io.write.output.check_output`,
        `geofuse.io.write.space.check_space` and `geofuse.io.write.workspace.workspace`; nothing was computed.
    RunError
        Writing failed, or what was read back differs.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from geofuse.io.read.open import open_msi
    >>> msi = open_msi(files("geofuse") / "demo" / "data" / "berlin_hires_3p6m.tif")
    >>> folder = tempfile.TemporaryDirectory()
    >>> receipt = write_zarr(msi[:, :64, :64], Path(folder.name) / "corner.zarr", progress=False)
    >>> receipt.windows_checked, xr.open_zarr(receipt.path).reflectance.shape
    (4, (4, 64, 64))
    """
    return write_raster(cube, store, ZARR, dtype=dtype, overwrite=overwrite, progress=progress, block=block, resume=resume)


class ZarrStore(OutputFormat):
    """The format: a folder, made one by the ``zarr.json`` at its root; without options."""

    name = "Zarr store"
    suffixes = (".zarr",)
    root = "zarr.json"

    def check(self, path: str | os.PathLike[str], options: Mapping[str, str]) -> None:
        """The name ends in ``.zarr``, and the package zarr is there."""
        if not os.fspath(path).lower().endswith(self.suffixes):
            raise InvalidOutput(f"The output {os.fspath(path)} must end in .zarr: it is a Zarr store.")
        try:
            import zarr
        except ImportError as error:
            raise InvalidOutput("Writing Zarr needs the package zarr: pip install 'geofuse[zarr]'.") from error
        if int(zarr.__version__.split(".")[0]) < 3:
            raise InvalidOutput(f"Writing Zarr needs zarr 3 or newer, found {zarr.__version__}: pip install 'geofuse[zarr]'.")

    def recognises(self, path: Path) -> bool:
        """A folder of other things is not to be replaced."""
        return is_store(path)

    def finalize(
        self,
        final: Path,
        staging: StagingRaster,
        cube: xr.DataArray,
        statistics: BandStatistics,
        tags: Mapping[str, str],
        options: Mapping[str, str],
    ) -> None:
        """Shards are filled one after the other."""
        fill_store(final, staging, cube, statistics, tags)

    def check_metadata(self, final: Path, staging: StagingRaster, cube: xr.DataArray) -> None:
        """Grid, bands, scale, and the overviews."""
        check_store(final, staging, cube)

    def windows(self, final: Path, corners: Sequence[Corner]) -> Iterator[Iterable[NDArray[Any]]]:
        """Read a chunk of bands at a time."""
        array = _stored(final, 0)
        for corner in corners:
            yield _planes(array, corner)

    def run_of(self, path: Path) -> str | None:
        """From the attributes of the root."""
        found: str | None = json.loads((path / "zarr.json").read_bytes())["attributes"].get(RUN_TAG)
        return found

    def describe(self, path: Path) -> Written:
        """From the attributes, and the group of the statistics."""
        return _described(path)


ZARR = ZarrStore()


def fill_store(store: Path, staging: StagingRaster, cube: xr.DataArray, statistics: BandStatistics, tags: Mapping[str, str]) -> None:
    """Make a store of a complete staging raster; what lies at its place goes.

    Parameters
    ----------
    store : pathlib.Path
    staging : StagingRaster
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
        for level in range(staging.levels + 1):
            _describe(store, staging, cube, level)
            array = _stored(store, level, "r+")
            for corner, region in _shards(staging, level, array.shards):
                array[region] = _window(staging, level, region[0], corner)
            if not level:
                _add_layers(store, cube, array.chunks[1:])
            else:
                zarr.consolidate_metadata(store, path=str(level))
        _add_statistics(store, cube, statistics)
        zarr.open_group(store, mode="r+").attrs.update(dict(tags) | root_attributes(geobox(cube), staging.levels, _variable(store)))
        zarr.consolidate_metadata(store)


def _add_statistics(store: Path, cube: xr.DataArray, statistics: BandStatistics) -> None:
    """A group of its own: beside the image it would be a second variable to those who look for one."""
    columns = {name: ("band", column) for name, column in statistics.table().items()}
    names = np.array(BandTable.from_cube(cube).names, dtype=object)
    table = xr.Dataset(columns, {"band": names}, {"long_name": "statistics of the stored numbers"})
    table.to_zarr(store, group=STATISTICS, zarr_format=3, consolidated=False)


def _add_layers(store: Path, cube: xr.DataArray, chunks: tuple[int, int]) -> None:
    """True centres and mask of the pixels, chunk by chunk."""
    layers = {name: cube.coords[name].variable.chunk(dict(zip(("y", "x"), chunks, strict=True))) for name in _LAYERS if name in cube.coords}
    if layers:
        made = xr.Dataset({name: xr.Variable(("y", "x"), layer.data, layer.attrs) for name, layer in layers.items()})
        made.to_zarr(store, mode="a", zarr_format=3, consolidated=False)


def _group(level: int) -> str | None:
    return str(level) if level else None


def _describe(store: Path, staging: StagingRaster, cube: xr.DataArray, level: int) -> None:
    """Write the group of a level, without its pixels."""
    import dask.array as da
    from zarr.codecs import BloscCodec

    table, grid, stored = BandTable.from_cube(cube), level_geobox(geobox(cube), level), staging.stored
    chunk, shard = chunking(staging.shape[0], staging.side, staging.itemsize)
    described = wrap(
        da.empty((staging.shape[0], *grid.shape), chunks=shard, dtype=np.float32),
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
        "coordinates": " ".join(["wavelength fwhm good", CRS_COORD, *(name for name in _LAYERS if name in cube.coords and not level)]),
        "grid_mapping": CRS_COORD,
    }
    dataset.to_zarr(store, group=_group(level), zarr_format=3, consolidated=False, compute=False)


def _shards(staging: StagingRaster, level: int, shard: tuple[int, ...]) -> Iterator[tuple[Corner, tuple[slice, slice, slice]]]:
    """Every shard of a level: the window that it covers, and its bands, rows and columns."""
    shape = (staging.shape[0], *staging.size(level))
    for first in product(*(range(0, length, step) for length, step in zip(shape, shard, strict=True))):
        b, r, c = (slice(start, min(start + step, length)) for start, step, length in zip(first, shard, shape, strict=True))
        yield (r.start, c.start, r.stop - r.start, c.stop - c.start), (b, r, c)


def _window(staging: StagingRaster, level: int, bands: slice, corner: Corner) -> NDArray[Any]:
    window = np.empty((bands.stop - bands.start, *corner[2:]), staging.stored.dtype)
    file = os.open(staging.path(level), os.O_RDONLY)
    try:
        for plane, band in zip(window, range(bands.start, bands.stop), strict=True):
            plane[...] = staging.read(file, level, band, corner)
    finally:
        os.close(file)
    return window


def _stored(store: Path, level: int, mode: Any = "r") -> Any:
    import zarr

    return zarr.open_array(store, path=f"{level}/{_variable(store)}" if level else _variable(store), mode=mode, zarr_format=3)


def _variable(store: Path) -> str:
    return FLAGS_VARIABLE if (store / FLAGS_VARIABLE).is_dir() else VARIABLE


def _planes(array: Any, corner: Corner) -> Iterator[NDArray[Any]]:
    top, left, height, width = corner
    for first in range(0, array.shape[0], array.chunks[0]):
        yield from np.ascontiguousarray(array[first : first + array.chunks[0], top : top + height, left : left + width])


def check_store(store: Path, staging: StagingRaster, cube: xr.DataArray) -> None:
    """Read back what a store says of itself, and its overviews.

    Raises
    ------
    RunError
        Grid, bands, scale, nodata value or an overview differs.
    """
    with _as_settled(), xr.open_zarr(store, consolidated=True, mask_and_scale=False, chunks=None) as dataset:
        image, table = dataset[_variable(store)], BandTable.from_cube(cube)
        expected = {"_FillValue": staging.stored.nodata, "scale_factor": staging.stored.scale, "add_offset": 0.0}
        found = {"scale_factor": 1.0, "add_offset": 0.0} | image.attrs
        same = all(np.array_equal(found[key], value, equal_nan=True) for key, value in expected.items())
        written = tuple(map(float, image.spatial_ref.attrs["GeoTransform"].split()))
        same &= written == geobox(cube).affine.to_gdal() and image.spatial_ref.attrs["crs_wkt"] == cube.spatial_ref.attrs["crs_wkt"]
        same &= all(np.array_equal(image[dim], cube[dim]) for dim in ("y", "x"))
        same &= tuple(map(str, image.band.values)) == table.names
        same &= all(np.array_equal(image[key], getattr(table, key), equal_nan=True) for key in ("wavelength", "fwhm", "good"))
        same &= all(cube.coords[name].variable.equals(dataset[name].variable.chunk()) for name in _LAYERS if name in cube.coords)
    if not same:
        raise RunError("the grid, the bands or the scale read back differ from what was written; nothing was left")
    for level in range(1, staging.levels + 1):
        array = _stored(store, level)
        for corner, region in _shards(staging, level, array.shards):
            if not np.array_equal(array[region], _window(staging, level, region[0], corner), equal_nan=staging.stored.dtype == "float32"):
                raise RunError(f"overview {level} read back differs from what was written, in {region}; nothing was left")


@contextmanager
def _as_settled() -> Iterator[None]:
    """Without the warning that consolidated metadata are not in the specification yet: all readers that look for them find them so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        yield


def _described(folder: Path) -> Written:
    try:
        store = describe_store(folder)
    except InvalidCube as error:
        raise InvalidCube(f"Cannot describe {folder}: {error}.") from None
    group, _, variable = store.array.name.rpartition("/")
    statistics = _stored_statistics(folder, group, len(store.table))
    dtype = np.dtype(store.encoding["dtype"])
    nodata = store.encoding.get("_FillValue", np.nan if dtype.kind == "f" else None)
    columns = zip(store.array.scale, store.array.offset, statistics, strict=True)
    bands = tuple(WrittenBand(dtype.name, nodata, scale, offset, "1", found) for scale, offset, found in columns)
    crs = CRS.from_wkt(store.crs.to_wkt())
    geobox = GeoBox((store.array.height, store.array.width), store.transform, store.crs.to_wkt())
    return Written(geobox, crs, store.table, bands, {}, variable)


def _stored_statistics(folder: Path, group: str, bands: int) -> list[dict[str, float]]:
    place = folder / group / STATISTICS
    if not (place / "zarr.json").is_file():
        return [{} for _ in range(bands)]
    with xr.open_zarr(place, consolidated=False, chunks=None) as dataset:
        columns = {key: dataset[key].values for key in BAND_STATISTICS if key in dataset and dataset[key].shape == (bands,)}
    return [{key: float(column[band]) for key, column in columns.items() if np.isfinite(column[band])} for band in range(bands)]
