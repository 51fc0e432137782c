"""PRISMA L2D surface reflectance (PRS_L2D_STD): one HDF-EOS5 file with a VNIR and a SWIR cube on a UTM grid.

*PRISMA Products Specification Document*, issue 2.3, 12 March 2020. Both cubes have the axes row, band, column, and bands of falling
wavelength; a wavelength of 0 marks a band that was not acquired. Reflectance is Min + DN × (Max − Min) / 65535 with limits for each cube; DN 0
is no data. The corners are centres of pixels of 30 m.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geofuse.cube.bands import BandTable
from geofuse.cube.masks import Mask
from geofuse.cube.values import decode
from geofuse.errors import InvalidCube
from geofuse.io.read.base import Description, Request
from geofuse.io.read.fingerprint import content_stamp
from geofuse.io.read.hdf5 import attribute, check_line, dataset, granules, listed, numeric, one_of, open_hdf5, reading
from geofuse.io.read.items import utc_text
from geofuse.io.read.products.folder import leads_to
from geofuse.io.read.products.spectra import ordered
from geofuse.io.read.windows import of_runs, selected

_FIELDS = "HDFEOS/SWATHS/PRS_{}_HCO/Data Fields"
_CUBES, _ERRORS = ("VNIR_Cube", "SWIR_Cube"), ("VNIR_PIXEL_L2_ERR_MATRIX", "SWIR_PIXEL_L2_ERR_MATRIX")
_DETECTORS = ("Vnir", "Swir")
# Levels that are a swath without a map grid, or no reflectance of the surface.
_OTHER_LEVELS = ("L1", "L2B", "L2C")
_GSD, _LARGEST_DN = 30.0, 65535
# Values of the error matrices: invalid already before the atmospheric correction, negative after it, saturated after it.
_INVALID, _SATURATED = 1, 3


@dataclass(frozen=True)
class Cubes:
    """The cubes of a file; opened anew for each read."""

    path: str
    stamp: str | None
    shape: tuple[int, int]
    """Rows and columns."""
    errors: bool
    """Whether there is an error matrix for each."""

    def window(self, file: Any, names: tuple[str, str], cube: int, bands: NDArray[np.intp], rows: slice, cols: slice) -> NDArray[Any]:
        """Stored numbers of a cube or of its error matrix, (band, row, column)."""
        found = dataset(file, f"{_FIELDS.format('L2D')}/{names[cube]}", 3, "u")
        return of_runs(bands, lambda run: np.moveaxis(found[rows, run, cols], 1, 0))


@dataclass(frozen=True)
class PrismaArray:
    """Reflectance of both cubes; a `geofuse.io.read.base.PixelArray`."""

    cubes: Cubes
    bands: tuple[tuple[int, int], ...]
    """Cube, and band in it."""
    scale: tuple[float, float]
    offset: tuple[float, float]

    dtype = np.dtype(np.float32)
    ndim = 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""
        return len(self.bands), *self.cubes.shape

    def take(self, bands: NDArray[np.intp]) -> Self:
        """Some of the bands."""
        return replace(self, bands=tuple(self.bands[band] for band in bands))

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Read what is selected."""
        return selected(key, self.shape, self.dtype, self._read)

    def _read(self, bands: NDArray[np.intp], rows: slice, cols: slice) -> NDArray[np.float32]:
        out = np.empty((bands.size, rows.stop - rows.start, cols.stop - cols.start), np.float32)
        with reading(self.cubes.path, self.cubes.stamp) as file:
            for cube, at, numbers in _by_cube([self.bands[band] for band in bands]):
                values = decode(self.cubes.window(file, _CUBES, cube, numbers, rows, cols), self.scale[cube], self.offset[cube], 0)
                if self.cubes.errors:
                    values[self.cubes.window(file, _ERRORS, cube, numbers, rows, cols) == _INVALID] = np.nan
                out[at] = values
        return out


