"""HDF5 files whose cube lies on a map grid already, with the axes band, row and column: their reader, cube and masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geofuse.cube.masks import names_of
from geofuse.cube.values import decode
from geofuse.io.read.base import Description, Request
from geofuse.io.read.hdf5 import dataset, granules, one_of, open_hdf5, reading
from geofuse.io.read.products.folder import leads_to
from geofuse.io.read.windows import of_runs, selected


@dataclass(frozen=True)
class GriddedReader:
    """Reader of a product that is one file: it, or a folder with one."""

    name: str
    needed: tuple[str, ...]
    """Objects by which a file is recognised."""
    described: Callable[[Any, Path], Description]
    """Makes the description of an open file."""

    def recognises(self, source: str) -> bool:
        """Whether it is such a file, or such a folder."""
        return leads_to(source, lambda path: granules(path, *self.needed))

    def describe(self, source: str, request: Request) -> Description:
        """Read the metadata."""
        path = self._granule(source)
        with open_hdf5(path) as file:
            return self.described(file, path)

    def files(self, source: str, request: Request) -> list[str]:
        """The file."""
        return [str(self._granule(source))]

    def _granule(self, source: str) -> Path:
        return one_of(granules(Path(source), *self.needed), self.name)


@dataclass(frozen=True)
class GriddedArray:
    """Reflectance as it is stored, floats; a `geofuse.io.read.base.PixelArray`. Opened anew for each read."""

    path: str
    stamp: str | None
    name: str
    bands: tuple[int, ...]
    size: tuple[int, int]
    """Rows and columns."""
    fill: float
    nodata: str | None = None
    """A layer that is not 0 where there is no data."""

    dtype = np.dtype(np.float32)
    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""
        return len(self.bands), *self.size

    def take(self, bands: NDArray[np.intp]) -> Self:
        """Some of the bands."""
        return replace(self, bands=tuple(self.bands[band] for band in bands))

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Read what is selected."""
        return selected(key, self.shape, self.dtype, self._read)

    def _read(self, bands: NDArray[np.intp], rows: slice, cols: slice) -> NDArray[np.float32]:
        with reading(self.path, self.stamp) as file:
            source = dataset(file, self.name, 3, "f")
            raw = of_runs(np.array([self.bands[band] for band in bands]), lambda run: np.asarray(source[run, rows, cols]))
            empty = None if self.nodata is None else dataset(file, self.nodata, 2)[rows, cols] != 0
        values = decode(raw, 1.0, 0.0, self.fill)
        if empty is not None:
            values[:, empty] = np.nan
        return values


@dataclass(frozen=True)
class GriddedFlags:
    """Flags of layers that are 1 where they apply, uint8; a `geofuse.io.read.base.FlagArray`."""

    path: str
    stamp: str | None
    layers: tuple[tuple[str, int], ...]
    """Name, and the flag that it raises."""
    shape: tuple[int, int]

    dtype = np.dtype(np.uint8)
    ndim = 2

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Read what is selected."""
        return selected(key, self.shape, self.dtype, self._read)

    def _read(self, rows: slice, cols: slice) -> NDArray[np.uint8]:
        out = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
        with reading(self.path, self.stamp) as file:
            for name, flag in self.layers:
                out[dataset(file, name, 2, "iu")[rows, cols] == 1] |= flag
        return out

    @property
    def names(self) -> list[str]:
        """Names of the flags."""
        return names_of({flag for _, flag in self.layers})
