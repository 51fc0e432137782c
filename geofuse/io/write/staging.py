"""The staging raster: plain files of stored numbers, one a pyramid level, that many tasks write into at once.

Bands one after the other, rows one after the other: every pixel has its fixed place, so a tile can be written in any order, by any
thread or process that sees the folder, and what is written survives the writer. A VRT beside them shows GDAL the whole as one raster
with overviews, names, wavelengths and statistics (`geofuse.io.write.vrt`).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofuse.cube.values import StoredType
from geofuse.io.write.pyramid import every_other, halved, overview_factors
from geofuse.io.write.statistics import BandStatistics

Corner = tuple[int, int, int, int]
"""First row, first column, height, width."""

_STRIP_ROWS = 256
FLAGS = StoredType.named("flags")


@dataclass(frozen=True)
class StagingRaster:
    """Where the stored numbers of a raster go. Plain values, so that it travels to workers.

    Attributes
    ----------
    folder : pathlib.Path
    shape : tuple of int
        Bands, rows, columns.
    stored : StoredType
    side : int
        Pixels along the side of a block of the finished file; checksums are taken block by block.
    starts : tuple of tuple of int
        First rows and first columns of the tiles.
    """

    folder: Path
    shape: tuple[int, int, int]
    stored: StoredType
    side: int
    starts: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def levels(self) -> int:
        """Overviews of the finished file."""
        return len(overview_factors(*self.shape[1:], self.side))

    @property
    def tile_levels(self) -> int:
        """Overviews whose pixels never see two tiles: those are made tile by tile."""
        together = int(np.gcd.reduce([0, *self.starts[0], *self.starts[1]]))  # 0 where there is one tile
        shared = (together & -together).bit_length() - 1 if together else self.levels
        return min(self.levels, shared)

    def path(self, level: int) -> Path:
        """File of a level; 0 is the image itself."""
        return self.folder / f"level{level}.raw"

    def size(self, level: int) -> tuple[int, int]:
        """Rows and columns of a level."""
        return tuple(-(-length // 2**level) for length in self.shape[1:])

    @property
    def itemsize(self) -> int:
        """Bytes of a stored number."""
        return np.dtype(self.stored.dtype).itemsize

    def allocate(self) -> None:
        """Make the files, or leave those as they are that an earlier run made; the disk is filled as they are written."""
        for level in range(self.levels + 1):
            rows, cols = self.size(level)
            with self.path(level).open("ab") as file:
                file.truncate(self.shape[0] * rows * cols * self.itemsize)

    def place(self, level: int, band: int, row: int, col: int) -> int:
        """Byte of a pixel in the file of its level."""
        rows, cols = self.size(level)
        return ((band * rows + row) * cols + col) * self.itemsize

    def write(self, file: int, level: int, band: int, top: int, left: int, plane: NDArray[Any]) -> None:
        """Write a rectangle of one band."""
        cols = self.size(level)[1]
        content = np.ascontiguousarray(plane).data.cast("B")
        run, step = plane.shape[1] * self.itemsize, cols * self.itemsize
        place = self.place(level, band, top, left)
        if run == step:
            _write_whole(file, content, place)
            return
        for start in range(0, len(content), run):
            _write_whole(file, content[start : start + run], place)
            place += step

    def read(self, file: int, level: int, band: int, corner: Corner) -> NDArray[Any]:
        """Read a rectangle of one band."""
        top, left, height, width = corner
        run, step = width * self.itemsize, self.size(level)[1] * self.itemsize
        place = self.place(level, band, top, left)
        runs = [(run * height, place)] if run == step else [(run, place + row * step) for row in range(height)]
        content = b"".join(os.pread(file, length, start) for length, start in runs)
        return np.frombuffer(content, self.stored.dtype).reshape(height, width)

    def halve(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Half as many rows and columns: means, or of flags every other one."""
        return every_other(numbers) if self.stored.flags else halved(numbers, self.stored.nodata)

    def windows(self, corner: Corner) -> Iterator[Corner]:
        """Cut a tile along the blocks of the finished file, so that reading a window there never takes two."""
        top, left, height, width = corner
        rows = [top, *range((top // self.side + 1) * self.side, top + height, self.side), top + height]
        cols = [left, *range((left // self.side + 1) * self.side, left + width, self.side), left + width]
        for first, stop in pairwise(rows):
            for west, east in pairwise(cols):
                yield first, west, stop - first, east - west

    def store(self, tile: NDArray[np.float32], top: int, left: int) -> dict[str, Any]:
        """Store a tile of all bands and the overview pixels that lie in it, and return what is known of it, as plain values.

        Band by band: a plane stays in the processor's cache from its encoding to its last overview.
        """
        corner = (top, left, *tile.shape[1:])
        windows = list(self.windows(corner))
        statistics = BandStatistics(len(tile))
        checksums: list[list[int]] = []
        clipped = 0
        files = [os.open(self.path(level), os.O_WRONLY) for level in range(self.tile_levels + 1)]
        try:
            for band, plane in enumerate(tile):
                numbers, valid, beyond = self.stored.encode(plane)
                clipped += beyond
                statistics.add(band, numbers if valid.all() else numbers[valid], numbers.size)
                checksums.append([_checksum(numbers[r - top : r - top + h, c - left : c - left + w]) for r, c, h, w in windows])
                self.write(files[0], 0, band, top, left, numbers)
                for level in range(1, len(files)):
                    numbers = self.halve(numbers)
                    self.write(files[level], level, band, top >> level, left >> level, numbers)
        finally:
            for file in files:
                os.close(file)
        return {"corner": list(corner), "crc": checksums, "clipped": clipped, "statistics": statistics.to_lists()}

    def holds(self, record: dict[str, Any]) -> bool:
        """Whether the image still is what a record of `store` says; its overviews are made anew from it, which is quick."""
        corner = tuple(record["corner"])
        windows = list(self.windows(corner))
        try:
            image = os.open(self.path(0), os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            for band, expected in enumerate(record["crc"]):
                if [_checksum(self.read(image, 0, band, window)) for window in windows] != expected:
                    return False
            self._halve_tile(image, corner)
        finally:
            os.close(image)
        return True

    def _halve_tile(self, image: int, corner: Corner) -> None:
        files = [os.open(self.path(level), os.O_WRONLY) for level in range(1, self.tile_levels + 1)]
        try:
            for band in range(self.shape[0] if files else 0):
                numbers = self.read(image, 0, band, corner)
                for level, file in enumerate(files, start=1):
                    numbers = self.halve(numbers)
                    self.write(file, level, band, corner[0] >> level, corner[1] >> level, numbers)
        finally:
            for file in files:
                os.close(file)

    def complete_overviews(self) -> None:
        """Make the overviews that tiles could not make by themselves, each from the one below."""
        for level in range(self.tile_levels, self.levels):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda band, below=level: self._halve_band(below, band), range(self.shape[0])))

    def _halve_band(self, level: int, band: int) -> None:
        rows, cols = self.size(level)
        below, above = os.open(self.path(level), os.O_RDONLY), os.open(self.path(level + 1), os.O_WRONLY)
        try:
            for top in range(0, rows, _STRIP_ROWS):
                strip = self.read(below, level, band, (top, 0, min(_STRIP_ROWS, rows - top), cols))
                self.write(above, level + 1, band, top // 2, 0, self.halve(strip))
        finally:
            os.close(below)
            os.close(above)


@dataclass(frozen=True)
class Flagged:
    """Tiles whose last plane is the quality layer: that goes into a raster of its own, the other planes into theirs."""

    image: StagingRaster
    quality: StagingRaster

    @staticmethod
    def beside(image: StagingRaster) -> Flagged:
        """The quality layer in a folder of its own; as a plain raster without overviews, which its file gets when it is written."""
        folder = image.folder / "quality"
        return Flagged(image, replace(image, folder=folder, shape=(1, *image.shape[1:]), stored=FLAGS, side=max(image.shape[1:])))

    def allocate(self) -> None:
        """As `StagingRaster.allocate`."""
        self.quality.folder.mkdir(exist_ok=True)
        self.quality.allocate()
        self.image.allocate()

    def store(self, tile: NDArray[np.float32], top: int, left: int) -> dict[str, Any]:
        """As `StagingRaster.store`, with the record of the quality layer in that of the image."""
        flags = np.where(tile[-1:] == FLAGS.nodata, np.float32(np.nan), tile[-1:])
        return self.image.store(tile[:-1], top, left) | {"quality": self.quality.store(flags, top, left)}

    def holds(self, record: dict[str, Any]) -> bool:
        """As `StagingRaster.holds`, for both."""
        return "quality" in record and self.quality.holds(record["quality"]) and self.image.holds(record)

    def layer(self) -> NDArray[np.uint8]:
        """The quality layer as it is on file, (rows, columns)."""
        return np.memmap(self.quality.path(0), np.uint8, "r", shape=self.quality.shape[1:])


def _write_whole(file: int, content: memoryview, place: int) -> None:
    """Write all of it: a disk that fills up may take a part, and says so at the next attempt."""
    while content:
        done = os.pwrite(file, content, place)
        content, place = content[done:], place + done


def _checksum(numbers: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(numbers).data)