@dataclass(frozen=True)
class PrismaFlags:
    """Flags of the error matrices, uint8; a `geofuse.io.read.base.FlagArray`.

    Saturated is a pixel in any good band; a defect where at least half of them are invalid, because single values are nodata already.
    """

    cubes: Cubes
    good: tuple[tuple[int, int], ...]

    dtype = np.dtype(np.uint8)
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.cubes.shape

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Read what is selected."""
        return selected(key, self.shape, self.dtype, self._read)

    def _read(self, rows: slice, cols: slice) -> NDArray[np.uint8]:
        size = rows.stop - rows.start, cols.stop - cols.start
        invalid, saturated = np.zeros(size, np.int32), np.zeros(size, bool)
        with reading(self.cubes.path, self.cubes.stamp) as file:
            for cube, _, numbers in _by_cube(list(self.good)):
                errors = self.cubes.window(file, _ERRORS, cube, numbers, rows, cols)
                invalid += (errors == _INVALID).sum(0, dtype=np.int32)
                saturated |= (errors == _SATURATED).any(0)
        defect = 2 * invalid >= max(len(self.good), 1)
        return (saturated * np.uint8(Mask.SATURATED) + defect * np.uint8(Mask.DEFECT)).astype(np.uint8)


def _by_cube(bands: list[tuple[int, int]]) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """For each cube that is needed: its number, positions among the bands, and their places in it."""
    for cube in sorted({cube for cube, _ in bands}):
        at = np.array([position for position, (other, _) in enumerate(bands) if other == cube], np.intp)
        yield cube, at, np.array([bands[position][1] for position in at], np.intp)


class PrismaReader:
    """A file, or a folder with one."""

    name = "PRISMA L2D"

    def recognises(self, source: str) -> bool:
        """Whether it is such a file, or such a folder."""
        return leads_to(source, lambda path: any(_found(path, level) for level in ("L2D", *_OTHER_LEVELS)))

    def describe(self, source: str, request: Request) -> Description:
        """Read the metadata."""
        path = _granule(Path(source))
        with open_hdf5(path) as file:
            return _described(file, path)

    def files(self, source: str, request: Request) -> list[str]:
        """The file."""
        return [str(_granule(Path(source)))]


PRISMA = PrismaReader()


def _found(path: Path, level: str) -> list[Path]:
    return granules(path, f"{_FIELDS.format(level)}/{_CUBES[0]}", f"{_FIELDS.format(level)}/{_CUBES[1]}")


def _granule(path: Path) -> Path:
    found = _found(path, "L2D")
    for level in _OTHER_LEVELS if not found else ():
        if _found(path, level):
            raise InvalidCube(f"PRISMA {level}; expected L2D, surface reflectance on a map grid")
    return one_of(found, "PRISMA L2D")


def _described(file: Any, path: Path) -> Description:
    counts, (rows, cols), errors = _shapes(file)
    bands, table = _bands(file, counts)
    limits = [[numeric(file, f"L2Scale{name}{end}") for end in ("Min", "Max")] for name in _DETECTORS]
    if any(low >= high for low, high in limits):
        raise InvalidCube(f"its limits L2Scale…Min and Max are {limits}; the product is damaged")
    scale = tuple((high - low) / _LARGEST_DN for low, high in limits)
    cubes = Cubes(str(path.absolute()), content_stamp(path), (rows, cols), errors)
    return Description(
        str(path),
        PrismaArray(cubes, bands, (scale[0], scale[1]), (limits[0][0], limits[1][0])),
        table,
        _transform(file, rows, cols),
        f"EPSG:{int(numeric(file, 'Epsg_Code'))}",
        (8, cols),
        sensor="PRISMA L2D",
        mask=PrismaFlags(cubes, tuple(band for band, usable in zip(bands, table.good, strict=True) if usable)) if errors else None,
        encoding={
            "dtype": "uint16",
            "scale_factor": np.array([scale[cube] for cube, _ in bands]),
            "add_offset": np.array([limits[cube][0] for cube, _ in bands]),
            "_FillValue": 0.0,
            "masks": ["saturated", "defect"] if errors else [],
        },
        about={
            "href": str(path),
            "id": path.stem,
            "datetime": utc_text(str(attribute(file, "Product_StartTime") or "")),
            "gsd": _GSD,
        },
    )


def _shapes(file: Any) -> tuple[list[int], tuple[int, int], bool]:
    """Bands of each cube, rows and columns of both, and whether there are error matrices."""
    fields = _FIELDS.format("L2D")
    pixels = [dataset(file, f"{fields}/{name}", 3, "u") for name in _CUBES]
    for cube in pixels:
        check_line(cube)
    (rows, _, cols), other = pixels[0].shape, pixels[1].shape
    if (other[0], other[2]) != (rows, cols):
        raise InvalidCube(f"its VNIR and SWIR cubes have the shapes {pixels[0].shape} and {other}; the product is damaged")
    errors = all(f"{fields}/{name}" in file for name in _ERRORS)
    for name, cube in zip(_ERRORS, pixels, strict=True) if errors else ():
        if dataset(file, f"{fields}/{name}", 3, "u").shape != cube.shape:
            raise InvalidCube(f"{name} has another shape than its cube, {cube.shape}; the product is damaged")
    return [cube.shape[1] for cube in pixels], (rows, cols), errors


def _bands(file: Any, counts: list[int]) -> tuple[tuple[tuple[int, int], ...], BandTable]:
    """Bands in order of wavelength: cube and place in it, and their table."""
    lists = {kind: [listed(file, kind.format(name)) for name in _DETECTORS] for kind in ("List_Cw_{}", "List_Fwhm_{}")}
    flags = [listed(file, f"List_Cw_{name}_Flags") if f"List_Cw_{name}_Flags" in file.attrs else None for name in _DETECTORS]
    if any([column.size for column in columns] != counts for columns in lists.values()):
        raise InvalidCube(f"its cubes have {counts} bands, and its lists of wavelengths and FWHM do not; the product is damaged")
    good = np.concatenate([np.ones(n, bool) if flag is None else flag != 0 for n, flag in zip(counts, flags, strict=True)])
    owners = [(cube, band) for cube, count in enumerate(counts) for band in range(count)]
    detectors = [_DETECTORS[cube].upper() for cube, _ in owners]
    order, table = ordered(*(np.concatenate(columns) for columns in lists.values()), good=good, detector=detectors)
    return tuple(owners[band] for band in order), table


def _transform(file: Any, rows: int, cols: int) -> Affine:
    """The grid, whose corners are given as centres of pixels: from the first to the last there is one step less than pixels.

    Raises
    ------
    InvalidCube
        The corners are not so far apart.
    """
    left, right = (numeric(file, f"Product_{corner}corner_easting") for corner in ("UL", "LR"))
    top, bottom = (numeric(file, f"Product_{corner}corner_northing") for corner in ("UL", "LR"))
    if round((right - left) / _GSD) != cols - 1 or round((top - bottom) / _GSD) != rows - 1:
        raise InvalidCube(
            f"its corners are {right - left:g} x {top - bottom:g} m apart; expected {(cols - 1) * _GSD:g} x {(rows - 1) * _GSD:g} m, "
            f"between the centres of {cols} x {rows} pixels of {_GSD:g} m"
        )
    return Affine(_GSD, 0.0, left - _GSD / 2, 0.0, -_GSD, top + _GSD / 2)
