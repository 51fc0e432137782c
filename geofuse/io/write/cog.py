"""Cloud-Optimized GeoTIFF: GDAL compresses the staging raster into the order that makes it one."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from geofuse.cube import flags
from geofuse.cube.bands import BandTable
from geofuse.cube.georef import coordinate_tags
from geofuse.cube.schema import geobox
from geofuse.errors import InvalidCube, InvalidOutput, RunError
from geofuse.io.read import geotiff
from geofuse.io.read.gdal import is_tiff, open_raster
from geofuse.io.read.metadata import describe
from geofuse.io.write.base import BAND_STATISTICS, OutputFormat, Written, WrittenBand
from geofuse.io.write.engine import BLOCK, Receipt, write_raster
from geofuse.io.write.output import RUN_TAG
from geofuse.io.write.staging import Corner, StagingRaster
from geofuse.io.write.statistics import BandStatistics
from geofuse.io.write.translate import copy_here, translate
from geofuse.io.write.vrt import write_vrt

# Up to this many values a copy takes a second or two; a process of its own would take longer to start than it saves.
_COPY_HERE = 2**24
# Lossless both. Level 1, because after the predictor it finds nearly all there is (docs/research/compression.md).
_COMPRESSIONS = {"deflate": {"COMPRESS": "DEFLATE", "ZLEVEL": "1"}, "zstd": {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "1"}}


def write_cog(
    cube: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    dtype: str = "int16",
    overwrite: bool = False,
    progress: bool = True,
    block: int = BLOCK,
    extra_tags: dict[str, str] | None = None,
    resume: bool = True,
    compression: str = "deflate",
) -> Receipt:
    """Write a cube as a Cloud-Optimized GeoTIFF without ever holding it; red, green and blue are marked (`geofuse.io.write.vrt.colours_of`).

    Parameters
    ----------
    cube : xarray.DataArray
        A cube; dask chunks are computed once each, on the active scheduler, whose workers must see the output's folder.
    path : str or path
        The output. It appears when it is complete and verified, or not at all. ``s3://bucket/key`` is made in the temporary folder first.
    dtype : str
        ``"int16"`` (scale 1e-4, nodata -32768) or ``"float32"`` (nodata NaN).
    overwrite : bool
        Replace an existing file.
    progress : bool
        Show progress on stderr.
    block : int
        Pixels along the side of an internal tile: a power of two from 64 to 4096.
    extra_tags : dict, optional
        More tags for the file.
    resume : bool
        Resume what an interrupted run with the same lazy cube left; False starts again. A cube in memory is always written afresh.
    compression : str
        ``"deflate"``, which every reader of GeoTIFF knows, or ``"zstd"``, which is read in half the time by those that know it.

    Returns
    -------
    Receipt

    Raises
    ------
    InvalidCube
        ``cube`` is not a cube.
    InvalidOutput
        See `geofuse.io.write.output.check_output`, `geofuse.io.write.space.check_space` and `geofuse.io.write.workspace.workspace`; nothing
        was computed.
    RunError
        Writing failed, or what was read back differs.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from geofuse.io.read.open import open_msi
    >>> msi = open_msi(files("geofuse") / "demo" / "data" / "berlin_hires_3p6m.tif")
    >>> folder = tempfile.TemporaryDirectory()
    >>> receipt = write_cog(msi[:, :64, :64], Path(folder.name) / "corner.tif", progress=False)
    >>> receipt.windows_checked, receipt.clipped, receipt.valid_percent
    (4, 0, 100.0)
    """
    options: Any = {"dtype": dtype, "overwrite": overwrite, "progress": progress, "block": block, "resume": resume}
    return write_raster(cube, path, COG, **options, extra_tags=extra_tags, options={"compression": compression})


class CloudOptimizedGeoTiff(OutputFormat):
    """The format; its option ``compression`` is that of `write_cog`."""

    name = "GeoTIFF"
    suffixes = (".tif", ".tiff")

    def check(self, path: str | os.PathLike[str], options: Mapping[str, str]) -> None:
        """Any name is one of a file."""
        compression = options.get("compression", "deflate")
        if compression not in _COMPRESSIONS:
            raise InvalidOutput(f"the compression is {compression!r}; expected {' or '.join(_COMPRESSIONS)}")

    def recognises(self, path: Path) -> bool:
        """Any file may be replaced."""
        return not path.is_dir()

    def finalize(
        self,
        final: Path,
        staging: StagingRaster,
        cube: xr.DataArray,
        statistics: BandStatistics,
        tags: Mapping[str, str],
        options: Mapping[str, str],
    ) -> None:
        """A VRT shows GDAL the staging raster, which it copies."""
        transform, crs_wkt = geobox(cube).affine, cube.spatial_ref.attrs["crs_wkt"]
        tags = {**(_flag_tags() if staging.stored.flags else {}), **tags, **coordinate_tags(cube, transform)}
        vrt = write_vrt(staging, BandTable.from_cube(cube), statistics, transform, crs_wkt, tags)
        _compress(vrt, final, staging, options.get("compression", "deflate"))

    def check_metadata(self, final: Path, staging: StagingRaster, cube: xr.DataArray) -> None:
        """Grid, nodata value and CRS."""
        stored, box = staging.stored, geobox(cube)
        with open_raster(final) as file:
            same_nodata = file.nodata is not None and np.array_equal([file.nodata], [stored.nodata], equal_nan=True)
            if file.transform != box.affine or not same_nodata:
                raise RunError(f"the grid or nodata value read back differs ({file.transform!r}, {file.nodata}); nothing was left")
            if file.crs != rasterio.crs.CRS.from_wkt(cube.spatial_ref.attrs["crs_wkt"]):
                warnings.warn(f"GeoTIFF cannot hold the CRS {box.crs} exactly; check the one in the file", stacklevel=2)

    def windows(self, final: Path, corners: Sequence[Corner]) -> Iterator[Iterable[NDArray[Any]]]:
        """Read by GDAL, which keeps what it decoded between bands."""
        with open_raster(final) as file:
            for top, left, height, width in corners:
                window = Window(left, top, width, height)
                yield (file.read(band, window=window) for band in file.indexes)

    def run_of(self, path: Path) -> str | None:
        """From the tags, where all of the file is there."""
        if not is_tiff(path):
            return None
        geotiff.check_complete(path)
        with open_raster(path) as file:
            return file.tags().get(RUN_TAG)

    def describe(self, path: Path) -> Written:
        """From the tags."""
        try:
            with open_raster(path) as dataset:
                return _described(path, dataset)
        except RasterioIOError as error:
            raise InvalidCube(f"Cannot describe {path}: {error}. Expected a GeoTIFF that was written completely.") from error


COG = CloudOptimizedGeoTiff()


def _flag_tags() -> dict[str, str]:
    """What says what the values of a quality layer mean."""
    about = flags.attributes()
    masks = ",".join(map(str, about["flag_masks"]))
    return {"flag_masks": masks, "flag_meanings": about["flag_meanings"], "quality": flags.description()}


def _compress(vrt: Path, final: Path, staging: StagingRaster, compression: str) -> None:
    """Copy the staging raster in the order of a COG: directories, smallest overview first, full image last.

    Band by band: pixel by pixel would be a fifth smaller, and a reader of three bands would decode all of them.
    """
    options = {
        **{"COPY_SRC_OVERVIEWS": "YES", "TILED": "YES", "BLOCKXSIZE": str(staging.side), "BLOCKYSIZE": str(staging.side)},
        **_COMPRESSIONS[compression],
        **{"PREDICTOR": "3" if staging.stored.dtype == "float32" else "2", "INTERLEAVE": "BAND"},
        **{"PHOTOMETRIC": "MINISBLACK", "ALPHA": "NO", "BIGTIFF": "IF_SAFER", "NUM_THREADS": "ALL_CPUS"},
    }
    final.unlink(missing_ok=True)
    if np.prod(staging.shape, dtype=np.int64) <= _COPY_HERE:
        copy_here(str(vrt), str(final), options)
    else:
        translate(vrt, final, options)


def _described(raster: Path, dataset: Any) -> Written:
    if dataset.crs is None:
        raise InvalidCube(f"Cannot describe {raster}: it has no coordinate reference system. Write it with one.")
    columns = zip(dataset.dtypes, dataset.nodatavals, dataset.scales, dataset.offsets, dataset.units, strict=True)
    bands = tuple(
        WrittenBand(dtype, nodata, float(scale), float(offset), unit or "1", _tagged(dataset.tags(index)))
        for index, (dtype, nodata, scale, offset, unit) in enumerate(columns, start=1)
    )
    geobox = GeoBox(dataset.shape, dataset.transform, dataset.crs.to_wkt())
    return Written(geobox, dataset.crs, describe(dataset, every_band=False).table, bands, dataset.tags())


def _tagged(tags: Mapping[str, str]) -> dict[str, float]:
    """Statistics in GDAL's tags, as far as they are finite numbers: tags are free text and may hold anything."""
    return {key: number for key in BAND_STATISTICS if math.isfinite(number := _number(tags.get(f"STATISTICS_{key.upper()}")))}


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan
