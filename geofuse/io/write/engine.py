"""The writer: staged, verified, complete or absent, resumed after an interruption; whatever the format is, and wherever the output goes.

Every tile is encoded where it is computed and written into an uncompressed staging raster, with the overview pixels that lie in it; then the
journal of the run says so, with a checksum of every window. When all tiles are there, the format (`geofuse.io.write.base.OutputFormat`) makes
the output of them, and every window is read back and compared with its checksum, because a file with valid headers and no pixels passes every
check of validity. All of it happens in a hidden folder beside the output (`geofuse.io.write.workspace`); the output appears by one rename, and
goes from there where it shall (`geofuse.io.write.destinations`).
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray

from geofuse.cube.bands import BandTable
from geofuse.cube.georef import coordinate_tags
from geofuse.cube.schema import check_cube, geobox
from geofuse.cube.values import StoredType
from geofuse.errors import RunError
from geofuse.io.read.fingerprint import content_sha256, content_size
from geofuse.io.write.base import OutputFormat
from geofuse.io.write.destinations import destination_of
from geofuse.io.write.journal import Record
from geofuse.io.write.space import check_space, disk_space
from geofuse.io.write.staging import Corner, Flagged, StagingRaster
from geofuse.io.write.statistics import BandStatistics
from geofuse.io.write.vrt import software
from geofuse.io.write.workspace import Workspace, workspace
from geofuse.progress import bar
from geofuse.run.stream import Place, as_tiles, run_tiles, starts

BLOCK = 512
_BLOCKS = (64, 128, 256, 512, 1024, 2048, 4096)
_GDAL_CACHE = 16 * 2**20


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


def write_raster(
    cube: xr.DataArray,
    path: str | os.PathLike[str],
    output_format: OutputFormat,
    *,
    dtype: str = "int16",
    overwrite: bool = False,
    progress: bool = True,
    block: int = BLOCK,
    resume: bool = True,
    extra_tags: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> Receipt:
    """Write a cube without ever holding it.

    Parameters
    ----------
    cube, path, dtype, overwrite, progress, block, extra_tags, resume
        As for `geofuse.io.write.cog.write_cog`.
    output_format : OutputFormat
        See `geofuse.io.write.formats.format_of`.
    options : mapping, optional
        Of the format.
    """
    tags, options = dict(extra_tags or {}), dict(options or {})
    output_format.check(path, options)
    check_cube(cube, "output")
    StoredType.named(dtype)
    if block not in _BLOCKS:
        raise ValueError(f"block must be a power of two from 64 to 4096, not {block}")
    resume = resume and cube.chunks is not None
    destination = destination_of(path, output_format)
    destination.check(overwrite=overwrite, resume=resume)
    target = destination.target
    check_space([target], disk_space(cube.shape, dtype), resume=resume)  # type: ignore[arg-type]
    overwrite = overwrite or destination.private
    with workspace(target, _key(cube, dtype, block, tags) | options, resume=resume, overwrite=overwrite) as work:
        staged = stage_tiles(cube, work, output_format, dtype=dtype, block=block, progress=progress)
        receipt = staged.finish(tags, progress, options)
        staged.publish()
        destination.publish(receipt.sha256)
    destination.cleanup()
    return receipt


def _key(cube: xr.DataArray, dtype: str, block: int, tags: dict[str, str]) -> dict[str, Any]:
    """All that decides about the output; dask names an array by what it is computed from."""
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
        "tags": tags,
    }


def stage_tiles(
    cube: xr.DataArray,
    work: Workspace,
    output_format: OutputFormat,
    *,
    dtype: str = "int16",
    block: int = BLOCK,
    progress: bool = True,
    flagged: Any = None,
) -> StagedRaster:
    """Compute the tiles of a cube that the journal does not hold yet, and write them into the staging raster.

    Parameters
    ----------
    cube, dtype, block, progress
        As for `geofuse.io.write.cog.write_cog`.
    work : Workspace
        Where; its key must decide about all of these.
    output_format : OutputFormat
        Of the output that shall be made.
    flagged : dask.array.Array, shape (B + 1, H, W), optional
        What to compute instead of the cube's own pixels: the same, and the quality layer as the last plane (see `StagedRaster.quality`).

    Returns
    -------
    StagedRaster
        Of which `StagedRaster.finish` makes the output.
    """
    bands, rows, cols = cube.shape
    # an image smaller than a block needs no block of that size: 177 bands of 60 x 80 pixels would fill 90 MB
    side = min(block, -(-max(rows, cols) // 16) * 16)
    data = as_tiles(cube.data if flagged is None else flagged, side)
    staging = StagingRaster(work.folder, (bands, rows, cols), StoredType.named(dtype), side, starts(data))
    places = [(i, j) for i in range(len(staging.starts[0])) for j in range(len(staging.starts[1]))]
    tiles = staging if flagged is None else Flagged.beside(staging)
    staged = StagedRaster(cube, staging, work, output_format, places, tiles)
    if "final" in work.journal:
        return staged
    tiles.allocate()
    missing = staged.missing(progress)
    with bar(len(places), desc="writing", unit="tile", enabled=progress) as steps:
        steps.update(len(places) - len(missing))

        def done(place: Place, record: Record) -> None:
            work.journal.append(_name(place), **record)
            steps.update()

        run_tiles(data, tiles.store, missing, done)
    return staged


def _name(place: Place) -> str:
    return f"tile {place[0]} {place[1]}"


@dataclass(frozen=True)
class StagedRaster:
    """A cube, its staging raster, and the journal that records every tile in it; made by `stage_tiles`."""

    cube: xr.DataArray
    staging: StagingRaster
    work: Workspace
    format: OutputFormat
    places: list[Place]
    tiles: StagingRaster | Flagged

    def missing(self, progress: bool) -> list[Place]:
        """Tiles that the journal does not record, or records in vain: what it says is compared with what is on file."""
        recorded = [place for place in self.places if _name(place) in self.work.journal]
        steps_shown = progress and bool(recorded)
        with ThreadPoolExecutor(_threads()) as pool, bar(len(recorded), desc="checking", unit="tile", enabled=steps_shown) as steps:
            for place, held in zip(recorded, pool.map(self._holds, recorded), strict=True):
                if not held:
                    self.work.journal.drop(_name(place))
                steps.update()
        return [place for place in self.places if _name(place) not in self.work.journal]

    def _holds(self, place: Place) -> bool:
        return self.tiles.holds(self._record(place))

    def _record(self, place: Place) -> Record:
        record = self.work.journal.get(_name(place))
        assert record is not None
        return record

    @property
    def quality(self) -> NDArray[np.uint8]:
        """The quality layer, (rows, columns), from the disk; only where it was computed with the image."""
        assert isinstance(self.tiles, Flagged)
        return self.tiles.layer()

    def finish(self, tags: Mapping[str, str], progress: bool, options: Mapping[str, str] | None = None) -> Receipt:
        """Make the output in the workspace, read it back, and say what was made; what an earlier run verified is not made again."""
        work, (statistics, clipped) = self.work, self._statistics()
        with bar(4, desc="finishing", unit="step", enabled=progress) as steps, rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE):
            if "final" not in work.journal:
                self.staging.complete_overviews()
                steps.update()
                self.format.finalize(work.final, self.staging, self.cube, statistics, tags, options or {})
                steps.update()
                self.verify(work.final)
                steps.update()
                work.journal.append("final", sha256=content_sha256(work.final), size=content_size(work.final))
            steps.update()
        final = work.journal.get("final")
        assert final is not None
        if clipped:
            self._tell(clipped)
        return Receipt(work.target, final["sha256"], final["size"], self._window_count(), clipped, statistics.valid_percent)

    def publish(self) -> None:
        """Let the finished output appear in its place; what stands beside the one that it replaces goes."""
        self.work.publish(self.format.sidecars)

    def _statistics(self) -> tuple[BandStatistics, int]:
        """Statistics of all tiles, and how many values were clipped."""
        statistics, clipped = BandStatistics(self.staging.shape[0]), 0
        for place in self.places:  # always in this order: the same rounding, whatever was first
            record = self._record(place)
            statistics.merge(record["statistics"])
            clipped += record["clipped"]
        return statistics, clipped

    def _tell(self, clipped: int) -> None:
        name, limit = self.work.target.name, self.staging.stored.limit
        warnings.warn(f"{clipped} values beyond ±{limit:.4g} were clipped in {name}; dtype='float32' keeps finite ones", stacklevel=4)

    def _windows(self) -> Iterator[tuple[Place, int, Corner]]:
        """Every window of which there is a checksum: its tile, its number in the tile, and where it is."""
        for place in self.places:
            top, left = self.staging.starts[0][place[0]], self.staging.starts[1][place[1]]
            bottom, right = (
                starts[k + 1] if k + 1 < len(starts) else size
                for k, starts, size in zip(place, self.staging.starts, self.staging.shape[1:], strict=True)
            )
            for number, window in enumerate(self.staging.windows((top, left, bottom - top, right - left))):
                yield place, number, window

    def _window_count(self) -> int:
        return sum(1 for _ in self._windows()) * self.staging.shape[0]

    def verify(self, path: Path) -> None:
        """Read every window of the finished output back and compare it with what was stored.

        Raises
        ------
        RunError
            A window differs, or what the output says of itself.
        """
        self.format.check_metadata(path, self.staging, self.cube)
        with ThreadPoolExecutor(_threads()) as pool:
            found = [wrong for tile in pool.map(lambda place: self._differing(path, place), self.places) for wrong in tile]
        if found:
            band, row, col = min(found)
            where = f"first in band {band + 1} at row {row}, column {col}"
            raise RunError(
                f"{len(found)} of {self._window_count()} windows read back differ from what was written, {where}; nothing was left"
            )

    def _differing(self, path: Path, place: Place) -> list[tuple[int, int, int]]:
        """Band, row and column of the windows of a tile that do not have the checksum that they had when they were made."""
        record = self._record(place)
        corners = list(self.staging.windows(tuple(record["corner"])))
        read = zip(corners, self.format.windows(path, corners), strict=True)
        return [
            (band, corner[0], corner[1])
            for number, (corner, planes) in enumerate(read)
            for band, plane in enumerate(planes)
            if crc32(plane.data) != record["crc"][band][number]
        ]


def _threads() -> int:
    return min(4, os.cpu_count() or 1)
