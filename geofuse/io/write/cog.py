"""Write a cube as a Cloud-Optimized GeoTIFF: streamed, verified, complete or absent, and gone on with where it was interrupted.

Every tile is encoded where it is computed and written into an uncompressed draft, with the overview pixels that lie in it; then the
journal of the run says so, with a checksum of every window. When all tiles are there, GDAL compresses the draft into the order that
makes it a COG, and every window is read back and compared with its checksum, because a COG with valid headers and no pixels passes
every check of validity. All of it happens in a hidden folder beside the output (`geofuse.io.write.workspace`); the output appears by one rename.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.windows import Window

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import coordinate_tags
from geofuse.cube.schema import check_cube, geobox
from geofuse.cube.values import StoredType
from geofuse.errors import OutputRefused, RunFailed
from geofuse.io.read.fingerprint import content_sha256, content_size
from geofuse.io.read.gdal import open_raster
from geofuse.io.write.output import is_zarr
from geofuse.io.write.remote import check_remote, is_remote, leave, local_place, upload
from geofuse.io.write.space import check_space, disk_space
from geofuse.io.write.staging import Corner, Draft, Flagged
from geofuse.io.write.statistics import BandStatistics
from geofuse.io.write.translate import copy_here, translate
from geofuse.io.write.vrt import software, write_vrt
from geofuse.io.write.workspace import Workspace, check_target, told, workspace
from geofuse.progress import bar
from geofuse.run.stream import Place, as_tiles, run_tiles, starts

BLOCK = 512
_BLOCKS = (64, 128, 256, 512, 1024, 2048, 4096)
_GDAL_CACHE = 16 * 2**20
# Up to this many values a copy takes a second or two; a process of its own would take longer to start than it saves.
_COPY_HERE = 2**24
# Lossless both. Level 1, because after the predictor it finds nearly all there is (docs/research/compression.md).
_COMPRESSIONS = {"deflate": {"COMPRESS": "DEFLATE", "ZLEVEL": "1"}, "zstd": {"COMPRESS": "ZSTD", "ZSTD_LEVEL": "1"}}


@dataclass(frozen=True)
class Receipt:
    """What was written, and that it was read back.

    Attributes
    ----------
    path : pathlib.Path
        The file, or the folder of a Zarr store.
    sha256 : str
        Of the file, lower-case hex; of a folder as `geofuse.io.read.fingerprint.content_sha256` takes it.
    size : int
        Bytes of it.
    windows_checked : int
        Windows (of one band each) that were read back from the finished file and found equal.
    clipped : int
        Values that did not fit the stored type and were set to its limit.
    valid_percent : float
        Share of values that are data, %.
    """

    path: Path
    sha256: str
    size: int
    windows_checked: int
    clipped: int
    valid_percent: float

    @property
    def multihash(self) -> str:
        """The checksum as STAC's file extension wants it: multihash code 12 (sha2-256), length 20, in hex."""
        return f"1220{self.sha256}"


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
        Go on from what an interrupted run with the same lazy cube left; False starts again. A cube in memory is always written afresh.
    compression : str
        ``"deflate"``, which every reader of GeoTIFF knows, or ``"zstd"``, which is read in half the time by those that know it.

    Returns
    -------
    Receipt

    Raises
    ------
    InvalidCube
        ``cube`` is not a cube.
    OutputRefused
        See `check_output`, `check_space` and `geofuse.io.write.workspace.workspace`; nothing was computed.
    RunFailed
        Writing failed, or what was read back differs.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from geofuse.io.read.open import open_msi
    >>> msi = open_msi(files("geofuse") / "data" / "berlin_hires_3p6m.tif")
    >>> folder = tempfile.TemporaryDirectory()
    >>> receipt = write_cog(msi[:, :64, :64], Path(folder.name) / "corner.tif", progress=False)
    >>> receipt.windows_checked, receipt.clipped, receipt.valid_percent
    (4, 0, 100.0)
    """
    if is_zarr(path):
        raise OutputRefused(f"The output {path} would be a Zarr store; write it with to_zarr, or let its name end in .tif.")
    options: Any = {"dtype": dtype, "overwrite": overwrite, "progress": progress, "block": block, "resume": resume}
    return write_raster(cube, path, **options, extra_tags=extra_tags, compression=compression)


def write_raster(
    cube: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    dtype: str,
    overwrite: bool,
    progress: bool,
    block: int,
    resume: bool,
    extra_tags: dict[str, str] | None = None,
    compression: str = "deflate",
) -> Receipt:
    """Write what the name of the output says: a COG, or a Zarr store; see `write_cog` and `geofuse.io.write.zarr.write_zarr`."""
    check_cube(cube, "output")
    StoredType.named(dtype)
    if block not in _BLOCKS:
        raise ValueError(f"block must be a power of two from 64 to 4096, not {block}")
    if compression not in _COMPRESSIONS:
        raise OutputRefused(f"the compression is {compression!r}; expected {' or '.join(_COMPRESSIONS)}")
    bands, rows, cols = cube.shape
    resume = resume and cube.chunks is not None
    remote = str(path) if is_remote(path) else None
    if remote:
        path = local_place(remote)
        check_remote(remote, overwrite=overwrite, finished=told(path) if resume else None)
        overwrite = True  # what lies where an object is made is our own
    target = check_target(path, overwrite=overwrite)
    check_space([target], disk_space((bands, rows, cols), dtype), resume=resume)
    with workspace(target, _key(cube, dtype, block, extra_tags) | {"compression": compression}, resume=resume, overwrite=overwrite) as work:
        receipt = fill_draft(cube, work, dtype=dtype, block=block, progress=progress).finish(extra_tags or {}, progress, compression)
        work.publish()
        if remote:
            upload(target, remote, receipt.sha256)
    if remote:
        leave(target)
    return receipt


def _key(cube: xr.DataArray, dtype: str, block: int, tags: dict[str, str] | None) -> dict[str, Any]:
    """All that decides about the file; dask names an array by what it is computed from."""
    table, box = BandTable.from_cube(cube), geobox(cube)
    bands = hashlib.sha256(repr((table.names, table.wavelength.tolist(), table.fwhm.tolist(), table.good.tolist())).encode()).hexdigest()
    return {
        "software": software(),
        "pixels": getattr(cube.data, "name", "in memory"),
        "shape": list(cube.shape),
        "grid": [repr(float(v)) for v in tuple(box.affine)[:6]],
        "coordinates": coordinate_tags(cube, box.affine),
        "crs": cube.spatial_ref.attrs["crs_wkt"],
        "bands": bands,
        "dtype": dtype,
        "block": block,
        "tags": tags or {},
    }


def fill_draft(
    cube: xr.DataArray, work: Workspace, *, dtype: str = "int16", block: int = BLOCK, progress: bool = True, flagged: Any = None
) -> Filled:
    """Compute the tiles of a cube that the journal does not hold yet, and write them into the draft.

    Parameters
    ----------
    cube, dtype, block, progress
        As for `write_cog`.
    work : Workspace
        Where; its key must decide about all of these.
    flagged : dask.array.Array, shape (B + 1, H, W), optional
        What to compute instead of the cube's own pixels: the same, and the quality layer as the last plane (see `Filled.quality`).

    Returns
    -------
    Filled
        Of which `Filled.finish` makes the file.
    """
    bands, rows, cols = cube.shape
    # an image smaller than a block needs no block of that size: 177 bands of 60 x 80 pixels would fill 90 MB
    side = min(block, -(-max(rows, cols) // 16) * 16)
    data = as_tiles(cube.data if flagged is None else flagged, side)
    draft = Draft(work.folder, (bands, rows, cols), StoredType.named(dtype), side, starts(data))
    places = [(i, j) for i in range(len(draft.starts[0])) for j in range(len(draft.starts[1]))]
    tiles = draft if flagged is None else Flagged.beside(draft)
    filled = Filled(cube, draft, work, places, tiles)
    if "final" in work.journal:
        return filled
    tiles.allocate()
    missing = filled.missing(progress)
    with bar(len(places), desc="writing", unit="tile", enabled=progress) as steps:
        steps.update(len(places) - len(missing))

        def done(place: Place, record: dict[str, Any]) -> None:
            work.journal.append(_name(place), **record)
            steps.update()

        run_tiles(data, tiles.store, missing, done)
    return filled


def _name(place: Place) -> str:
    return f"tile {place[0]} {place[1]}"


@dataclass(frozen=True)
class Filled:
    """A cube, its draft, and the journal that tells of every tile in it; made by `fill_draft`."""

    cube: xr.DataArray
    draft: Draft
    work: Workspace
    places: list[Place]
    tiles: Draft | Flagged

    def missing(self, progress: bool) -> list[Place]:
        """Tiles that the journal does not tell of, or tells of in vain: what it says is compared with what is on file."""
        told = [place for place in self.places if _name(place) in self.work.journal]
        with ThreadPoolExecutor(_threads()) as pool, bar(len(told), desc="checking", unit="tile", enabled=progress and bool(told)) as steps:
            for place, held in zip(told, pool.map(self._holds, told), strict=True):
                if not held:
                    self.work.journal.drop(_name(place))
                steps.update()
        return [place for place in self.places if _name(place) not in self.work.journal]

    def _holds(self, place: Place) -> bool:
        return self.tiles.holds(self._record(place))

    def _record(self, place: Place) -> dict[str, Any]:
        record = self.work.journal.get(_name(place))
        assert record is not None
        return record

    @property
    def quality(self) -> NDArray[np.uint8]:
        """The quality layer, (rows, columns), from the disk; only where it was computed with the image."""
        assert isinstance(self.tiles, Flagged)
        return self.tiles.layer()

    def finish(self, tags: dict[str, str], progress: bool, compression: str = "deflate") -> Receipt:
        """Make the output in the workspace, read it back, and say what was made; what an earlier run verified is not made again."""
        statistics, clipped = BandStatistics(self.draft.shape[0]), 0
        for place in self.places:  # always in this order: the same rounding, whoever was first
            record = self._record(place)
            statistics.merge(record["statistics"])
            clipped += record["clipped"]
        with bar(4, desc="finishing", unit="step", enabled=progress) as steps, rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE):
            if "final" not in self.work.journal:
                self.draft.complete_overviews()
                steps.update()
                self._make(statistics, tags, compression)
                steps.update()
                self.verify(self.work.final)
                steps.update()
                self.work.journal.append("final", sha256=content_sha256(self.work.final), size=content_size(self.work.final))
            steps.update()
        final = self.work.journal.get("final")
        assert final is not None
        if clipped:
            self._tell(clipped)
        windows = sum(1 for _ in self._windows()) * self.draft.shape[0]
        return Receipt(self.work.target, final["sha256"], final["size"], windows, clipped, statistics.valid_percent)

    def _make(self, statistics: BandStatistics, tags: dict[str, str], compression: str) -> None:
        if is_zarr(self.work.target):
            from geofuse.io.write.zarr import fill_store

            fill_store(self.work.final, self.draft, self.cube, statistics, tags)
        else:
            _compress(self._show(statistics, tags), self.work.final, self.draft, compression)

    def _show(self, statistics: BandStatistics, tags: dict[str, str]) -> Path:
        crs_wkt = self.cube.spatial_ref.attrs["crs_wkt"]
        transform = geobox(self.cube).affine
        tags = {**tags, **coordinate_tags(self.cube, transform)}
        return write_vrt(self.draft, BandTable.from_cube(self.cube), statistics, transform, crs_wkt, tags)

    def _tell(self, clipped: int) -> None:
        name, limit = self.work.target.name, self.draft.stored.limit
        warnings.warn(f"{clipped} values beyond ±{limit:.4g} were clipped in {name}; dtype='float32' keeps finite ones", stacklevel=4)

    def _windows(self) -> Iterator[tuple[Place, int, Corner]]:
        """Every window of which there is a checksum: its tile, its number in the tile, and where it is."""
        for place in self.places:
            top, left = self.draft.starts[0][place[0]], self.draft.starts[1][place[1]]
            bottom, right = (
                starts[k + 1] if k + 1 < len(starts) else size
                for k, starts, size in zip(place, self.draft.starts, self.draft.shape[1:], strict=True)
            )
            for number, window in enumerate(self.draft.windows((top, left, bottom - top, right - left))):
                yield place, number, window

    def verify(self, path: Path) -> None:
        """Read every window of the finished file back and compare it with what was stored.

        Raises
        ------
        RunFailed
            A window, the grid or the nodata value differs.
        """
        if is_zarr(path):
            from geofuse.io.write.zarr import check_store

            check_store(path, self.draft, self.cube)
        else:
            self._check_cog(path)
        with ThreadPoolExecutor(_threads()) as pool:
            found = [wrong for tile in pool.map(lambda place: self._differing(path, place), self.places) for wrong in tile]
        if found:
            band, row, col = min(found)
            total = sum(1 for _ in self._windows()) * self.draft.shape[0]
            where = f"first in band {band + 1} at row {row}, column {col}"
            raise RunFailed(f"{len(found)} of {total} windows read back differ from what was written, {where}; nothing was left")

    def _check_cog(self, path: Path) -> None:
        stored, box = self.draft.stored, geobox(self.cube)
        with open_raster(path) as file:
            same_nodata = file.nodata is not None and np.array_equal([file.nodata], [stored.nodata], equal_nan=True)
            if file.transform != box.affine or not same_nodata:
                raise RunFailed(f"the grid or nodata value read back differs ({file.transform!r}, {file.nodata}); nothing was left")
            if file.crs != rasterio.crs.CRS.from_wkt(self.cube.spatial_ref.attrs["crs_wkt"]):
                warnings.warn(f"GeoTIFF cannot hold the CRS {box.crs} exactly; check the one in the file", stacklevel=2)

    def _differing(self, path: Path, place: Place) -> list[tuple[int, int, int]]:
        """Band, row and column of the windows of a tile that do not have the checksum that they had when they were made."""
        record = self._record(place)
        corners = list(enumerate(self.draft.windows(tuple(record["corner"]))))
        with _reader(path) as read:
            return [
                (band, corner[0], corner[1])
                for number, corner in corners
                for band, plane in enumerate(read(corner))
                if crc32(plane) != record["crc"][band][number]
            ]


@contextmanager
def _reader(path: Path) -> Iterator[Callable[[Corner], Iterable[Any]]]:
    """What reads the stored numbers of a window of a finished image, band by band."""
    if is_zarr(path):
        from geofuse.io.write.zarr import stored_window

        yield lambda corner: stored_window(path, corner)
        return
    with open_raster(path) as file:
        yield lambda corner: (file.read(band, window=Window(corner[1], corner[0], corner[3], corner[2])) for band in file.indexes)


def _threads() -> int:
    return min(4, os.cpu_count() or 1)


def _compress(draft: Path, final: Path, layout: Draft, compression: str) -> None:
    """Copy the draft in the order of a COG: directories, smallest overview first, full image last.

    Band by band: pixel by pixel would be a fifth smaller, and whoever looks at three bands would decode all of them.
    """
    options = {
        **{"COPY_SRC_OVERVIEWS": "YES", "TILED": "YES", "BLOCKXSIZE": str(layout.side), "BLOCKYSIZE": str(layout.side)},
        **_COMPRESSIONS[compression],
        **{"PREDICTOR": "3" if layout.stored.dtype == "float32" else "2", "INTERLEAVE": "BAND"},
        **{"PHOTOMETRIC": "MINISBLACK", "ALPHA": "NO", "BIGTIFF": "IF_SAFER", "NUM_THREADS": "ALL_CPUS"},
    }
    final.unlink(missing_ok=True)
    if np.prod(layout.shape, dtype=np.int64) <= _COPY_HERE:
        copy_here(str(draft), str(final), options)
    else:
        translate(draft, final, options)
